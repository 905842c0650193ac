"""Whether two answers say the same: True, False, or None where it cannot be told.

Lists and sets are compared item by item, equations up to a factor, their expressions by `values`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sympy

from .shapes import Chain, Grid, Leaf, Row, Shape, Union, shape, tidy
from .values import CLOSE, ENOUGH, Truth, leaves, number, sampled, value


def read(text: str) -> Shape:
    """The shape of an answer, all its leaves readable. Raises `Unreadable`."""
    found = shape(tidy(text))
    _each(found)
    return found


def _each(found: Shape) -> None:
    if isinstance(found, Leaf):
        value(found.text)
    elif isinstance(found, Row):
        for item in found.items:
            _each(item)
    elif isinstance(found, Grid):
        for row in found.rows:
            for item in row:
                _each(item)
    else:
        for part in found.parts:
            _each(part)


def same(a: Shape, b: Shape) -> Truth:
    """Whether `b` (a candidate) says what `a` (the reference) says."""
    if a == b:
        return True
    if isinstance(a, Chain) != isinstance(b, Chain):
        return _value_of(a, b) if isinstance(a, Chain) else _value_of(b, a)
    if isinstance(a, Chain) and isinstance(b, Chain):
        return _chains(a, b)
    if isinstance(a, Union) or isinstance(b, Union):
        return _unordered(_parts(a), _parts(b))
    if isinstance(a, Grid) or isinstance(b, Grid):
        return _grids(a, b)
    if isinstance(a, Row) and isinstance(b, Row):
        return _rows(a, b)
    if isinstance(a, Row):
        return same(a.items[0], b) if len(a.items) == 1 and a.left in ("", "{") else False
    if isinstance(b, Row):
        return same(a, b.items[0]) if len(b.items) == 1 and b.left in ("", "{") else False
    if isinstance(a, Leaf) and isinstance(b, Leaf):
        return leaves(value(a.text), value(b.text))
    return None


def _value_of(relation: Shape, other: Shape) -> Truth:
    """A relation against what is none: `x = 5` is 5, `2 + 3 = 5` too, `x < 3` an interval. What has to be solved
    (`x^2 = 4`) cannot be told."""
    if not isinstance(relation, Chain):
        return None
    if relation.ops[0] != "=":
        return _interval(relation, other)
    if _stripped(relation):
        truth = same(_side(relation), other)
        return truth if _named(relation) or truth else None
    return None


def _all(truths: Sequence[Truth]) -> Truth:
    if any(t is False for t in truths):
        return False
    return True if all(truths) else None


def _unordered(a: Sequence[Shape], b: Sequence[Shape]) -> Truth:
    """Whether each of `a` has its own partner in `b`. Being the same is transitive, so taking the first is enough."""
    left, unsure = list(b), False
    if len(a) != len(b):
        return False
    for item in a:
        truths = [same(item, other) for other in left]
        if True in truths:
            del left[truths.index(True)]
        elif None in truths:
            unsure = True
        else:
            return False
    return None if unsure else True


def _rows(a: Row, b: Row) -> Truth:
    loose = not a.left or not b.left  # without brackets the other side says whether order counts
    if not loose and (a.left, a.right) != (b.left, b.right):
        return False
    if {"{"} & {a.left, b.left} or (a.left == b.left == ""):
        return _unordered(_distinct(a.items), _distinct(b.items))
    if len(a.items) != len(b.items):
        return False
    return _all([same(x, y) for x, y in zip(a.items, b.items, strict=True)])


def _distinct(items: Sequence[Shape]) -> list[Shape]:
    kept: list[Shape] = []
    for item in items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return kept


def _parts(a: Shape) -> tuple[Shape, ...]:
    return a.parts if isinstance(a, Union) else (a,)


def _grids(a: Shape, b: Shape) -> Truth:
    rows = [_cells(a), _cells(b)]
    if rows[0] is None or rows[1] is None:
        return False
    flat = [[cell for row in found for cell in row] for found in rows if found]
    if [len(r) for r in rows[0]] != [len(r) for r in rows[1]]:
        # a column and a plain (1, 2, 3) are the same vector
        plainly = any(isinstance(x, Row) for x in (a, b)) and all(1 in (len(r), len(r[0])) for r in rows if r)
        if not plainly or len(flat[0]) != len(flat[1]):
            return False
    return _all([same(x, y) for x, y in zip(flat[0], flat[1], strict=True)])


def _cells(a: Shape) -> list[Sequence[Shape]] | None:
    if isinstance(a, Grid):
        return list(a.rows)
    if isinstance(a, Row) and a.items and a.left in ("(", "["):
        nested = [item.items for item in a.items if isinstance(item, Row)]
        return list(nested) if len(nested) == len(a.items) else [a.items]
    return None


# -- relations -----------------------------------------------------------------------------------------------------


def _named(a: Chain) -> bool:
    """Whether it is a name and its value: x = 5, f(x) = 2x."""
    return (
        set(a.ops) == {"="}
        and isinstance(a.parts[0], Leaf)
        and bool(re.fullmatch(r"\\?[a-zA-Z]{1,8}(?:_\{?\w+\}?)?'?(?:\([a-z](?:, ?[a-z])*\))?", a.parts[0].text))
    )


def _stripped(a: Chain) -> bool:
    """Whether the relation only names or works out its last side: a name and its value, or equal numbers."""
    if _named(a) or (len(a.ops) == 1 and _named(Chain(a.ops, a.parts[::-1]))):
        return True
    known = [value(p.text).expr if isinstance(p, Leaf) else None for p in a.parts]
    if set(a.ops) != {"="} or any(e is None or e.free_symbols for e in known):
        return False
    return all(same(p, a.parts[-1]) for p in a.parts[:-1])


def _side(a: Chain) -> Shape:
    """What `x = 5` and `2 + 3 = 5` come to."""
    return a.parts[0] if not _named(a) and _named(Chain(a.ops, a.parts[::-1])) and len(a.ops) == 1 else a.parts[-1]


def _chains(a: Chain, b: Chain) -> Truth:
    if _named(a) and _named(b) and len(a.ops) == len(b.ops) == 1 and a.parts[0] == b.parts[0]:
        return same(a.parts[1], b.parts[1])
    if len(a.ops) != len(b.ops):
        return same(_side(a), _side(b)) if _named(a) and _named(b) and a.parts[0] == b.parts[0] else None
    if len(a.ops) > 1:
        there = _all([same(x, y) for x, y in zip(a.parts, b.parts, strict=True)]) if a.ops == b.ops else False
        turned = _turned(b)
        back = _all([same(x, y) for x, y in zip(a.parts, turned.parts, strict=True)]) if a.ops == turned.ops else False
        return True if there or back else None
    left, right = _difference(a), _difference(b)
    if left is None or right is None:
        return None
    turn = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    if a.ops[0] not in (b.ops[0], turn.get(b.ops[0])):
        return False
    ratio = _factor(left, right)
    if ratio is None:
        return None  # other equations may have the same solutions
    if a.ops[0] in ("=", "!="):
        return True
    return bool(ratio > 0) == (a.ops[0] == b.ops[0])


def _turned(a: Chain) -> Chain:
    turn = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    return Chain(tuple(turn.get(op, op) for op in reversed(a.ops)), a.parts[::-1])


def _difference(a: Chain) -> Any:
    sides: list[Any] = [value(p.text).expr if isinstance(p, Leaf) else None for p in a.parts]
    return sides[0] - sides[1] if None not in sides and a.ops[0] != r"\in" else None


def _factor(left: Any, right: Any) -> Any:
    """The constant k with left = k * right, where there is one."""
    if left.free_symbols != right.free_symbols or not left.free_symbols:
        return None
    ratios = [x / y for x, y in sampled(left, right) if abs(y) > CLOSE and abs(x) > CLOSE]
    if len(ratios) < ENOUGH or any(abs(r - ratios[0]) > CLOSE * abs(r) for r in ratios):
        return None
    return ratios[0]


def _interval(relation: Chain, other: Shape) -> Truth:
    """Whether an inequality in one variable says the same as an interval."""
    if not isinstance(other, Row) or len(other.items) != 2 or set(relation.ops) & {"=", "!=", r"\in"}:
        return None
    chain = relation if relation.ops[0] in ("<", "<=") else _turned(relation)
    if not set(chain.ops) <= {"<", "<="}:
        return None
    is_name = [isinstance(p, Leaf) and bool(re.fullmatch(r"[a-zA-Z]", p.text)) for p in chain.parts]
    low: Shape = Leaf("-oo")
    high: Shape = Leaf("oo")
    left, right = "(", ")"
    if is_name == [False, True, False]:
        low, high = chain.parts[0], chain.parts[2]
        left, right = ("[" if chain.ops[0] == "<=" else "("), ("]" if chain.ops[1] == "<=" else ")")
    elif is_name == [True, False]:
        high, right = chain.parts[1], "]" if chain.ops[0] == "<=" else ")"
    elif is_name == [False, True]:
        low, left = chain.parts[0], "[" if chain.ops[0] == "<=" else "("
    else:
        return None
    return same(Row(left, (low, high), right), other)


# -- checks without a reference ------------------------------------------------------------------------------------


def within(a: Shape, b: Shape, tolerance: float) -> Truth:
    """As `same`, but numbers may differ by `tolerance` times the reference (or by `tolerance`, if that is 0)."""
    first, second = (_side(s) if isinstance(s, Chain) and _stripped(s) else s for s in (a, b))
    if isinstance(first, Leaf) and isinstance(second, Leaf):
        x, y = value(first.text).expr, value(second.text).expr
        p, q = (None if e is None or e.free_symbols else number(e) for e in (x, y))
        if p is not None and q is not None:
            room = sympy.Float(tolerance) * (abs(p[0] + sympy.I * p[1]) or 1)
            return bool(abs(p[0] - q[0]) <= room and abs(p[1] - q[1]) <= room) or same(a, b)
    elif isinstance(first, Row) and isinstance(second, Row) and len(first.items) == len(second.items):
        ordered = first.left == second.left and first.left not in ("", "{")
        if ordered:
            return _all([within(x, y, tolerance) for x, y in zip(first.items, second.items, strict=True)])
    return same(a, b)
