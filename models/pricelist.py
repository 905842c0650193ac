"""What hosted models cost and hold, from the price list that litellm ships.

Read from the package's own files, without importing litellm: that takes seconds, and asking what something costs
should not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from ..budgets.prices import Price, Tier
from ..core.amounts import nanos

PICO = 1_000_000_000_000
_TIER = re.compile(r"(input|output)_cost_per_token_above_(\d+)k_tokens")
_TALKS = ("chat", "responses", "completion")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list. `price` is None where the list has none for tokens; `context` and `max_output` are
    tokens."""

    price: Price | None
    context: int | None
    max_output: int | None


@lru_cache(maxsize=1)
def _table() -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = _bundled("model_prices_and_context_window_backup.json")
    if not found:  # a litellm that keeps its list elsewhere
        from .lite import load_litellm

        found = load_litellm().model_cost
    return {name: line for name, line in found.items() if line.get("mode") in _TALKS}


def _bundled(file: str) -> dict[str, Any]:
    spec = find_spec("litellm")
    path = Path(spec.origin).with_name(file) if spec and spec.origin else None
    if path is None or not path.is_file():
        return {}
    data: dict[str, Any] = json.loads(path.read_bytes())
    return data


@lru_cache(maxsize=1)
def providers() -> frozenset[str]:
    """The prefixes that litellm understands (openai, anthropic, ollama ...)."""
    named = _bundled("provider_endpoints_support_backup.json").get("providers", {})
    priced = {str(line.get("litellm_provider", "")) for line in _table().values()}
    return frozenset(name for name in {*named, *priced} if name and "/" not in name)


def names() -> list[str]:
    """Every model on the list that can chat, as written there."""
    return list(_table())


def look_up(model: str) -> Listed | None:
    """The line of `model` ("openai/gpt-4o-mini", "gpt-4o-mini"), or None if the list has none."""
    line = _table().get(model)
    if line is None and "/" in model:
        # Most providers' models stand under their bare name, with the provider beside it.
        provider, bare = model.split("/", 1)
        line = _table().get(bare)
        if line is not None and not re.match(rf"{re.escape(provider)}(?![a-z0-9_])", _provider(line)):
            line = None
    if line is None:
        return None
    return Listed(_price(line), _tokens(line, "max_input_tokens"), _tokens(line, "max_output_tokens"))


def _provider(line: Mapping[str, Any]) -> str:
    # "bedrock_converse" and "vertex_ai-language-models" are bedrock and vertex_ai.
    return str(line.get("litellm_provider", "")).replace("_converse", "").replace("_chat", "").replace("-", " ")


def _price(line: Mapping[str, Any]) -> Price | None:
    prompt, completion = line.get("input_cost_per_token"), line.get("output_cost_per_token")
    # Zero for both stands for free, for yet unknown and for billed otherwise alike, so it is no price.
    if prompt is None or completion is None or not (prompt or completion):
        return None
    completion = max(completion, line.get("output_cost_per_reasoning_token") or 0)
    cached = line.get("cache_read_input_token_cost")
    return Price(
        _pico(prompt),
        _pico(completion),
        None if cached is None else _pico(cached),
        per_call=_per_call(line),
        tiers=_tiers(line, prompt, completion),
        source="litellm",
    )


def _tiers(line: Mapping[str, Any], prompt: float, completion: float) -> tuple[Tier, ...]:
    found: dict[int, dict[str, float]] = {}
    for key, value in line.items():
        match = _TIER.fullmatch(key)
        if match and value is not None:
            found.setdefault(int(match[2]) * 1000, {})[match[1]] = value
    return tuple(
        Tier(above, _pico(costs.get("input", prompt)), _pico(costs.get("output", completion)))
        for above, costs in sorted(found.items())
    )


def _per_call(line: Mapping[str, Any]) -> int:
    """Nano-dollars for each call, for models that always search the web (others only where a tool asks for it)."""
    fees = line.get("search_context_cost_per_query")
    if line.get("litellm_provider") != "perplexity" or not isinstance(fees, dict):
        return 0
    return nanos(max(fees.values(), default=0))


def _pico(usd_per_token: float) -> int:
    return ceil(round(usd_per_token * PICO, 6))


def _tokens(line: Mapping[str, Any], key: str) -> int | None:
    value = line.get(key)
    return int(value) if isinstance(value, int | float) and value > 0 else None
