"""`satisfice strategies`, `satisfice verifiers` and `satisfice models`."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import click

from .output import emit, json_option, table


@click.command()
@json_option
def strategies(as_json: bool) -> None:
    """The ways to think that can be named, for `solve --strategy NAME:key=value,...`. `auto` is best_of_n where there
    is a check, else self_consistency.

    Settings marked * have to be given. Values are JSON, and a strategy inside another is such a text again:
    fusion:members=["single_shot","self_consistency:samples=3"]. Each line says when the strategy pays, and what its
    first answer costs at least.
    """
    from ..strategies.registry import listing

    rows = listing()
    if as_json:
        emit(rows)
    else:
        _described(rows, ("summary", "pays", "least"))


@click.command()
@json_option
def verifiers(as_json: bool) -> None:
    """The verifiers that can be named, for `verify --verifier` and `solve --check`: NAME:key=value,key=value.

    Those marked * have to be given. Values are JSON (numbers, true, lists); a text needs no quotes unless it holds
    ",word="; @file is the content of a file.
    """
    from ..verifiers.registry import listing

    rows = listing()
    if as_json:
        emit(rows)
    else:
        _described(rows, ("summary",))


def _described(rows: list[dict[str, Any]], told: tuple[str, ...]) -> None:
    """Name, what is told of it and its settings, filled to the terminal: a table's rows would be wider."""
    width = max(len(r["name"]) for r in rows) + 2
    for row in rows:
        lines = [row[told[0]]]
        lines += [f"{key}: {row[key]}" for key in told[1:] if row[key]]
        lines.append(", ".join(k + "*" * (k in row["needed"]) for k in row["settings"]))
        for first, text in zip((row["name"], *("",) * len(lines)), filter(None, lines), strict=False):
            click.echo(fill(text, 110, initial_indent=first.ljust(width), subsequent_indent=" " * width))


@click.command()
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@json_option
def models(config: str | None, as_json: bool) -> None:
    """The models that can be named, and their prices in USD per million tokens.

    Besides these, any litellm name works (openai/..., anthropic/..., ollama/..., hosted_vllm/... with an api_base),
    and local//path/to/any.gguf.
    """
    from ..models.catalog import Catalog
    from ..models.settings import load_settings

    rows = [
        {
            "name": row.name,
            "kind": row.kind,
            "model": row.model,
            "usd_per_million": {"prompt": row.price.prompt / 1e6, "completion": row.price.completion / 1e6}
            if row.price
            else None,
            "price_source": row.price.source if row.price else None,
            "note": row.note,
        }
        for row in Catalog(load_settings(config)).listing()
    ]
    if as_json:
        emit(rows)
        return
    cells = []
    for row in rows:
        price = row["usd_per_million"]
        cells.append(
            (
                row["name"],
                row["kind"],
                row["model"],
                f"{price['prompt']:g} / {price['completion']:g} ({row['price_source']})"
                if isinstance(price, dict)
                else "",
                row["note"],
            )
        )
    table(["name", "kind", "model", "price in / out", "note"], cells)
