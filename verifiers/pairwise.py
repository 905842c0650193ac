"""A language model as judge of two candidates: both orders, and rankings made of such comparisons."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

from ..core.completions import Params
from ..core.effects import Effect, Gather, Sample, Score
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier
from .judge import BRIEF, LEAST_COVERAGE, check_asking, clip, failed
from .opinions import opinion
from .prompting import asked, defang, fence_for, hopeless, question, quoted, render, standing_in

_LETTERS = {"a": "a", "b": "b"}
_SAID = re.compile(
    r"\W*(?:(?:the\s+)?(?:better\s+)?(?:answer|choice|verdict)\W+(?:is\W+)?)?([AB])(?:\s+is\s+better)?\W*$", re.I
)


@dataclass(frozen=True, slots=True)
class Preference:
    """How much better one candidate is than another. `share` is P(a is better), the mean of both orders: `first` with
    a shown first, `second` with a shown second. None where one of them is unknown: one order alone is biased."""

    first: float | None
    second: float | None
    evidence: str = ""

    @property
    def share(self) -> float | None:
        return None if self.first is None or self.second is None else (self.first + self.second) / 2

    @property
    def tie(self) -> bool:
        """The orders contradict each other, or are of no opinion: the judge cannot tell the two apart."""
        if self.first is None or self.second is None:
            return False
        return (self.first - 0.5) * (self.second - 0.5) <= 0

    @property
    def bias(self) -> float | None:
        """By how much the place decided: P(the one shown first wins) - 1/2, in [-1/2, 1/2]."""
        return None if self.first is None or self.second is None else (self.first - self.second) / 2


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Compares a candidate with `against` (a candidate or a text); the score is P(the candidate is better).

    Each pair is judged twice, with the places swapped, as judges prefer a place (Zheng et al. 2023, arXiv:2306.05685):
    from the probabilities of "A" and "B" where the provider tells them. Settings as of `Judge`. Prompt: "pairwise".
    """

    against: Candidate | str
    model: str | None = None
    rubric: str | None = None
    reference: str | None = None
    params: Params | None = None
    least_coverage: float = LEAST_COVERAGE
    most_chars: int = 8_000
    name: str = "pairwise"

    def __post_init__(self) -> None:
        if not isinstance(self.against, Candidate | str):
            raise CallerError("against: expected a candidate or a text")
        check_asking((), "", self.least_coverage, self.most_chars)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        against = self._against
        for one, other, score in ((candidate, against, 0.0), (against, candidate, 1.0)):
            if (verdict := hopeless(one)) is not None:
                if verdict.score is None or hopeless(other) is not None:
                    return Verdict(None, evidence=f"{self.name}: {verdict.evidence}")
                return Verdict(score, evidence=f"{self.name}: {verdict.evidence}")
        if candidate.text == against.text:
            return Verdict(0.5, evidence=f"{self.name}: the same text")
        preference = yield from self.compare(task, candidate, against)
        return Verdict(preference.share, evidence=preference.evidence)

    def compare(self, task: Task, a: Candidate, b: Candidate) -> Plan[Preference]:
        """Asks in both orders at once."""
        try:
            both: tuple[Candidate, Candidate] = yield from Gather((self._ask(task, a, b), self._ask(task, b, a)))
        except GatherFailed as error:
            return Preference(None, None, failed(self.name, error).evidence)
        first, swapped = (self._share(reply) for reply in both)
        made = Preference(first, None if swapped is None else 1.0 - swapped)
        return Preference(made.first, made.second, f"{self.name}: {self._evidence(made, both)}")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The two calls of one comparison, with a candidate of a usual length."""
        someone = standing_in(task, self.most_chars)
        return (self._ask(task, someone, self._against), self._ask(task, self._against, someone))

    @property
    def _against(self) -> Candidate:
        return self.against if isinstance(self.against, Candidate) else Candidate(self.against)

    def _ask(self, task: Task, first: Candidate, second: Candidate) -> Sample:
        fence = fence_for(first.text, second.text)
        shown = [quoted(c.text, self.most_chars, inert=_SAID, fence=fence) for c in (first, second)]
        text = render(
            "pairwise",
            task.prompts,
            query=question(task),
            reference=defang(self.reference or ""),
            rubric=self.rubric or "",
            first=shown[0].text,
            second=shown[1].text,
            fence=fence,
        )
        return asked(text, self.model, self.params or BRIEF)

    def _share(self, reply: Candidate) -> float | None:
        told = opinion(reply, _LETTERS, letter_said(reply.text), self.least_coverage)
        return None if told is None else told.mean({"a": 1.0, "b": 0.0})

    def _evidence(self, made: Preference, both: tuple[Candidate, Candidate]) -> str:
        if made.share is None or made.bias is None:
            return "neither A nor B: " + " / ".join(repr(clip(reply.text, 100)) for reply in both)
        orders = f"{made.first:.2f} shown first, {made.second:.2f} shown second"
        return (
            f"{made.share:.2f}{' (a tie: the orders contradict)' if made.tie else ''}, {orders}, bias {made.bias:+.2f}"
        )


def compare(task: Task, a: Candidate, b: Candidate, model: str | None = None, **settings: Any) -> Plan[Preference]:
    """How much better `a` is than `b`, by a model, in both orders. `settings` as of `Pairwise`."""
    return Pairwise(b, model, **settings).compare(task, a, b)


def letter_said(text: str) -> tuple[str, int] | None:
    """The choice that a reply holds as a line of its own ("B", "Answer: B", "B is better."), the last one, and where it
    stands."""
    found, at = None, 0
    for line in text.splitlines(keepends=True):
        if said := _SAID.match(line):
            found = (said[1].lower(), at + said.start(1))
        at += len(line)
    return found


# -- rankings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ranking:
    """`order`: indices of the candidates, best first. `strength`: by index, P(better than a candidate of middling
    strength). `compared`: how many pairs were told apart or tied; unknown ones do not count."""

    order: tuple[int, ...]
    strength: tuple[float, ...]
    compared: int


def tournament(
    task: Task,
    candidates: Sequence[Candidate],
    against: Callable[[Candidate], Verifier],
    rounds: int | None = None,
) -> Plan[Ranking]:
    """Ranks candidates by pairwise comparison: all pairs at once up to five candidates, else a Swiss tournament of
    `rounds` (default: 1 + log2 of their number), each of which pairs those of near equal strength that have not met.

    `against(b)` makes the verifier that says P(a is better than b), e.g. `lambda b: Pairwise(b, model="judge")`.
    """
    n = len(candidates)
    shares: dict[tuple[int, int], float] = {}
    met: set[tuple[int, int]] = set()
    everyone = [(i, j) for i in range(n) for j in range(i + 1, n)]
    for _ in range((1 if n <= 5 else ceil(log2(n)) + 1) if rounds is None else rounds):
        pairs = everyone if rounds is None and n <= 5 else _pairing(bradley_terry(n, shares), met)
        if not pairs:
            break
        branches = tuple(Score(against(candidates[j]), task, candidates[i]) for i, j in pairs)
        try:
            verdicts: tuple[Verdict | None, ...] = yield from Gather(branches, at_least=1)
        except GatherFailed:
            break  # ranked by what is known
        met.update(pairs)
        shares |= {p: v.score for p, v in zip(pairs, verdicts, strict=True) if v is not None and v.score is not None}
    strength = bradley_terry(n, shares)
    return Ranking(tuple(sorted(range(n), key=lambda i: (-strength[i], i))), strength, len(shares))


def _pairing(strength: Sequence[float], met: set[tuple[int, int]]) -> list[tuple[int, int]]:
    waiting = sorted(range(len(strength)), key=lambda i: (-strength[i], i))
    pairs: list[tuple[int, int]] = []
    while waiting:
        one = waiting.pop(0)
        other = next((j for j in waiting if (min(one, j), max(one, j)) not in met), None)
        if other is not None:
            waiting.remove(other)
            pairs.append((min(one, other), max(one, other)))
    return pairs


def bradley_terry(n: int, shares: dict[tuple[int, int], float], steps: int = 200) -> tuple[float, ...]:
    """Strengths in (0, 1) from shares P(i beats j) (Bradley & Terry 1952; Hunter's minorise-maximise steps, 2004). Each
    has half a win and half a loss against a candidate of strength 1/2, so that all are finite and comparable."""
    weight = [1.0] * n
    wins = [0.5] * n
    for (i, j), share in shares.items():
        wins[i] += share
        wins[j] += 1.0 - share
    for _ in range(steps):
        drag = [1.0 / (w + 1.0) for w in weight]
        for i, j in shares:
            drag[i] += 1.0 / (weight[i] + weight[j])
            drag[j] += 1.0 / (weight[i] + weight[j])
        weight = [won / d for won, d in zip(wins, drag, strict=True)]
    return tuple(w / (1.0 + w) for w in weight)
