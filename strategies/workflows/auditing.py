"""What a workflow could come to: how many steps, how deep, how many purchases at the most; calls that cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ...core.effects import Effect, Gather, Race, Sample, Within
from ...core.errors import CallerError, SatisficeError, UnknownName
from ...core.task import Task
from ..registry import find, find_untrusted, models_of
from .caps import Caps

if TYPE_CHECKING:
    from . import schema as s

LARGEST, LONGEST = 1_000, 64  # numbers and lists in the settings of a strategy that nobody vouches for
FREE = ("tokens", "chars", "thinking")  # how the names of settings end that may be larger
SAMPLE_TASK = Task.of("How much is 1 + 1?", "number")  # by which the purchases of a strategy are counted


@dataclass(frozen=True, slots=True)
class Audit:
    """`buys`: samples and strategies at the most; `nodes`: steps in the text; `depth`: steps in steps, calls
    followed; `moves`: steps of any kind that a run does at the most."""

    nodes: int
    depth: int
    buys: int
    moves: int


@dataclass(frozen=True, slots=True)
class _Size:
    buys: int = 0
    depth: int = 0
    moves: int = 0


def audit(found: s.Document, caps: Caps, costs: Mapping[int, int] | None = None) -> Audit:
    """Raises `CallerError` for a document above the caps, and for calls of what is not defined or of themselves.
    `costs`: the purchases of its strategies (see `vet`), which else count as one each."""
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
    sizer = _Sizer(found, costs or {})
    for name in found.define:
        sizer.defined(name, ())
    size = sizer.of(found.steps, ())
    for what, value, most in (
        ("steps in steps", size.depth, caps.depth),
        ("purchases", size.buys, caps.buys),
        ("steps done", size.moves, caps.moves),
    ):
        if value > most:
            raise CallerError(f"workflow: it can come to {value:,} {what}, at most {most:,} are allowed")
    return Audit(nodes, size.depth, size.buys, size.moves)


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
    for attribute, key in (("steps", "steps"), ("branches", "branches"), ("then", "then"), ("otherwise", "else")):
        if inner := getattr(step, attribute, None):
            yield key, inner


@dataclass(slots=True)
class _Sizer:
    found: s.Document
    costs: Mapping[int, int]
    sizes: dict[str, _Size] = field(default_factory=dict)

    def defined(self, name: str, line: tuple[str, ...]) -> _Size:
        if name in line:
            ring = " -> ".join((*line[line.index(name) :], name))
            raise CallerError(f"workflow: define.{name} calls itself ({ring})")
        if name not in self.sizes:
            self.sizes[name] = self.of(self.found.define[name], (*line, name))
        return self.sizes[name]

    def of(self, steps: Any, line: tuple[str, ...]) -> _Size:
        buys = depth = moves = 0
        for step in steps:
            inner = [self.of(one, line) for _, one in below(step)]
            if step.do == "call":
                inner = [self.defined(step.workflow, line)]
            total = max if step.do == "if" else sum
            times = step.most if step.do == "loop" else 1
            own = self.costs.get(id(step), 1) if step.do in ("sample", "strategy") else 0
            buys += times * total([one.buys for one in inner] or [0]) + own
            moves += times * total([one.moves for one in inner] or [0]) + times
            depth = max(depth, 1 + max((one.depth for one in inner), default=0))
        return _Size(buys, depth, moves)


@dataclass(frozen=True, slots=True)
class Vetted:
    """The models that a document names, in its order, and by `id` of its strategies' steps what each buys at least."""

    models: tuple[str, ...]
    costs: dict[int, int]


def vet(found: s.Document, trusted: bool, models: tuple[str, ...] | None) -> Vetted:
    """Raises `CallerError` for a strategy that cannot be made, or that a document which is not `trusted` may not name,
    and for a model that is none of `models` (None: any)."""
    named: dict[str, None] = {}
    costs: dict[int, int] = {}
    for place, step in walk(found):
        used: tuple[str, ...] = ()
        if step.do == "sample" and step.model is not None:
            used = (step.model,)
        elif step.do == "strategy":
            used, costs[id(step)] = _weighed(step, place, trusted)
        for name in used:
            if models is not None and name not in models:
                allowed = f"allowed: {', '.join(models)}" if models else "leave `model` out"
                raise CallerError(f"workflow: {place}.model: {name!r} is not allowed here ({allowed})")
        named.update(dict.fromkeys(used))
    return Vetted(tuple(named), costs)


def _weighed(step: Any, place: str, trusted: bool) -> tuple[tuple[str, ...], int]:
    """The models that a strategy names, and how many completions it needs at least."""
    try:
        if not trusted:
            _tame(step.settings, f"{place}.settings")
        made = made_of(step, trusted)
        return models_of(made), max(1, _cost(made))
    except UnknownName as error:
        key = "name" if error.details.get("name") == step.name else "settings"
        raise CallerError(f"workflow: {place}.{key}: {error}") from error
    except SatisficeError as error:
        text = str(error)
        raise CallerError(text if text.startswith("workflow: ") else f"workflow: {place}: {text}") from error
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        raise CallerError(f"workflow: {place}.settings: these make no {step.name!r}: {said:.300}") from error


def made_of(step: Any, trusted: bool) -> Any:
    """The strategy that a step runs. Raises as `find` does."""
    return (find if trusted else find_untrusted)(step.name, **step.settings)


def _cost(made: Any) -> int:
    """Completions that a strategy needs at least, or all strategies in its settings: it may well run them all."""
    needs = getattr(made, "needs", None)
    values = [getattr(made, one.name) for one in fields(made)] if is_dataclass(made) else []
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    # A coordinator or a check has `needs` too, of other arguments: those are no purchases of their own.
    inner = sum(_cost(part) for part in parts if hasattr(part, "needs") and hasattr(part, "pays"))
    return max(inner, _calls(needs(SAMPLE_TASK)) if needs is not None else 0)


def _calls(effects: Iterable[Effect[Any]]) -> int:
    calls = 0
    for effect in effects:
        if isinstance(effect, Gather | Race):
            calls += _calls(effect.branches)
        elif isinstance(effect, Within):
            needs = getattr(effect.strategy, "needs", None)
            calls += _calls(needs(effect.task)) if needs is not None else 1
        calls += isinstance(effect, Sample)
    return calls


def _tame(settings: Any, place: str) -> None:
    """Settings that nobody vouches for are data of a usual size. Raises `CallerError` for what would import a module,
    would not be known as the name of a model, would be kept for other runs, or is so large that to look at it is
    dear."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            here = f"{place}.{key}"
            if key.startswith("@") or key == "topic":
                raise CallerError(f"workflow: {here}: needs a trusted workflow (trusted=true)")
            if key in ("model", "models") or key.endswith(("_model", "_models")):
                several = value if isinstance(value, list) else [value]
                if not all(one is None or isinstance(one, str) for one in several):
                    raise CallerError(f"workflow: {here}: {value!r:.60}, expected names of models")
            if not (key.endswith(FREE) and isinstance(value, int)):
                _tame(value, here)
    elif isinstance(settings, list):
        if len(settings) > LONGEST:
            raise CallerError(f"workflow: {place}: {len(settings):,} entries, at most {LONGEST} are allowed")
        for i, value in enumerate(settings):
            _tame(value, f"{place}[{i}]")
    elif isinstance(settings, int | float) and not isinstance(settings, bool):
        most = LONGEST if place.endswith(".agents") else LARGEST
        if not abs(settings) <= most:
            raise CallerError(f"workflow: {place}: {settings:,}, at most {most:,} is allowed")
