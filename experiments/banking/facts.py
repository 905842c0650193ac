"""What a bank holds, as JSON-ready facts, and what in it stands in the way of a fair measurement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from ..tables import TABLES
from . import splitting
from .records import Draw

if TYPE_CHECKING:
    from ..bank import Bank

UNLIKE = 1.02  # times as dear as another draw of the same length: not the same price


def info(bank: Bank) -> dict[str, Any]:
    """The facts of `Bank.info`."""
    sizes = [len(row) for row in bank.draws.values()]
    manifest = bank.manifest
    models = manifest.get("models")
    facts = {
        "path": str(bank.path) if bank.path else None,
        "provenance": {k: v for k, v in manifest.items() if k not in ("parts", *TABLES)},
        "questions": len(bank.questions),
        "candidates": sum(sizes),
        "datasets": _counted(q.dataset for q in bank.questions.values()),
        "kinds": _counted(q.kind for q in bank.questions.values()),
        "folds": len(bank.folds),
        "models": sorted({m for m, _ in bank.arms}),
        "arms": sorted({a for _, a in bank.arms}),
        "verifiers": {name: sum(name in said for said in bank.verdicts.values()) for name in bank.verifiers},
        "draws": {"min": min(sizes, default=0), "median": median(sizes or [0]), "max": max(sizes, default=0)},
        "cells": _cells(bank),
        "runs": _runs(bank),
        "fingerprints": {m: of.get("fingerprint") for m, of in models.items()} if isinstance(models, Mapping) else {},
        "prices": manifest.get("prices", {}),
        "licence": manifest.get("licence") or None,
        "parts": {name: len(entries) for name, entries in manifest.get("parts", {}).items()},
        "latency_known": any(draw.seconds is not None for row in bank.draws.values() for draw in row),
        "one_sample": sum(size == 1 for size in sizes),
        "constant_verifiers": constant(bank),
        "near_duplicates": [list(group) for group in splitting.duplicates(bank)],
    }
    clash = splitting.clash(bank)
    warnings = [*_warnings(facts, clash), *mixed_prices(bank)]
    return {**facts, "clash": list(clash) if clash else None, "warnings": warnings}


def constant(bank: Bank) -> list[str]:
    """The verifiers that gave two known scores or more, all of them equal: nothing can be told by them."""
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for said in bank.verdicts.values():
        for name, scored in said.items():
            if scored.score is not None:
                counts[name] += 1
                least[name] = min(scored.score, least.get(name, scored.score))
                most[name] = max(scored.score, most.get(name, scored.score))
    return sorted(name for name, count in counts.items() if count > 1 and least[name] == most[name])


def mixed_prices(bank: Bank) -> list[str]:
    """In words, of each model whose draws of the same length cost differently: an example."""
    costs: dict[tuple[str, int, int], tuple[int, int]] = {}
    for (_, model, _), row in bank.draws.items():
        for draw in row:
            if draw.nanos is not None and draw.prompt_tokens is not None and draw.completion_tokens is not None:
                place = (model, draw.prompt_tokens, draw.completion_tokens)
                low, high = costs.get(place, (draw.nanos, draw.nanos))
                costs[place] = min(low, draw.nanos), max(high, draw.nanos)
    found: dict[str, str] = {}
    for (model, prompt, completion), (low, high) in sorted(costs.items()):
        if high > max(low + 2, UNLIKE * low):
            text = f"draws of {prompt} + {completion} tokens cost ${low / 1e9:.3g} and ${high / 1e9:.3g}"
            way = "`bank merge --reprice MODEL=IN/OUT` sets one price"
            found.setdefault(model, f"mixed prices of {model}: {text} (or cached input): {way}")
    return list(found.values())


def _warnings(facts: Mapping[str, Any], clash: tuple[str, str] | None) -> Iterable[str]:
    groups = sum(cell["questions"] for cell in facts["cells"])
    if facts["one_sample"] and facts["one_sample"] == groups:
        yield "one sample of each question: nothing that draws twice from a model can be replayed or fitted"
    elif facts["one_sample"]:
        yield f"{facts['one_sample']} of {groups} groups (question, model, arm) hold one sample"
    if facts["constant_verifiers"]:
        names = ", ".join(facts["constant_verifiers"])
        yield f"constant verifiers, whose score never varies and so tells nothing: {names}"
    if clash:
        yield (
            f"questions {clash[0]!r} and {clash[1]!r} are the same or nearly so and lie in two folds: "
            "`satisfice bank split` puts them into one"
        )
    for model, told in sorted(facts["fingerprints"].items()):
        if told and "," in told:
            yield f"mixed models under the name {model}: fingerprints {told.replace(',', ', ')}"
    mixed = defaultdict(set)
    for cell in facts["cells"]:
        mixed[cell["model"]].update(cell["cost_source"])
    for model, sources in sorted(mixed.items()):
        if len(sources) > 1:
            yield f"mixed prices of {model}: its costs come from {', '.join(map(repr, sorted(sources)))}"


def _runs(bank: Bank) -> dict[str, dict[str, Any]]:
    """Of each recorded strategy: its questions, runs, effects, and accuracy (mean over questions)."""
    found: dict[str, list[Any]] = defaultdict(list)
    for (_, strategy), runs in bank.runs.items():
        found[strategy].append(runs)
    return {
        strategy: {
            "questions": len(rows),
            "runs": sum(map(len, rows)),
            "effects": sum(len(run.effects) for runs in rows for run in runs),
            "accuracy": sum(sum(run.correct for run in runs) / len(runs) for runs in rows) / len(rows),
        }
        for strategy, rows in sorted(found.items())
    }


def _cells(bank: Bank) -> list[dict[str, Any]]:
    cells: dict[tuple[str, str, str], list[tuple[Draw, ...]]] = defaultdict(list)
    for (question, model, arm), row in bank.draws.items():
        cells[bank.questions[question].dataset, model, arm].append(row)
    names = ("dataset", "model", "arm")
    return [{**dict(zip(names, cell, strict=True)), **_facts(rows)} for cell, rows in sorted(cells.items())]


def _facts(rows: list[tuple[Draw, ...]]) -> dict[str, Any]:
    draws = [draw for row in rows for draw in row]
    costs = [draw.nanos for draw in draws if draw.nanos is not None]
    times = [draw.seconds for draw in draws if draw.seconds is not None]
    return {
        "questions": len(rows),
        "draws": len(draws),
        "accuracy": sum(sum(d.correct for d in row) / len(row) for row in rows) / len(rows),
        "blank": sum(d.answer == "" for d in draws) / len(draws),
        "cost_known": len(costs) == len(draws),
        "mean_usd": sum(costs) / len(costs) / 1e9 if costs else None,
        "mean_tokens": sum(d.tokens for d in draws) / len(draws),
        "mean_seconds": sum(times) / len(times) if times else None,
        "tokens_source": sorted({d.tokens_source for d in draws}),
        "cost_source": sorted({d.cost_source for d in draws}),
    }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
