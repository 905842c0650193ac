"""Finding a strategy: by name, by entry point, or as `module:attribute`."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..core.completions import Params
from ..core.errors import CallerError, UnknownName
from ..core.plans import Strategy
from ..core.verdict import name_of
from .best_of_n import BestOfN
from .self_consistency import SelfConsistency
from .single_shot import SingleShot

BUILT_IN: dict[str, type[Any]] = {s.name: s for s in (SingleShot, SelfConsistency, BestOfN)}
GROUP = "satisfice.strategies"


def find(name: str, **settings: Any) -> Strategy:
    """The strategy called `name` (built in, from an entry point of group `satisfice.strategies`, or
    `module:attribute`), made with `settings`. Raises `UnknownName`, or `CallerError` for a bad setting."""
    if name in BUILT_IN:
        return _make(BUILT_IN[name], name, settings)
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name in plugins:
        return _make(plugins[name].load(), name, settings)
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            return _make(getattr(import_module(module), attribute), name, settings)
        except (ImportError, AttributeError) as error:
            raise UnknownName(f"cannot load strategy {name!r}: {error}", kind="strategy", name=name) from error
    raise UnknownName.of("strategy", name, {"auto", *BUILT_IN, *plugins})


def choose(name: str, checked: bool) -> str:
    """What `auto` stands for: best-of-n where there is a check, else self-consistency."""
    return name if name != "auto" else BestOfN.name if checked else SelfConsistency.name


def listing() -> list[dict[str, Any]]:
    """Name, summary and settings of every strategy that can be named."""
    rows = []
    loaded = {**BUILT_IN, **{p.name: p.load() for p in entry_points(group=GROUP)}}
    for name, made in loaded.items():
        rows.append(
            {
                "name": name,
                "summary": " ".join((made.__doc__ or "").split()).partition(". ")[0].rstrip("."),
                "settings": {f.name: str(f.type) for f in fields(made)} if is_dataclass(made) else {},
            }
        )
    return rows


def settings_of(strategy: Any) -> dict[str, Any]:
    """The settings with which `find` makes this strategy again (those that JSON can hold)."""
    if not is_dataclass(strategy):
        return {}
    values = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    values = {k: asdict(v) if isinstance(v, Params) else v for k, v in values.items()}
    return {k: v for k, v in values.items() if k == "params" or isinstance(v, str | int | float | bool | None)}


def address_of(strategy: Strategy) -> str:
    """The name by which `find` finds this strategy's class again, or "" where there is none."""
    name = name_of(strategy)
    made = type(strategy)
    if BUILT_IN.get(name) is made:
        return name
    owner = strategy if hasattr(strategy, "__qualname__") else made
    qualified = getattr(owner, "__qualname__", "")
    return f"{owner.__module__}:{qualified}" if qualified.isidentifier() else ""


def _make(made: Any, name: str, settings: dict[str, Any]) -> Strategy:
    if isinstance(stored := settings.get("params"), dict):
        extra = tuple((key, value) for key, value in stored["extra"])
        settings = {**settings, "params": Params(**{**stored, "stop": tuple(stored["stop"]), "extra": extra})}
    if not callable(made):
        raise UnknownName(f"{name!r} is not a strategy: it cannot be called", kind="strategy", name=name)
    if is_dataclass(made) and not isinstance(made, type):
        return replace(made, **settings)  # type: ignore[return-value]
    if not isinstance(made, type):
        return made  # type: ignore[no-any-return]
    try:
        return made(**settings)  # type: ignore[no-any-return]
    except TypeError as error:
        raise CallerError(f"strategy {name!r}: {error}") from error
