"""`satisfice solve-many`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BadQuery, BadSettings, CallerError, StoreError
from ..core.task import KINDS
from .output import counted, emit, json_option, note, table, usd
from .progressing import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..scheduler.many.batch import Batch
    from ..scheduler.many.greedy import Progress


@click.command("solve-many")
@click.argument("file", type=click.Path())
@click.option("--budget", type=float, required=True, help="Hard cap in dollars, for all queries together.")
@click.option("--each", type=float, help="Dollars at most for any one query.")
@click.option("--worth", type=float, help="What a right answer is worth, in dollars: below it nothing is bought.")
@click.option("--out", type=click.Path(), help="Write each part to this file (JSON lines) as it ends.")
@click.option("--resume", type=click.Path(), help="Go on from this --out file of a batch that was cut off.")
@click.option("--model", "models", multiple=True, help="Model, alias or pool; the first is the default (repeat).")
@click.option("--strategy", metavar="NAME[:key=value,...]", help="auto, unless the policy says otherwise.")
@click.option("--answer", default="text", show_default=True, help=f"What counts as an answer: {', '.join(KINDS)}.")
@click.option("--choices", help="The options of a choice, comma-separated.")
@click.option("--check", "checks", multiple=True, metavar="NAME[:key=value,...]", help="A verifier (repeat).")
@click.option("--concurrency", type=click.IntRange(1), default=8, show_default=True, help="Queries under way at once.")
@click.option("--seconds", type=float, help="Cap on wall time.")
@click.option("--policy", type=click.Path(), help="A policy file, as `satisfice fit` makes it.")
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@click.option("--account", help="Which of the ledger's accounts pays.")
@click.option("--journal/--no-journal", default=None, help="Keep the runs on record (default: yes).")
@click.option(
    "--engine", type=click.Choice(["local", "processes", "ray"]), default="local", show_default=True, help="Who works."
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Of --engine processes or ray.")
@click.option("--ray-address", help="A running Ray cluster (default: RAY_ADDRESS, else one is started here).")
@json_option
def solve_many(file: str, as_json: bool, models: tuple[str, ...], config: str | None, **options: Any) -> int:
    """Answer many queries within one budget, spent where it buys the most.

    FILE: one query a line, or JSON lines: {"query": ..., and where they differ "answer", "choices", "schema", "checks",
    "topic", "strategy", "models", "budget" (dollars at most), "weight" (how much a right answer counts)}. "-": stdin.

    \b
    satisfice solve-many questions.txt --budget 0.50 --answer number --out answers.jsonl
    satisfice solve-many questions.jsonl --budget 1.50 --json
    satisfice solve-many questions.jsonl --budget 1.50 --resume answers.jsonl

    With --engine processes or ray the queries are solved in shards by several workers, which share the budget; --out is
    then a folder, from which the same command goes on.

    Ctrl-C ends it with what is there. Exit code: 0, also where single queries failed (they say so); 130 interrupted;
    7 ended by a kill switch; otherwise as `solve`.
    """
    import anyio

    from ..budgets.budget import Budget
    from ..scheduler.engine import Engine
    from .solving import EMBEDDED, checked

    queries = read_queries(file)
    if options["engine"] != "local":
        batch = _sharded(queries, models, config, as_json, options)
        show(batch, as_json)
        return {"cancelled": 130, "killed": 7}.get(batch.stopped, 0)
    records = read_records(options["resume"]) if options["resume"] else []
    engine = Engine(models or None, settings=config, policy=options["policy"], journal=options["journal"])
    if not models and not engine.settings.default:
        note(f"no model named: using the embedded {EMBEDDED} (135M parameters: weak). Choose one with --model.")
        engine = Engine(EMBEDDED, settings=engine.settings, policy=options["policy"], journal=options["journal"])
    budget = Budget(usd=options["budget"], seconds=options["seconds"], worth=options["worth"])
    request = {
        "budget": budget,
        "each": options["each"],
        "concurrency": options["concurrency"],
        "strategy": options["strategy"],
        "answer": options["answer"],
        "choices": [c.strip() for c in (options["choices"] or "").split(",") if c.strip()],
        "checks": checked(options["checks"]),
        "account": options["account"],
        "resume": records,
    }
    out, old = options["out"] or options["resume"], options["resume"]
    moved = bool(old) and Path(out).resolve() != Path(old).resolve()
    with written(out, bool(old) and not moved) as on_record, told(as_json, len(queries)) as on_progress:
        if moved and on_record is not None:  # whole again, in the new file
            for record in records:
                on_record(record)
        batch, late = anyio.run(partial(_work, engine, queries, {**request, "on_record": on_record}, on_progress))
    show(batch, as_json)
    if late is not None:
        note(f"error: {late}")
        return 6
    return {"cancelled": 130, "killed": 7}.get(batch.stopped, 0)


def _sharded(
    queries: list[Any], models: tuple[str, ...], config: str | None, as_json: bool, options: dict[str, Any]
) -> Batch:
    """The batch in shards, by several workers."""
    from ..budgets.budget import Budget
    from ..experiments.engines.many import solve_many_on
    from .solving import checked

    for name in ("resume", "seconds"):
        if options[name] is not None:
            raise CallerError(f"--{name} goes with --engine local alone")
    with progress("solving queries", as_json) as tell:
        return solve_many_on(
            queries,
            budget=Budget(usd=options["budget"], worth=options["worth"]),
            engine=options["engine"],
            workers=options["workers"],
            models=list(models) or None,
            settings=config,
            policy=options["policy"],
            journal=options["journal"],
            folder=options["out"],
            address=options["ray_address"],
            on_progress=tell,
            each=options["each"],
            concurrency=options["concurrency"],
            strategy=options["strategy"],
            answer=options["answer"],
            choices=[c.strip() for c in (options["choices"] or "").split(",") if c.strip()],
            checks=checked(options["checks"]),
            account=options["account"],
        )


async def _work(engine: Any, queries: list[Any], request: dict[str, Any], on_progress: Any) -> tuple[Any, Any]:
    """The batch in the open engine; Ctrl-C and SIGTERM end it with what is there. What cannot be written while the
    engine closes comes beside it."""
    import anyio

    from ..scheduler.many.batch import solve_many as batched

    box: list[Any] = []

    async def listen(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                note("ending: what is under way is cut off")
                scope.cancel()
                return

    try:
        async with engine, anyio.create_task_group() as group:
            group.start_soon(listen, group.cancel_scope)
            try:
                box.append(await batched(engine, queries, on_progress=on_progress, on_cancel="best", **request))
            except Exception as error:  # raised outside the group, which would wrap it
                box.append(error)
            group.cancel_scope.cancel()
    except StoreError as error:
        if not box or isinstance(box[0], Exception):
            raise
        return box[0], error
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0], None


def read_queries(file: str) -> list[Any]:
    """The queries of a file, in order: lines of text, or JSON objects. Raises `BadQuery` with the line."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadQuery(f"{file} is not UTF-8 (byte {error.start})") from error
    found: list[Any] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            found.append(line)
            continue
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise BadQuery(f"{file}, line {number}: no JSON: {error}") from error
        if "query" not in found[-1]:
            raise BadQuery(f'{file}, line {number}: it has no "query"')
    if not found:
        raise BadQuery(f"{file} has no queries: expected one a line, or JSON lines")
    return found


