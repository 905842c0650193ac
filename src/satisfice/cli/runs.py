"""`satisfice runs`: what is on record."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.errors import CallerError
from ..scheduler.feedback import told
from ..scheduler.log import Log
from ..scheduler.spec import checks_needed, tools_needed
from ..scheduler.store_feedback import said
from .interrupting import finished, interruptible, late_code
from .output import emit, json_option, spent_said, table, usd
from .solving import checked, reply_hint, show, tooled

if TYPE_CHECKING:
    from ..scheduler.solution import Solution

T = TypeVar("T")
STATUSES = ("running", "waiting", "done", "failed", "cancelled")
tool_option = click.option(
    "--tool",
    "tools",
    multiple=True,
    metavar="MODULE:FUNCTION[,...]",
    help="The run's tools, as `solve` was given them.",
)
config_option = click.option("--config", type=click.Path(), help="Another satisfice.toml.")


@click.group()
def runs() -> None:
    """What runs are on record, what they did, and going on with one.

    \b
    satisfice runs list
    satisfice runs show r2611216c2d
    satisfice runs resume r2611216c2d
    satisfice runs answer r2611216c2d "yes"
    satisfice runs show r2611216c2d --explain
    satisfice runs feedback r2611216c2d --correct
    satisfice runs feedback --summary
    satisfice runs overhead --since 7d
    """


def _with_engine(config: str | None, work: Callable[[Any], Awaitable[T]]) -> T:
    import anyio

    from ..scheduler.engine import Engine

    async def main() -> T:
        async with Engine(settings=config) as engine:
            return await work(engine)

    return anyio.run(main)


@runs.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--status", type=click.Choice(STATUSES), help="Only those.")
@config_option
@json_option
def list_(limit: int, status: Any, config: str | None, as_json: bool) -> None:
    """The newest runs. One that is `running` and has no live owner was interrupted: resume it."""

    async def work(engine: Any) -> Any:
        found = await engine.journal.runs(limit, status)
        # What was not closed has its spend in its rows: replies, and holds of calls that may have been sent.
        open_ = [r for r in found if r.status == "running"]
        return found, {r.id: Log((await engine.journal.load(r.id))[1]).total.nanos for r in open_}

    records, spent = _with_engine(config, work)
    rows = [
        {
            "id": r.id,
            "created": r.created,
            "status": r.status,
            "strategy": r.strategy,
            "usd": spent.get(r.id, r.spent_nanos) / 1e9,
            "query": r.query,
        }
        for r in records
    ]
    if as_json:
        emit(rows)
    elif rows:
        cells = (
            (r["id"], r["created"][:19], r["status"], r["strategy"], usd(r["usd"]), _short(r["query"])) for r in rows
        )
        table(["run", "created (UTC)", "status", "strategy", "spent", "query"], cells, right="spent")
    else:
        click.echo("no runs on record")


@runs.command("show")
@click.argument("run")
@click.option("--explain", is_flag=True, help="Each choice in words: what was known, what there was, what came of it.")
@config_option
@json_option
def show_run(run: str, explain: bool, config: str | None, as_json: bool) -> None:
    """One run: its result, its decisions and every call. RUN may be the beginning of an id."""

    async def work(engine: Any) -> Any:
        record = await engine.journal.find(run)
        return (*await engine.journal.load(record.id), await engine.journal.trail(record.id))

    record, rows, words = _with_engine(config, work)
    if explain:
        from .explaining import explained, tell

        tell(explained(record, rows, words), as_json)
        return
    result = json.loads(record.result) if record.result else {}
    data = {
        "id": record.id,
        "created": record.created,
        "status": record.status,
        "strategy": record.strategy,
        "query": record.query,
        "spec": json.loads(record.spec),
        "result": result,
        "feedback": [told(word).to_dict() for word in words],
        "rows": [
            {
                "path": r.path,
                "attempt": r.attempt,
                "kind": r.kind,
                "effect": r.effect,
                "at": r.at,
                "usd": r.nanos / 1e9,
                "tokens": r.tokens,
                "payload": json.loads(r.payload),
            }
            for r in rows
        ],
    }
    if as_json:
        emit(data)
        return
    click.echo(f"{record.id}  {record.status}  {record.strategy}  {record.created[:19]}Z")
    click.echo(f"query: {_short(record.query, 200)}")
    if "@" in result.get("policy", ""):
        click.echo(f"policy: {result['policy']}")
    if "error" in result:
        click.echo(f"error: {_fault(record, result['error'])}")
    if record.status == "waiting" and "question" in result:
        click.echo(f"asks: {_short(result['question'], 200)}")
        needed, tools = checks_needed(record.spec), tools_needed(record.spec)
        click.echo(reply_hint(record.id, ["module:function"] * len(needed), [f"module:{name}" for name in tools]))
        if needed:
            click.echo(f"these checks have to be given again, in this order: {', '.join(needed)}")
    if result.get("spend"):
        spend = result["spend"]
        click.echo(
            f"answer: {result['answer']}  ({result['stop_reason']}; "
            f"{spent_said(spend['usd'], spend['tokens'], spend['calls'])}, {spend['seconds']:.2f} s)"
        )
    if result.get("stop_said"):
        click.echo(f"why: {result['stop_said']}")
    if words:
        click.echo(f"feedback: {said(words[-1].correct)}{f' by {words[-1].by}' if words[-1].by else ''}")
    cells = [
        (
            r.path,
            r.effect,
            r.kind + (f" #{r.attempt}" if r.attempt else ""),
            f"{r.at:.2f}",
            usd(r.nanos / 1e9) if r.nanos else "",
            _tell(r),
        )
        for r in rows
    ]
    table(["place", "effect", "row", "s", "held/spent", "what"], cells, right="s held/spent")


@runs.command()
@click.argument("run", required=False)
@click.option("--correct", is_flag=True, help="The answer was right.")
@click.option("--wrong", is_flag=True, help="The answer was wrong.")
@click.option("--score", metavar="0..1", help="How far it was right.")
@click.option("--by", default="", help="Who says so.")
@click.option("--note", default="", help="Why, for the record.")
@click.option("--account", help="The account that the run must have been charged to.")
@click.option("--revise", is_flag=True, help="Replace what was said before; both stay on record.")
@click.option("--summary", is_flag=True, help="How well predictions held, over all that was said.")
@config_option
@json_option
def feedback(
    run: str | None,
    correct: bool,
    wrong: bool,
    score: str | None,
    summary: bool,
    config: str | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Say whether a run's answer was right, at any time after it. Predictions of its arms learn from it.

    \b
    satisfice runs feedback r2611216c2d --correct
    satisfice runs feedback r2611216c2d --wrong --by ann --note "off by one"
    satisfice runs feedback --summary
    """
    from .telling import give, summarise

    given = [word for word, told in (("1", correct), ("0", wrong), (score, score is not None)) if told]
    if len(given) > 1:
        raise CallerError("give one of --correct, --wrong and --score: they say different things")
    verdict = given[0] if given else None
    if summary:
        if run or verdict:
            raise CallerError("--summary is about all runs: give no run, and no verdict")
        summarise(_with_engine(config, lambda engine: engine.journal.given()), as_json)
        return
    give(run, verdict, more, lambda work: _with_engine(config, work), as_json)


