"""Choices: "(B)", "option b", "**B**", "B) Paris" and the option's own text are one answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_uppercase
from typing import TYPE_CHECKING

from .text import normal

if TYPE_CHECKING:
    from ..task import Contract

SPAN = 1_000
_LABELLED = re.compile(r"[(\[]?([A-Za-z]|\d{1,2})[)\].:]\s*(\S.*)", re.DOTALL)
_WORD = r"(?:option|choice|answer|letter)"
_HEAD = re.compile(
    rf"[\W_]*(?:(?:the\s+)?(?:correct\s+)?{_WORD}\s+)?(?:is\s+)?[\W_]*([A-Za-z]|\d{{1,2}})(?![\w'])(.*)", re.S | re.I
)
_NAMED = re.compile(rf"\b{_WORD}\s+[(\[*\"'`]{{0,3}}([A-Za-z]|\d{{1,2}})(?![\w'])|[(\[]([A-Za-z]|\d{{1,2}})[)\]]", re.I)
_ALONE = re.compile(r"(?<![\w'])([A-Z]|\d{1,2})(?![\w'])(?!\s+[a-z])")


@dataclass(frozen=True, slots=True)
class _Option:
    """`label` is how it may be called, `text` its normal form, `shown` and `key` what a reading says."""

    label: str
    text: str
    shown: str
    key: str


@lru_cache(maxsize=256)
def _options(choices: tuple[str, ...]) -> tuple[_Option, ...]:
    """The options of a contract. Those that only have a text may be called A, B, C by their place."""
    made = []
    for place, choice in enumerate((choices or tuple("ABCDEFGHIJ"))[:100]):
        plain = choice.strip().strip("()[].:")
        if re.fullmatch(r"[A-Za-z]|\d{1,2}", plain):
            made.append(_Option(plain.upper(), "", plain.upper(), plain.upper()))
        elif m := _LABELLED.fullmatch(choice.strip()):
            label = m.group(1).upper()
            made.append(_Option(label, normal(m.group(2)[:SPAN]), label, label))
        elif normal(choice):
            text = normal(choice[:SPAN])
            made.append(_Option(ascii_uppercase[place] if place < 26 else "", text, choice, text))
    return tuple(made)


def read(contract: Contract, span: str) -> tuple[str, str, str] | None:
    """The option that a span names: answer, key and value."""
    options = _options(contract.choices)
    found = next(_found(span[:SPAN].strip(), options), None)
    return (found.shown, found.key, found.shown) if found else None


def _found(span: str, options: tuple[_Option, ...]) -> Iterator[_Option]:
    """Options that the span may name, the surest first."""
    labels = {option.label: option for option in reversed(options) if option.label}
    said = normal(span)
    yield from (option for option in options if said and said == option.text)
    # A label that opens the span; "A cat" and "I think" open with words.
    head = _HEAD.match(span)
    if head and head.group(1).upper() in labels:
        rest = head.group(2).lstrip(" ")
        closed = not rest or not (rest[0].isalnum() and head.group(2)[:1].isspace())
        if closed or (head.group(1).isupper() and head.group(1) not in "AI"):
            yield labels[head.group(1).upper()]
    yield from _texts(said, options, at_start=True)
    named = [(m.group(1) or m.group(2)).upper() for m in _NAMED.finditer(span)]
    yield from (labels[label] for label in reversed(named) if label in labels)
    yield from _texts(said, options, at_start=False)
    alone = [m.group(1) for m in _ALONE.finditer(span)]
    yield from (labels[label] for label in reversed(alone) if label in labels)


def _texts(said: str, options: tuple[_Option, ...], *, at_start: bool) -> list[_Option]:
    """Options whose text is in the span: at its start the longest, elsewhere the last (of those, the longest)."""
    padded = " " + re.sub(r"[^\w+#%.-]+|[.](?=\s|$)", " ", said) + " "
    places = []
    for option in options:
        needle = " " + re.sub(r"[^\w+#%.-]+|[.](?=\s|$)", " ", option.text).strip() + " "
        at = (0 if padded.startswith(needle) else -1) if at_start else padded.rfind(needle)
        if needle.strip() and at >= 0:
            places.append((at + len(needle), len(needle), option))
    return [option for *_, option in sorted(places, key=lambda p: p[:2], reverse=True)]
