"""Numbers: 17, "17.0", "$17", "seventeen" and "17 apples" are one answer; 50%, 0.5 and \\frac12 are another.

Decisions: percent divides by 100. "1,234" is thousands, "1.234" a decimal, "1.234.567" thousands, "1,5" a decimal.
Of several numbers ("17 or 18", "17-18") the last counts, but not one in an aside ("17 apples (of 20)"), and before
an approximation ("17/3 \u2248 5.67") the exact side counts. "!" is an exclamation, not a factorial.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from .arithmetic import Value, values
from .numerals import TooBig
from .words import SCALES, spelled

if TYPE_CHECKING:
    from ..task import Contract

__all__ = ["TooBig", "read"]

SPAN = 400  # characters of a span that are looked at
_SUPER = {"\u2070": "0", "\u00b9": "1", "\u00b2": "2", "\u00b3": "3"} | {chr(0x2070 + n): str(n) for n in range(4, 10)}
_SUPERS = re.compile("\u207b?[" + "".join(_SUPER) + "]+")
_CHANGES = [
    (re.compile(p, re.IGNORECASE), r)
    for p, r in (
        (r"[\u2212\ufe63\uff0d\u2010\u2011]", "-"),
        (r"(?<![\w)}\s])\s?[\u2013\u2014](?=[\d.$])", "-"),  # a dash that opens a number; elsewhere it is a range
        (r"\\(?:left|right|displaystyle|!|bigl?|bigr?)(?![a-z])|\\[()\[\]]|\*\*(?![\s\d(])|(?<!\S)\*\*|`", ""),
        (r"\{,\}", ","),
        (r"(?<=\d)\\[,;:](?=\d{3})", ","),
        (r"\\[,;: ~]|~", " "),
        (r"\^\s?\{?\s?(?:\\circ|\u00b0)\s?\}?|\u00b0|\\degree", " "),
        (r"\\(?:cdot|times|ast)(?![a-z])|[\u00d7\u00b7\u22c5\u2217]|(?<=\d)\s?x\s?(?=10\s?\^)", "*"),
        (r"\\sqrt\s?\[(\d{1,3})\]\s?\{([^{}]*)\}", r"((\2)^(1/\1))"),
        (r"\\div(?![a-z])|[\u00f7\u2044\u2215]", "/"),
        (r"\\%|\s?\b(?:percent|per cent)\b|\uff05", "%"),
        (r"-\s?\\?[$\u20ac\u00a3\u00a5\u20b9]\s?(?=[\d.])", "-"),
        (r"\\?[$\u20ac\u00a3\u00a5\u20b9]", " "),
        (r"\b(?:minus|negative)\s(?=[\d.])", "-"),
        (r"(?<=\d)\sand\s(?:a|one)\shalf\b", " 1/2"),
    )
]
_SCALED = re.compile(r"(?<=\d)[\s-]?(dozen|hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_RANGE = re.compile(r"(?<![\w.^)}/*+,-])(\d{1,18})-(\d{1,18})(?![\w.^({/*+,%-])")
_APPROX = re.compile(r"\\approx|\u2248|\\simeq|\u2243|\\sim\b|\bor about\b|\bor approximately\b")
_EQUALS = re.compile(r"(?<![<>!])=|:=|\\implies|\u2192|->")
_REASON = re.compile(r"[\s,](?:because|since|which|where|given|as)\b|[.!?;]\s+(?=[^\W\d_])|\n", re.IGNORECASE)
_ASIDE = re.compile(r"(?<=[\w%.])\s+[(\[]|\s(?:out of|per|for)\b", re.IGNORECASE)


def read(contract: Contract, span: str) -> tuple[str, str, int | float] | None:
    """The number of a span: answer, key and value."""
    text = _tidy(span)
    found = _last(text)
    if found is None and not any(c.isdigit() for c in text):
        text = spelled(text)
        found = _last(text)
    if found is None:
        return None
    value, written = found
    key = _key(value)
    if re.fullmatch(r"-?\d+", key):
        return key, key, int(key)
    try:
        return re.sub(r"^\(([^()]*)\)$", r"\1", written), key, float(value)
    except OverflowError:
        raise TooBig from None


def _tidy(span: str) -> str:
    """One notation for what Unicode, LaTeX and prose write in many."""
    text = _SUPERS.sub(_raised, span[:SPAN])
    # "3\u00bd" would become 31/2.
    text = "".join(" " + c if unicodedata.decomposition(c).startswith("<fraction>") else c for c in text)
    text = " ".join(unicodedata.normalize("NFKC", text).split())[: 2 * SPAN]
    for pattern, new in _CHANGES:
        text = pattern.sub(new, text)
    text = _SCALED.sub(lambda m: f"*{SCALES[m.group(1).lower()]}", text)
    return _RANGE.sub(_range, text).strip()


def _raised(m: re.Match[str]) -> str:
    digits = m.group()
    return "^" + ("-" if digits[0] == "\u207b" else "") + "".join(_SUPER.get(c, "") for c in digits)


def _range(m: re.Match[str]) -> str:
    """17-18 is a range, 20-3 a subtraction: what ascends was not meant to be subtracted."""
    low, high = m.groups()
    return f"{low} to {high}" if int(low) < int(high) else m.group()


def _last(text: str) -> tuple[Value, str] | None:
    """The number that counts in the span."""
    for side in _APPROX.split(text)[:4]:
        # The head before a reason or an aside comes first, then everything.
        for claim in _heads(_REASON, side):
            for part in reversed(_EQUALS.split(claim)):
                for piece in _heads(_ASIDE, part.strip()):
                    found = list(values(piece))
                    if found:
                        value, start, end = found[-1]
                        return value, piece[start:end]
    return None


def _heads(cut: re.Pattern[str], text: str) -> tuple[str, ...]:
    head = cut.split(text, maxsplit=1)[0]
    return (text,) if head == text else (head, text)


def _key(value: Value) -> str:
    """Whole numbers in full; others rounded to 12 significant digits, more if the whole part is long.

    So 17/3 agrees with the 5.666666666666667 that a program prints, 0.30000000000000004 with 0.3, and what is noise
    around a whole number (sqrt(2)^2) with that number.
    """
    exact = Fraction(value)
    if exact.denominator == 1 and isinstance(value, Fraction):
        return str(exact.numerator)
    digits = max(12, len(str(abs(int(exact)))) + 2) if isinstance(value, Fraction) else 12
    rounded = Context(prec=digits).divide(Decimal(exact.numerator), Decimal(exact.denominator))
    if rounded == rounded.to_integral_value(context=Context(prec=digits)):
        return str(int(rounded))
    return str(rounded.normalize(Context(prec=digits)))
