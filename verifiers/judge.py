"""A language model as judge of one candidate: by a score, by criteria, against a reference; and several judges."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any, Literal

from ..core.completions import Params
from ..core.effects import Effect, Gather, Sample, Score
from ..core.errors import BadQuery, CallerError, GatherFailed, ModelError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of
from .opinions import Opinion, opinion, word_said
from .prompting import asked, defang, hopeless, question, quoted, render, standing_in

# One short greedy reply, with the likeliest alternatives of each token.
BRIEF = Params(temperature=0.0, max_tokens=8, logprobs=True, top_logprobs=20)
LEAST_COVERAGE = 0.1
_TRUE = {"true": "true", "false": "false", "yes": "true", "no": "false", "right": "true", "wrong": "false"}


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks a model for one grade on `scale` (two digits) and maps it to [0, 1]: the expectation over the digits'
    probabilities where the provider tells them (G-Eval: Liu et al. 2023), else the grade that the reply says.

    `rubric` says what is graded (default: is it right?); with `criteria` each is graded by a call of its own, and the
    score is their mean. `reference` is a correct answer that the judge may look at. `reason` lets the judge think
    before it grades, at more tokens. `params` default to one short greedy reply with 20 alternatives a token. Where
    the digits have less than `least_coverage` of the probability, only a grade in the demanded form counts, never a
    number in prose. A candidate of more than `most_chars` is shown without its middle. Prompt: "judge".
    """

    model: str | None = None
    rubric: str | None = None
    criteria: tuple[str, ...] = ()
    reference: str | None = None
    scale: tuple[int, int] = (1, 5)
    reason: bool = False
    params: Params | None = None
    least_coverage: float = LEAST_COVERAGE
    most_chars: int = 8_000
    name: str = "judge"

    def __post_init__(self) -> None:
        two = isinstance(self.scale, tuple | list) and len(self.scale) == 2 and all(type(n) is int for n in self.scale)
        if not two or not 0 <= self.scale[0] < self.scale[1] <= 9:
            raise CallerError(f"scale={self.scale!r}: expected two different digits, the low one first, as in (1, 5)")
        if self.criteria and self.rubric is not None:
            raise CallerError("a judge takes a rubric or criteria, not both: make the rubric one of the criteria")
        check_asking(self.criteria, "criteria", self.least_coverage, self.most_chars)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        if not self.criteria:
            try:
                reply = yield from self._ask(task, candidate, self.rubric)
            except (ModelError, BadQuery) as error:
                return failed(self.name, error)
            return self._verdict(reply)
        asking = tuple(self._ask(task, candidate, criterion) for criterion in self.criteria)
        try:
            replies: tuple[Candidate | None, ...] = yield from Gather(asking, at_least=1)
        except GatherFailed as error:
            return failed(self.name, error)
        return self._overall(replies)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The calls of one verdict, on a candidate of a usual length."""
        someone = standing_in(task, self.most_chars)
        return tuple(self._ask(task, someone, rubric) for rubric in self.criteria or (self.rubric,))

    def _ask(self, task: Task, candidate: Candidate, rubric: str | None) -> Sample:
        shown = quoted(candidate.text, self.most_chars, inert=_SAID)
        text = render(
            "judge",
            task.prompts,
            query=question(task),
            reference=defang(self.reference or ""),
            candidate=shown.text,
            fence=shown.fence,
            rubric=rubric or "",
            low=self.scale[0],
            high=self.scale[1],
            reason=self.reason,
        )
        params = self.params or (replace(BRIEF, max_tokens=512) if self.reason else BRIEF)
        return asked(text, self.model, params)

    def _opinion(self, reply: Candidate) -> Opinion | None:
        low, high = self.scale
        digits = {str(digit): str(digit) for digit in range(low, high + 1)}
        return opinion(reply, digits, grade_said(reply.text, digits), self.least_coverage)

    def _score(self, told: Opinion) -> float:
        low, high = self.scale
        return told.mean({str(digit): (digit - low) / (high - low) for digit in range(low, high + 1)})

    def _verdict(self, reply: Candidate) -> Verdict:
        told = self._opinion(reply)
        if told is None:
            return unread(self.name, reply, f"no grade from {self.scale[0]} to {self.scale[1]}")
        score = self._score(told)
        grade = self.scale[0] + score * (self.scale[1] - self.scale[0])
        why = f": {clip(reply.text)}" if self.reason else ""
        return Verdict(score, evidence=f"{self.name}: {grade:.2f} of {self.scale[1]} ({how(told)}){why}")

    def _overall(self, replies: tuple[Candidate | None, ...]) -> Verdict:
        told = [self._opinion(reply) if reply is not None else None for reply in replies]
        scores = [self._score(one) if one is not None else None for one in told]
        known = [score for score in scores if score is not None]
        parts = (
            f"{clip(criterion, 60)}: {'unknown' if score is None else format(score, '.2f')}"
            for criterion, score in zip(self.criteria, scores, strict=True)
        )
        return Verdict(fmean(known) if known else None, evidence=f"{self.name}: " + "; ".join(parts))


@dataclass(frozen=True, slots=True)
class PTrue:
    """P(true): the probability that a model gives to the proposed answer being true (Kadavath et al. 2022,
    arXiv:2207.05221), among True and False. `ideas` shows it that many other known answers too, which the paper found
    to help. Small models hardly know what they know: calibrate. Prompt: "p_true"."""

    model: str | None = None
    ideas: int = 0
    params: Params | None = None
    least_coverage: float = LEAST_COVERAGE
    most_chars: int = 8_000
    name: str = "p_true"

    def __post_init__(self) -> None:
        if self.ideas < 0:
            raise CallerError(f"ideas={self.ideas!r}: expected 0 or more")
        check_asking((), "", self.least_coverage, self.most_chars)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        try:
            reply = yield from self._ask(task, candidate)
        except (ModelError, BadQuery) as error:
            return failed(self.name, error)
        told = opinion(reply, _TRUE, word_said(reply.text, _TRUE), self.least_coverage)
        if told is None:
            return unread(self.name, reply, "neither True nor False")
        score = told.mean({"true": 1.0, "false": 0.0})
        return Verdict(score, evidence=f"{self.name}: {score:.3f} ({how(told)})")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The call of one verdict, on a candidate of a usual length."""
        return (self._ask(task, standing_in(task, self.most_chars)),)

    def _ask(self, task: Task, candidate: Candidate) -> Sample:
        shown = quoted(candidate.text, self.most_chars)
        others = (c.answer for c in task.known if c.answer and c.key != candidate.key)
        ideas = [defang(clip(answer)) for answer in list(dict.fromkeys(others))[: self.ideas]]
        text = render(
            "p_true", task.prompts, query=question(task), ideas=ideas, candidate=shown.text, fence=shown.fence
        )
        return asked(text, self.model, self.params or BRIEF)


