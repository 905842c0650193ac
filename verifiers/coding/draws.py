"""Seeded random values for properties: `def prop_sorted(xs: list[int]): ...` is run over many of them.

As in QuickCheck (Claessen & Hughes 2000) sizes grow from nothing, so that the first counterexample tends to be small.
Edge values come more often than chance would have them.
"""

from __future__ import annotations

from random import Random
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

_LETTERS = "abcxyzABC 019_-.,\n\té漢"


def draw(annotation: Any, rng: Random, size: int) -> Any:
    """A value of a type: int, float, bool, str, bytes, None, list, tuple, set, frozenset, dict, unions and optional
    ones, nested. Raises TypeError for any other."""
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, UnionType):
        return draw(rng.choice(args), rng, size)
    if origin in (list, set, frozenset):
        items = [draw(args[0] if args else int, rng, size) for _ in range(rng.randint(0, size))]
        return origin(items)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(draw(args[0], rng, size) for _ in range(rng.randint(0, size)))
        return tuple(draw(a, rng, size) for a in args)
    if origin is dict:
        key, value = args or (str, int)
        return {draw(key, rng, size): draw(value, rng, size) for _ in range(rng.randint(0, size))}
    return _scalar(origin, rng, size)


def _scalar(kind: Any, rng: Random, size: int) -> Any:
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        edges = (0, 1, -1, size, -size, 10**6)
        return rng.choice(edges) if rng.random() < 0.2 else rng.randint(-(size**2), size**2)
    if kind is float:
        return (
            rng.choice((0.0, 1.0, -1.0, 0.5)) if rng.random() < 0.2 else rng.uniform(-1, 1) * 10.0 ** rng.randint(0, 4)
        )
    if kind is str:
        return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(0, size)))
    if kind is bytes:
        return rng.randbytes(rng.randint(0, size))
    if kind in (None, NoneType):
        return None
    raise TypeError(f"a property's parameter of type {kind!r}: use int, float, bool, str, bytes, list[...], ...")
