"""Finding a strategy: by name, by entry point, or as `module:attribute`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from inspect import cleandoc
from typing import Any

from ..core.effects import Ask, CallTool, Effect, Gather, Race, Sample, Score, Within
from ..core.errors import CallerError, SatisficeError, UnknownName
from ..core.plans import Strategy
from ..core.task import Task
from ..core.verdict import name_of
from .settings import described_settings, is_needed, prepared, taken, written
from .storing import OURS, loaded, revived, spelled, stored

BUILT_IN: Mapping[str, str] = {
    "auto": "auto:Auto",
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
WRITERS = ("workflow", "orchestrate")  # what a workflow that is not trusted may not start, lest it never end
_FIRST = re.compile(r"(?<!\bal)\. ")  # the end of the first sentence


def find(name: str, /, **settings: Any) -> Strategy:
    """The strategy called `name` (built in, from an entry point of group `satisfice.strategies`, or
    `module:attribute`), made with `settings`. Settings that are strategies may be given as text, see `strategy_of`.
    Raises `UnknownName`, or `CallerError` for a bad setting."""
    if name in BUILT_IN:
        return _make(built_in(name), name, settings)
    if ":" in name:
        _no_settings(name)
        return _make(loaded(name), name, settings)
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name in plugins:
        return _make(plugins[name].load(), name, settings)
    raise UnknownName.of("strategy", name, {*BUILT_IN, *plugins})


def find_untrusted(name: str, /, **settings: Any) -> Strategy:
    """As `find`, for what nobody vouches for, such as a workflow that a model wrote: a built-in strategy, and in its
    settings likewise; nothing is imported by its address, and no file is read. Raises as `find` does."""
    if name in WRITERS:
        raise UnknownName(f"{name!r} is not allowed inside a workflow", kind="strategy", name=name)
    if name not in BUILT_IN:
        if name.partition(":")[0] in BUILT_IN or name in {point.name for point in entry_points(group=GROUP)}:
            form = '{"strategy": NAME, "key": value} does without' if ":" in name else "built-in ones do without"
            raise UnknownName(f"{name!r} needs a trusted workflow (trusted=true); {form}", kind="strategy", name=name)
        raise UnknownName.of("strategy", name, set(BUILT_IN) - set(WRITERS))
    return _make(built_in(name), name, settings, trusted=False)


def find_recorded(name: str, /, **settings: Any) -> Strategy:
    """As `find`, for what stands in a file that somebody else may have made, such as a bank or a policy: built-in and
    installed strategies, and this package's own classes; no other address is imported, no file is read, and no workflow
    is trusted. Raises as `find` does."""
    if name in BUILT_IN:
        if settings.get("trusted"):
            raise CallerError(f"{name}: trusted=true has to be said by whoever asks, not by a bank or a policy")
        return _make(built_in(name), name, settings, trusted=False, finds=find_recorded)
    if name.startswith(OURS) and is_dataclass(made := loaded(name)) and isinstance(made, type):
        return _make(made, name, settings, trusted=False, finds=find_recorded)
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name in plugins:
        return _make(plugins[name].load(), name, settings, trusted=False, finds=find_recorded)
    if ":" in name:
        text = f"{name!r:.80}: a bank or a policy does not import what it names: install it as an entry point"
        raise UnknownName(text, kind="strategy", name=name)
    raise UnknownName.of("strategy", name, {*BUILT_IN, *plugins})


def recorded_strategy(text: str) -> Strategy:
    """As `strategy_of`, for a text that a bank or a policy holds: see `find_recorded`."""
    found: Strategy = spelled(text, find_recorded, files=False)
    return found


def strategy_of(text: str) -> Strategy:
    """The strategy that `NAME[:key=value,...]` stands for, e.g. `self_consistency:samples=5` or
    `fusion:members=["single_shot","self_consistency:samples=3"]`; the file of a workflow (`flow.yaml`) stands for that.
    Raises as `find` does."""
    if text.endswith((".yaml", ".yml", ".json")) and ":" not in text:
        text = f"workflow:source=@{text}"
    found: Strategy = spelled(text, find)
    return found


def _no_settings(text: str) -> None:
    """Raises `CallerError` for `NAME:something`, whose something is neither settings nor an attribute of a module."""
    name, _, rest = text.partition(":")
    if name not in BUILT_IN:
        return
    listed = [f.name for f in fields(built_in(name))]
    if rest in listed:
        example = f"{name}:{rest}=VALUE"
    else:
        example = (
            f"workflow:source=@{rest.lstrip('@') or 'flow.yaml'}" if name == "workflow" else f"{name}:{listed[0]}=VALUE"
        )
    raise CallerError(f"{text!r}: settings are key=value, as {example}. Its settings: {', '.join(listed)}", name=name)


def built_in(name: str) -> Any:
    """The class of a built-in strategy."""
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(import_module(f".{module}", __package__), attribute)


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


def described(name: str) -> dict[str, Any]:
    """One strategy: as its row in `listing`, its whole text as `about`, and each setting in `takes`: its `type`, what
    it `expects` in words, whether it is `needed`, its `default` as JSON where it has one that JSON can hold, and the
    `values` where there are only so many. Raises `UnknownName`."""
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name not in BUILT_IN and name not in plugins and ":" not in name:
        raise UnknownName.of("strategy", name, {*BUILT_IN, *plugins})
    made = built_in(name) if name in BUILT_IN else plugins[name].load() if name in plugins else loaded(name)
    takes = described_settings(made, lambda value: stored(value, address_of))
    about = cleandoc(made.__doc__ or "")
    return {**_row(name, made), "about": about, "takes": takes}


def _row(name: str, made: Any) -> dict[str, Any]:
    settings = fields(made) if is_dataclass(made) else ()
    needed = [f.name for f in settings if is_needed(f)]
    return {
        "name": name,
        "summary": _FIRST.split(" ".join((made.__doc__ or "").split()), maxsplit=1)[0].rstrip("."),
        "settings": {f.name: written(f.type) for f in settings},
        "needed": needed,
        "least": least(made) if made is not None else "",
        "pays": " ".join(str(getattr(made, "pays", "")).split()),
    }


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


def _make(made: Any, name: str, settings: dict[str, Any], trusted: bool = True, finds: Any = None) -> Strategy:
    if not callable(made):
        raise UnknownName(f"{name!r} is not a strategy: it cannot be called", kind="strategy", name=name)
    kinds = {f.name: written(f.type) for f in fields(made)} if is_dataclass(made) else {}
    ours, finds = finds is not None, finds or (find if trusted else find_untrusted)
    try:
        settings = prepared(settings, made, name) if kinds else settings
        given = {key: revived(value, kinds.get(key, ""), finds, trusted, ours) for key, value in settings.items()}
        given = taken(given, made, name) if kinds else given
        if is_dataclass(made) and not isinstance(made, type):
            return replace(made, **given)  # type: ignore[return-value]
        return made(**given) if isinstance(made, type) else made  # type: ignore[no-any-return]
    except SatisficeError:
        raise
    except TypeError as error:
        raise CallerError(f"strategy {name!r}: {error}{_known(kinds)}") from error


def _known(kinds: Mapping[str, str]) -> str:
    return f". Its settings: {', '.join(kinds)}" if kinds else ""
