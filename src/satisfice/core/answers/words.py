"""English number words as digits: "one hundred and five" is 105, "three quarters" is (3/4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth"
SMALL = {w: n for n, w in enumerate(_UNITS.split())} | {
    w: n for n, w in zip(range(20, 100, 10), _TENS.split(), strict=True)
}
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4} | {
    word + s: n for n, word in enumerate(_ORDINALS.split(), 3) for s in ("", "s")
}
_WORD = re.compile(r"[^\W\d_]+")
_Word = Callable[[int], str]
_GAP = re.compile(r"[\s,\-\u2010\u2011]{0,3}")


def spelled(span: str) -> str:
    """The text with every number in words replaced by digits."""
    words = [(m.group().casefold(), m.start(), m.end()) for m in _WORD.finditer(span)]
    out, at, i = [], 0, 0
    while i < len(words):
        value, end = _phrase(words, i, span)
        if end == i:
            i += 1
            continue
        out += [span[at : words[i][1]], str(value) if value.denominator == 1 else f"({value})"]
        at, i = words[end - 1][2], end
    return "".join([*out, span[at:]])


def _phrase(words: list[tuple[str, int, int]], start: int, span: str) -> tuple[Fraction, int]:
    """The number whose words begin at `start`, and where they end (`start` itself if there is none)."""

    def word(k: int) -> str:
        # Words are one phrase only if nothing but blanks, commas or a hyphen is between them.
        if k >= len(words) or (k > start and not _GAP.fullmatch(span[words[k - 1][2] : words[k][1]])):
            return ""
        return words[k][0]

    sign = -1 if word(start) in ("minus", "negative") else 1
    first = start + (sign < 0)
    whole, i = _whole(word, first)
    if word(i) == "point" and i > first:
        return _decimals(word, i, sign * whole, sign)
    if i == first:
        article = word(i) in ("a", "an", "one")
        # "half" and "quarter" stand alone; "third" alone is an ordinal.
        part = word(i + article)
        if part in _PARTS and (article or part in ("half", "quarter")):
            return Fraction(sign, _PARTS[part]), i + article + 1
        return Fraction(0), start
    if word(i) in _PARTS:
        return sign * whole / _PARTS[word(i)], i + 1
    if word(i) == "and" and word(i + 1) in ("a", "one", "three", "two") and word(i + 2) in _PARTS:
        top = SMALL.get(word(i + 1), 1)
        return sign * (whole + Fraction(top, _PARTS[word(i + 2)])), i + 3
    return sign * whole, i


def _whole(word: _Word, start: int) -> tuple[Fraction, int]:
    """A whole number in words: "two thousand and six"."""
    total, group, i, last = 0, 0, start, 0
    while i - start < 40:
        w = word(i)
        if w in ("a", "an") and i == start and word(i + 1) in SCALES:
            group, last = 1, 1
        elif w in SMALL:
            # "five six" are two numbers, "forty-two" is one.
            if last and not (last >= 100 or (20 <= last < 100 and 0 < SMALL[w] < 10)):
                break
            group += SMALL[w]
            last = SMALL[w] or 1
        elif w in SCALES and i > start:
            scale = SCALES[w]
            if scale <= 100:
                group *= scale
            else:
                total, group = total + group * scale, 0
            last = scale
        elif w == "and" and last >= 100 and word(i + 1) in SMALL:
            pass
        else:
            break
        i += 1
    return Fraction(total + group), i


def _decimals(word: _Word, point: int, whole: Fraction, sign: int) -> tuple[Fraction, int]:
    """Digits after "point": "three point one four"."""
    i, digits = point + 1, ""
    while len(digits) < 30 and SMALL.get(word(i), 10) < 10:
        digits += str(SMALL[word(i)])
        i += 1
    return (whole + sign * Fraction(int(digits), 10 ** len(digits)), i) if digits else (whole, point)
