"""Text in parts: the steps of a reasoning trace, sentences, chunks; and which of them are about the same things."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import log

_NUMBERED = re.compile(r"^[ \t>*#]*(?:step\s+\d{1,3}\b|\(?\d{1,3}[.):])(?=\s|\*|:)", re.IGNORECASE | re.MULTILINE)
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_ENDING = re.compile(r"(?<=[.!?;\u3002\uff01\uff1f])[\"')\]\u201d]?\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_BULLET = re.compile(r"^\s*(?:[-*+\u2022]|\(?\d{1,3}[.)])\s+")
_MARKER = re.compile(r"\(?\d{1,3}[.)]")
_SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|fig|eq|dr|mr|mrs|ms|prof|st)|\b[A-Z])\.$", re.IGNORECASE)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_WORD = re.compile(r"\w+")


def steps_of(text: str, most: int = 32) -> tuple[str, ...]:
    """The steps of a trace: by numbered lines ("1.", "Step 2:") where there are two or more, else by blank lines, else
    by sentences. More than `most` are merged with their neighbours, in runs of near equal length."""
    text = text.strip()
    starts = [m.start() for m in _NUMBERED.finditer(text)]
    if len(starts) >= 2:
        cuts = ([0] if starts[0] > 0 else []) + starts + [len(text)]
        parts = [text[a:b] for a, b in pairwise(cuts)]
    else:
        parts = _BLANK.split(text)
        if len([part for part in parts if part.strip()]) < 2:
            parts = list(sentences(text))
    steps = [part.strip() for part in parts if part.strip()]
    if len(steps) <= most:
        return tuple(steps)
    bounds = [round(i * len(steps) / most) for i in range(most + 1)]
    return tuple("\n".join(steps[a:b]) for a, b in pairwise(bounds))


def sentences(text: str) -> tuple[str, ...]:
    """The sentences, without bullets. Code blocks stay whole. By rules: "e.g." and initials do not end one."""
    found: list[str] = []
    at = 0
    for block in [*_FENCED.finditer(text), None]:
        prose = text[at : block.start() if block else len(text)]
        carry: list[str] = []
        for part in _ENDING.split(prose):
            carry += [part.strip()] if part.strip() else []
            if carry and not _SHORT.search(carry[-1][-8:]) and not (len(carry) == 1 and _MARKER.fullmatch(carry[0])):
                found.append(_BULLET.sub("", " ".join(carry)))
                carry = []
        found += [" ".join(carry)] if carry else []
        if block:
            found.append(block[0])
            at = block.end()
    return tuple(one for one in found if _WORD.search(one))


def chunks(text: str, size: int) -> tuple[str, ...]:
    """Pieces of at most `size` characters, cut at ends of sentences or lines where possible."""
    pieces: list[str] = []
    current = ""
    for part in re.split(r"(?<=[.!?\n])(?=\s)", text):
        for piece in (part[i : i + size] for i in range(0, len(part), size)):
            if len(current) + len(piece) > size:
                pieces.append(current)
                current = ""
            current += piece
    pieces.append(current)
    return tuple(piece.strip() for piece in pieces if piece.strip())


class Relevance:
    """Texts by how much they are about the same as a query: BM25 (Robertson & Zaragoza 2009), k1 = 1.5, b = 0.75."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._bags = [Counter(words(text)) for text in texts]
        mean = sum(bag.total() for bag in self._bags) / max(1, len(self._bags)) or 1.0
        self._drag = [1.5 * (0.25 + 0.75 * bag.total() / mean) for bag in self._bags]
        self._holding = Counter(word for bag in self._bags for word in bag)

    def rank(self, query: str) -> list[int]:
        """Indices of the texts, the likeliest first; ties by position."""
        n, wanted = len(self._bags), sorted(set(words(query)) & self._holding.keys())
        rarity = {w: log(1 + (n - self._holding[w] + 0.5) / (self._holding[w] + 0.5)) for w in wanted}
        scores = [
            sum(rarity[w] * bag[w] * 2.5 / (bag[w] + drag) for w in wanted if w in bag)
            for bag, drag in zip(self._bags, self._drag, strict=True)
        ]
        return sorted(range(n), key=lambda i: (-scores[i], i))


def words(text: str) -> list[str]:
    """The words in lower case; a plural's s is dropped, so that it meets its singular."""
    found = (word.lower() for word in _WORD.findall(text))
    return [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found]
