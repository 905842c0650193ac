"""Other names and other prices for the models of a bank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ...budgets.prices import Price
from ...core.completions import Usage
from .records import Draw, RecordedEffect, RecordedRun

if TYPE_CHECKING:
    from ..bank import Bank


def models_of(bank: Bank) -> set[str]:
    """Every model that a bank holds draws or effects of."""
    of_runs = {m for runs in bank.runs.values() for run in runs for m in (run.model, *(e.model for e in run.effects))}
    return {model for model, _ in bank.arms} | (of_runs - {""})


def renamed_models(bank: Bank, rename: Mapping[str, str]) -> Bank:
    """The bank with other names for its models, in draws, verdicts, runs, effects and manifest."""

    def name(model: str) -> str:
        return rename.get(model, model)

    def run_of(run: RecordedRun) -> RecordedRun:
        effects = tuple(replace(effect, model=name(effect.model)) for effect in run.effects)
        return replace(run, model=name(run.model), effects=effects)

    manifest = dict(bank.manifest)
    for part in ("models", "prices"):
        if isinstance(manifest.get(part), Mapping):
            manifest[part] = {name(model): facts for model, facts in manifest[part].items()}
    if isinstance(manifest.get("conditions"), Mapping):  # of "MODEL ARM"
        parts = ((place.rpartition(" "), told) for place, told in manifest["conditions"].items())
        manifest["conditions"] = {f"{name(model)} {arm}": told for (model, _, arm), told in parts}
    return replace(
        bank,
        draws={(q, name(m), a): row for (q, m, a), row in bank.draws.items()},
        verdicts={(q, name(m), a, i): said for (q, m, a, i), said in bank.verdicts.items()},
        runs={place: tuple(map(run_of, runs)) for place, runs in bank.runs.items()},
        manifest=manifest,
    )


def _bill(price: Price, prompt: int | None, completion: int | None) -> int | None:
    return None if prompt is None or completion is None else price.cost(Usage(prompt, completion))


def repriced_bank(bank: Bank, prices: Mapping[str, Price]) -> Bank:
    """The bank with its draws and runs billed anew by their tokens where `prices` (by model) says so."""
    draws = {g: tuple(repriced(draw, prices.get(g[1])) for draw in row) for g, row in bank.draws.items()}
    runs = {place: tuple(repriced_run(run, prices) for run in found) for place, found in bank.runs.items()}
    return replace(bank, draws=draws, runs=runs)


def repriced(draw: Draw, price: Price | None) -> Draw:
    """A draw billed anew by its tokens (without them its cost is unknown); None: as it was."""
    if price is None:
        return draw
    cost = _bill(price, draw.prompt_tokens, draw.completion_tokens)
    return replace(draw, nanos=cost, cost_source=f"priced at merge: {price.source}")


def repriced_run(run: RecordedRun, prices: Mapping[str, Price]) -> RecordedRun:
    """A run costs more or less by what its effects do."""

    def anew(effect: RecordedEffect) -> RecordedEffect:
        if effect.model not in prices:
            return effect
        return replace(effect, nanos=_bill(prices[effect.model], effect.prompt_tokens, effect.completion_tokens))

    if not any(effect.model in prices for effect in run.effects):
        return run
    effects = tuple(map(anew, run.effects))
    before, after = ([e.nanos or 0 for e in found] for found in (run.effects, effects))
    return replace(run, effects=effects, nanos=run.nanos - sum(before) + sum(after))
