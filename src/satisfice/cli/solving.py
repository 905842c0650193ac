"""`satisfice solve`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BadBudget, BadQuery, CallerError
from ..core.task import KINDS
from .output import emit, json_option, note, usd

if TYPE_CHECKING:
    from ..budgets.budget import Budget
    from ..core.verdict import Judgement
    from ..scheduler.events import Event
    from ..scheduler.solution import Solution

EMBEDDED = "local/smollm2"


@click.command()
@click.argument("query", nargs=-1, required=True)
@click.option("--budget", type=float, help="Hard cap in dollars. One of --budget, --tokens and --calls is needed.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Model, alias or pool; the first is the default (repeat).",
)
@click.option(
    "--strategy",
    default="auto",
    show_default=True,
    metavar="NAME[:key=value,...]",
    help="auto, a name (see `strategies`) with its settings, or module:attribute.",
)
@click.option("--answer", default="text", show_default=True, help=f"What counts as an answer: {', '.join(KINDS)}.")
@click.option("--choices", help="The options of a choice, comma-separated.")
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="NAME[:key=value,...]",
    help="A verifier of the answer (see `verifiers`), or a check of your own as module:function (repeat).",
)
@click.option(
    "--tool",
    "tools",
    multiple=True,
    metavar="MODULE:FUNCTION[,key=value,...]",
    help="A tool that the model may call, with its policy (allow, ask, forbid), calls, seconds, chars (repeat).",
)
@click.option("--tokens", type=int, help="Cap on tokens (prompt + completion).")
@click.option("--calls", type=int, help="Cap on calls.")
@click.option("--seconds", type=float, help="Cap on wall time.")
@click.option("--worth", type=float, help="What a right answer is worth, in dollars.")
@click.option("--wrong", type=float, default=0.0, help="What a wrong answer costs, in dollars: may make it abstain.")
@click.option("--per-second", type=float, default=0.0, help="What a second of waiting costs: makes waves wider.")
@click.option("--max-tokens", type=click.IntRange(1), help="Most output tokens of any one call, members' too.")
@click.option("--temperature", type=click.FloatRange(0), help="Temperature of the draws (`params`), members' too.")
@click.option("--seed", type=int, help="Makes the sampling repeatable where the model can.")
@click.option("--policy", type=click.Path(), help="A policy file, as `satisfice fit` makes it.")
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@click.option("--account", help="Which of the ledger's accounts pays (see `ledger accounts`; default: the settings').")
@click.option("--journal/--no-journal", default=None, help="Keep the run on record (default: yes).")
@json_option
def solve(query: tuple[str, ...], as_json: bool, models: tuple[str, ...], config: str | None, **options: Any) -> None:
    """Answer one query within a budget. A query of "-" is read from stdin.

    \b
    satisfice solve "What is 17 + 25?" --answer number --budget 0.01
    satisfice solve "Capital of France?" --model openai/gpt-4o-mini --budget 0.02 --json
    satisfice solve "A prime above 90" --answer number --check mychecks:is_prime --calls 8
    satisfice solve "An even year of the 1990s" --check 'regex:pattern=^199[02468]$' --calls 8
    satisfice solve "How much is 411 * 839?" --strategy react --tool mytools:calculator,calls=3 --budget 0.01
    satisfice solve "..." --strategy 'fusion:members=["single_shot","self_consistency:samples=3"]' --budget 0.05
    satisfice solve "..." --strategy 'cascade:stages=["single_shot:model=a","single_shot:model=b"]' --budget 0.05
    satisfice solve "..." --strategy flow.yaml --budget 0.05    (a workflow of your own)

    \b
    Exit code: 0 an answer, or none because it abstained or waits for a person (--json: "abstained", "status"), 2 the
    call is wrong, 3 the budget is too small, 4 the model failed, 5 it stopped before it had anything to show, 6 a
    store, 130 interrupted.
    """
    import anyio

    from ..budgets.budget import Budget
    from ..scheduler.engine import Engine
    from ..scheduler.spec import messages_of

    text = _query(query)
    messages_of(text)  # a bad query is said before anything is loaded
    held = {"policy": options["policy"], "journal": options["journal"], "tools": tooled(options["tools"])}
    engine = Engine(models or None, settings=config, **held)
    if not models and not engine.settings.default:
        note(f"no model named: using the embedded {EMBEDDED} (135M parameters: weak). Choose one with --model.")
        engine = Engine(EMBEDDED, settings=engine.settings, **held)
    kept = (engine.settings.journal if options["journal"] is None else options["journal"]) is not False
    caps = {"usd": options["budget"], **{k: options[k] for k in ("tokens", "calls", "seconds")}}
    limits = engine.settings.limits
    given = {k: v if v is not None else getattr(limits, k) for k, v in caps.items()}
    if all(given[cap] is None for cap in ("usd", "tokens", "calls")):
        raise BadBudget("no cap is set: give --budget (dollars), --tokens or --calls, or [limits] in satisfice.toml")
    budget = Budget(**given, worth=options["worth"], wrong=options["wrong"], per_second=options["per_second"])

    async def main() -> Solution:
        async with engine:
            return await interruptible(partial(engine.solve, text, **_request(budget, options)), as_json, kept=kept)

    show(anyio.run(main), as_json, tools=options["tools"])


def tooled(specs: Sequence[str]) -> dict[str, Any]:
    """The tools that were named. Raises `UnknownName` and `CallerError`."""
    from ..scheduler.tools import tool_of

    found = [tool_of(spec) for spec in specs]
    if twice := {name for name, _ in found if sum(name == other for other, _ in found) > 1}:
        raise CallerError(f"--tool: two tools are called {min(twice)!r}")
    return dict(found)


def _request(budget: Budget, options: dict[str, Any]) -> dict[str, Any]:
    """What `Engine.solve` is asked."""
    from ..strategies.limiting import with_params
    from ..strategies.registry import choose, strategy_of

    strategy = strategy_of(choose(options["strategy"], bool(options["checks"])))
    return {
        "budget": budget,
        "strategy": with_params(strategy, options["max_tokens"], options["temperature"]),
        "answer": options["answer"],
        "choices": [c.strip() for c in (options["choices"] or "").split(",") if c.strip()],
        "checks": checked(options["checks"]),
        "seed": options["seed"],
        "account": options["account"],
    }


async def interruptible(
    work: Callable[..., Awaitable[Solution]], as_json: bool, what: str = "thinking", kept: bool = True
) -> Solution:
    """`work(on_event=..., on_cancel="best")`. Ctrl-C ends the run with the best answer so far; nothing that was paid
    for is lost. `kept`: the run is on record, and can be resumed."""
    import anyio

    box: list[Solution | Exception] = []
    watching = Watching(as_json, what)

    async def listen(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                scope.cancel()
                return

    try:
        with watching as on_event:
            async with anyio.create_task_group() as group:
                group.start_soon(listen, group.cancel_scope)
                try:
                    box.append(await work(on_event=on_event, on_cancel="best"))
                except Exception as error:  # raised outside the group, which would wrap it
                    box.append(error)
                group.cancel_scope.cancel()
    except BaseExceptionGroup as stopped:  # a second Ctrl-C, while the first is being seen to
        if stopped.subgroup(KeyboardInterrupt) is None:
            raise
    if not box:
        raise KeyboardInterrupt(watching.interrupted(kept))
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]


def _query(words: tuple[str, ...]) -> str:
    text = " ".join(words)
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadQuery(f"the query on stdin is not UTF-8 (byte {error.start})") from error
    return text


def load(spec: str) -> Any:
    """The verifier that `NAME[:key=value,...]` or `module:attribute` stands for. Raises `UnknownName` and
    `CallerError`."""
    from ..verifiers.registry import verifier_of

    return verifier_of(spec)


def checked(specs: Sequence[str]) -> list[str]:
    """The checks that were named, as text: a run keeps them so. Raises as `load` does, before anything is opened."""
    for spec in specs:
        load(spec)
    return list(specs)


def reply_hint(run_id: str, specs: Sequence[str] = (), tools: Sequence[str] = ()) -> str:
    """The command that answers a run's question. `specs` and `tools`: those that have to be given again."""
    import shlex

    again = [*(f" --check {shlex.quote(s)}" for s in specs), *(f" --tool {shlex.quote(t)}" for t in tools)]
    return f'reply with: satisfice runs answer {run_id} "..."' + "".join(again)


