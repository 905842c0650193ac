"""`satisfice tune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError
from .banks import bank_option
from .output import emit, json_option, note, table
from .progressing import FIRST

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..experiments.tuning.nested import Tuned


@click.command()
@bank_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The policy file to write.")
@click.option(
    "--worth",
    metavar="LOW:HIGH",
    help="What a right answer is worth, in dollars: a range, or one amount. [default: 20 to 2000 calls]",
)
@click.option("--trials", type=click.IntRange(1), default=40, show_default=True, help="Choices that a search looks at.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    help="Only these (repeat): self_consistency, cascade; best_of_n (with --verifier), auto (slow) only if asked for.",
)
@click.option(
    "--verifier",
    "verifiers",
    multiple=True,
    help="A recorded verifier that requests will bring as their check (repeat; see `bank info`); best_of_n needs one.",
)
@click.option("--model", "models", multiple=True, help="Only these models (repeat).")
@click.option("--arm", "arms", multiple=True, help="Only these recorded conditions (repeat; see `bank info`).")
@click.option(
    "--hold-out",
    type=click.IntRange(0),
    default=0,
    metavar="FOLDS",
    help="Leave the questions of the last so many folds alone, to `policy promote` or `evaluate --unseen` by.",
)
@click.option("--parts", type=click.IntRange(2), default=4, show_default=True, help="Parts that are held out in turn.")
@click.option(
    "--effect", type=float, metavar="POINTS", help="An improvement that would matter: how many questions show it?"
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes that work at once.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def tune(
    bank_path: Path,
    out: Path,
    worth: str | None,
    models: tuple[str, ...],
    arms: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Search for the way of answering that is worth the most, and judge it on questions that it was not chosen on.

    \b
    satisfice tune --bank my-bank --out policy.json
    satisfice tune --bank my-bank --out policy.json --hold-out 3       # and then: satisfice policy add, promote
    satisfice tune --bank my-bank --out policy.json --worth 0.001:0.1 --effect 2
    satisfice tune --bank my-bank --out policy.json --strategy best_of_n --verifier judge

    The policy says which strategy, model and settings `solve --policy` uses, and how it was found. Unless an
    improvement over single_shot is shown on held-out questions (95% interval above 0), the policy says single_shot:
    that is a result too. Ctrl-C keeps what was found so far.

    \b
    Exit code: 0 (also where nothing beats single_shot), 2 the call is wrong.
    """
    from ..core.errors import StoreError
    from ..experiments import Bank
    from ..experiments import tune as search

    if not out.resolve().parent.is_dir():
        raise StoreError(f"cannot write {out}: there is no folder {out.parent}")
    opened = Bank.open(bank_path).select(models=models or None, arms=arms or None)
    if kept := options.pop("hold_out"):
        if kept >= len(opened.folds) - 1:
            raise CallerError(
                f"--hold-out {kept}: this bank has {len(opened.folds)} folds, and tuning needs two of them"
            )
        opened = opened.select(folds=opened.folds[:-kept])
    choices = {**options, "strategies": options["strategies"] or None}
    tuned = search(opened, worth=_worth(worth), progress=_teller(as_json), **choices)
    try:
        tuned.policy.save(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    if as_json:
        emit({"policy": str(out), **tuned.to_dict()})
    else:
        _show(tuned, out, bank_path)


def _worth(text: str | None) -> float | tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, _, high = text.partition(":")
        return (float(low), float(high)) if high else float(low)
    except ValueError:
        raise CallerError(f"--worth {text!r}: expected dollars, as 0.01, or a range, as 0.001:0.1") from None


def _teller(as_json: bool) -> Callable[[int, int, str], None]:
    """The best so far on all questions, on stderr: when it changes, and every ten seconds."""
    from time import monotonic

    said: dict[str, Any] = {"at": monotonic() - FIRST, "best": ""}

    def tell(done: int, total: int, best: str) -> None:
        now = monotonic()
        if not as_json and (now - said["at"] >= FIRST or best != said["best"]):
            note(f"tuning: {done}/{total} trials, best so far: {best}")
            said.update(at=now, best=best)

    return tell


def _show(tuned: Tuned, out: Path, bank: Path) -> None:
    click.echo(f"{out}: {tuned.chosen}")
    click.echo(tuned.why)
    if tuned.at_worths:
        rows = (
            (f"${worth:.3g}", f"{gain.estimate:+.2f}", f"[{gain.low:+.2f}, {gain.high:+.2f}]")
            for worth, gain in tuned.at_worths.items()
        )
        click.echo("on held-out questions, by what a right answer is worth:")
        table(["worth", "points", "95% interval"], rows, right="points")
    if tuned.parts:
        chosen = dict.fromkeys(part.choice for part in tuned.parts)
        click.echo(f"chosen in {len(tuned.parts)} parts: {'; '.join(chosen)}")
    if tuned.needed is not None:
        click.echo(f"an improvement of {tuned.effect:g} points would take about {tuned.needed} questions to show")
    for line in tuned.notes:
        click.echo(f"note: {line}")
    if tuned.check:
        click.echo(f"requests have to bring the check {tuned.check!r}, as `solve --check`")
    from ..strategies.registry import models_of, recorded_strategy

    if named := models_of(recorded_strategy(tuned.policy.strategy)) if tuned.policy.strategy else ():
        said = f"model{'s' if len(named) > 1 else ''} {', '.join(named)}"
        click.echo(f"`solve` needs the {said}: name them in satisfice.toml, or tune with --model")
    click.echo(f"try: satisfice evaluate --bank {json.dumps(str(bank)) if ' ' in str(bank) else bank} --policy {out}")
