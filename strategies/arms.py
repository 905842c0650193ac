"""Arms of the allocator: which strategies are single draws, and by what a policy knows each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..core.completions import Params
from ..core.effects import Sample
from ..core.plans import Strategy
from ..core.task import Task
from ..core.verdict import name_of
from .prompting import draw
from .single_shot import SingleShot

WARM = Params(temperature=0.7)  # of draws that are to differ


def drawing(arm: Strategy) -> bool:
    """Whether an arm is a draw that can be repeated: a plain single shot."""
    return isinstance(arm, SingleShot) and not arm.waits and not arm.ending


def repeats(arm: Strategy) -> bool:
    """Whether a second draw of an arm can differ from the first."""
    return isinstance(arm, SingleShot) and drawing(arm) and arm.drawn.temperature != 0


def drawn_by(arm: SingleShot, task: Task) -> Sample:
    """The effect that draws once."""
    return draw(task, arm.model, arm.drawn)


def draws_of(models: Sequence[str], params: Params = WARM) -> tuple[SingleShot, ...]:
    """One arm for each model: a draw of it, by default warm enough that draws differ."""
    return tuple(SingleShot(model=model, params=params) for model in models)


def arm_key(arm: Strategy) -> str:
    """By what a policy knows an arm: its strategy with the settings that are not the defaults, "@", its models, as in
    "single_shot:effort=high@o4-mini". Sampling parameters are not part of it."""
    from .registry import models_of

    name = name_of(arm)
    models = "+".join(models_of(arm))
    plain = ",".join(f"{key}={_text(value)}" for key, value in _settings(arm))
    return f"{name}{':' if plain else ''}{plain}{'@' if models else ''}{models}"


def _settings(arm: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for f in fields(arm) if is_dataclass(arm) else ():
        value = getattr(arm, f.name)
        named = f.name in ("model", "models") or f.name.endswith(("_model", "_models"))
        if named or isinstance(value, Params) or value == f.default:
            continue
        if isinstance(value, tuple) and any(map(is_dataclass, value)):
            value = [arm_key(one) if callable(one) else repr(one) for one in value]
        found.append((f.name, value))
    return found


def _text(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError):
        return name_of(value) if callable(value) else repr(value)


def armed(models: Sequence[str], known: Sequence[str], find: Any, params: Params = WARM) -> tuple[Strategy, ...]:
    """The arms of a request: a draw of each of its models, and what a policy knows (`known`: keys) of ways to use one
    of them. `find` makes a strategy of its text; a key that it cannot read is none."""
    arms: list[Strategy] = list(draws_of(models, params))
    keys = set(map(arm_key, arms))
    for key in known:
        text, _, model = key.rpartition("@")
        if key in keys or model not in models or not text:
            continue
        try:
            made = find(text)
            made = replace(made, model=model)
        except Exception:  # a name that only a bank knows, or a strategy of several models
            continue
        if isinstance(made, SingleShot):
            made = replace(made, params=params)
        if arm_key(made) == key:
            arms.append(made)
            keys.add(key)
    return tuple(arms)
