"""What is recorded of the models: their names in the bank, fingerprints and prices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...core.errors import CallerError
from ...scheduler.engine import Engine
from ..retracing import SETTINGS
from .asked import Asked
from .conditions import Condition
from .units import Plan


def split_name(text: str) -> tuple[str, str]:
    """`NAME=TARGET` (recorded as NAME, asked as TARGET) or just a model's name. Raises `CallerError`."""
    name, is_, target = text.partition("=")
    if not name or (is_ and not target):
        raise CallerError(f"--model {text!r}: expected a model, or NAME=MODEL to record it under another name")
    return name, target or name


def install(engine: Engine, targets: Mapping[str, str]) -> None:
    """Makes models known under the names that they are recorded by. Raises as `Catalog.entry` does."""
    for name, target in targets.items():
        if name != target:
            entry = engine.catalog.entry(target)
            model = engine.catalog.model(target)
            engine.register(name, model, entry.price, entry.batch, entry.context)
            same = {field: getattr(entry, field) for field in ("provider_model", "params", "max_output", "timeout")}
            engine.catalog.revise(name, **same)


def facts_of(engine: Engine, plan: Plan, asked: Asked, calls: int) -> dict[str, Any]:
    """What the manifest says of a recording: models, prices, prompts, source and licence."""
    names = dict.fromkeys((*plan.models, *plan.judges))
    conditions = {
        f"{name} {c.arm}": {"prompts": dict(c.prompts), "prefill": c.prefill, "params": params_of(c)}
        for name in plan.models
        for c in plan.conditions
    }
    runs = {text: {"prompts": dict(plan.prompts), "calls": calls} for text in plan.strategies}
    facts = {"conditions": conditions, SETTINGS: runs}
    return {
        "source": asked.source,
        "licence": asked.licence,
        "models": {name: {"fingerprint": fingerprint(engine, name)} for name in names},
        "prices": {name: _price(engine, name) for name in names},
        **{name: told for name, told in facts.items() if told},
    }


def params_of(condition: Condition) -> dict[str, Any]:
    """How a condition samples, as the manifest has it."""
    params = condition.params()
    return {"temperature": params.temperature, "max_tokens": params.max_tokens, "stop": list(params.stop)}


def fingerprint(engine: Engine, name: str) -> str:
    """Of a model in a file, the file's SHA-256; else the provider's name of it."""
    path = getattr(engine.catalog.model(name), "path", None)
    entry = engine.catalog.entry(name)
    return _sha(path) if isinstance(path, Path) else f"{entry.provider_model}"


def identity(engine: Engine, name: str, target: str) -> list[Any]:
    """What tells a model (`target`, known as `name`) apart from others of its name: where it is asked, and how."""
    entry, alias = engine.catalog.entry(name), engine.settings.models.get(target)
    kind = type(engine.catalog.model(name)).__qualname__
    return [fingerprint(engine, name), kind, alias.api_base if alias else None, dict(entry.params)]


@lru_cache(maxsize=16)
def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _price(engine: Engine, name: str) -> dict[str, Any]:
    price = engine.catalog.entry(name).price
    return {"prompt": price.prompt, "completion": price.completion, "source": price.source}
