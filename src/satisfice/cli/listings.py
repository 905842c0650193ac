"""`satisfice strategies`, `satisfice verifiers` and `satisfice models`."""

from __future__ import annotations

import json
from dataclasses import asdict
from textwrap import fill
from typing import Any

import click

from .output import emit, json_option, table

EXAMPLES = {
    "single_shot": "waits=1,ending=32",
    "self_consistency": "samples=5,model=local/smollm2",
    "best_of_n": 'samples=8,params={"temperature":1.0}',
    "react": "steps=5",
    "tree_search": "algorithm=ab_mcts,steps=12",
    "reflexion": 'rounds=2,actor="self_consistency:samples=3"',
    "debate": "agents=3,rounds=2,topology=ring",
    "fusion": 'members=["single_shot","self_consistency:samples=3"],method=vote',
    "cascade": 'stages=["single_shot:model=small","single_shot:model=large"]',
    "experts": 'arms=["single_shot","self_consistency:samples=3"],k=2',
    "workflow": "source=@flow.yaml",
    "orchestrate": "repairs=1,models=small",
    "roles": "turns=4",
}


@click.command()
@click.argument("name", required=False)
@json_option
def strategies(name: str | None, as_json: bool) -> None:
    """The ways to think that can be named, for `solve --strategy NAME:key=value,...`. `auto`, the default, decides by
    worth what to buy: see `plan` for what it expects. With a NAME: what that one does, and what each of its settings
    takes.

    \b
    satisfice strategies
    satisfice strategies tree_search

    Settings marked * have to be given. Values are JSON, and a strategy inside another is such a text again:
    fusion:members=["single_shot","self_consistency:samples=3"]. Each line says when the strategy pays, and what its
    first answer takes at least: a whole run may make many more calls.
    """
    from ..strategies.registry import described, listing

    if name is not None:
        one = described(name)
        emit(one) if as_json else _whole(one)
        return
    rows = listing()
    if as_json:
        emit([{**row, "takes": _takes(row["name"])} for row in rows])
    else:
        _described(rows, ("summary", "pays", "least"))


def _takes(name: str) -> dict[str, Any]:
    """What the settings of a strategy take; nothing where its plugin cannot be loaded."""
    from ..strategies.registry import described

    try:
        found: dict[str, Any] = described(name)["takes"]
    except Exception:
        return {}
    return found


def _whole(one: dict[str, Any]) -> None:
    """One strategy: its text, its settings, and how it is named on a command line."""
    for part in one["about"].split("\n\n"):
        click.echo(fill(" ".join(part.split()), 110) + "\n")
    for key in ("pays", "least"):
        if one[key]:
            click.echo(fill(f"{key}: {one[key]}", 110, subsequent_indent="  "))
    if not one["takes"]:
        return
    click.echo("\nsettings (* has to be given):")
    width = max(map(len, one["takes"])) + 4
    for key, row in one["takes"].items():
        said = row["expects"] + ("" if row["needed"] else f" [{_default(row['default'])}]")
        first = f"  {key}{'*' * row['needed']}".ljust(width)
        click.echo(fill(said, 110, initial_indent=first, subsequent_indent=" " * width))
    click.echo(f"\nexample: --strategy '{_example(one)}'")


def _default(value: object) -> str:
    """A default as a person writes it: what parameters and strategies leave as it is, is left out."""
    from ..core.completions import Params

    if isinstance(value, list):
        return f"[{', '.join(map(_default, value))}]"
    if not isinstance(value, dict):
        return "none" if value is None else json.dumps(value)
    name = value.get("@", "")
    if name.endswith(":Params"):
        usual = {key: list(one) if isinstance(one, tuple) else one for key, one in asdict(Params()).items()}
        shown = {k: v for k, v in value.items() if k != "@" and (usual.get(k) != v or k == "max_tokens")}
        return json.dumps(shown)
    short: str = name.rpartition(":")[2]
    return short or "{...}"


def _example(one: dict[str, Any]) -> str:
    """How the strategy is named, with a setting or two."""
    if one["name"] in EXAMPLES:
        return f"{one['name']}:{EXAMPLES[one['name']]}"
    said = [f"{k}={json.dumps(row['default'])}" for k, row in one["takes"].items() if _short(row.get("default"))]
    return ":".join(filter(None, (one["name"], ",".join(said[:2]))))


def _short(value: Any) -> bool:
    return isinstance(value, int | float | str)


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
            "price_version": row.price.version if row.price else None,
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
                f"{price['prompt']:g} / {price['completion']:g} ({row['price_version']})"
                if isinstance(price, dict)
                else "",
                row["note"],
            )
        )
    table(["name", "kind", "model", "price in / out", "note"], cells)
