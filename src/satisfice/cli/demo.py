"""`satisfice demo`: the main job, on the embedded model."""

from __future__ import annotations

import json
import time
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from .output import emit, json_option, note, table, usd

if TYPE_CHECKING:
    from ..experiments.demo import Arm, Question, Tally


@click.command()
@click.option("--quick", is_flag=True, help="Fewer questions and budgets: under a minute.")
@click.option(
    "--questions", "count", type=click.IntRange(1, 150), help="How many questions (default 30; 12 with --quick)."
)
@click.option("--seed", type=int, help="Which questions (default: fresh ones each time).")
@click.option("--seconds", type=click.FloatRange(1), help="Begin no further question after (default 140; 40).")
@click.option("--model", default="local/smollm2", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True)
@json_option
def demo(
    quick: bool, count: int | None, seed: int | None, seconds: float | None, model: str, out: Path, as_json: bool
) -> None:
    """Solve a few dozen fresh questions with several strategies at several budgets, and draw accuracy against spend.

    Real inference on the embedded model: no key, no server. The questions are cheaper to check than to answer; no
    check sees the gold answer.

    \b
    satisfice demo
    satisfice demo --quick --seed 7
    """
    import anyio

    from ..experiments.demo import arms, questions

    seed = int(time.time()) % 1_000_000 if seed is None else seed
    asked, chosen = questions(count or (12 if quick else 30), seed), arms(quick)
    if not as_json:
        note(f"{len(asked)} questions (seed {seed}) x {len(chosen)} arms on {model}. For example: {asked[0].text}")
    began = time.monotonic()
    limit = seconds or (40.0 if quick else 140.0)
    tallies = anyio.run(_play, model, asked, chosen, limit, as_json)
    took = time.monotonic() - began
    rows = [tally.to_dict() for tally in tallies]
    picture = _draw(rows, out, model)
    met = rows[0]["questions"]
    if met < len(asked) and not as_json:
        note(f"time limit: {met} of {len(asked)} questions were posed (--seconds)")
    report = {"seed": seed, "model": model, "questions": met, "seconds": took, "arms": rows, "picture": str(picture)}
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        emit(report)
    else:
        _tell(rows, report)


async def _play(model: str, asked: list[Question], chosen: list[Arm], limit: float, as_json: bool) -> list[Tally]:
    from ..experiments.demo import PROMPT, play
    from ..models.settings import Settings
    from ..scheduler.engine import Engine

    settings = Settings(prompts={"number": PROMPT}, journal=False)
    async with Engine(model, settings=settings) as engine:
        with _Progress(len(asked) * len(chosen), silent=as_json) as progress:
            return await play(engine, asked, chosen, progress.advance, limit)


