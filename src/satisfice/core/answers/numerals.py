"""Literals in the many notations that models use, and the tokens of arithmetic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

BITS = 1_100  # of a numerator or a denominator: about 330 digits, so that what is computed can be read again
TOKENS = 400  # of a span that are looked at


class TooBig(Exception):
    """A number that is there but too large to hold."""


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is num, an operator's own character, sqrt, frac, pi or "" for anything else (a unit, a word)."""

    kind: str
    start: int
    end: int
    value: Fraction = Fraction(0)


_TOKEN = re.compile(
    r"(?P<num>(?:"
    r"[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?"  # 1,234.5
    r"|[1-9]\d{0,2}(?:\.\d{3})+,\d+(?!\d|[.,]\d)|[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.]\d?)"  # 1.234,5 and 1.234.567
    r"|[1-9]\d{0,2}(?:[ '_]\d{3})+(?![\d']|[ _]\d|[.,]\d{3}\b)(?:\.\d+)?"  # 1 234
    r"|(?<!\d,)\d+,\d+(?!\d|[.,]\d)"  # 1,5
    r"|\d+\.\d+|\d+|\.\d+)"
    r"(?:[eE][+-]?\d+(?![\w]))?)"
    r"|(?P<pow>\*\*|\^)|(?P<op>[-+*/(){}%])"
    r"|(?P<sqrt>\\sqrt\b|\\sqrt(?=\d)|\u221a|\bsqrt(?=\s*[({]))|(?P<frac>\\[dtc]?frac(?![a-z]))"
    r"|(?P<pi>\\pi\b|\u03c0|\bpi\b)|(?P<word>[^\W\d_]\w*(?:\^\{?-?\d+\}?)?)|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)


def tokens(span: str) -> list[Token]:
    """The span as tokens; blanks are left out (neighbours that touch have end == start)."""
    out: list[Token] = []
    for m in _TOKEN.finditer(span):
        kind, text = str(m.lastgroup), m.group()
        if kind == "num":
            if out and out[-1].kind in ("frac", "sqrt") and text.isdigit() and out[-1].end == m.start():
                # TeX takes single digits as arguments: \frac34
                out += [Token("num", m.start() + k, m.start() + k + 1, Fraction(int(c))) for k, c in enumerate(text)]
                continue
            out.append(Token("num", m.start(), m.end(), literal(text)))
        elif kind != "space":
            name = {"op": text, "pow": "^", "word": "", "other": ""}.get(kind, kind)
            out.append(Token(name, m.start(), m.end()))
        if len(out) > TOKENS:
            break
    return out


def literal(text: str) -> Fraction:
    """The value of one literal, its separators told apart."""
    mantissa, _, exponent = text.lower().partition("e")
    body = re.sub(r"[ '_]", "", mantissa)
    if re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", body):
        body = body.replace(",", "")
    elif body.count(".") > 1 or ("." in body and "," in body):
        body = body.replace(".", "").replace(",", ".")
    body = body.replace(",", ".")
    if len(body) > 340 or len(exponent) > 5 or abs(int(exponent or 0)) > 1_000:
        raise TooBig
    whole, _, part = body.partition(".")
    shift = int(exponent or 0) - len(part)
    digits = Fraction(int(whole + part or "0"))
    return bounded(digits * Fraction(10) ** shift)


def bounded(value: Fraction) -> Fraction:
    """The value, if it is small enough to go on with."""
    if value.numerator.bit_length() > BITS or value.denominator.bit_length() > BITS:
        raise TooBig
    return value