class Watching:
    """A line of progress on a terminal's stderr: calls, cost so far. Silent elsewhere. It knows which run it is."""

    def __init__(self, as_json: bool, what: str = "thinking") -> None:
        self._status: Any = None
        self._what = what
        if not as_json and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status(f"{what} ...")
        self._calls = 0
        self._run, self._usd, self._tokens = "", 0.0, 0

    def interrupted(self, kept: bool) -> str:
        """What to say of a run that was cut off before it had an answer: what it spent, and how to go on with it."""
        if not self._run:
            return "interrupted before anything was sent"
        spent = (
            f"{usd(self._usd)}, {self._tokens} tokens in {self._calls} replies so far (what was under way is billed)"
        )
        how = f"go on with: satisfice runs resume {self._run}" if kept else f"run {self._run} was not kept on record"
        return f"interrupted; {spent}; {how}"

    def __enter__(self) -> Any:
        if self._status is not None:
            self._status.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _tell(self, event: Event) -> None:
        from ..scheduler.events import Received, Started

        if isinstance(event, Started):
            self._run = event.run_id
        if not isinstance(event, Received):
            return
        self._usd, self._tokens = event.spent_usd, event.tokens
        self._calls += event.effect == "sample"
        if self._status is not None:
            latest = f", latest: {event.answer[:40]}" if event.answer else ""
            self._status.update(f"{self._what} ... {self._calls} calls, {usd(event.spent_usd)}{latest}")


