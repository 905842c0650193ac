"""Texts grouped by meaning. A grouping takes the task and texts and gives a label a text (or is a plan that does).
Which texts are together does not depend on their order.

`Entailment` asks a model and is about meaning; `Embedding` is as good as the user's vectors; `Lexical` compares
spelling only and is always there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, log, sqrt
from typing import Any, ClassVar, Protocol

from ..core.completions import Params
from ..core.effects import Effect, Gather, Sample
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Plan
from ..core.task import Candidate, Task
from .judge import BRIEF, LEAST_COVERAGE, check_asking
from .opinions import opinion, word_said
from .prompting import asked, fence_for, question, quoted, render

Labels = tuple[int, ...]
_LABELS = {"yes": "yes", "no": "no", "true": "yes", "false": "no"}


class Grouping(Protocol):
    """Texts to labels 0, 1, ...: equal labels, equal meaning. Labels are numbered by first appearance."""

    def __call__(self, task: Task, texts: Sequence[str], /) -> Labels | Plan[Labels]: ...


def cluster(texts: Sequence[str], same: Callable[[str, str], bool]) -> Labels:
    """Complete-link clusters: a text joins the first cluster of which every member is the `same`. Texts are taken in
    the order of their spelling, so that the order in which they came does not matter; equal ones are one."""
    clusters: list[list[str]] = []
    for text in sorted(set(texts)):
        home = next((c for c in clusters if all(same(text, member) for member in c)), None)
        if home is None:
            clusters.append([text])
        else:
            home.append(text)
    return _numbered(texts, {text: i for i, members in enumerate(clusters) for text in members})


def _numbered(texts: Sequence[str], group: dict[str, int]) -> Labels:
    seen: dict[int, int] = {}
    return tuple(seen.setdefault(group[text], len(seen)) for text in texts)


def spelling(text: str) -> str:
    """The text without case, punctuation and spacing: what differs in these means the same."""
    return " ".join(re.findall(r"\w+|[+\-*/=<>^%]", text.casefold())) or text.strip()


@dataclass(frozen=True, slots=True)
class Lexical:
    """Cosine of TF-IDF vectors of character n-grams. It knows spelling, not meaning: "Paris" and "the French capital"
    are apart, "it is safe" and "it is not safe" are near. For near copies, and where no model may be asked."""

    threshold: float = 0.8
    n: int = 3
    name: str = "lexical"
    blocking: ClassVar[bool] = True  # every pair is compared

    def __post_init__(self) -> None:
        _check_threshold(self.threshold)
        if self.n < 1:
            raise CallerError(f"n={self.n!r}: expected 1 or more characters")

    def __call__(self, task: Task, texts: Sequence[str]) -> Labels:
        plain = [spelling(text)[:4_000] for text in texts]
        grams = {text: Counter(_grams(text, self.n)) for text in sorted(set(plain))}
        holding = Counter(gram for bag in grams.values() for gram in bag)
        weights = {gram: log((1 + len(grams)) / (1 + k)) + 1 for gram, k in holding.items()}
        vectors = {text: _unit({g: k * weights[g] for g, k in bag.items()}) for text, bag in grams.items()}
        return cluster(plain, lambda a, b: _cosine(vectors[a], vectors[b]) >= self.threshold)


def _grams(text: str, n: int) -> list[str]:
    padded = f" {text} "
    return [padded[i : i + n] for i in range(max(1, len(padded) - n + 1))]


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = sqrt(fsum(v * v for v in vector.values()))
    return {gram: v / length for gram, v in vector.items()} if length else vector


def _cosine(a: dict[str, float], b: dict[str, float]) -> float:
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    return fsum(v * large[gram] for gram, v in small.items() if gram in large)


@dataclass(frozen=True, slots=True)
class Embedding:
    """Cosine of the vectors that `embed(texts)` gives: one a text, all of one length, from a library or a service of
    the user's. It runs in a thread where `Similarity` calls it."""

    embed: Callable[[Sequence[str]], Any]
    threshold: float = 0.85
    name: str = "embedding"
    blocking: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_threshold(self.threshold)
        if not callable(self.embed):
            raise CallerError(f"embed: expected a callable of texts, not {type(self.embed).__name__}")

    def __call__(self, task: Task, texts: Sequence[str]) -> Labels:
        """Raises ValueError for vectors that cannot be compared."""
        import numpy as np

        unique = sorted(set(texts))
        if not unique:
            return ()
        vectors = np.asarray(self.embed(unique), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(unique) or not np.isfinite(vectors).all():
            raise ValueError(f"embed: expected {len(unique)} finite vectors of one length, got shape {vectors.shape}")
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        near = vectors @ vectors.T >= self.threshold
        place = {text: i for i, text in enumerate(unique)}
        return cluster(texts, lambda a, b: bool(near[place[a], place[b]]))


@dataclass(frozen=True, slots=True)
class Entailment:
    """Two answers mean the same if each entails the other, as a model says (Kuhn, Gal & Farquhar 2023,
    arXiv:2302.09664). As in the paper, an answer is compared
    with one member of each group: two calls each, all at once. Answers that are spelled alike cost nothing. A reply
    that cannot be read, or a call that fails, keeps two answers apart. At most `most` different answers are compared;
    the others stay alone. Prompt: "same"."""

    model: str | None = None
    most: int = 32
    params: Params | None = None
    least_coverage: float = LEAST_COVERAGE
    most_chars: int = 2_000
    name: str = "entailment"

    def __post_init__(self) -> None:
        check_asking((), "", self.least_coverage, self.most_chars)

    def __call__(self, task: Task, texts: Sequence[str]) -> Plan[Labels]:
        plain = [spelling(text) for text in texts]
        shown = {key: min(t for t, k in zip(texts, plain, strict=True) if k == key) for key in set(plain)}
        heads: list[str] = []
        group: dict[str, int] = {}
        for key in sorted(shown)[: self.most]:
            home = yield from self._home(task, shown[key], heads)
            if home is None:
                home = len(heads)
                heads.append(shown[key])
            group[key] = home
        for key in sorted(shown)[self.most :]:
            group[key] = len(heads) + len(group)
        return _numbered(plain, group)

    def _home(self, task: Task, text: str, heads: Sequence[str]) -> Plan[int | None]:
        """The group with whose head the text agrees most, in the weaker of the two directions."""
        pairs = [pair for head in heads for pair in ((text, head), (head, text))]
        if not pairs:
            return None
        try:
            replies: tuple[Candidate | None, ...] = yield from Gather(
                tuple(self._ask(task, one, other) for one, other in pairs), at_least=1
            )
        except GatherFailed:
            return None
        agreed = [
            min(self._read(there), self._read(back)) for there, back in zip(replies[::2], replies[1::2], strict=True)
        ]
        best = max(range(len(heads)), key=lambda i: (agreed[i], -i))
        return best if agreed[best] > 0.5 else None

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The calls for one more answer of a usual length among four groups."""
        return (self._ask(task, "word " * 40, "word " * 40),) * 8

    def _ask(self, task: Task, first: str, second: str) -> Sample:
        fence = fence_for(first, second)
        one, other = (quoted(text, self.most_chars, fence=fence).text for text in (first, second))
        text = render("same", task.prompts, query=question(task), first=one, second=other, fence=fence)
        return asked(text, self.model, self.params or BRIEF)

    def _read(self, reply: Candidate | None) -> float:
        if reply is None:
            return 0.0
        told = opinion(reply, _LABELS, word_said(reply.text, _LABELS), self.least_coverage)
        return 0.0 if told is None else told.mean({"yes": 1.0, "no": 0.0})


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise CallerError(f"threshold={threshold!r}: expected above 0, 1 at the most")
