"""What a judging model's reply comes to: shares over the labels that it was asked to choose from.

Where the provider gives the probabilities of a token's alternatives, the shares are those of the labels among them,
renormalised (as in G-Eval: Liu et al. 2023, arXiv:2303.16634); else they are the one label that the text holds in the
demanded form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp

from ..core.task import Candidate


@dataclass(frozen=True, slots=True)
class Opinion:
    """`shares`: label -> probability, summing to 1. `coverage` is the mass that the model gave to the labels all
    told, 1.0 where the label was read from the text (`by_text`)."""

    shares: Mapping[str, float]
    coverage: float = 1.0
    by_text: bool = False

    def mean(self, values: Mapping[str, float]) -> float:
        """The expectation of the labels' values, within their range whatever the rounding."""
        mean = sum(values[label] * share for label, share in self.shares.items())
        return min(max(mean, min(values.values())), max(values.values()))


def opinion(reply: Candidate, labels: Mapping[str, str], said: tuple[str, int] | None, least: float) -> Opinion | None:
    """The opinion in a reply; None where there is none.

    `labels` maps what a token may say, in lower case, to its label. `said` is the label that the text holds in the
    demanded form, and where in the text it stands. Below a coverage of `least` only the text counts.
    """
    place = _place(reply, labels, said)
    if place is not None and reply.alternatives is not None:
        shares, coverage = _shares(reply.alternatives[place], labels)
        if coverage >= least and coverage > 0:
            return Opinion(shares, min(1.0, coverage))
    return Opinion({said[0]: 1.0}, by_text=True) if said else None


def _place(reply: Candidate, labels: Mapping[str, str], said: tuple[str, int] | None) -> int | None:
    """The index of the token that chooses the label, None where nobody can tell."""
    if not reply.alternatives:
        return None
    text = reply.text
    if said is None:
        # Prose. Its first token may still have weighed the labels, but not if it looks like one: "1" may begin
        # "1. First, ..." or "17 + 25", and then its probability is not a label's.
        return None if text.lstrip().lower().startswith(tuple(labels)) else 0
    if said[1] == 0:
        return 0
    return next((i for i, (start, end) in enumerate(_spans(reply)) if start <= said[1] < end), None)


def _spans(reply: Candidate) -> list[tuple[int, int]]:
    """Where each token stands in the text, as far as the tokens can be told from the alternatives."""
    spans: list[tuple[int, int]] = []
    at = 0
    for options, logprob in zip(reply.alternatives or (), reply.logprobs or (), strict=False):
        fitting = [t for t, value in options if t and abs(value - logprob) < 1e-3 and reply.text.startswith(t, at)]
        if not fitting:
            break
        spans.append((at, at + len(max(fitting, key=len))))
        at = spans[-1][1]
    return spans


def _shares(options: Iterable[tuple[str, float]], labels: Mapping[str, str]) -> tuple[dict[str, float], float]:
    mass: dict[str, float] = {}
    for token, logprob in options:
        label = _label(token.strip(" \t\r\n*\"'`\u2581\u0120").lower(), labels)
        if label is not None:
            mass[label] = mass.get(label, 0.0) + exp(logprob)
    total = sum(mass.values())
    return ({label: part / total for label, part in mass.items()} if total > 0 else {}), total


def _label(token: str, labels: Mapping[str, str]) -> str | None:
    """The label that a token says, or whose first letters (two at least) it is and no other label's: not every
    tokenizer has every word whole."""
    if token in labels or len(token) < 2:
        return labels.get(token)
    begun = {label for word, label in labels.items() if word.startswith(token)}
    return begun.pop() if len(begun) == 1 else None


def word_said(text: str, labels: Mapping[str, str]) -> tuple[str, int] | None:
    """The label that a reply begins with ("Yes, because ..."), or that it is after "Answer:"; and where it stands.
    A reply that begins otherwise holds none: "It is not the case that yes" is no yes. The word stands alone or ends a
    phrase ("Yes-man answers" is no yes), and no word of another label may follow anywhere ("True? No, false")."""
    words = "|".join(sorted((re.escape(word) for word in labels), key=len, reverse=True))
    found = re.match(
        rf"(?:\W*(?:answer|verdict)\s*[:=])?[\W_]*({words})[*_\"'`)]*(?:[.,!:;]|[ \t]*(?:\n|$))", text, re.IGNORECASE
    )
    label = labels.get(found[1].lower()) if found else None  # "ye\u017f" matches "yes" without case, and is none
    if found is None or label is None:
        return None
    others = {labels.get(m[0].lower()) for m in re.finditer(rf"\b(?:{words})\b", text[found.end(1) :], re.IGNORECASE)}
    return None if others - {None, label} else (label, found.start(1))
