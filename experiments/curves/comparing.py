"""Comparing two ways to answer, question by question: how much better, at what difference in spend, on which
questions, and whether the questions can tell.

The difference is paired (both answered the same questions) and its interval is a bootstrap over questions. Beside it
stands the exact sign test on questions that are right more often under one than under the other; where each question
was replayed once it is the exact test of McNemar (1947).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb, isfinite, sqrt
from statistics import stdev
from typing import Any, Literal, TypeAlias

from ...core.errors import CallerError, UnknownName
from ..contrasts import Contrast, contrast, wrong_of
from ..intervals import Interval, paired
from ..report import Report, Row

Became: TypeAlias = Literal["won", "lost", "both right", "both wrong"]
POWER_Z = 1.959964 + 0.841621  # 5% two-sided, 80% power
FEWEST = 5  # questions of a topic, below which no interval is given
EQUAL = 1e-9  # shares this close are the same


@dataclass(frozen=True, slots=True)
class Changed:
    """One question under both: the shares of its replays that were right, mean dollars, and what became of it: "won"
    is right more often under the first, "lost" under the second; the others are equally often right."""

    question: str
    topic: str
    right: tuple[float, float]
    usd: tuple[float, float]
    became: Became


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """The difference in accuracy (and dollars, where known) on one topic; the interval is None for few questions."""

    topic: str
    questions: int
    accuracy: float
    interval: Interval | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` less `b`. `difference` has the paired intervals of accuracy, dollars and net utility. `p`: exact sign test of
    won against lost (McNemar's, where each question was replayed once), two-sided. `deviation`: of the paired
    differences in accuracy between questions. `needed`: how many questions would show a difference as large as the one
    measured with 80% power at the 5% level (None: there is none to show); `detectable`: the smallest one that this
    many questions show so."""

    a: Row
    b: Row
    names: tuple[str, str]
    difference: Contrast
    p: float
    deviation: float
    needed: int | None
    detectable: float
    each: tuple[Changed, ...]
    topics: tuple[TopicDifference, ...]

    def count(self, became: Became) -> int:
        """How many questions became this."""
        return sum(one.became == became for one in self.each)

    @property
    def significant(self) -> bool:
        """Whether the paired interval of accuracy leaves zero out."""
        found = self.difference.accuracy
        return found.low > 0 or found.high < 0

    def says(self) -> str:
        """The finding in a sentence or two."""
        found, (a, b) = self.difference.accuracy, self.names
        size = f"{abs(found.estimate) * 100:.1f} points [{found.low * 100:+.1f}, {found.high * 100:+.1f}]"
        if self.significant:
            said = f"{a} is right {'more' if found.estimate > 0 else 'less'} often than {b}, by {size}."
        elif not self.deviation:
            return f"{a} and {b} were right on exactly the same questions."
        else:
            said = (
                f"No difference in accuracy is shown: {found.estimate * 100:+.1f} points "
                f"[{found.low * 100:+.1f}, {found.high * 100:+.1f}]. These questions can show one of "
                f"{self.detectable * 100:.1f} points or more."
            )
            if self.needed is not None:
                said += f" One as large as was measured would need about {self.needed:,} questions."
        return said + (" The sign test disagrees (see p)." if self.significant != (self.p < 0.05) else "")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "says": self.says(),
            "difference": self.difference.to_dict(),
            "significant": self.significant,
            "sign_test_p": self.p,
            "deviation": self.deviation,
            "questions_needed": self.needed,
            "detectable": self.detectable,
            "counts": {became: self.count(became) for became in ("won", "lost", "both right", "both wrong")},
            "topics": [
                {
                    "topic": t.topic,
                    "questions": t.questions,
                    "accuracy": t.accuracy,
                    "interval": [t.interval.low, t.interval.high] if t.interval else None,
                    "usd": t.usd,
                }
                for t in self.topics
            ],
            "questions": [
                {"question": q.question, "topic": q.topic, "right": q.right, "usd": q.usd, "became": q.became}
                for q in self.each
            ],
        }


