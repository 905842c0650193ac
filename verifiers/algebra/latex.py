"""LaTeX expressions as sympy objects, by the ANTLR grammar of latex2sympy2_extended.

Its one step that evaluates text is reading a number (`sympy.Number("12")` goes through `eval`): ours replaces it. What
it reads is left unevaluated, checked for size, and only then computed.
"""

from __future__ import annotations

import re
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex

from .shapes import Unreadable

_CONFIG = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_LARGEST = 20_000.0  # log2 of what is computed
# Matrix functions make objects whose size the text names; none of them is an answer.
_REFUSED = re.compile(r"\\operatorname|\\(?:input|include|write|def|let|csname|catcode|openin|read)(?![a-zA-Z])")


class _Reader(_Latex2Sympy):  # type: ignore[misc]
    """The grammar with decimals as exact rationals."""

    def parse_number(self, text: str) -> Any:
        text = text.replace(",", "")
        if not re.fullmatch(r"[0-9]{0,400}\.?[0-9]{0,400}(?:[eE][-+]?[0-9]{1,4})?", text) or text in ("", "."):
            raise Unreadable("a number in an unknown notation")
        return sympy.Rational(text)


def read(text: str) -> Any:
    """The expression. Raises `Unreadable`."""
    tree = _tree(text)
    return _settled(_real_roots(tree) if r"\sqrt[" in text else tree)


def powers(text: str) -> list[tuple[Any, Any]]:
    """What the text divides by and raises to powers, before anything cancels: (base, exponent). Raises `Unreadable`."""
    return [(_settled(p.base), _settled(p.exp)) for p in sympy.preorder_traversal(_tree(text)) if p.is_Pow]


def _tree(text: str) -> Any:
    """What is read, not computed yet."""
    if m := _REFUSED.search(text):
        raise Unreadable(f"{m.group()} is not read")
    normal = normalize_latex(text, _CONFIG)
    try:
        tree = _Reader(is_real=True).parse(normal)
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("too deeply nested") from None
    except Exception as error:
        raise Unreadable(f"not LaTeX that can be read ({type(error).__name__})") from None
    if not isinstance(tree, sympy.Expr):
        raise Unreadable(f"a {type(tree).__name__}, not an expression")
    size(tree)
    return tree


def _real_roots(tree: Any) -> Any:
    r"""`\sqrt[3]{-8}` is -2 in an answer; sympy takes the complex root."""

    def odd(part: Any) -> bool:
        base, exponent = part.args
        return bool(base.is_Rational and base < 0 and exponent.is_Rational and exponent.p == 1 and exponent.q % 2)

    return tree.replace(lambda e: isinstance(e, sympy.Pow) and odd(e), lambda e: -sympy.Pow(-e.args[0], e.args[1]))


def _settled(tree: Any) -> Any:
    """The tree with `e` and `i` as the constants that they are in answers, then computed."""
    changes: dict[Any, Any] = {}
    bound = {s for part in tree.atoms(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit) for s in part.args[1:]}
    names = {str(s) for part in bound for s in part.free_symbols}
    for symbol in tree.free_symbols:
        if symbol.name in ("i", "e", "E") and symbol.name not in names:
            changes[symbol] = sympy.I if symbol.name == "i" else sympy.E
        elif symbol.name == "oo":
            changes[symbol] = sympy.oo
    done = tree.xreplace(changes).doit()
    if not isinstance(done, sympy.Expr):
        raise Unreadable(f"a {type(done).__name__}, not an expression")
    return done


def size(tree: Any, depth: int = 0) -> float:
    """About log2 of the largest number that computing the tree can make. Raises `Unreadable` above a bound."""
    if depth > 200:
        raise Unreadable("too deeply nested")
    inner = [size(part, depth + 1) for part in getattr(tree, "args", ())]
    found = max(inner, default=1.0)
    if isinstance(tree, sympy.Integer | sympy.Rational):
        found = float(max(int(tree.p).bit_length(), int(tree.q).bit_length()))
    elif isinstance(tree, sympy.Pow) and tree.args[1].is_number and len(inner) == 2:
        # the exponent itself, not its bits
        found = (
            max(inner[0], 1.0) * 2.0 ** min(inner[1], 60.0)
            if not tree.args[1].is_Rational
            else inner[0] * max(1.0, abs(float(tree.args[1])))
        )
        if not tree.args[0].is_number and tree.args[1].is_Rational and abs(tree.args[1]) <= 10_000:
            found = inner[0]  # x^10000 is a symbol's power
    elif isinstance(tree, sympy.factorial | sympy.binomial | sympy.gamma) and tree.args[0].is_number:
        # n! has about n log n bits
        found = 2.0 ** min(inner[0], 60.0) * 10
        if all(a.is_Integer for a in tree.args):
            found = abs(float(tree.args[0])) * 10
    elif isinstance(tree, sympy.Mul | sympy.Add):
        found = sum(inner) if isinstance(tree, sympy.Mul) else found + len(inner)
    if not found <= _LARGEST:
        raise Unreadable("a number too large to compute")
    return found