class _Progress:
    """A bar with the cost so far and the time left; plain lines where there is no terminal."""

    def __init__(self, total: int, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<26}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[cost]} so far"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._plain = not silent and not console.is_terminal
        self._bar = Progress(*columns, console=console, disable=silent or self._plain, refresh_per_second=4)
        self._task = self._bar.add_task("loading the model", total=total, cost="$0")
        self._done, self._total, self._began = 0, total, time.monotonic()

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, tallies: list[Tally], latest: Tally) -> None:
        self._done += 1
        cost = usd(sum(tally.nanos for tally in tallies) / 1e9)
        label = f"{latest.arm.name} <= {usd(latest.arm.usd)}"
        self._bar.update(self._task, advance=1, cost=cost, description=label)
        if self._plain and self._done % max(1, self._total // 10) == 0:
            elapsed = time.monotonic() - self._began
            left = elapsed / self._done * (self._total - self._done)
            note(f"  {self._done}/{self._total}  {label}  {cost} so far, {elapsed:.0f} s, about {left:.0f} s left")


def _tell(rows: list[dict[str, Any]], report: dict[str, Any]) -> None:
    cells = []
    for row in rows:
        low, high = row["interval"]
        reasons = ", ".join(f"{name} {n}" for name, n in row["stop_reasons"].items())
        cells.append(
            (
                row["strategy"],
                usd(row["budget_usd"]),
                f"{row['accuracy']:.2f} [{low:.2f}, {high:.2f}]",
                f"{row['calls_per_question']:.1f}",
                f"{row['tokens_per_question']:.0f}",
                usd(row["usd_per_question"]),
                f"{row['seconds_per_question']:.1f}",
                reasons,
            )
        )
    columns = ["strategy", "cap", "accuracy [95%]", "calls", "tokens", "spent", "s", "stopped because"]
    click.echo()
    table(columns, cells, title=f"{report['questions']} questions, per question:", right="calls tokens spent s")
    _terminal_plot(rows)
    groups = _by_strategy(rows)
    single, voted, checked = rows[0], _best(groups["self_consistency"]), _best(groups["best_of_n"])
    once = f"{single['accuracy']:.0%}"
    said = (
        f"The embedded model (SmolLM2, 135M parameters) is weak: asked once it is right {once} of the "
        f"time. The curve shows what test-time compute buys all the same. Voting: {voted['accuracy']:.0%} at "
        f"{_times(voted, single)} the spend; votes only help where the right answer is also the most frequent one. "
        f"Trying until an exact check passes: {checked['accuracy']:.0%} at {_times(checked, single)}. Dollars are "
        "nominal: the model runs on this machine."
    )
    place = Path(report["picture"])
    click.echo("\n" + fill(said, 100))
    click.echo(f"\n{report['seconds']:.0f} s in all. Picture: {place}\nData: {place.parent / 'results.json'}")


def _best(group: list[dict[str, Any]]) -> dict[str, Any]:
    return max(group, key=lambda row: row["accuracy"])


def _times(row: dict[str, Any], single: dict[str, Any]) -> str:
    return f"{row['usd_per_question'] / max(single['usd_per_question'], 1e-12):.1f} times"


def _by_strategy(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["strategy"], []).append(row)
    return {name: sorted(group, key=lambda r: r["usd_per_question"]) for name, group in groups.items()}


def _terminal_plot(rows: list[dict[str, Any]]) -> None:
    try:
        import plotext as plot
    except ImportError:
        note("(no terminal picture: pip install 'satisfice[plot]')")
        return
    plot.clear_figure()
    plot.theme("clear")
    plot.plot_size(90, 18)
    for marker, (name, group) in zip("sox", _by_strategy(rows).items(), strict=False):
        spend, accuracy = [r["usd_per_question"] * 1e6 for r in group], [r["accuracy"] for r in group]
        plot.plot(spend, accuracy, marker=marker, label=name)
    plot.ylim(0, 1)
    plot.title("accuracy against spend")
    plot.xlabel("micro-dollars per question")
    click.echo("\n" + plot.build())


def _draw(rows: list[dict[str, Any]], out: Path, model: str) -> Path:
    """The picture as a file. Raises `MissingExtra` without matplotlib, `StoreError` where it cannot be written."""
    from ..core.errors import MissingExtra, StoreError

    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra.of("plot", "drawing the curve") from None
    figure, axes = pyplot.subplots(figsize=(7.5, 4.6), dpi=130)
    for (name, group), shape in zip(_by_strategy(rows).items(), "sov", strict=False):
        spend, accuracy = [r["usd_per_question"] * 1e6 for r in group], [r["accuracy"] for r in group]
        low = [r["accuracy"] - r["interval"][0] for r in group]
        high = [r["interval"][1] - r["accuracy"] for r in group]
        axes.errorbar(spend, accuracy, yerr=[low, high], marker=shape, capsize=3, label=name, linewidth=1.5)
    axes.set(xlabel="spent per question (micro-dollars, nominal)", ylabel="accuracy (95% Wilson interval)", ylim=(0, 1))
    axes.set_xlim(left=0)
    axes.set_title(f"Accuracy against spend: {model}, {rows[0]['questions']} questions")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    try:
        out.mkdir(parents=True, exist_ok=True)
        place = out / "accuracy-vs-spend.png"
        figure.savefig(place)
    except OSError as error:
        raise StoreError(f"cannot write to {out}: {error.strerror}") from error
    finally:
        pyplot.close(figure)
    return place.resolve()
