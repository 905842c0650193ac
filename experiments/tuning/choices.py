"""Choices: the ways of answering among which tuning searches, each one text that `solve --strategy` takes.

A choice names its model and, where a recorded condition tells it (`direct@0.7`), its temperature, so that what is
measured on an arm is what a live run does. Of arms that it cannot name so, see `standing`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ...core.errors import CallerError, UnknownName
from ...core.plans import Strategy
from ...strategies.registry import strategy_of
from ..bank import Bank
from ..baselines import usd_of
from .standing import Arm, Standing, asked

FAMILIES = ("single_shot", "self_consistency", "best_of_n", "cascade", "auto")
USUAL = ("single_shot", "self_consistency", "best_of_n", "cascade")  # where nobody says
COVERED = 0.9  # share of the questions of the widest arm that an arm needs, to be compared on the same ones
MOST_FIXED = 40  # draws of a fixed vote
SIZES = (2, 4, 8)  # draws of a fixed best-of-n


@dataclass(frozen=True)
class Choice:
    """One way of answering: a strategy of the family `name` with `settings`, on the recorded arms of its `team`, with
    the recorded `verifier` ("" : none) as the check of every question."""

    name: str
    team: tuple[Arm, ...]
    settings: tuple[tuple[str, int], ...] = ()
    verifier: str = ""

    @cached_property
    def text(self) -> str:
        """As `solve --strategy` takes it."""
        if self.name == "cascade":
            stages = [{"strategy": "single_shot", **asked(arm)} for arm in self.team]
            return f"cascade:stages={_json(stages)}"
        how: dict[str, Any] = asked(self.team[0])
        if self.name == "auto" and len(self.team) > 1:
            how.pop("model")
        parts = [f"{key}={_json(value)}" for key, value in (*self.settings, *how.items())]
        return f"{self.name}:{','.join(parts)}" if parts else self.name

    @property
    def strategy(self) -> Strategy:
        return strategy_of(self.text)

    @property
    def fixed(self) -> bool:
        """Whether it does the same whatever a right answer is worth."""
        return self.name == "single_shot" or any(key == "samples" for key, _ in self.settings)

    @property
    def label(self) -> str:
        """The text, and the check that requests have to bring."""
        return self.text + (f" with the check {self.verifier!r}" if self.verifier else "")


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True)
class Space:
    """All choices that a bank can replay: its `arms` by rising cost of a draw, draws of a question that each has
    (`sizes`), the `questions` on which all of them were recorded, what was left out, in words (`notes`), and the
    `prompt` by which all of them were asked ("": the plain question)."""

    families: tuple[str, ...]
    arms: tuple[Arm, ...]
    sizes: tuple[int, ...]
    costs: tuple[float, ...]
    verifiers: tuple[str, ...]
    questions: tuple[str, ...]
    notes: tuple[str, ...] = ()
    prompt: str = ""

    @classmethod
    def of(cls, bank: Bank, strategies: Collection[str] | None = None, verifiers: Collection[str] = ()) -> Space:
        """Raises `UnknownName` for a family or verifier that there is not, `CallerError` where no cost is known or
        nothing but unlabelled answers were recorded, or several prompts and not the plain question."""
        for name in strategies or ():
            if name not in FAMILIES:
                raise UnknownName.of("strategy that tune searches", name, FAMILIES)
        for name in verifiers:
            if name not in bank.verifiers:
                raise UnknownName.of("recorded verifier", name, bank.verifiers)
        standing = Standing.of(bank.arms)
        rows = {arm: bank.of_arm(*arm) for arm in standing.kept}
        widest = max(map(len, rows.values()), default=0)
        unpriced = [arm for arm, row in rows.items() if any(d.nanos is None for draws in row.values() for d in draws)]
        narrow = [arm for arm, row in rows.items() if len(row) < COVERED * widest]
        kept = [arm for arm in rows if arm not in unpriced and arm not in narrow]
        if not kept:
            raise CallerError("tune weighs right answers against dollars, and this bank knows no costs: give prices")
        means = {arm: _mean([usd_of(d) for draws in rows[arm].values() for d in draws]) for arm in kept}
        kept.sort(key=lambda arm: (means[arm], arm))
        questions = tuple(q for q in bank.questions if all(q in rows[arm] for arm in kept))
        if not questions:
            raise CallerError("no question of this bank was recorded under all of its (model, arm): choose models=")
        sizes = tuple(min(_voting(rows[arm][q]) for q in questions) for arm in kept)
        found = cls(
            tuple(strategies or USUAL),
            tuple(kept),
            sizes,
            tuple(means[arm] for arm in kept),
            tuple(verifiers),
            questions,
            tuple(standing.notes(bank.manifest.get("conditions") or {})),
            standing.prompt,
        )
        return _noted(found, unpriced, narrow, widest, len(bank.questions))

    @property
    def chains(self) -> list[tuple[Arm, Arm]]:
        """Pairs of arms of different models, the cheaper first."""
        return [(a, b) for i, a in enumerate(self.arms) for b in self.arms[i + 1 :] if a[0] != b[0]]

    @property
    def teams(self) -> list[tuple[Arm, ...]]:
        """Every condition under which several models were recorded; of one model, each of its arms."""
        conditions = sorted({condition for _, condition in self.arms})
        teams = [tuple(arm for arm in self.arms if arm[1] == condition) for condition in conditions]
        return [team for team in teams if len(team) > 1]

    def shots(self) -> list[Choice]:
        """One draw of each arm: the baselines."""
        return [Choice("single_shot", (arm,)) for arm in self.arms]

    def possible(self) -> tuple[str, ...]:
        """The families of which the bank can replay some choice. Single-shot always is one."""
        several = any(size > 1 for size in self.sizes)
        can = {
            "single_shot": True,
            "self_consistency": several,
            "best_of_n": several and bool(self.verifiers),
            "cascade": bool(self.chains),
            "auto": bool(self.teams),
        }
        return tuple(name for name in FAMILIES if can[name] and (name in self.families or name == "single_shot"))

    def starts(self) -> Iterator[dict[str, Any]]:
        """Parameters of the choices that a search looks at first: one draw of each arm, then what usually pays."""
        names = self.possible()
        yield from ({"strategy": "single_shot", "arm": i} for i in range(len(self.arms)))
        if "self_consistency" in names:
            yield from (
                {"strategy": "self_consistency", "voting_arm": i, "adaptive": True} for i in range(len(self.voting))
            )
        if "best_of_n" in names:
            yield from ({"strategy": "best_of_n", "checked": i, "drawn": 0} for i in range(len(self.checked)))
        if "auto" in names:
            yield from ({"strategy": "auto", "team": i} for i in range(len(self.teams)))

    @cached_property
    def voting(self) -> tuple[int, ...]:
        """Arms of which there are several draws."""
        return tuple(i for i, size in enumerate(self.sizes) if size > 1)

    @cached_property
    def checked(self) -> tuple[tuple[int, str], ...]:
        """(arm, verifier) of which best-of-n can be replayed."""
        return tuple((i, name) for name in self.verifiers for i in self.voting)

    def choice(self, ask: Any) -> Choice:
        """The choice that an Optuna trial (or anything with its `suggest_*`) suggests."""
        name = ask.suggest_categorical("strategy", self.possible())
        if name == "single_shot":
            return Choice(name, (self.arms[ask.suggest_categorical("arm", range(len(self.arms)))],))
        if name == "self_consistency":
            i = self.voting[ask.suggest_categorical("voting_arm", range(len(self.voting)))]
            if ask.suggest_categorical("adaptive", (True, False)):
                return Choice(name, (self.arms[i],), (("most", self.sizes[i]),))
            most = min(max(self.sizes), MOST_FIXED)
            samples = min(self.sizes[i], ask.suggest_int("samples", 2, most))
            return Choice(name, (self.arms[i],), (("samples", samples),))
        if name == "best_of_n":
            i, verifier = self.checked[ask.suggest_categorical("checked", range(len(self.checked)))]
            size = ask.suggest_categorical("drawn", (0, *SIZES))
            setting = ("samples", min(size, self.sizes[i])) if size else ("most", self.sizes[i])
            return Choice(name, (self.arms[i],), (setting,), verifier)
        if name == "cascade":
            return Choice(name, self.chains[ask.suggest_categorical("chain", range(len(self.chains)))])
        return Choice(name, self.teams[ask.suggest_categorical("team", range(len(self.teams)))])


def _noted(space: Space, unpriced: list[Arm], narrow: list[Arm], widest: int, questions: int) -> Space:
    notes = list(space.notes)
    for arms, why in (
        (unpriced, "its cost is not known"),
        (narrow, f"recorded on fewer than {COVERED:.0%} of {widest} questions"),
    ):
        if arms:
            shown = "; ".join(", ".join(arm) for arm in arms[:3]) + ("; ..." if len(arms) > 3 else "")
            notes.append(f"{len(arms)} recorded conditions left out, {why}: {shown}")
    if len(space.questions) < questions:
        notes.append(f"{len(space.questions)} of {questions} questions, those on which all arms were recorded")
    if not space.voting:
        notes.append(
            "one sample of each question: votes cannot be tuned, they need two or more (bank record --samples)"
        )
    return replace(space, notes=tuple(notes))


def _voting(row: Any) -> int:
    """How many draws may vote: none of a question of which an answer was not recorded, but the first."""
    return len(row) if all(draw.answer is not None for draw in row) else 1


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
