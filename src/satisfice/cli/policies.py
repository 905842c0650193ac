"""`satisfice policy`: versions of policies, from draft to production and back, and who did what when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError
from .ledger_common import user
from .output import emit, json_option, table
from .policy_words import changes, entry_line, shadow_said, version_lines

if TYPE_CHECKING:
    from ..budgets.policy import Policy
    from ..budgets.registry.registry import Registry
    from ..experiments.promoting import Evidence

_registry = click.option("--registry", "place", metavar="FILE", help="Another registry (default: the settings').")
_config = click.option("--config", type=click.Path(), help="Another satisfice.toml.")
_channel = click.option("--channel", help="Which line of production (default: the settings', main).")
_by = click.option("--by", help="Who says so, for the record (default: the user's name).")
_reason = click.option("--reason", default="", help="Why, for the record.")


def _options(command: Any) -> Any:
    return _registry(_config(json_option(command)))


@click.group()
def policy() -> None:
    """Versions of policies: draft, shadow, canary, production, retired.

    \b
    satisfice policy add policy.json
    satisfice policy promote p-0123456789ab --to production --bank held-out --worth 0.01
    satisfice policy promote p-0123456789ab --to canary --share 0.1
    satisfice policy rollback --reason "wrong dates since this morning"
    satisfice policy audit

    Engines follow the registry where satisfice.toml says `policies = true`, or with `solve --policy production`. A
    change is seen within a second by engines that are running.
    """


@policy.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--strategy", metavar="NAME[:key=value,...]", help="Instead of a FILE: declared, with this strategy.")
@click.option("--name", default="", help="What to call it (default: the policy's own name).")
@click.option("--parent", "parents", multiple=True, help="ID of a version that it was made from (repeat).")
@_by
@_reason
@_options
def add(
    file: Path | None,
    strategy: str | None,
    name: str,
    parents: tuple[str, ...],
    by: str | None,
    reason: str,
    as_json: bool,
    **where: Any,
) -> None:
    """Add a policy FILE as a draft. The same content again is the same version.

    \b
    satisfice policy add policy.json --name tuned
    satisfice policy add --strategy single_shot:model=local/smollm2 --name baseline
    """
    from ..budgets.policy import Policy
    from ..strategies.registry import strategy_of

    if (file is None) == (strategy is None):
        raise CallerError("policy add takes a FILE, or --strategy, and not both")
    registry, _ = _opened(where)
    if file is not None:
        loaded = Policy.load(file)
    else:
        strategy_of(strategy or "")  # or it is no strategy
        loaded = Policy(strategy=strategy or "")
    one = registry.add(loaded, name=name, by=_who(by), parents=parents, why=reason)
    if as_json:
        emit({**one.to_dict(), "stage": "draft", "registry": str(registry.path)})
    else:
        click.echo(f"{one.id}  {one.name}")
        click.echo(f"try: satisfice policy promote {one.id} --to production --bank BANK --worth USD")


@policy.command("list")
@_channel
@_options
def list_(as_json: bool, **where: Any) -> None:
    """All versions, and the stage of each."""
    registry, channel = _opened(where)
    now, found = registry.standing(channel), registry.versions()
    if as_json:
        emit({**now.to_dict(), "versions": [{**v.to_dict(), "stage": now.stage_of(v.id)} for v in found]})
        return
    if not found:
        click.echo(f"no policies in {registry.path}: `satisfice policy add FILE` adds one")
        return
    stages = {v.id: now.stage_of(v.id) + (f" {now.share:.0%}" if v.id == now.canary else "") for v in found}
    rows = [(v.id, v.name, stages[v.id], v.created[:19], v.by, ", ".join(v.parents)) for v in found]
    table(["version", "name", "stage", "added (UTC)", "by", "made from"], rows)
    if now.production is None:
        click.echo(f"nothing is in production (channel {channel}): engines use their own policy")


@policy.command()
@click.argument("version")
@_channel
@_options
def show(version: str, as_json: bool, **where: Any) -> None:
    """One version: what it holds, where it comes from, its evidence and its history. VERSION: an id, its beginning, or
    a name."""
    from ..budgets.registry.trials import shadows

    registry, channel = _opened(where)
    one, now = registry.get(version), registry.standing(channel)
    history = [e for e in registry.log() if e.version == one.id]
    beside = shadows(registry, one.id)
    race = _race(registry, now) if now.canary == one.id else None
    if as_json:
        emit(
            {
                **one.to_dict(),
                "stage": now.stage_of(one.id),
                "policy": one.policy.model_dump(mode="json", exclude={"stops"}),
                "history": [e.to_dict() for e in history],
                "shadow": [{"channel": c, "against": a, **counts} for (c, a), counts in beside.items()],
                "trial": race,
            }
        )
        return
    for line in version_lines(one, now.stage_of(one.id)):
        click.echo(line)
    for (_, against), counts in beside.items():
        click.echo(f"as a shadow of {against or 'the engines own policy'}: {shadow_said(counts)}")
    if race is not None:
        mean, low, high = race["gain"]
        click.echo(
            f"as a canary: {race['canary']} outcomes against {race['production']} of production; net utility "
            f"{mean:+.3f} of what is at stake [{low:+.3f}, {high:+.3f}]; e = {race['e_value']:.3g} of the "
            f"{1 / race['alpha']:.0f} that would stop it"
        )
    click.echo("history:")
    for entry in history:
        click.echo("  " + entry_line(entry))


@policy.command()
@click.argument("before")
@click.argument("after")
@_options
def diff(before: str, after: str, as_json: bool, **where: Any) -> None:
    """What changed from one policy to another: versions, or files. Tables are told by their size and hash."""
    registry, _ = _opened(where)
    found = changes(_either(registry, before), _either(registry, after))
    if as_json:
        emit([{"field": field, "before": old, "after": new} for field, old, new in found])
    elif found:
        table(["field", before, after], found)
    else:
        click.echo("the same content")


@policy.command()
@click.argument("version")
@click.option("--to", "stage", type=click.Choice(("shadow", "canary", "production")), help="Default: the next stage.")
@click.option("--share", type=click.FloatRange(0, 1, True, True), help="Of requests that a canary gets (default: 0.1).")
@click.option("--bank", "bank_path", type=click.Path(path_type=Path), help="Recorded questions to judge it on.")
@click.option(
    "--cap", type=float, help="Dollars that a question can cost at most (default: by the bank's dearest call)."
)
@click.option("--worth", type=float, help="What a right answer is worth, in dollars (default: the policy's).")
@click.option("--wrong", type=float, default=0.0, help="What a wrong answer costs, in dollars.")
@click.option("--model", "models", multiple=True, help="Only these models of the bank (repeat).")
@click.option("--arm", "arms", multiple=True, help="Only these recorded conditions (repeat).")
@click.option("--fold", "folds", type=int, multiple=True, help="Only these folds [default: unseen ones].")
@click.option("--verifier", "verifiers", multiple=True, help="A recorded verifier as the check of every question.")
@click.option("--resamples", type=click.IntRange(1), default=1, show_default=True, help="Orders; of one, McNemar.")
@click.option("--margin", type=float, help="Good enough: no worse than this in accuracy (0.01: a point), and cheaper.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="The chance of promoting one that is worse.")
@click.option("--override", is_flag=True, help="Whatever the evidence: needs --by and --reason.")
@_by
@_reason
@_channel
@_options
def promote(version: str, stage: str | None, share: float | None, as_json: bool, **options: Any) -> None:
    """Move a version on, where the evidence is enough: for production a lower bound of its gain above 0.

    A canary must not be clearly worse on the bank; it stops itself where live requests show that it is. For production,
    the bank must not be the one that the policy was fitted on; without --bank a canary is judged by what
    `satisfice runs feedback` said of its requests and production's.

    \b
    satisfice policy promote p-0123456789ab --to production --bank held-out --worth 0.01
    satisfice policy promote p-0123456789ab --to production --override --by ann --reason "the old model is gone"
    """
    from ..experiments.promoting import promote as move

    registry, channel = _opened(options)
    measure = _measure(options, as_json) if options["bank_path"] else None
    if options["override"] and not (options["by"] and options["reason"]):
        raise CallerError("an override needs who says so and why: --by NAME --reason TEXT")
    now, evidence = move(
        registry,
        version,
        stage,
        measure=measure,
        share=share,
        channel=channel,
        override=options["override"],
        by=_who(options["by"]),
        why=options["reason"],
    )
    one = registry.get(version)
    if as_json:
        facts = evidence.to_dict() if evidence is not None else None
        emit({**now.to_dict(), "version": one.id, "stage": now.stage_of(one.id), "evidence": facts})
        return
    click.echo(f"{one.id} is in {now.stage_of(one.id)} (channel {channel})")
    if evidence is not None:
        click.echo(evidence.said)
    if now.production == one.id:
        click.echo("undo it with: satisfice policy rollback --reason TEXT")


@policy.command()
@_by
@_reason
@_channel
@_options
def rollback(by: str | None, reason: str, as_json: bool, **where: Any) -> None:
    """Put back into production what was there before; running engines see it within a second."""
    registry, channel = _opened(where)
    was = registry.standing(channel)
    now = registry.rollback(channel=channel, by=_who(by), why=reason, expect=was)
    if as_json:
        emit(now.to_dict())
    else:
        back = now.production or "no policy of the registry: engines use their own"
        click.echo(f"{was.production} is retired; in production again (channel {channel}): {back}")


@policy.command()
@click.argument("version")
@_by
@_reason
@_channel
@_options
def retire(version: str, by: str | None, reason: str, as_json: bool, **where: Any) -> None:
    """Take a draft, shadow or canary out of use. What is in production is rolled back, or replaced."""
    registry, channel = _opened(where)
    now = registry.retire(version, channel=channel, by=_who(by), why=reason)
    if as_json:
        emit(now.to_dict())
    else:
        click.echo(f"{registry.get(version).id} is retired (channel {channel})")


@policy.command()
@_options
def audit(as_json: bool, **where: Any) -> int:
    """All that was ever done, oldest first, and whether the record is whole: exit code 6 where it is not."""
    registry, _ = _opened(where)
    entries, wrong = registry.log(), registry.verify()
    if as_json:
        emit({"whole": not wrong, "wrong": wrong, "log": [e.to_dict() for e in entries]})
    else:
        for entry in entries:
            click.echo(entry_line(entry))
        end = f"last hash {entries[-1].hash[:12]}" if entries else "nothing was ever done"
        click.echo(f"the record is NOT whole: {wrong}" if wrong else f"the record is whole; {end}")
    return 6 if wrong else 0


def _opened(where: dict[str, Any]) -> tuple[Registry, str]:
    """The registry that is meant, and the channel."""
    from ..budgets.registry.registry import Registry
    from ..models.settings import load_settings
    from ..scheduler.serving.choosing import registry_place

    settings = load_settings(where.get("config"))
    place = registry_place(where.get("place"), settings, always=True)
    assert place is not None
    return Registry(place), where.get("channel") or settings.channel


def _who(by: str | None) -> str:
    return by if by is not None else user()


def _either(registry: Registry, name: str) -> Policy:
    from ..budgets.policy import Policy

    return Policy.load(name) if Path(name).is_file() else registry.get(name).policy


def _race(registry: Registry, now: Any) -> dict[str, Any]:
    from ..scheduler.serving.trial import ALPHA, Trial

    race = Trial(registry).race(now)
    facts = {"canary": race.canaries, "production": race.productions, "e_value": race.peak, "alpha": ALPHA}
    return {**facts, "gain": list(race.gain(ALPHA))}


def _measure(options: dict[str, Any], as_json: bool) -> Callable[[Policy, Policy, tuple[str, str]], Evidence]:
    """Judges two policies on the bank that was named."""
    from ..budgets.budget import Budget
    from ..experiments import Bank
    from ..experiments.promoting import evidence_on
    from .progressing import progress

    bank = Bank.open(options["bank_path"])
    cap = options["cap"]
    plain = ("worth", "wrong", "verifiers", "resamples", "margin", "alpha")

    def work(candidate: Policy, production: Policy, names: tuple[str, str]) -> Evidence:
        with progress("replaying both policies", as_json) as tell:
            return evidence_on(
                bank,
                candidate,
                production,
                models=options["models"] or None,
                arms=options["arms"] or None,
                folds=options["folds"] or None,
                budget=Budget(usd=cap) if cap is not None else None,
                names=names,
                progress=tell,
                **{name: options[name] for name in plain},
            )

    return work
