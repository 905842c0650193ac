"""What a workflow could come to: how many steps, how deep, how many purchases at the most; calls that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.errors import CallerError, UnknownName
from ..registry import BUILT_IN, find, models_of
from .caps import Caps

if TYPE_CHECKING:
    from . import schema as s

WRITERS = ("workflow", "orchestrate")  # what a written workflow may not start, lest it never end


@dataclass(frozen=True, slots=True)
class Audit:
    """`buys`: samples and strategies at the most; `nodes`: steps in the text; `depth`: steps in steps, calls
    followed."""

    nodes: int
    depth: int
    buys: int


def audit(found: s.Document, caps: Caps) -> Audit:
    """Raises `CallerError` for a document above the caps, and for calls of what is not defined or of themselves."""
    nodes = 0
    for place, step in walk(found):
        nodes += 1
        if step.do == "loop" and step.most > caps.rounds:
            raise CallerError(f"workflow: {place}.most: {step.most}, at most {caps.rounds} rounds are allowed")
        if step.do == "parallel" and len(step.branches) > caps.branches:
            raise CallerError(f"workflow: {place}.branches: {len(step.branches)}, at most {caps.branches} are allowed")
        if step.do == "call" and step.workflow not in found.define:
            known = ", ".join(found.define) or "nothing"
            raise CallerError(f"workflow: {place}.workflow: {step.workflow!r} is not defined (defined: {known})")
    if nodes > caps.nodes:
        raise CallerError(f"workflow: {nodes} steps, at most {caps.nodes} are allowed")
    sizes: dict[str, tuple[int, int]] = {}
    for name in found.define:
        _defined(name, found, sizes, ())
    buys, depth = _size(found.steps, found, sizes, ())
    for what, value, most in (("steps in steps", depth, caps.depth), ("purchases", buys, caps.buys)):
        if value > most:
            raise CallerError(f"workflow: it can come to {value:,} {what}, at most {most:,} are allowed")
    return Audit(nodes, depth, buys)


def walk(found: s.Document) -> Iterator[tuple[str, Any]]:
    """Every step of the text with its place."""
    yield from _walk(found.steps, "steps")
    for name, steps in found.define.items():
        yield from _walk(steps, f"define.{name}")


def _walk(steps: tuple[Any, ...], place: str) -> Iterator[tuple[str, Any]]:
    for i, step in enumerate(steps):
        here = f"{place}[{i}]"
        yield here, step
        for key, inner in below(step):
            yield from _walk(inner, f"{here}.{key}")


def below(step: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The steps in a step, by the key that they stand under."""
    for field, key in (("steps", "steps"), ("branches", "branches"), ("then", "then"), ("otherwise", "else")):
        if inner := getattr(step, field, None):
            yield key, inner


def _defined(name: str, found: s.Document, sizes: dict[str, tuple[int, int]], line: tuple[str, ...]) -> tuple[int, int]:
    if name in line:
        raise CallerError(f"workflow: define.{name} calls itself ({' -> '.join((*line[line.index(name) :], name))})")
    if name not in sizes:
        sizes[name] = _size(found.define[name], found, sizes, (*line, name))
    return sizes[name]


def _size(steps: Any, found: s.Document, sizes: dict[str, tuple[int, int]], line: tuple[str, ...]) -> tuple[int, int]:
    """(purchases at the most, depth)."""
    buys = depth = 0
    for step in steps:
        inner = [_size(one, found, sizes, line) for _, one in below(step)]
        if step.do == "call":
            inner = [_defined(step.workflow, found, sizes, line)]
        counts = [count for count, _ in inner]
        count = max(counts, default=0) if step.do == "if" else sum(counts)
        count *= step.most if step.do == "loop" else 1
        buys += count + (step.do in ("sample", "strategy"))
        depth = max(depth, 1 + max((d for _, d in inner), default=0))
    return buys, depth


def named_models(found: s.Document) -> tuple[str, ...]:
    """The models that a document names, in its order."""
    names: dict[str, None] = {}
    for _, step in walk(found):
        if step.do == "sample" and step.model is not None:
            names[step.model] = None
        elif step.do == "strategy":
            names.update(dict.fromkeys(models_of(find(step.name, **step.settings))))
    return tuple(names)


def vet(found: s.Document, trusted: bool, models: tuple[str, ...] | None) -> None:
    """Raises `CallerError` for a strategy that cannot be made, or that a document which is not `trusted` may not name,
    and for a model that is none of `models` (None: any)."""
    for place, step in walk(found):
        used: tuple[str, ...] = ()
        if step.do == "sample" and step.model is not None:
            used = (step.model,)
        elif step.do == "strategy":
            made = _made(step, place, trusted)
            used = models_of(made)
        for name in used:
            if models is not None and name not in models:
                allowed = f"allowed: {', '.join(models)}" if models else "leave `model` out"
                raise CallerError(f"workflow: {place}.model: {name!r} is not allowed here ({allowed})")


def _made(step: Any, place: str, trusted: bool) -> Any:
    try:
        if not trusted:
            _tame(step, place)
        return find(step.name, **step.settings)
    except UnknownName as error:
        raise CallerError(f"workflow: {place}.name: {error}") from error
    except CallerError as error:
        text = str(error)
        raise error if text.startswith("workflow: ") else CallerError(f"workflow: {place}: {text}") from error


def _tame(step: Any, place: str) -> None:
    """Names and settings can import any module (`module:attribute`, "@"): not from a text that nobody vouches for."""
    if step.name not in BUILT_IN:
        raise UnknownName.of("strategy", step.name, set(BUILT_IN) - set(WRITERS))
    if step.name in WRITERS:
        raise CallerError(f"workflow: {place}.name: {step.name!r} is not allowed inside a workflow")
    for key, value in step.settings.items():
        if key in ("model", "models") or key.endswith(("_model", "_models")):
            continue  # names with colons are usual here, and models are checked by themselves
        for text in _texts(value):
            if ":" in text or "@" in text or text in WRITERS:
                raise CallerError(f"workflow: {place}.settings.{key}: {text!r:.60} needs a trusted workflow")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
