"""Finding a strategy: by name, by entry point, or as `module:attribute`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from inspect import formatannotation
from typing import Any

from ..core.effects import Ask, CallTool, Effect, Gather, Race, Sample, Score, Within
from ..core.errors import CallerError, SatisficeError, UnknownName
from ..core.plans import Strategy
from ..core.task import Task
from ..core.verdict import name_of
from .storing import loaded, revived, spelled, stored

BUILT_IN: Mapping[str, str] = {
    "single_shot": "single_shot:SingleShot",
    "self_consistency": "self_consistency:SelfConsistency",
    "best_of_n": "best_of_n:BestOfN",
    "react": "react:React",
    "tree_search": "tree_search:TreeSearch",
    "reflexion": "reflexion:Reflexion",
    "debate": "debate:Debate",
    "fusion": "fusion:Fusion",
    "cascade": "cascade:Cascade",
    "experts": "experts:Experts",
    "workflow": "workflow:Workflow",
    "orchestrate": "orchestrate:Orchestrate",
    "roles": "roles:Roles",
}
GROUP = "satisfice.strategies"
_FIRST = re.compile(r"(?<!\bal)\. ")  # the end of the first sentence


def find(name: str, /, **settings: Any) -> Strategy:
    """The strategy called `name` (built in, from an entry point of group `satisfice.strategies`, or
    `module:attribute`), made with `settings`. Settings that are strategies may be given as text, see `strategy_of`.
    Raises `UnknownName`, or `CallerError` for a bad setting."""
    if name in BUILT_IN:
        return _make(built_in(name), name, settings)
    if ":" in name:
        return _make(loaded(name), name, settings)
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name in plugins:
        return _make(plugins[name].load(), name, settings)
    raise UnknownName.of("strategy", name, {"auto", *BUILT_IN, *plugins})


def strategy_of(text: str) -> Strategy:
    """The strategy that `NAME[:key=value,...]` stands for, e.g. `self_consistency:samples=5` or
    `fusion:members=["single_shot","self_consistency:samples=3"]`. Raises as `find` does."""
    found: Strategy = spelled(text, find)
    return found


def built_in(name: str) -> Any:
    """The class of a built-in strategy."""
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(import_module(f".{module}", __package__), attribute)


def choose(name: str, checked: bool) -> str:
    """What `auto` stands for: best-of-n where there is a check, else self-consistency."""
    return name if name != "auto" else "best_of_n" if checked else "self_consistency"


def listing() -> list[dict[str, Any]]:
    """Every strategy that can be named: `name`, `summary`, `settings` (name to type), those that are `needed`, what it
    costs at `least`, and when it `pays`. One whose plugin cannot be loaded says so in its summary."""
    rows = [_row(name, built_in(name)) for name in BUILT_IN]
    for point in entry_points(group=GROUP):
        try:
            rows.append(_row(point.name, point.load()))
        except Exception as error:  # whatever a plugin's module does when it is imported
            rows.append({**_row(point.name, None), "summary": f"cannot be loaded: {type(error).__name__}: {error}"})
    return rows


def _row(name: str, made: Any) -> dict[str, Any]:
    settings = fields(made) if is_dataclass(made) else ()
    needed = [f.name for f in settings if f.default is MISSING and f.default_factory is MISSING]
    return {
        "name": name,
        "summary": _FIRST.split(" ".join((made.__doc__ or "").split()), maxsplit=1)[0].rstrip("."),
        "settings": {f.name: _kind(f.type) for f in settings},
        "needed": needed,
        "least": least(made) if made is not None else "",
        "pays": " ".join(str(getattr(made, "pays", "")).split()),
    }


def _kind(annotation: Any) -> str:
    """A field's type as it is written."""
    return annotation if isinstance(annotation, str) else formatannotation(annotation)


def least(made: Any) -> str:
    """What a strategy says that its first answer takes, with its own defaults, in words ("1 call")."""
    try:
        strategy = made() if isinstance(made, type) else made
        effects = strategy.needs(Task.of("How much is 1 + 1?", "number"))
        calls, checks, tools = _counts(tuple(effects))
    except Exception:  # it does not say, or has settings without a default
        return "unknown"
    said = [(calls, "call"), (checks, "verdict"), (tools, "tool call")]
    return ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in said if n) or "nothing"


def _counts(effects: tuple[Effect[Any], ...]) -> tuple[int, int, int]:
    calls = checks = tools = 0
    for effect in effects:
        inner: tuple[Effect[Any], ...] = ()
        if isinstance(effect, Gather | Race):
            inner = effect.branches
        elif isinstance(effect, Within):
            inner = tuple(getattr(effect.strategy, "needs", lambda _: ())(effect.task))
        below = _counts(inner)
        calls += isinstance(effect, Sample) + below[0]
        checks += isinstance(effect, Score) + below[1]
        tools += isinstance(effect, CallTool | Ask) + below[2]
    return calls, checks, tools


def settings_of(strategy: Any) -> dict[str, Any]:
    """The settings with which `find` makes this strategy again, as JSON (those that JSON can hold)."""
    if not is_dataclass(strategy):
        return {}
    found = {}
    for field in fields(strategy):
        try:
            found[field.name] = stored(getattr(strategy, field.name), address_of)
        except ValueError:
            continue
    return found


def models_of(strategy: Any) -> tuple[str, ...]:
    """The models that a strategy's settings name (`model`, `models`, `*_model`, `*_models`), those of strategies and
    parts inside it included."""
    found: dict[str, None] = {}
    for field in fields(strategy) if is_dataclass(strategy) else ():
        value = getattr(strategy, field.name)
        several = value if isinstance(value, tuple | list) else (value,)
        named = field.name in ("model", "models") or field.name.endswith(("_model", "_models"))
        for one in several:
            names = (one,) if named and isinstance(one, str) else models_of(one)
            found.update(dict.fromkeys(names))
    return tuple(found)


def address_of(strategy: Any) -> str:
    """The name by which `find` finds this strategy's class again, or "" where there is none."""
    name = name_of(strategy)
    made = type(strategy)
    if name in BUILT_IN and built_in(name) is made:
        return name
    owner = strategy if hasattr(strategy, "__qualname__") else made
    qualified = getattr(owner, "__qualname__", "")
    return f"{owner.__module__}:{qualified}" if qualified.isidentifier() else ""


def _make(made: Any, name: str, settings: dict[str, Any]) -> Strategy:
    if not callable(made):
        raise UnknownName(f"{name!r} is not a strategy: it cannot be called", kind="strategy", name=name)
    kinds = {f.name: _kind(f.type) for f in fields(made)} if is_dataclass(made) else {}
    try:
        given = {key: revived(value, kinds.get(key, ""), find) for key, value in settings.items()}
        if is_dataclass(made) and not isinstance(made, type):
            return replace(made, **given)  # type: ignore[return-value]
        return made(**given) if isinstance(made, type) else made  # type: ignore[no-any-return]
    except SatisficeError:
        raise
    except TypeError as error:
        raise CallerError(f"strategy {name!r}: {error}{_known(kinds)}") from error


def _known(kinds: Mapping[str, str]) -> str:
    return f". Its settings: {', '.join(kinds)}" if kinds else ""
