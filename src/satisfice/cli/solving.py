"""`satisfice solve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BadBudget, BadQuery, CallerError, UnknownName
from ..core.task import KINDS
from .interrupting import finished, interruptible, late_code
from .output import emit, json_option, note, spent_said

if TYPE_CHECKING:
    from ..budgets.budget import Budget
    from ..core.verdict import Judgement
    from ..scheduler.engine import Engine
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
    metavar="NAME[:key=value,...]",
    help="auto (unless the policy says otherwise), a name (see `strategies`) with its settings, or module:attribute.",
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
@click.option(
    "--policy",
    type=click.Path(),
    help='A policy file, as `satisfice fit` makes it; or "production", or the ID of a version (see `policy`).',
)
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@click.option("--account", help="Which of the ledger's accounts pays (see `ledger accounts`; default: the settings').")
@click.option("--journal/--no-journal", default=None, help="Keep the run on record (default: yes).")
@json_option
def solve(query: tuple[str, ...], as_json: bool, models: tuple[str, ...], config: str | None, **options: Any) -> int:
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
    needed = () if options["strategy"] else _needed(engine, options["account"], text)
    if not models and not engine.settings.default and needed:
        engine = Engine(needed, settings=engine.settings, **held)
    elif not models and not engine.settings.default:
        note(f"no model named: using the embedded {EMBEDDED} (135M parameters: weak). Choose one with --model.")
        engine = Engine(EMBEDDED, settings=engine.settings, **held)
    kept = (engine.settings.journal if options["journal"] is None else options["journal"]) is not False
    caps = {"usd": options["budget"], **{k: options[k] for k in ("tokens", "calls", "seconds")}}
    limits = engine.settings.limits
    given = {k: v if v is not None else getattr(limits, k) for k, v in caps.items()}
    if all(given[cap] is None for cap in ("usd", "tokens", "calls")):
        raise BadBudget("no cap is set: give --budget (dollars), --tokens or --calls, or [limits] in satisfice.toml")
    budget = Budget(**given, worth=options["worth"], wrong=options["wrong"], per_second=options["per_second"])

    async def work() -> Solution:
        asked = partial(engine.solve, text, **_request(budget, options, engine, text))
        return await interruptible(asked, as_json, engine, kept=kept)

    solution, late = anyio.run(finished, engine, work)
    show(solution, as_json, tools=options["tools"])
    return late_code(late, as_json)


def _needed(engine: Engine, account: str | None, text: str) -> list[str]:
    """The models that the policy's own strategy names. Raises `CallerError` where one is not known here."""
    from ..scheduler.preparing import own_strategy
    from ..strategies.registry import models_of

    named = list(models_of(own_strategy(engine.serving.choose(None, account, (), text).policy)))
    for model in named:
        try:
            engine.names(model)
        except UnknownName as error:
            raise CallerError(
                f"the policy asks the model {model!r}, which is not known here: name it in satisfice.toml "
                f'([models."{model}"]), or tune again with --model and one that is'
            ) from error
    return named


def tooled(specs: Sequence[str]) -> dict[str, Any]:
    """The tools that were named. Raises `UnknownName` and `CallerError`."""
    from ..scheduler.tools import tool_of

    found = [tool_of(spec) for spec in specs]
    if twice := {name for name, _ in found if sum(name == other for other, _ in found) > 1}:
        raise CallerError(f"--tool: two tools are called {min(twice)!r}")
    return dict(found)


def _request(budget: Budget, options: dict[str, Any], engine: Engine, text: str) -> dict[str, Any]:
    """What `Engine.solve` is asked."""
    from ..scheduler.preparing import own_strategy
    from ..strategies.limiting import with_params
    from ..strategies.registry import strategy_of

    policy = engine.serving.choose(None, options["account"], (), text).policy
    strategy = strategy_of(options["strategy"]) if options["strategy"] else own_strategy(policy)
    own = options["strategy"] or options["max_tokens"] is not None or options["temperature"] is not None
    return {
        "budget": budget,
        # Whatever the policy says that will serve it, where nothing is asked for: that may be a canary's.
        "strategy": with_params(strategy, options["max_tokens"], options["temperature"]) if own else None,
        "answer": options["answer"],
        "choices": [c.strip() for c in (options["choices"] or "").split(",") if c.strip()],
        "checks": checked(options["checks"]),
        "seed": options["seed"],
        "account": options["account"],
    }


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
        f"{solution.strategy} stopped: {solution.stop_reason}; confidence {confidence}; "
        f"{spent_said(spend.usd, spend.tokens, spend.calls)}, {spend.seconds:.1f} s{more}; run {solution.run_id}"
    )


def _verdict(told: Judgement) -> str:
    score = told.verdict.score
    return f"{told.verifier} {'unknown' if score is None else f'{score:.3g}'}{' (exact)' * told.verdict.exact}"
