"""Plugging values into equations: cheaper than solving them, and no reference is needed."""

from __future__ import annotations

from typing import Any

import sympy

from .shapes import Chain, Leaf, Row, Shape, Unreadable, shape, tidy
from .values import CLOSE, number, powers, value

_HOLDS = {
    "=": lambda sign: sign == 0, "!=": lambda sign: sign != 0, "<": lambda sign: sign < 0, ">": lambda sign: sign > 0,
    "<=": lambda sign: sign <= 0, ">=": lambda sign: sign >= 0,
}  # fmt: skip


def check(equations: list[str], names: list[str], answer: str | None, count: int | None) -> dict[str, Any]:
    """Whether every solution in the answer fulfils every equation, and there are `count` different ones."""
    known = [_relation(text, names) for text in equations]
    if answer is None:
        return {"truth": True}
    found = _solutions(shape(tidy(answer)), names)
    for solution in found:
        point = dict(zip(names, solution, strict=True))
        for text, relation in zip(equations, known, strict=True):
            holds = _fulfils(relation, point)
            if not holds:
                said = ", ".join(f"{name} = {v!s:.40}" for name, v in point.items())
                return {
                    "truth": holds,
                    "why": f"{text[:80]} {'fails' if holds is False else 'cannot be told'} at {said}",
                }
    if count is not None and (different := len(_different(found))) != count:
        return {"truth": False, "why": f"{different} solutions, {count} expected"}
    return {"truth": True}


def _relation(text: str, names: list[str]) -> Chain:
    found = shape(tidy(text))
    if not isinstance(found, Chain) or r"\in" in found.ops or not all(isinstance(p, Leaf) for p in found.parts):
        raise Unreadable(f"{text[:80]!r} is not an equation")
    free = {s.name for p in found.parts if isinstance(p, Leaf) for s in _number(p).free_symbols}
    if extra := sorted(free - set(names)):
        raise Unreadable(f"{text[:80]!r} has further variables: {', '.join(extra)}")
    return found


def _number(leaf: Shape) -> Any:
    if not isinstance(leaf, Leaf):
        raise Unreadable("not a value for the variable")
    expr = value(leaf.text).expr
    if expr is None:
        raise Unreadable(f"{leaf.text[:40]!r} is not a number")
    return expr


def _solutions(answer: Shape, names: list[str]) -> list[tuple[Any, ...]]:
    """One tuple of values for each solution that the answer gives, in the order of the names."""
    items = answer.items if isinstance(answer, Row) and answer.left in ("", "{") else (answer,)
    if not items:
        raise Unreadable("no solution is given")
    if len(names) == 1:
        return [(_value(item, names[0]),) for item in items]
    named = {str(i.parts[0].text): i for i in items if isinstance(i, Chain) and isinstance(i.parts[0], Leaf)}
    if set(named) == set(names) and len(items) == len(names):
        return [tuple(_value(named[name], name) for name in names)]
    rows = [item for item in items if isinstance(item, Row) and item.left in ("(", "[")]
    if len(rows) == len(items) and all(len(row.items) == len(names) for row in rows):
        return [tuple(_value(v, name) for name, v in zip(names, row.items, strict=True)) for row in rows]
    if len(items) == len(names) and all(isinstance(i, Leaf) for i in items):
        return [tuple(_number(i) for i in items)]
    raise Unreadable(f"expected values for {', '.join(names)}")


def _value(item: Shape, name: str) -> Any:
    if isinstance(item, Chain):
        if set(item.ops) != {"="} or not isinstance(item.parts[0], Leaf) or item.parts[0].text.strip() != name:
            raise Unreadable(f"expected a value for {name}")
        item = item.parts[-1]
    expr = _number(item)
    if expr.free_symbols or number(expr) is None:
        raise Unreadable(f"{expr!s:.40} is not a number")
    return expr


def _fulfils(relation: Chain, point: dict[str, Any]) -> bool | None:
    sides, unsure = [], False
    for part in relation.parts:
        if (divided := _divides_by_zero(part, point)) is not False:
            return False if divided else None
        there = _at(_number(part), point)
        if number(there) is None:
            return False if there.has(sympy.nan, sympy.zoo, sympy.oo) else None
        sides.append(there)
    for op, x, y in zip(relation.ops, sides, sides[1:], strict=False):
        holds = _holds(op, x, y)
        if holds is False:
            return False
        unsure |= holds is None
    return None if unsure else True


def _at(expr: Any, point: dict[str, Any]) -> Any:
    return expr.xreplace({s: point[s.name] for s in expr.free_symbols})


def _divides_by_zero(part: Shape, point: dict[str, Any]) -> bool | None:
    """Whether the side as it is written divides by zero at the point: x/x is no number at 0."""
    found: bool | None = False
    for base, exponent in powers(part.text) if isinstance(part, Leaf) else ():
        raised = number(_at(exponent, point))
        if raised is None or raised[0] >= 0:
            continue
        zero = _vanishes(_at(base, point))
        if zero:
            return True
        found = None if zero is None else found
    return found


def _holds(op: str, x: Any, y: Any) -> bool | None:
    """Whether a relation between two numbers holds; None where they are too close to be told apart."""
    if op not in ("=", "!="):
        real = [_vanishes(sympy.im(side)) for side in (x, y)]
        if not all(real):
            return False if False in real else None
    if _vanishes(x - y) is None:
        return None
    if _vanishes(x - y):
        return bool(_HOLDS[op](0))
    got = number(x - y) or (sympy.Integer(1), 0)
    return bool(_HOLDS[op](1 if op in ("=", "!=") or got[0] > 0 else -1))


def _vanishes(expr: Any) -> bool | None:
    """Whether a number is zero. Digits show that one is not, never that one is: that takes a proof, or exact fractions
    (1e-300 is not zero, and neither is exp(-1000))."""
    if expr.is_Rational:
        return bool(expr == 0)
    got = number(expr)
    room = CLOSE * (1 + max((abs(n) for n in expr.atoms(sympy.Number) if n.is_finite), default=0))
    if got is not None and abs(got[0]) + abs(got[1]) > room:
        return False
    simple = sympy.simplify(expr)
    if simple.is_Rational:
        return bool(simple == 0)
    return True if simple.equals(0) else None


def _different(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    kept: list[tuple[Any, ...]] = []
    for solution in found:
        if not any(all(sympy.simplify(x - y) == 0 for x, y in zip(solution, k, strict=True)) for k in kept):
            kept.append(solution)
    return kept
