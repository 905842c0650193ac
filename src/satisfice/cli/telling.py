"""`satisfice runs feedback`: saying whether answers were right, and how well predictions held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from ..core.errors import CallerError
from ..scheduler.feedback import feedback
from ..scheduler.journal import Given
from ..scheduler.learning import summary
from ..scheduler.store_feedback import said
from .output import counted, emit, table


def give(
    run: str | None, verdict: str | None, told: Mapping[str, Any], with_engine: Callable[[Any], Any], as_json: bool
) -> None:
    """Puts a word on record. `told`: by, note, account, revise."""
    if run is None or verdict is None:
        raise CallerError("say which run, and --correct, --wrong or --score 0..1 (or --summary for all)")
    try:
        value = float(verdict)
    except ValueError:
        raise CallerError(f"--score {verdict}: expected a number from 0 (wrong) to 1 (right)") from None
    found = with_engine(lambda engine: feedback(engine, run, value, **told))
    if as_json:
        emit(found.to_dict())
        return
    was = "now said" if found.revised and found.new else "said" if found.new else "already said"
    claimed = "" if found.confidence is None else f" (it claimed P = {found.confidence:.2f})"
    arms = f"; {counted(len(found.arms), 'arm')} learnt from it" if found.arms else ""
    click.echo(f"{found.run_id}: {was} to be {said(found.correct)}{claimed}{arms}")


def summarise(words: Sequence[Given], as_json: bool) -> None:
    """Shows how well predictions held."""
    data = summary(words)
    if as_json:
        emit(data)
        return
    if not data["feedback"]:
        click.echo("no feedback on record: satisfice runs feedback RUN --correct")
        return
    revised = f", {data['revised']} of them revised" if data["revised"] else ""
    click.echo(f"feedback on {counted(data['feedback'], 'run')}{revised}: {100 * data['right']:.1f}% right")
    rows = [("answers, as claimed", data["confidence"]), *data["arms"].items()]
    cells = [_cells(name, row) for name, row in rows if row is not None]
    if cells:
        titles = ["prediction of", "n", "predicted", "came", "Brier", "log loss", "came, over time"]
        table(titles, cells, right="n predicted came Brier")
    else:
        click.echo("none of these runs had predicted anything")


def _cells(name: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    over = " ".join(f"{part['predicted']:.2f}>{part['came']:.2f}" for part in row["over_time"])
    shares = (f"{100 * row[key]:.1f}%" for key in ("predicted", "came"))
    return (name, row["n"], *shares, f"{row['brier']:.3f}", f"{row['log_loss']:.3f}", over)