def show(solution: Solution, as_json: bool, again: Sequence[str] = (), tools: Sequence[str] = ()) -> None:
    """The answer on stdout, how it came about on stderr. `again`, `tools`: those that a reply has to name again."""
    if as_json:
        emit(solution.to_dict())
        return
    spend = solution.spend
    if solution.status == "waiting":
        options = f" ({' / '.join(solution.options)})" if solution.options else ""
        note(f"the run waits for an answer: {solution.question}{options}")
        note(reply_hint(solution.run_id, again, tools))
    elif solution.answer is None:
        found = sorted({c.answer for c in solution.candidates if c.answer})
        listed = ", ".join(found) or "nothing readable"
        note(f"abstained: no candidate was worth giving ({solution.stop_reason}). Found: {listed}")
    else:
        click.echo(solution.answer)
    if solution.verdicts:
        note(f"verdicts: {', '.join(map(_verdict, solution.verdicts))}")
    for warning in solution.warnings:
        note(f"warning: {warning}")
    confidence = "none" if solution.confidence is None else f"{solution.confidence:.2f}"
    confidence += f" ({solution.confidence_reason})"
    if solution.stop_said:
        note(f"why: {solution.stop_said}")
    gain = solution.if_doubled.gain
    more = f"; as much again was expected to add {100 * gain:.1f} points" if gain is not None else ""
    note(
        f"{solution.strategy} stopped: {solution.stop_reason}; confidence {confidence}; {usd(spend.usd)}, "
        f"{spend.tokens} tokens, {spend.calls} calls, {spend.seconds:.1f} s{more}; run {solution.run_id}"
    )


def _verdict(told: Judgement) -> str:
    score = told.verdict.score
    return f"{told.verifier} {'unknown' if score is None else f'{score:.3g}'}{' (exact)' * told.verdict.exact}"
