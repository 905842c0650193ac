"""What `satisfice fit` says of the policy it made: one line for each thing that was learnt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import counted, table

if TYPE_CHECKING:
    from ..budgets.policy import Policy


def show_fitted(bank: Path, out: Path, policy: Policy) -> None:
    """The file and its size, what it was fitted on, what was learnt; cascades as a table."""
    facts = policy.provenance
    seen = ", ".join(counted(int(facts[key]), key[:-1]) for key in ("questions", "draws") if key in facts)
    click.echo(f"{out} ({_size(out)}): learnt from bank {facts.get('bank', bank.name)}: {seen}")
    for line in _learnt(policy, facts):
        click.echo(f"  {line}")
    if policy.cascades:
        _show_cascades(bank, out, policy)


def _learnt(policy: Policy, facts: dict[str, Any]) -> Iterator[str]:
    yield f"voting: {facts.get('voting') or _voting(facts)}"
    loss, declared = facts.get("held_out_kinds_log_loss"), facts.get("declared_kinds_log_loss")
    if policy.kinds and loss is not None:
        yield f"votes in full: {_losses(loss, declared)}"
    if policy.chances:
        yield f"exact checks: how often a draw is right, {len(policy.chances)} levels"
    for name, one in policy.verifiers.items():
        seen = f"{counted(one.verdicts, 'verdict')} on {counted(one.questions, 'question')}"
        yield f"verifier {name}: {seen}; counts {one.trust:.0%} beside the votes"
    yield from (f"{key}: {text}" for key, text in facts.items() if key.startswith("verifier "))
    for names, chain in policy.chains.items():
        most = len(chain.right) - 1
        yield f"chain {names}: what one more draw brings, up to {most} draws ({counted(chain.questions, 'question')})"
    for model, mean in policy.tokens.items():
        upper = policy.lengths.get(model, {}).get("answer")
        most_ = "" if upper is None else f", 99% have at most {upper}"
        yield f"lengths {model}: {mean:.1f} tokens on average{most_}"
    if policy.kinds:
        yield "tables of when to stop: " + (
            "made, live runs read them" if policy.stops else "none, live runs make them"
        )


def _voting(facts: dict[str, Any]) -> str:
    groups = f"fitted on {counted(int(facts['groups']), 'group')} of draws" if "groups" in facts else "fitted"
    loss, declared = facts.get("held_out_log_loss"), facts.get("declared_log_loss")
    return groups if loss is None else f"{groups}; {_losses(loss, declared)}"


def _losses(fitted: float, declared: float | None) -> str:
    beside = "" if declared is None else f", {declared:.2f} of the prior without a fit"
    return f"log loss {fitted:.2f} nats per group on folds not fitted on{beside} (lower is better)"


def _size(file: Path) -> str:
    n = file.stat().st_size
    return f"{n / 1000:.0f} kB" if n < 1_000_000 else f"{n / 1e6:.1f} MB"


def _show_cascades(bank: Path, out: Path, policy: Policy) -> None:
    click.echo()
    cells = (
        (chain, one.questions, " > ".join(f"{p:.3f}" for p in one.alone), " > ".join(f"{c:.3g}" for c in one.costs))
        for chain, one in policy.cascades.items()
    )
    title = f"{len(policy.cascades)} ladders of cascades: when the next model is worth its price"
    table(["cascade", "questions", "right alone", "cost of a draw"], cells, right="questions", title=title)
    chain = max(policy.cascades, key=lambda name: policy.cascades[name].alone[-1])
    stages = ",".join(json.dumps(f"single_shot:model={model}") for model in chain.split(">"))
    click.echo(f"try: satisfice evaluate --bank {bank} --policy {out} --strategy 'cascade:stages=[{stages}]'")
