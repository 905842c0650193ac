"""Expressions: what a leaf says, and whether two say the same.

Numbers are compared at 60 digits, expressions with variables at fixed points (the identity test of Schwartz 1980 and
Zippel 1979).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy

from . import latex, plain
from .shapes import Unreadable

Truth: TypeAlias = bool | None
PRECISION = 60
CLOSE = sympy.Float(10, PRECISION) ** -40
FLOAT_DIGITS = 17  # significant digits that a float is written with; more are meant
_DECIMAL = re.compile(r"[-+]?(\d*)\.(\d+)")
_MIXED = re.compile(r"([-+]?)(\d+) (\d+) ?/ ?(\d+)")
_UNIT = re.compile(
    r"([-+]?(?:\d+(?:\.\d+)?|\.\d+|(?:\d+ )?\d+ ?/ ?\d+|\\frac\s*\{?\d+\}?\s*\{?\d+\}?))"
    r"(?:(\s*)(?:\\(?:text|mathrm|mbox|textbf)\s*\{([^{}]*)\})|\s+([a-zA-Z][a-zA-Z/ .]{0,40}?))(?:\^\s*[({]?\d[)}]?)?"
)
_WORDS = re.compile(r"(?:\\(?:text|textbf|mathrm|mbox)\s*\{([^{}\\]*)\})|([^\W\d_]{2,}(?:[ '-][^\W\d_]+)*)")
_ODD_NUMBER = re.compile(r"(?<![\w.])0[xXoObB][0-9A-Fa-f]+(?!\w)|(?<![^\W\d])\d+_\w+")  # 0x2A, 4_2
_CALLED = re.compile(r"(?<![\\{])\b(gcd|lcm|max|min|mod|[^\W\d_]{4,})\(")
_COUNTS = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fourty|fifty|"
    r"sixty|seventy|eighty|ninety|hundred|thousand|[mb]illion|dozen|half|halves|thirds?|quarters?)\b"
)
_POINTS = 10  # at which expressions are compared
ENOUGH = 3  # of them must be real for both
_KINKED = (sympy.Abs, sympy.Max, sympy.Min, sympy.floor, sympy.ceiling, sympy.sign, sympy.Piecewise, sympy.Mod)


@dataclass(frozen=True)
class Value:
    """A leaf as it was read. `digits` and `places` belong to a decimal literal; `percent` to "50%"."""

    expr: Any
    digits: int = 0
    places: int = 0
    percent: bool = False
    unit: str = ""
    words: str = ""


def value(text: str) -> Value:
    """A leaf read. Raises `Unreadable`."""
    unit = ""
    if m := _UNIT.fullmatch(text):
        text, unit = m.group(1), " ".join((m.group(3) or m.group(4) or "").lower().split())
        unit = unit[:-1] if len(unit) > 2 and unit.endswith("s") else unit
    percent = text.endswith("%")
    bare = text.rstrip("% ")
    if m := _DECIMAL.fullmatch(bare.replace(" ", "")):
        whole, part = m.groups()
        digits = len((whole + part).lstrip("0"))
        return Value(_expr(bare) / (100 if percent else 1), digits, len(part) + 2 * percent, percent, unit)
    if m := _MIXED.fullmatch(bare):
        bare = f"{m.group(1) or ''}({m.group(2)}+{m.group(3)}/{m.group(4)})"
    words = _WORDS.fullmatch(text)
    if words and (words.group(1) is not None or len(text) > 3) and text not in plain.CONSTANTS:
        said = " ".join((words.group(1) or words.group(2) or "").casefold().split())
        return Value(None, words=said) if not re.fullmatch(r"[\d\s.+*/^()-]+", said) else Value(_expr(said))
    return Value(_expr(bare) / (100 if percent else 1), percent=percent, unit=unit)


def _expr(text: str) -> Any:
    if m := _ODD_NUMBER.search(text):
        raise Unreadable(f"{m.group()!r:.40}, a number in an unknown notation")
    for m in _CALLED.finditer(text):  # primorial(10) is no product of a variable
        if m.group(1) not in plain.KNOWN and m.group(1).lower() not in plain.GREEK:
            raise Unreadable(f"an unknown function {m.group(1)!r:.40}")
    if "\\" not in text and "{" not in text:
        try:
            return plain.read(text)
        except Unreadable:
            if not re.search(r"[^\W\d]", text) or "!" in text:
                raise
    return latex.read(text)


def powers(text: str) -> list[tuple[Any, Any]]:
    """What a leaf divides by and raises to powers, as it is written: (base, exponent); none where it has a unit."""
    bare = text.rstrip("% ")
    try:
        if "\\" not in text and "{" not in text:
            try:
                return plain.powers(bare)
            except Unreadable:
                pass
        return latex.powers(bare)
    except Unreadable:
        return []


def leaves(a: Value, b: Value) -> Truth:
    """Whether two leaves say the same, units and percent signs considered."""
    if a.words or b.words:
        if a.words and b.words:
            return a.words == b.words
        return None if _COUNTS.search(a.words or b.words) else False  # a number in words is not read
    truth = equal(a, b)
    if truth is not True and a.percent != b.percent:
        # The sign may be a unit that one of them leaves out.
        bare = [Value(v.expr * 100 if v.percent else v.expr, v.digits, max(v.places - 2, 0)) for v in (a, b)]
        truth = True if equal(bare[0], bare[1]) else truth
    return None if a.unit and b.unit and a.unit != b.unit else truth


def equal(a: Value, b: Value) -> Truth:
    """Whether two expressions are equal wherever both are real."""
    x, y = a.expr, b.expr
    if x == y:
        return True
    if not (x.free_symbols | y.free_symbols):
        return _numbers(a, b)
    if x.atoms(sympy.Function) & y.atoms(sympy.Function) == set() and (
        x.atoms(sympy.core.function.AppliedUndef) or y.atoms(sympy.core.function.AppliedUndef)
    ):
        return None
    pairs = sampled(x, y)
    if any(abs(p - q) > CLOSE * (abs(p) + abs(q) + 1) for p, q in pairs):
        return False
    if len(pairs) < ENOUGH or x.has(*_KINKED) or y.has(*_KINKED):
        return True if sympy.simplify(x - y) == 0 else None
    return True


def sampled(x: Any, y: Any) -> list[tuple[Any, Any]]:
    """Both at fixed points, where both are real."""
    names = sorted({s.name: s for s in x.free_symbols | y.free_symbols})
    pairs = []
    for turn in range(_POINTS):
        point = {}
        for name in names:
            seed = zlib.crc32(f"{name}/{turn}".encode())
            point[name] = sympy.Rational(seed % 9_973 + 1, (seed >> 14) % 997 + 53) * (-1 if turn % 3 == 2 else 1)
        got = [_at(e, point) for e in (x, y)]
        if got[0] is not None and got[1] is not None:
            pairs.append((got[0], got[1]))
    return pairs


def _at(expr: Any, point: dict[str, Any]) -> Any:
    found = number(expr.xreplace({s: point[s.name] for s in expr.free_symbols}))
    return found[0] if found is not None and abs(found[1]) <= CLOSE * (1 + abs(found[0])) else None


def number(expr: Any) -> tuple[Any, Any] | None:
    """Real and imaginary part at 60 digits; None if it is no finite number."""
    try:
        real, imaginary = expr.evalf(PRECISION, maxn=4 * PRECISION).as_real_imag()
    except (ArithmeticError, ValueError, TypeError, AttributeError, RecursionError, NotImplementedError):
        return None
    fine = all(part.is_Float or part.is_Rational for part in (real, imaginary))
    return (real, imaginary) if fine else None


def _numbers(a: Value, b: Value) -> Truth:
    if a.expr.is_Rational and b.expr.is_Rational:
        return _near(a, b, a.expr, b.expr)
    x, y = number(a.expr), number(b.expr)
    if x is None or y is None:
        infinite = [e in (sympy.oo, -sympy.oo) for e in (a.expr, b.expr)]
        return False if any(infinite) and (all(infinite) or x or y) else None
    room = CLOSE * (1 + abs(x[0]) + abs(x[1]))
    if abs(x[0] - y[0]) <= room and abs(x[1] - y[1]) <= room:
        return True
    real = bool(abs(x[1]) <= room) and bool(abs(y[1]) <= room)
    return real and _near(a, b, x[0], y[0])


def _near(a: Value, b: Value, x: Any, y: Any) -> bool:
    """A decimal may be rounded, where it has six significant digits or more, or carry a float's noise."""
    for one in (a, b):
        if one.digits and (
            (max(a.digits, b.digits) <= FLOAT_DIGITS and abs(x - y) <= abs(x) * sympy.Rational(1, 10**12))
            or (one.digits >= 6 and abs(x - y) <= sympy.Rational(1, 2 * 10**one.places))
        ):
            return True
    return bool(x == y)
