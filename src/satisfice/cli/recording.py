"""`satisfice bank record`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError
from .output import emit, json_option, note, table, usd

if TYPE_CHECKING:
    from ..experiments.recording.estimating import Cost
    from ..experiments.recording.recorder import Progress, Recorder, Tell

EVERY = 10.0  # seconds between two lines of progress


@click.command("record")
@click.option(
    "--tasks",
    required=True,
    help="A .jsonl or .csv FILE, bank:NAME[:size=N], or reasoning-gym:NAME,...[:size=25,seed=1].",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bank's folder; one that is there is added to."
)
@click.option("--model", "models", multiple=True, required=True, metavar="[NAME=]MODEL", help="Who is asked (repeat).")
@click.option(
    "--temperature", "temperatures", multiple=True, type=float, help="Of plain draws (repeat).  [default: 0.7]"
)
@click.option(
    "--prompt", "prompts", multiple=True, help="Of plain draws: direct or chain_of_thought (repeat).  [default: direct]"
)
@click.option("--arm", default="", metavar="NAME", help="Of plain draws: NAME@TEMPERATURE.  [default: the prompt]")
@click.option("--samples", type=int, default=16, show_default=True, help="Plain draws of each question; 0: none.")
@click.option("--max-tokens", type=int, default=0, help="Of a plain draw.  [default: 24 direct, 64 chain_of_thought]")
@click.option("--prefill", default="", help='How plain draws begin, such as "Answer:".')
@click.option("--strategy", "strategies", multiple=True, help="Whole strategies, each with all its replies (repeat).")
@click.option("--runs", type=int, default=1, show_default=True, help="Runs of each strategy on each question.")
@click.option("--calls", type=int, default=64, show_default=True, help="The most calls of one run of a strategy.")
@click.option(
    "--verifier", "verifiers", multiple=True, help="What is said of draws, as confidence:kind=mean, p_true (repeat)."
)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="[NAME=]MODEL",
    help="Whom verifiers ask (repeat).  [default: the first model]",
)
@click.option("--judged", multiple=True, metavar="ARM", help="Arms whose draws are judged (repeat).  [default: all]")
@click.option("--first", type=int, default=None, help="Only the first N questions.")
@click.option("--at-once", type=int, default=1, show_default=True, help="Questions under way together.")
@click.option("--budget", type=float, default=None, help="Dollars that this command may spend: a hard cap.")
@click.option("--licence", default="", help="Under which the recordings may be used.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def record(tasks: str, out: Path, yes: bool, as_json: bool, **options: Any) -> None:
    """Record a bank: ask models, once, what can then be replayed for nothing.

    \b
    satisfice bank record --tasks reasoning-gym:gcd,lcm --model local/smollm2 --out my-bank
    satisfice bank record --tasks my.jsonl --model openai/gpt-4o-mini --temperature 0.3 --temperature 1 \\
        --strategy reflexion --verifier confidence:kind=mean --verifier p_true --budget 2 --out my-bank

    The cost is shown first. What was stopped, killed or out of budget goes on with the same command, and nothing is
    asked twice; another command on the same bank adds to it (draws under other conditions take an --arm of their own).
    A FILE has a question and its answer in each row, and may
    have kind, choices, dataset, topic, passage and id.
    """
    import anyio

    from ..experiments.recording.estimating import estimate

    recorder = _recorder(tasks, out, options, None if as_json else _Teller().tell)
    costs = estimate(recorder.engine(), recorder.plan, recorder.asked, out, recorder.calls)
    _agreed(costs, recorder, yes, as_json)
    interrupted = False
    try:
        anyio.run(recorder.record)
    except KeyboardInterrupt:
        interrupted = True
    told = recorder.progress
    if as_json:
        emit(_facts(recorder, told, interrupted))
    else:
        _say(recorder, told, interrupted)
    if interrupted or told.stopped:
        sys.exit(130 if interrupted else 3)


def _recorder(tasks: str, out: Path, options: dict[str, Any], tell: Tell | None) -> Recorder:
    from ..experiments.recording.asked import asked_of
    from ..experiments.recording.conditions import PROMPTS, Condition
    from ..experiments.recording.naming import split_name
    from ..experiments.recording.recorder import Recorder, check, shortened
    from ..experiments.recording.units import Plan
    from ..models.settings import load_settings

    for name, least in (("samples", 0), ("runs", 1), ("calls", 1), ("at_once", 1)):
        if options[name] < least:
            raise CallerError(f"--{name.replace('_', '-')} {options[name]}: expected {least} or more")
    named, judges = (dict(map(split_name, options[key])) for key in ("models", "judges"))
    temperatures, prompts = options["temperatures"] or (0.7,), options["prompts"] or ("direct",)
    asked_so = (options["max_tokens"], options["prefill"], options["arm"])
    conditions = tuple(Condition(prompt, t, *asked_so) for prompt in prompts for t in temperatures)
    plan = Plan(
        tuple(named),
        conditions if options["samples"] else (),
        options["samples"],
        options["strategies"],
        options["runs"],
        options["verifiers"],
        tuple(judges),
        options["judged"],
        PROMPTS["direct"],
    )
    check(plan)
    asked = shortened(asked_of(tasks), options["first"])
    facts = {"licence": options["licence"]} if options["licence"] else {}
    limits = (options["budget"], options["calls"], options["at_once"])
    return Recorder(out, asked, plan, load_settings(), {**named, **judges}, *limits, facts, tell)


def _agreed(costs: list[Cost], recorder: Recorder, yes: bool, as_json: bool) -> None:
    """Shows what it will cost, and asks. Raises `CallerError` where there is nobody to ask."""
    if not as_json:
        rows = ((c.what, c.calls, f"{usd(c.usd)}{' or more' if c.open else ''}", usd(c.most)) for c in costs)
        note(f"{len(recorder.asked.questions)} questions; what is in {recorder.folder} already is left out")
        table(["what", "calls", "expected", "at most"], rows, right="calls")
        most, cap = sum(c.most for c in costs), recorder.usd
        capped = "" if cap is None or cap >= most else f", stopped at {usd(cap)} (--budget)"
        note(f"in all about {usd(sum(c.usd for c in costs))}, at most {usd(most)}{capped}")
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise CallerError("nobody is here to say yes to the cost: pass --yes")
    click.confirm("record?", default=True, abort=True)


class _Teller:
    """Progress as lines on stderr."""

    def __init__(self) -> None:
        self.began = self.told = time.monotonic()
        self.first: int | None = None

    def tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = progress.kept
        if now - self.told < EVERY and progress.done < progress.total:
            return
        self.told, new = now, max(1, progress.done - progress.kept)
        left = (now - self.began) / new * (progress.total - progress.done)
        note(f"{progress.done} of {progress.total}, {usd(progress.usd)} so far, about {left / 60:.0f} min left")


def _facts(recorder: Recorder, told: Progress, interrupted: bool) -> dict[str, Any]:
    return {
        "bank": str(recorder.folder),
        "questions": len(recorder.asked.questions),
        "units": told.total,
        "done": told.done,
        "were_there": told.kept,
        "usd": told.usd,
        "failed": told.failed,
        "stopped": told.stopped or ("interrupted" if interrupted else ""),
    }


def _say(recorder: Recorder, told: Progress, interrupted: bool) -> None:
    new = told.done - told.kept - len(told.failed)
    click.echo(f"{recorder.folder}: {new} recorded for {usd(told.usd)}, {told.kept} were there, {told.total} in all")
    for text in told.failed[:5]:
        note(f"failed: {text}")
    if len(told.failed) > 5:
        note(f"... and {len(told.failed) - 5} more")
    if told.stopped or interrupted:
        note(f"stopped: {told.stopped or 'interrupted'}. The same command goes on from here.")


@click.command("from-runs")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The bank; one that is there is added to.")
@click.option("--journal", type=click.Path(path_type=Path), help="Where feedback stands.  [default: as configured]")
@json_option
def from_runs(folder: Path, out: Path, journal: Path | None, as_json: bool) -> None:
    """Make a bank of served requests that were put aside in FOLDER and whose answers were judged since
    (`engine.feedback`, `satisfice runs feedback`). Those that nobody judged are left out."""
    import anyio

    from ..experiments.recording.judged import from_runs as make
    from ..models.settings import load_settings
    from ..scheduler.records import journal_place

    settings = load_settings()
    place = journal_place(journal if journal is not None else settings.journal, settings)
    if place is None or not place.exists():
        raise CallerError(f"no journal at {place}: feedback stands there; name it with --journal")
    bank = make(folder, anyio.run(_words, place), out)
    facts = {"bank": str(out), "questions": len(bank.questions), "draws": sum(map(len, bank.draws.values()))}
    emit(facts) if as_json else click.echo(f"{out}: {facts['questions']} questions, {facts['draws']} draws")


async def _words(place: Path) -> dict[str, float]:
    """What was said of each run; the last word stands."""
    from ..scheduler.journal import Journal

    async with Journal.open(place) as journal:
        return {given.run: given.correct for given in await journal.given(limit=1 << 40)}
