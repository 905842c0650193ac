"""What hosted models cost and hold, from the price list that litellm ships.

Read from the package's own files, without importing litellm: that takes seconds, and asking what something costs
should not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from ..budgets.hours import WEEK, Window
from ..budgets.prices import OffPeak, Price, Tier, pico
from ..core.amounts import NANO
from ..core.errors import CallerError

MILLION = 1_000_000
_TIER = re.compile(r"(?:input|output)_cost_per_token_above_((\d+)k)_tokens")
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


@lru_cache(maxsize=4096)
def look_up(model: str) -> Listed | None:
    """The line of `model` ("openai/gpt-4o-mini", "gpt-4o-mini"), or None if the list has none."""
    line = _table().get(canonical(model))
    if line is None:
        return None
    return Listed(_price(line), _tokens(line, "max_input_tokens"), _tokens(line, "max_output_tokens"))


def canonical(model: str) -> str:
    """The name under which the list has `model`, or `model` itself where it has none."""
    if model in _table() or "/" not in model:
        return model
    # Most providers' models stand under their bare name, with the provider beside it.
    provider, bare = model.split("/", 1)
    line = _table().get(bare)
    known = line is not None and re.match(rf"{re.escape(provider)}(?![a-z0-9_])", _provider(line))
    return bare if known else model


def _provider(line: Mapping[str, Any]) -> str:
    # "bedrock_converse" and "vertex_ai-language-models" are bedrock and vertex_ai.
    return str(line.get("litellm_provider", "")).replace("_converse", "").replace("_chat", "").replace("-", " ")


# Under which names the list has our figures; `@` is what follows a name ("_above_200k_tokens", "_batches").
_NAMES = {
    "prompt": ("input_cost_per_token@",),
    "completion": ("output_cost_per_token@",),
    "cached": ("cache_read_input_token_cost@", "input_cost_per_token_cache_hit@"),
    "cache_write": ("cache_creation_input_token_cost@",),
    "reasoning": ("output_cost_per_reasoning_token@",),
}


def _price(line: Mapping[str, Any]) -> Price | None:
    if line.get("citation_cost_per_token"):
        return None  # what it reads on the web is billed too, and nothing in a request bounds that: it cannot be held
    base, tiers = _figures(line), _tiers(line)
    if not base and isinstance(line.get("tiered_pricing"), list):
        base, tiers = _table_of_tiers(line)
    # Zero for both stands for free, for yet unknown and for billed otherwise alike, so it is no price.
    if not {"prompt", "completion"} <= set(base) or not (base["prompt"] or base["completion"]):
        return None
    if line.get("litellm_provider") == "fireworks_ai":  # half, where the list has none; so does litellm reckon
        base.setdefault("cached", -(-base["prompt"] // 2))
    batch = _figures(line, "_batches")
    price = _made(base, tiers, _per_call(line))
    if {"prompt", "completion"} <= set(batch):
        rising = tiers | _tiers(line, "_batches")  # a tier without a discount of its own has none
        price = replace(price, batch=_made(batch, rising, price.per_call))
    return replace(price, off_peak=_off_peak(line, base, tiers, price.per_call))


def _figures(line: Mapping[str, Any], suffix: str = "") -> dict[str, int]:
    """Those of our figures that a line has, in pico-dollars per token."""
    found: dict[str, int] = {}
    for ours, theirs in _NAMES.items():
        told = (line.get(name.replace("@", suffix)) for name in theirs)
        usd = next((value for value in told if value is not None), None)
        if usd is not None:
            found[ours] = pico(round(Decimal(str(usd)) * MILLION, 12))  # without the noise of floats
    return found


def _made(base: Mapping[str, int], tiers: Mapping[int, Mapping[str, int]], per_call: int) -> Price:
    """A price. Tiers say what changes: prompt and completion stay as below it, the rest follows the tier's own."""
    plain = {name: base[name] for name in ("prompt", "completion")}
    rising, below = [], plain
    for above, told in sorted(tiers.items()):
        if {"prompt", "completion"} & set(told):
            below = below | {name: told[name] for name in plain if name in told}
            rising.append(Tier(above, **below, **_rest(below, told)))
    rest = _rest(plain, base)
    return Price(
        base["prompt"],
        base["completion"],
        rest.get("cached"),
        per_call,
        tuple(rising),
        "litellm",
        rest.get("cache_write"),
        rest.get("reasoning"),
    )


def _rest(plain: Mapping[str, int], told: Mapping[str, int]) -> dict[str, int]:
    rest = {name: told[name] for name in ("cached", "cache_write", "reasoning") if name in told}
    if rest.get("cache_write", 0) <= plain["prompt"]:  # a zero is a figure left out, or the fee of storing alone
        rest.pop("cache_write", None)
    return rest


def _tiers(line: Mapping[str, Any], after: str = "") -> dict[int, dict[str, int]]:
    marks = {(match[1], int(match[2]) * 1000) for key in line if (match := _TIER.fullmatch(key))}
    found = {above: _figures(line, f"_above_{text}_tokens{after}") for text, above in marks}
    # xAI bills the higher tier from its threshold on, the others above it.
    less = 1 if line.get("litellm_provider") == "xai" else 0
    return {above - less: told for above, told in found.items() if told}


def _table_of_tiers(line: Mapping[str, Any]) -> tuple[dict[str, int], dict[int, dict[str, int]]]:
    """The other way in which tiers are written: a list of ranges, the first from zero."""
    rows = {int(row["range"][0]): _figures(row) for row in line["tiered_pricing"] if len(row.get("range", ())) == 2}
    return rows.pop(0, {}), rows


def _off_peak(
    line: Mapping[str, Any], base: Mapping[str, int], tiers: Mapping[int, Mapping[str, int]], per_call: int
) -> tuple[OffPeak, ...]:
    """The hours of discount: their figures stand instead of the usual ones, in every tier. Hours that cannot be read
    are hours at the full price."""
    block = line.get("off_peak_pricing")
    if not isinstance(block, dict):
        return ()
    told = _figures(block)
    price = _made({**base, **told}, {above: {**figures, **told} for above, figures in tiers.items()}, per_call)
    rules = [{"hours_utc": block.get("hours_utc", ())}, *block.get("windows", ())]
    windows: list[Window] = []
    for rule in rules:
        hours = rule.get("hours_utc", ())
        for text in [hours] if isinstance(hours, str) else hours:
            with suppress(CallerError, TypeError):
                windows.append(Window.parse(text, rule.get("weekdays", WEEK), block.get("weekday_timezone", "UTC")))
    return (OffPeak(tuple(windows), price),) if windows else ()


def _per_call(line: Mapping[str, Any]) -> int:
    """Nano-dollars for each call, for models that always search the web (others only where a tool asks for it)."""
    flat = Decimal(str(line.get("input_cost_per_request") or 0))
    fees = line.get("search_context_cost_per_query")
    if line.get("litellm_provider") == "perplexity" and isinstance(fees, dict):
        flat += max((Decimal(str(fee)) for fee in fees.values()), default=Decimal(0))
    return ceil(flat * NANO)


def _tokens(line: Mapping[str, Any], key: str) -> int | None:
    value = line.get(key)
    return int(value) if isinstance(value, int | float) and value > 0 else None