def read_records(file: str) -> list[dict[str, Any]]:
    """The records of an --out file; a last line that was cut off is left out. Raises `BadSettings`."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise BadSettings(f"{file}, line {number}: no JSON: {error}") from error
        if not isinstance(record, dict):
            raise BadSettings(f"{file}, line {number}: expected a record of a batch")
        found.append(record)
    return found


@contextmanager
def written(out: str | None, resumed: bool = False) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """Appends records to `out`, each at once: a batch that is killed can go on from there. A file that is there already
    is gone on with only by --resume."""
    if out is None:
        yield None
        return
    path = Path(out)
    if path.exists() and path.stat().st_size and not resumed:
        raise CallerError(f"{out} is there already: go on with it by --resume {out}, or name another file")
    with path.open("a", encoding="utf-8") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write("\n")

        def write(record: dict[str, Any]) -> None:
            file.write(json.dumps(record, default=str) + "\n")
            file.flush()

        yield write


@contextmanager
def told(as_json: bool, total: int) -> Iterator[Callable[[Progress], None]]:
    """Progress on stderr: how many have an answer, the cost so far, the time that is left."""
    with progress(f"solving {counted(total, 'query').replace('querys', 'queries')}", as_json) as tell:
        seen = [0.0]

        def hear(now: Progress) -> None:
            tell(min(now.answered, now.total), now.total)
            if not as_json and sys.stderr.isatty() and now.seconds > seen[0] + 5:
                seen[0] = now.seconds
                left = "" if now.left is None else f", about {now.left:.0f} s left"
                note(f"{now.answered}/{now.total} answered, {usd(now.spent_usd)} of {usd(now.budget_usd)}{left}")

        yield hear


def show(batch: Batch, as_json: bool) -> None:
    """The answers on stdout, what they came to on stderr."""
    rows = list(zip(batch.solutions, batch.errors, batch.runs, strict=True))
    if as_json:
        solved = [
            {
                **(solution.to_dict(candidates=False) if solution is not None else {}),
                **({"error": error.to_dict()} if error is not None else {}),
                "runs": list(runs),
            }
            for solution, error, runs in rows
        ]
        emit({**batch.to_dict(), "solutions": solved})
        return
    table(
        ("query", "answer", "confidence", "spent", "calls", "stopped"),
        [_row(place, solution, error) for place, (solution, error, _) in enumerate(rows)],
        right="query confidence spent calls",
    )
    spend = batch.spend
    gap = "" if batch.gap is None else f"; {100 * batch.gap:+.1f} points a query below the most that was to be expected"
    note(
        f"{batch.answered} of {len(rows)} answered, {sum(e is not None for e in batch.errors)} failed; "
        f"{usd(spend.usd)}, {counted(spend.calls, 'call')}, {spend.seconds:.1f} s; ended: {batch.stopped}; one more "
        f"dollar would have bought {batch.price:.3g} right answers{gap}"
    )


def _row(place: int, solution: Any, error: Any) -> list[Any]:
    if solution is None:
        return [place, "", "", "", "", f"{error.code}: {error}"[:80]]
    confidence = None if solution.confidence is None else f"{solution.confidence:.2f}"
    stopped = solution.stop_reason if error is None else f"{error.code}: {error}"[:80]
    answer = "" if solution.answer is None else solution.answer[:60]
    return [place, answer, confidence, usd(solution.spend.usd), solution.spend.calls, stopped]
