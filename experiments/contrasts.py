"""Contrasts: how much better one measured row is than another, paired by question. The difference of two means has a
narrower interval than either mean suggests, because hard questions are hard for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias

from ..core.errors import CallerError, UnknownName
from .at_k import Votes
from .intervals import Interval, clustered, paired
from .metrics import Points, matched
from .report import RECORDED, Report, Row

FIXED = "fixed votes at the same cost"
BEST = "best single model"
AllVotes: TypeAlias = Mapping[tuple[str, str], Votes]  # by (model, arm)


@dataclass(frozen=True, slots=True)
class Contrast:
    """`row` less `against`, per question, over the `questions` of both: in accuracy, dollars and net utility (None:
    not known of both)."""

    row: str
    policy: str
    against: str
    model: str
    arm: str
    worth: float | None
    questions: int
    accuracy: Interval
    usd: Interval | None = None
    net: Interval | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("accuracy", "usd", "net"):
            found = data[name]
            data[name] = {k: v if isfinite(v) else None for k, v in found.to_dict().items()} if found else None
        data["worth"] = self.worth if self.worth is None or isfinite(self.worth) else None
        return data


def contrasts(report: Report, votes: AllVotes | None = None) -> list[Contrast]:
    """Every measured row against a single draw of its model (one of several models: against the best single one, which
    is chosen again in every resample), against fixed votes that cost as much (`votes`: of its arm), and against the
    row of the first policy."""
    own = [row for row in report.rows if not row.baseline and row.each]
    wrong, found = wrong_of(report), []
    for row in own:
        beside = [r for r in report.rows if r.baseline and r.name == "single_shot" and r.each and r.arm in _arms(row)]
        every = [r for r in report.rows if r.baseline and r.name == "single_shot"]
        singles = [r for r in every if r.worth in (row.worth, None)]
        same = [r for r in singles if (r.model, r.arm) == (row.model, row.arm)]
        if row.arm == RECORDED:  # they stand beside plain draws of their model
            same = [r for r in singles or every if r.model == row.model and set(r.each) & set(row.each)]
        if same:
            found.append(contrast(row, same[0], wrong))
        elif beside and " + " in row.model:
            found += _best(row, beside)
        if (row.model, row.arm) in (votes or {}):
            found += _fixed(row, (votes or {})[row.model, row.arm])
        first = [r for r in own if r.policy == own[0].policy and _place(r) == _place(row)]
        if row.policy != own[0].policy and first:
            found.append(contrast(row, next((r for r in first if r.name == row.name), first[0]), wrong))
    return found


def pairs(report: Report, text: str) -> list[Contrast]:
    """The contrasts of "A,B": rows by name, by policy, or "name [policy]". Each row of A meets that of B with the same
    model, arm and worth; one that has none of these meets all of B at its worth. Raises `UnknownName`, and
    `CallerError` where A and B never met."""
    names = sorted({label for row in report.rows if row.each for label in labels(row)})
    cuts = [i for i, letter in enumerate(text) if letter == ","]  # names may hold commas themselves
    sides = [(text[:i].strip(), text[i + 1 :].strip()) for i in cuts]
    known = [side for side in sides if set(side) <= set(names)]
    if not known:
        if not sides:
            raise CallerError(f"--pair {text!r}: expected two names with a comma between")
        wrong = next((name for name in sides[0] if name not in names), text)
        raise UnknownName.of("row to compare", wrong, names)
    one, other = ([row for row in report.rows if row.each and name in labels(row)] for name in known[0])
    found = []
    for row in one:
        beside = [r for r in other if r is not row and (r.worth == row.worth or None in (r.worth, row.worth))]
        same = [r for r in beside if (r.model, r.arm) == (row.model, row.arm)]
        found += [contrast(row, r, wrong_of(report)) for r in same or beside if set(r.each) & set(row.each)]
    if not found:
        raise CallerError(f"--pair {text!r}: these rows have no question, model or worth in common")
    return found


def labels(row: Row) -> tuple[str, ...]:
    """The names by which a row can be asked for."""
    return (row.name, row.policy, f"{row.name} [{row.policy}]") if row.policy else (row.name,)


def contrast(row: Row, other: Row, wrong: float = 0.0) -> Contrast:
    """One row less another, on the questions of both. `wrong`: dollars that a wrong answer costs."""
    both = [question for question in row.each if question in other.each]
    a, b = [row.each[q] for q in both], [other.each[q] for q in both]
    priced = row.usd is not None and other.usd is not None
    net = None
    if priced and row.worth == other.worth and row.worth is not None and isfinite(row.worth):
        worth = row.worth
        gains = [[e.right * worth - (e.answered - e.right) * wrong - e.usd for e in side] for side in (a, b)]
        net = paired(*gains)
    name = other.name if row.policy == other.policy or not other.policy else f"{other.name} [{other.policy}]"
    where = "" if (row.model, row.arm) == (other.model, other.arm) else f"on {other.model}, {other.arm}"
    return Contrast(
        row.name,
        row.policy,
        name,
        row.model,
        row.arm,
        row.worth,
        len(both),
        paired([e.right for e in a], [e.right for e in b]),
        paired([e.usd for e in a], [e.usd for e in b]) if priced else None,
        net,
        where,
    )


def _best(row: Row, singles: Sequence[Row]) -> list[Contrast]:
    """Against the best of the models that were recorded on the same questions."""
    every = [r for r in singles if r.worth in (row.worth, None)] or list(singles)
    models = {r.model: r for r in every}
    both = [q for q in row.each if all(q in r.each for r in models.values())]
    if not both:
        return []
    width = len(models)
    table = [
        [*(r.each[q].right for r in (row, *models.values())), *(r.each[q].usd for r in (row, *models.values()))]
        for q in both
    ]

    def lead(means: Any) -> Any:
        return means[:, 0] - means[:, 1 : width + 1].max(axis=1)

    def extra(means: Any) -> Any:
        best = means[:, 1 : width + 1].argmax(axis=1)
        return means[:, width + 1] - means[range(len(means)), width + 2 + best]

    priced = row.usd is not None and all(r.usd is not None for r in models.values())
    usd = clustered(table, statistic=extra) if priced else None
    note = "chosen in hindsight, again in every resample"
    accuracy = clustered(table, statistic=lead)
    return [Contrast(row.name, row.policy, BEST, row.model, row.arm, row.worth, len(both), accuracy, usd, None, note)]


def _fixed(row: Row, votes: Votes) -> list[Contrast]:
    """Against the envelope of votes of 1, 2, 3, ... draws, mixed so that they cost what the row does: in dollars, or in
    calls where dollars are not known."""
    if votes.majority is None or votes.majority.shape[1] < 2:
        return []
    places = [i for i, question in enumerate(votes.questions) if question in row.each]
    if not places:
        return []
    import numpy as np

    each = [row.each[votes.questions[i]] for i in places]
    sizes = np.arange(1, votes.majority.shape[1] + 1)
    priced = row.usd is not None and votes.usd is not None and bool(votes.usd.sum() > 0)
    one = votes.usd[places] if priced and votes.usd is not None else np.ones(len(places))
    points = Points(
        ("row", *map(str, sizes)),
        np.column_stack([[e.right for e in each], votes.majority[places]]),
        np.column_stack([[e.usd if priced else e.calls for e in each], one[:, None] * sizes]),
    )
    found = matched(points, "row", points.names[1:])
    same = Interval(0.0, 0.0, 0.0) if priced else None
    share = found.share.estimate
    dearer = f", and need {1 / share:.2f} times the spend for as much" if share > 0 else ", and never get as far"
    note = f"they get {found.accuracy.estimate:.3f}{dearer}" + ("" if priced else "; matched in calls")
    return [
        Contrast(row.name, row.policy, FIXED, row.model, row.arm, row.worth, len(each), found.lead, same, None, note)
    ]


def _place(row: Row) -> tuple[str, str, float | None]:
    return row.model, row.arm, row.worth


def _arms(row: Row) -> list[str]:
    return [row.arm, *row.arm.split(" + ")]


def wrong_of(report: Report) -> float:
    """Dollars that a wrong answer costs, by the report's budget."""
    budget = report.settings.get("budget") or {}
    return float(budget.get("wrong") or 0.0)