def compare(a: Row, b: Row, report: Report, names: tuple[str, str] | None = None) -> Comparison:
    """Sets two rows side by side on the questions that both have. `report` knows topics and what a wrong answer
    costs. Raises `CallerError` where they share fewer than two questions (a report that was saved without `--out` or
    `each` has none)."""
    both = [question for question in a.each if question in b.each]
    if len(both) < 2:
        raise CallerError(
            f"{a.name} and {b.name} share {len(both)} questions: a comparison needs the figures of each question, "
            "as `satisfice evaluate --out report.json` keeps them"
        )
    gaps = [a.each[q].right - b.each[q].right for q in both]
    deviation, n, mean = stdev(gaps), len(both), sum(gaps) / len(both)
    each = tuple(_changed(q, report.topics.get(q, ""), a, b) for q in both)
    found = [one.became for one in each]
    return Comparison(
        a,
        b,
        names or _named(a, b),
        contrast(a, b, wrong_of(report)),
        sign_test(found.count("won"), found.count("lost")),
        deviation,
        ceil((POWER_Z * deviation / mean) ** 2) if abs(mean) > 1e-9 else None,
        POWER_Z * deviation / sqrt(n),
        each,
        _by_topic(each, known=a.usd is not None and b.usd is not None),
    )


def sign_test(won: int, lost: int) -> float:
    """The exact two-sided p of so many changes in either direction, were both equally likely: McNemar's test (1947)
    of single answers, the sign test of shares."""
    n, few = won + lost, min(won, lost)
    return min(1.0, 2 * sum(comb(n, k) for k in range(few + 1)) / 2**n) if n else 1.0


def pick(report: Report, text: str, worth: float | None = None) -> Row:
    """The row that a name means: its policy, its name or `name/policy`, at this worth (None: the middle one). Raises
    `UnknownName`, and `CallerError` where the name fits rows on several models or conditions."""
    fits = [r for r in report.rows if r.each and text in (r.policy, r.name, r.strategy, f"{r.name}/{r.policy}")]
    if not fits:
        known = {name for r in report.rows if r.each for name in (r.name, r.policy) if name}
        raise UnknownName.of("row", text, known)
    if worth is not None:
        fits = [r for r in fits if r.worth is None or abs(r.worth - worth) <= 1e-9 * worth] or fits[:0]
        if not fits:
            raise CallerError(f"{text} was not measured at a worth of {worth:g} dollars")
    if len(several := sorted({f"{r.name}/{r.policy}" for r in fits})) > 1:
        raise CallerError(f"{text!r} may mean {', '.join(several)}: say which")
    if len(places := sorted({f"{r.model} ({r.arm})" for r in fits})) > 1:
        raise CallerError(f"{text!r} was measured on {', '.join(places)}: choose with --model and --arm")
    fits.sort(key=lambda r: r.worth or 0.0)
    return fits[len(fits) // 2]


def _named(a: Row, b: Row) -> tuple[str, str]:
    parts = [(r.name, r.policy, r.model, f"worth ${r.worth:.3g}" if r.worth else "") for r in (a, b)]
    tells = [i for i in range(4) if parts[0][i] != parts[1][i]] or [0]
    said = [", ".join(filter(None, (p[i] for i in tells))) or p[0] for p in parts]
    return said[0], said[1]


def _changed(question: str, topic: str, a: Row, b: Row) -> Changed:
    one, other = a.each[question], b.each[question]
    gap = one.right - other.right
    became: Became = "both right" if one.right > 0.5 else "both wrong"
    if abs(gap) > EQUAL:
        became = "won" if gap > 0 else "lost"
    return Changed(question, topic, (one.right, other.right), (one.usd, other.usd), became)


def _by_topic(each: Sequence[Changed], known: bool) -> tuple[TopicDifference, ...]:
    groups: dict[str, list[Changed]] = {}
    for one in each:
        groups.setdefault(one.topic, []).append(one)
    made = []
    for topic, held in sorted(groups.items(), key=lambda two: (-len(two[1]), two[0])):
        gap = sum(q.right[0] - q.right[1] for q in held) / len(held)
        usd = sum(q.usd[0] - q.usd[1] for q in held) / len(held) if known else None
        few = len(held) < FEWEST
        interval = None if few else paired([q.right[0] for q in held], [q.right[1] for q in held])
        made.append(TopicDifference(topic or "all", len(held), gap, interval, usd))
    return tuple(made)


def changes(found: Comparison, texts: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The questions that changed sides, the largest change first, with their text where it is known."""
    moved = [one for one in found.each if one.became in ("won", "lost")]
    moved.sort(key=lambda one: (-abs(one.right[0] - one.right[1]), one.question))
    return [
        {
            "question": one.question,
            "text": " ".join((texts or {}).get(one.question, "").split()),
            "topic": one.topic,
            "became": one.became,
            "right": one.right,
            "usd": one.usd if all(map(isfinite, one.usd)) else None,
        }
        for one in moved
    ]
