"""Numbers and quotations in texts, in a form in which they can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(
    r"(?<![\w.])\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?:\.\d+)?(?!\w)|(?<![\w.])\d+(?:\.\d+)?(?!\w*[A-Za-z_])"
)
_QUOTED = re.compile(r"\"([^\"\n]{3,200})\"|\u201c([^\u201d\n]{3,200})\u201d")
_WORD = re.compile(r"\w+")
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NAMED = {word: str(value) for value, word in enumerate(_COUNTED.split(" "))} | {
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "dozen": "12",
    "half": "0.5",
    "first": "1",
    "second": "2",
    "third": "3",
}


class Literals:
    """The numbers and the wording of some sources, number words included."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._numbers: set[str] = set()
        self._wordings: list[str] = []
        for text in texts:
            self._numbers |= {_plain(m[0]) for m in _NUMBER.finditer(text)}
            words = _WORD.findall(text.lower())
            self._numbers |= {_NAMED[word] for word in words if word in _NAMED}
            self._wordings.append(f" {' '.join(words)} ")

    def missing(self, claim: str) -> tuple[str, ...]:
        """The numbers ("1,200.0" is "1200") and the quotations of a claim that are in none of the sources."""
        numbers = [m[0] for m in _NUMBER.finditer(claim) if _plain(m[0]) not in self._numbers]
        quotations = [m[1] or m[2] for m in _QUOTED.finditer(claim)]
        odd = [f'"{q}"' for q in quotations if not any(_wording(q) in wording for wording in self._wordings)]
        return tuple(dict.fromkeys(numbers + odd))


def _plain(number: str) -> str:
    whole, _, part = re.sub(r"[,\u00a0\u202f]", "", number).partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def _wording(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.lower()))} "