@dataclass(frozen=True, slots=True)
class Panel:
    """Several judges (any verifiers) on the same candidate: the mean, the median or the lowest of the known scores.
    The evidence says how far they are apart. A judge that fails is left out; all must fail for an unknown verdict.
    Three small judges of different families can beat one large one (Verga et al. 2024, arXiv:2404.18796)."""

    judges: tuple[Verifier, ...]
    combine: Literal["mean", "median", "min"] = "mean"
    name: str = "panel"

    def __post_init__(self) -> None:
        if not self.judges:
            raise CallerError("a panel needs at least one judge")
        if self.combine not in _COMBINE:
            raise CallerError(f"combine={self.combine!r}: expected one of {', '.join(_COMBINE)}")

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        branches = tuple(Score(judge, task, candidate) for judge in self.judges)
        try:
            verdicts: tuple[Verdict | None, ...] = yield from Gather(branches, at_least=1)
        except GatherFailed as error:
            return failed(self.name, error)
        scores = [verdict.score if verdict is not None else None for verdict in verdicts]
        known = [score for score in scores if score is not None]
        parts = ", ".join(
            f"{name_of(judge)} {'unknown' if score is None else format(score, '.2f')}"
            for judge, score in zip(self.judges, scores, strict=True)
        )
        if not known:
            words = "; ".join(verdict.evidence for verdict in verdicts if verdict is not None)
            return Verdict(None, evidence=f"{self.name}: no judge could tell: {words}")
        apart = max(known) - min(known)
        return Verdict(
            _COMBINE[self.combine](known),
            evidence=f"{self.name}: {self.combine} of {len(known)} of {len(scores)} judges, {apart:.2f} apart: {parts}",
        )

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The calls of every judge."""
        return tuple(effect for judge in self.judges for effect in needs_of(judge, task))


_COMBINE: dict[str, Callable[[list[float]], float]] = {"mean": fmean, "median": median, "min": min}

# A whole line that is a grade: "4", "Score: 4", "**Grade:** 4/5". What quotes or lists numbers is none.
_SAID = re.compile(
    r"\s*\**(?:(?:final\s+)?(?:score|grade|rating)\**\s*[:=]\**\s*)?([0-9])(?:\s*/\s*([0-9]+))?\**\.?\s*$", re.I
)
_OPENING = re.compile(r"\s*([0-9])\s*[,:;\u2013\u2014-]\s+[^\d\n]*\s*$")  # the whole reply: "4: right but long"


def grade_said(text: str, digits: Mapping[str, str]) -> tuple[str, int] | None:
    """The grade that a judge's reply holds in the demanded form, and where its last such line stands.

    None where two such lines hold different grades: one of them may be quoted from the candidate, and nothing in the
    reply can be relied on to say which.
    """
    found: tuple[str, int] | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        said = _SAID.match(line)
        if said and said[1] in digits and said[2] in (None, max(digits)):
            if found is not None and found[0] != digits[said[1]]:
                return None
            found = digits[said[1]], at + said.start(1)
        at += len(line)
    if found is None and (opening := _OPENING.match(text)) and opening[1] in digits:
        return digits[opening[1]], opening.start(1)
    return found


def check_asking(
    texts: tuple[str, ...], what: str, least_coverage: float, most_chars: int, size: str = "most_chars"
) -> None:
    """Raises `CallerError` for settings that no judge can work with."""
    if not isinstance(texts, tuple) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise CallerError(f"{what}: expected a tuple of texts, none of them empty")
    if not 0 <= least_coverage <= 1:
        raise CallerError(f"least_coverage={least_coverage!r}: expected a number from 0 to 1")
    if most_chars < 100:
        raise CallerError(f"{size}={most_chars!r}: expected 100 or more")


def needs_of(verifier: Verifier, task: Task) -> tuple[Effect[Any], ...]:
    """What a verifier says that it needs; nothing if it does not say."""
    needs: Any = getattr(verifier, "needs", None)
    return tuple(needs(task)) if needs is not None else ()


def how(told: Opinion) -> str:
    """Where an opinion is from, for people."""
    return "as it said" if told.by_text else f"by probabilities, coverage {told.coverage:.2f}"


def failed(name: str, error: Exception) -> Verdict:
    """The unknown verdict of a judge that could not be asked."""
    causes = "; ".join(words_of(e) for e in (error, *getattr(error, "errors", ())[:3]))
    return Verdict(None, evidence=f"{name}: {causes}")


def words_of(error: Exception) -> str:
    """What an error says, as evidence can hold it: a provider's message may be of any length, and no Unicode."""
    return clip(f"{type(error).__name__}: {error}", 500).encode("utf-8", "replace").decode()


def unread(name: str, reply: Candidate, missing: str) -> Verdict:
    """The unknown verdict on a reply in another form than the demanded one, with what was said."""
    return Verdict(None, evidence=f"{name}: {missing} in its reply: {clip(reply.text)!r}")


def clip(text: str, most: int = 200) -> str:
    """A text on one line, for people."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."
