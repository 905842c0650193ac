"""Exact arithmetic on what a model writes: fractions, powers, roots, sums.

A recursive-descent parser of its own, because eval would run a model's text and neither bounds its work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from .numerals import BITS, TOKENS, Token, TooBig, bounded, tokens

DEPTH = 24  # nested brackets

Value = Fraction | float


class _Mismatch(Exception):
    """The tokens do not go on as an expression."""


def values(span: str) -> Iterator[tuple[Value, int, int]]:
    """Every number or expression in the span with its place, from left to right."""
    parser = _Parser(tokens(span))
    at = 0
    while at < len(parser.tokens):
        if not parser.may_start(at):
            at += 1
            continue
        parser.first = at
        try:
            value, end = parser.sum(at, 0)
        except _Mismatch:
            at += 1
            continue
        yield value, parser.tokens[at].start, parser.tokens[end - 1].end
        at = end


class _Parser:
    """Each rule takes a place and gives the value and the place after it, so that giving up needs no undoing."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.first = 0  # where the expression begins; what stands before it is no part of it
        self.steps = 0

    def kind(self, at: int) -> str:
        return self.tokens[at].kind if at < len(self.tokens) else ""

    def touches(self, at: int) -> bool:
        """Whether this token follows the one before without a blank."""
        return 0 < at < len(self.tokens) and self.tokens[at - 1].end == self.tokens[at].start

    def may_start(self, at: int) -> bool:
        """A sign in the middle of prose counts only where it touches its number and no word before it."""
        if self.kind(at) not in "+-" or at == 0:
            return True
        return self.touches(at + 1) and not self.touches(at)

    def sum(self, at: int, depth: int) -> tuple[Value, int]:
        left, at = self.product(at, depth)
        while self.kind(at) in ("+", "-"):
            try:
                right, end = self.product(at + 1, depth)
            except _Mismatch:
                break
            left, at = _add(left, right if self.kind(at) == "+" else -right), end
        return left, at

    def product(self, at: int, depth: int) -> tuple[Value, int]:
        left, at = self.signed(at, depth)
        while True:
            op = self.kind(at)
            implied = op in ("sqrt", "pi", "frac") or (op == "(" and self.touches(at))
            if op not in ("*", "/") and not implied:
                return left, at
            try:
                right, end = self.signed(at if implied else at + 1, depth)
                left, at = _multiply(left, right, op == "/"), end
            except _Mismatch:
                return left, at

    def signed(self, at: int, depth: int) -> tuple[Value, int]:
        self.steps += 1
        # Giving up and trying again at the next token must not add up on hostile input.
        if depth > DEPTH or self.steps > 20 * TOKENS:
            raise _Mismatch
        if self.kind(at) in ("+", "-"):
            value, end = self.signed(at + 1, depth + 1)
            return (-value if self.kind(at) == "-" else value), end
        base, at = self.atom(at, depth)
        if self.kind(at) == "^":
            try:
                exponent, at = self.signed(at + 1, depth + 1)
                base = _power(base, exponent)
            except _Mismatch:
                pass
        return (_multiply(base, Fraction(100), True), at + 1) if self.kind(at) == "%" else (base, at)

    def atom(self, at: int, depth: int) -> tuple[Value, int]:
        kind = self.kind(at)
        if kind == "num":
            return self.mixed(at, depth)
        if kind in ("(", "{") and kind:
            value, end = self.sum(at + 1, depth + 1)
            if self.kind(end) != (")" if kind == "(" else "}"):
                raise _Mismatch
            return value, end + 1
        if kind == "pi":
            return math.pi, at + 1
        if kind == "sqrt":
            value, end = self.atom(at + 1, depth + 1)
            return _power(value, Fraction(1, 2)), end
        if kind == "frac":
            top, end = self.atom(at + 1, depth + 1)
            bottom, end = self.atom(end, depth + 1)
            return _multiply(top, bottom, True), end
        raise _Mismatch

    def mixed(self, at: int, depth: int) -> tuple[Value, int]:
        """A literal, or a mixed number: "1 3/4" and "1\\frac{3}{4}" are 7/4."""
        whole = self.tokens[at].value
        if whole.denominator != 1 or (at > self.first and self.kind(at - 1) in ("frac", "/", "^", "sqrt")):
            return whole, at + 1
        if self.kind(at + 1) == "frac":
            part, end = self.atom(at + 1, depth + 1)
            return (_add(whole, part), end) if 0 < part < 1 else (whole, at + 1)
        if [self.kind(at + k) for k in (1, 2, 3)] == ["num", "/", "num"]:
            top, bottom = self.tokens[at + 1].value, self.tokens[at + 3].value
            if 0 < top < bottom and top.denominator == bottom.denominator == 1 and not self.touches(at + 1):
                return whole + top / bottom, at + 4
        return whole, at + 1


def _add(left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return bounded(left + right)
    return _checked(_real(left) + _real(right))


def _multiply(left: Value, right: Value, divide: bool) -> Value:
    if divide and right == 0:
        raise _Mismatch
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return bounded(left / right if divide else left * right)
    a, b = _real(left), _real(right)
    if divide and b == 0:
        raise TooBig
    return _checked(a / b if divide else a * b)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            size = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(exponent) > BITS or (size - 1) * abs(exponent) > BITS:
                raise TooBig
            if base == 0 and exponent < 0:
                raise _Mismatch
            return bounded(base ** int(exponent))
        if exponent == Fraction(1, 2) and base >= 0:
            top, bottom = math.isqrt(base.numerator), math.isqrt(base.denominator)
            if top * top == base.numerator and bottom * bottom == base.denominator:
                return Fraction(top, bottom)
    a, b = _real(base), _real(exponent)
    if a < 0 or (a == 0 and b < 0):
        raise _Mismatch
    try:
        return _checked(math.pow(a, b))
    except (OverflowError, ValueError):
        raise TooBig from None


def _real(value: Value) -> float:
    try:
        return float(value)
    except OverflowError:
        raise TooBig from None


def _checked(value: float) -> float:
    if not math.isfinite(value):
        raise TooBig
    return value
