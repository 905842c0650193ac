"""Plain expressions ("2x^2 + sqrt(3)/2", "5!") as sympy objects, without sympy's own reader, which evaluates text.

A bounded recursive-descent parser: known names only, powers and factorials checked before they are computed.
"""

from __future__ import annotations

import re
from typing import Any

import sympy

from .shapes import DEPTH, Unreadable

BITS = 20_000  # of a number that is computed
_TOKEN = re.compile(
    r"\s*(?:(?P<num>\d+\.?\d*(?:[eE][+-]?\d+(?![\w.]))?|\.\d+)|(?P<name>[^\W\d_]+(?:_\w{1,8})?)|(?P<op>\*\*|[-+*/^!()|%]))"
)
CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "oo": sympy.oo, "inf": sympy.oo, "infinity": sympy.oo}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
}  # fmt: skip
_TRIG = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth")
FUNCTIONS: dict[str, tuple[Any, int]] = {
    **{name: (getattr(sympy, name), 1) for name in _TRIG},
    **{f"{prefix}{name}": (getattr(sympy, f"a{name}"), 1) for name in _TRIG for prefix in ("a", "arc")},
    "exp": (sympy.exp, 1), "ln": (sympy.log, 1), "sqrt": (sympy.sqrt, 1), "cbrt": (sympy.cbrt, 1),
    "abs": (sympy.Abs, 1),
    "floor": (sympy.floor, 1), "ceil": (sympy.ceiling, 1), "ceiling": (sympy.ceiling, 1), "sign": (sympy.sign, 1),
    "sgn": (sympy.sign, 1), "log2": (lambda x: sympy.log(x) / sympy.log(2), 1),
    "log10": (lambda x: sympy.log(x) / sympy.log(10), 1),
}  # fmt: skip
KNOWN = {*FUNCTIONS, *CONSTANTS, "log", "factorial"}


def read(text: str) -> Any:
    """The expression. Raises `Unreadable`."""
    return _read(text)[0]


def powers(text: str) -> list[tuple[Any, Any]]:
    """What the text divides by and raises to powers, before anything cancels: (base, exponent). Raises `Unreadable`."""
    return _read(text)[1].powers


def _read(text: str) -> tuple[Any, _Parser]:
    parser = _Parser(text)
    value = parser.sum(0)
    if parser.at < len(parser.tokens):
        raise Unreadable(f"unexpected {parser.tokens[parser.at][1]!r:.40}")
    return value, parser


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.powers: list[tuple[Any, Any]] = []
        self.at = 0
        place = 0
        while text[place:].strip():
            m = _TOKEN.match(text, place)
            if m is None:
                raise Unreadable(f"unexpected {text[place:].strip()[:1]!r}")
            place = m.end()
            self.tokens += (
                _words(m.group("name")) if m.lastgroup == "name" else [(str(m.lastgroup), m.group(m.lastgroup or 0))]
            )

    def peek(self) -> str:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return text if kind == "op" else kind

    def take(self, *ops: str) -> str:
        op = self.peek()
        if op in ops and op:
            self.at += 1
            return op
        return ""

    def sum(self, depth: int) -> Any:
        if depth > DEPTH:
            raise Unreadable("too deeply nested")
        total = self.product(depth)
        while op := self.take("+", "-"):
            term = self.product(depth)
            total = total + term if op == "+" else total - term
        return total

    def product(self, depth: int) -> Any:
        value = self.signed(depth)
        while True:
            if op := self.take("*", "/"):
                factor = self.signed(depth)
                if op == "/" and factor == 0:
                    raise Unreadable("a division by zero")
                if op == "/":
                    self.powers.append((factor, sympy.Integer(-1)))
                value = value * factor if op == "*" else value / factor
            elif self.peek() in ("name", "("):
                value = value * self.power(depth)  # 2x, 3(4)
            else:
                return value

    def signed(self, depth: int) -> Any:
        sign = 1
        while op := self.take("+", "-"):
            sign = -sign if op == "-" else sign
        return sign * self.power(depth)

    def power(self, depth: int) -> Any:
        if depth > DEPTH:
            raise Unreadable("too deeply nested")
        base = self.postfix(self.atom(depth))
        if self.take("^", "**"):
            sign = -1 if self.take("-") else 1
            self.take("+")
            exponent = sign * self.power(depth + 1)
            self.powers.append((base, exponent))
            return power(base, exponent)
        return base

    def postfix(self, value: Any) -> Any:
        while op := self.take("!", "%"):
            value = factorial(value) if op == "!" else value / 100
        return value

    def atom(self, depth: int) -> Any:
        kind = self.peek()
        if self.at >= len(self.tokens):
            raise Unreadable("the expression stops in the middle")
        text = self.tokens[self.at][1]
        self.at += 1
        if kind == "num":
            return sympy.Rational(text)
        if kind in ("(", "|"):
            inner = self.sum(depth + 1)
            if not self.take(")" if kind == "(" else "|"):
                raise Unreadable("a bracket that is not closed")
            return inner if kind == "(" else sympy.Abs(inner)
        if kind != "name":
            raise Unreadable(f"unexpected {text!r:.40}")
        if text in FUNCTIONS or text in ("log", "factorial"):
            return self.call(text, depth)
        return CONSTANTS[text] if text in CONSTANTS else symbol(text)

    def call(self, name: str, depth: int) -> Any:
        raised = self.atom(depth + 1) if self.take("^", "**") else None  # sin^2 x
        # sqrt(2), and sqrt 2
        argument = self.atom(depth + 1) if self.peek() == "(" else self.power(depth + 1)
        if name == "log":
            value = sympy.log(argument)
        elif name == "factorial":
            value = factorial(argument)
        else:
            value = FUNCTIONS[name][0](argument)
        return value if raised is None else power(value, raised)


def _words(name: str) -> list[tuple[str, str]]:
    """A name as it is known, else its letters: xy is x times y."""
    head, under, rest = name.partition("_")
    known = head in FUNCTIONS or head in CONSTANTS or head in ("log", "factorial") or head.lower() in GREEK
    if known or len(head) == 1 or len(head) > 3:
        return [("name", name)]
    return [*(("name", c) for c in head[:-1]), ("name", head[-1] + under + rest)]


def symbol(name: str) -> Any:
    """A real variable; `i` is the imaginary unit."""
    return sympy.I if name == "i" else sympy.Symbol(name, real=True)


def power(base: Any, exponent: Any) -> Any:
    """base ** exponent, unless it is too large to compute."""
    if base.is_Rational and exponent.is_Rational:
        size = max(int(base.p).bit_length(), int(base.q).bit_length())
        if (size - 1) * abs(exponent) > BITS or max(int(exponent.p).bit_length(), int(exponent.q).bit_length()) > 64:
            raise Unreadable("a power too large to compute")
        if base == 0 and exponent < 0:
            raise Unreadable("a division by zero")
    elif exponent.is_Rational and (abs(exponent) > 10_000 or exponent.q > 10_000):
        raise Unreadable("a power too large to compute")
    return sympy.Pow(base, exponent)


def factorial(value: Any) -> Any:
    """value!, unless it is too large to compute."""
    if value.is_number and not (value.is_Integer and 0 <= value <= 1_500):
        raise Unreadable("a factorial that cannot be computed")
    return sympy.factorial(value)