@runs.command()
@click.option("--since", metavar="WHEN", help="Only runs since then: 2026-11-22, 24h, 7d, 2w.")
@config_option
@json_option
def overhead(since: str | None, config: str | None, as_json: bool) -> None:
    """How many seconds of each finished request were our own: those in which no call was under way."""
    from .overhead import measured, since_of, tell

    moment = since_of(since, datetime.now(UTC))
    tell(measured(_with_engine(config, lambda engine: engine.journal.overheads(moment))), as_json)


@runs.command()
@click.argument("run")
@click.option("--check", "checks", multiple=True, metavar="NAME[:key=value,...]", help="The run's checks, in order.")
@tool_option
@config_option
@json_option
def resume(run: str, checks: tuple[str, ...], tools: tuple[str, ...], config: str | None, as_json: bool) -> int:
    """Go on with a run that was interrupted. What is on record is not done, or paid for, again.

    Checks that were given as text are on record; objects of a Python process have to be named again, by --check, and
    tools by --tool.
    The exit code is that of `solve`, or of `verify` for one of its runs.
    """
    given = checked(checks)
    return _went_on(config, lambda engine: partial(engine.resume, run, checks=given), checks, tools, as_json)


@runs.command()
@click.argument("run")
@click.argument("text")
@click.option("--check", "checks", multiple=True, metavar="NAME[:key=value,...]", help="The run's checks, in order.")
@tool_option
@config_option
@json_option
def answer(
    run: str, text: str, checks: tuple[str, ...], tools: tuple[str, ...], config: str | None, as_json: bool
) -> int:
    """Answer the question that a run waits for, and go on with it. --check, --tool and the exit code: as of `runs
    resume`."""
    if not text.strip():
        raise CallerError("the answer is empty")
    given = checked(checks)
    return _went_on(config, lambda engine: partial(engine.reply, run, text, checks=given), checks, tools, as_json)


def _went_on(
    config: str | None,
    way: Callable[[Any], Callable[..., Awaitable[Solution]]],
    checks: tuple[str, ...],
    tools: tuple[str, ...],
    as_json: bool,
) -> int:
    """Goes on with a run, interruptible as `solve` is, and shows it; replies the exit code."""
    import anyio

    from ..scheduler.engine import Engine

    engine = Engine(settings=config, tools=tooled(tools))

    async def work() -> Solution:
        return await interruptible(way(engine), as_json, engine)

    solution, late = anyio.run(finished, engine, work)
    code = _shown(solution, checks, tools, as_json)
    return late_code(late, as_json) or code


def _shown(solution: Solution, checks: tuple[str, ...], tools: tuple[str, ...], as_json: bool) -> int:
    """Shows a run that was gone on with, as the command did that began it; replies its exit code."""
    from ..strategies.verify import Verify

    if solution.strategy == Verify.name:
        from .verifying import show_verdicts, told_code

        show_verdicts(solution, as_json, checks)
        return told_code(solution)
    show(solution, as_json, checks, tools)
    return 0


def _fault(record: Any, error: dict[str, Any]) -> str:
    """Why a run has no result. A cancellation's own words say nothing."""
    if record.status == "cancelled":
        return f"interrupted; go on with: satisfice runs resume {record.id}"
    return str(error["message"])


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def _tell(row: Any) -> str:
    """A row's payload in a few words."""
    data = json.loads(row.payload)
    if "error" in data:
        return f"{data['error']['type']}: {_short(data['error']['message'], 80)}" + (
            " (retried)" if data["retry"] else ""
        )
    if row.effect in ("offer", "choose"):
        return f"{data['reason']}" + (f": {data['size']} more" if data["size"] else ": stop")
    if "key" in data:
        return f"answer {data['answer']!r}" if data["key"] is not None else f"no answer in {_short(data['text'], 50)!r}"
    if "score" in data:
        return f"score {data['score']}"
    return _short(json.dumps(data), 80) if data else ""
