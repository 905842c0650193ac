"""Cutting a completion short while it streams: when to, and what is left of it (`core.completions.Cut`)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..core.completions import Completion, Cut

TopTokens = tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Trace:
    """One completion as its pieces come in. What comes after the cut is counted, as it was generated, and not kept."""

    cut: Cut | None = None
    text: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[TopTokens] = field(default_factory=list)
    finish: str | None = None
    tokens: int | None = None  # as the provider says
    seen: int = 0  # tokens with a log-probability, those after the cut included
    _group: deque[float] = field(default_factory=deque)

    @property
    def over(self) -> bool:
        """Nothing more is wanted of it."""
        return self.finish is not None

    def take(self, text: str, tokens: list[tuple[float, TopTokens]]) -> None:
        """A piece of text and the (log-probability, alternatives) of its tokens, where they are told."""
        self.seen += len(tokens)
        if self.finish == "cut":
            return
        self.text.append(text)
        for value, tops in tokens:
            self.logprobs.append(value)
            self.tops.append(tops)
            if self._low(value):
                self.finish = "cut"

    def end(self, finish: str) -> None:
        """It ended by itself. One that was cut stays cut."""
        self.finish = self.finish or finish

    def _low(self, value: float) -> bool:
        if self.cut is None:
            return False
        self._group.append(value)
        if len(self._group) > self.cut.window:
            self._group.popleft()
        # A short window's mean is noise: it is looked at once it is full.
        return len(self._group) == self.cut.window and sum(self._group) / self.cut.window < self.cut.least

    def completion(self) -> Completion:
        """What came of it. `tokens` are the provider's count, else those that were seen."""
        tokens = self.tokens if self.tokens is not None else self.seen or None
        alternatives = tuple(self.tops) if any(self.tops) else None
        return Completion("".join(self.text), self.finish or "stop", tokens, tuple(self.logprobs) or None, alternatives)
