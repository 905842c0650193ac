"""`satisfice verify`: candidates that are there already, and what verifiers say of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BadBudget, BadQuery, CallerError, NoModelConfigured, UnknownName
from ..core.task import KINDS
from ..core.verdict import name_of
from .interrupting import finished, interruptible, late_code
from .output import emit, json_option, note, spent_said, table, usd
from .solving import EMBEDDED, load, reply_hint

if TYPE_CHECKING:
    from ..core.errors import StoreError
    from ..core.verdict import Judgement
    from ..scheduler.solution import Solution

KEYS = ("query", "answer", "choices", "schema", "tests", "entry", "cases", "calls", "sources", "reference", "others")
LARGEST = 64 << 20  # bytes of a file
REFUTED, NOTHING_TOLD, INTERRUPTED = 1, 5, 130  # exit codes


@click.command()
@click.option(
    "--task", "task_file", required=True, metavar="FILE", help='The task (JSON, or text: a query; "-": stdin).'
)
@click.option(
    "--candidate", "candidate_file", required=True, metavar="FILE", help='The candidate\'s text ("-": stdin).'
)
@click.option(
    "--verifier",
    "specs",
    multiple=True,
    metavar="NAME[:key=value,...]",
    help="Whom to ask (repeat; see `verifiers`): a name with settings, or module:attribute. "
    "Default: what the task file implies.",
)
@click.option("--model", "models", multiple=True, help="Model, alias or pool of the judges; the first is the default.")
@click.option("--budget", type=float, help="Hard cap in dollars; needed where a verifier asks a model.")
@click.option("--calls", type=int, help="Cap on calls.")
@click.option("--seconds", type=float, help="Cap on wall time.")
@click.option("--policy", type=click.Path(), help="A policy file of `satisfice calibrate`: makes scores P(right).")
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@click.option("--journal/--no-journal", default=None, help="Keep the run on record (default: yes).")
@json_option
def verify(task_file: str, candidate_file: str, specs: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Put a candidate before verifiers. Those that ask no model come first; all are asked.

    \b
    satisfice verify --task task.json --candidate reply.txt
    satisfice verify --task task.json --candidate - --verifier code:tests=@tests.py < solution.py
    satisfice verify --task query.txt --candidate reply.txt --verifier judge --verifier regex:pattern=^4 --budget 0.01

    \b
    The task file is a query as it stands, or JSON:
      {"query": "...", "answer": "number|choice|text|json|code", "choices": ["A", "B"], "schema": {...},
       "tests": "assert f(1) == 2", "entry": "f", "calls": [[[1], 2]], "cases": [["stdin", "stdout"]],
       "sources": {"name": "text"}, "reference": "42", "others": ["other candidates", "to compare with"]}
    Without --verifier it implies them: tests, calls or cases: code; schema: schema; sources: grounding; reference:
    math (a number), choice, or exact; choices: choice.

    \b
    Exit code: 0 no exact verdict failed, 1 an exact verdict failed, 2 the call is wrong, 3 the budget is too small,
    5 no verifier could tell anything (or a person has yet to answer), 130 interrupted.
    """
    if task_file == candidate_file == "-":
        raise CallerError("--task and --candidate cannot both be stdin")
    task = task_in(_read(task_file, "task", strict=True), task_file)
    candidate = _read(candidate_file, "candidate")
    if not candidate.strip():
        note("warning: the candidate is empty")
    verifiers = [load(spec) for spec in specs] or implied(task)
    solution, late = _verified(task, candidate, verifiers, specs, options, as_json)
    show_verdicts(solution, as_json)
    return late_code(late, as_json) or told_code(solution)


def _verified(
    task: dict[str, Any],
    candidate: str,
    verifiers: list[Any],
    specs: tuple[str, ...],
    options: dict[str, Any],
    as_json: bool,
) -> tuple[Solution, StoreError | None]:
    import anyio

    from ..budgets.budget import Budget
    from ..scheduler.engine import Engine
    from ..scheduler.spec import candidate_of, contract_of, task_of
    from ..strategies.verify import samples_of

    contract = contract_of(task["answer"], task.get("choices", ()), task.get("schema"))
    others = tuple(candidate_of(text, contract) for text in task.get("others", ()))
    made = task_of(task["query"], contract, (), {}, ()).knowing(others)
    settings = {"settings": options["config"], "policy": options["policy"], "journal": options["journal"]}
    caps = {"usd": options["budget"], "calls": options["calls"]}
    capped = any(cap is not None for cap in caps.values())
    seconds = options["seconds"]
    budget = Budget(**caps, seconds=seconds) if capped else Budget(calls=1, seconds=seconds) if seconds else None

    async def main(models: Any) -> tuple[Solution, StoreError | None]:
        engine = Engine(models, **settings)

        async def work() -> Solution:
            limits = engine.settings.limits
            if budget is None and (asks := [v for v in verifiers if samples_of(v, made)]) and not _capped(limits):
                text = "asks a model: give --budget (dollars) or --calls, or [limits] in satisfice.toml"
                raise BadBudget(f"{name_of(asks[0])} {text}")
            given = specs or verifiers  # a run keeps its verifiers as text
            asked = partial(engine.verify, made, candidate, given, budget=budget)
            return await interruptible(asked, as_json, engine, "verifying")

        return await finished(engine, work)

    try:
        return anyio.run(main, options["models"] or None)
    except NoModelConfigured:
        pass
    note(f"no model named: the embedded {EMBEDDED} judges (135M parameters: weak). Choose one with --model.")
    return anyio.run(main, EMBEDDED)


def _capped(limits: Any) -> bool:
    return any(cap is not None for cap in (limits.usd, limits.tokens, limits.calls))


# -- files ------------------------------------------------------------------------------------------------------------


def _read(place: str, what: str, strict: bool = False) -> str:
    """A file's text. What is not UTF-8 is an error if `strict`, else read with replacement characters: a candidate may
    be anything, and a verdict on it says so."""
    try:
        if place == "-":
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(LARGEST + 1)
    except OSError as error:
        raise CallerError(f"cannot read the {what} {place}: {error.strerror}", file=place) from error
    if len(data) > LARGEST:
        raise CallerError(f"the {what} {place} is larger than {LARGEST >> 20} MB", file=place)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = f"the {what} {place} is not UTF-8 (byte {error.start})"
        if strict:
            raise BadQuery(text, file=place) from error
        note(f"warning: {text}: read with replacement characters")
        return data.decode("utf-8", "replace")


def task_in(text: str, place: str) -> dict[str, Any]:
    """The task that a file holds, its kind of answer filled in. Raises `BadQuery` and `UnknownName`."""
    if not text.lstrip().startswith("{") and not place.endswith(".json"):
        return {"query": text.strip(), "answer": "text"}
    try:
        task = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not place.endswith(".json"):
            return {"query": text.strip(), "answer": "text"}
        raise BadQuery(f"the task {place} is not JSON: {error}", file=place) from error
    if not isinstance(task, dict) or not isinstance(task.get("query"), str):
        raise BadQuery(f'the task {place}: expected {{"query": "...", ...}}', file=place)
    for key in task:
        if key not in KEYS:
            raise UnknownName.of(f"key in the task {place}:", key, KEYS)
    for key in ("choices", "others"):
        if not isinstance(task.get(key, []), list) or not all(isinstance(one, str) for one in task.get(key, [])):
            raise BadQuery(f"the task {place}: {key}: expected a list of texts", file=place)
    if not isinstance(task.get("schema", {}), dict):
        raise BadQuery(f"the task {place}: schema: expected a JSON Schema (an object)", file=place)
    kinds = (("code", ("tests", "cases", "calls")), ("json", ("schema",)), ("choice", ("choices",)))
    task.setdefault("answer", next((kind for kind, keys in kinds if any(map(task.get, keys))), "text"))
    if task["answer"] not in KINDS:
        raise UnknownName.of("kind of answer", str(task["answer"]), KINDS)
    return task


def implied(task: dict[str, Any]) -> list[Any]:
    """The verifiers that a task implies. Raises `CallerError` where it implies none, or what it holds makes none."""
    from ..verifiers.registry import find_verifier, names

    found: list[Any] = []
    tests = {key: task[key] for key in ("tests", "entry", "cases", "calls") if task.get(key)}
    if set(tests) - {"entry"}:
        found.append(find_verifier("code", **tests))
    if "schema" in task:
        found.append(find_verifier("schema", schema=task["schema"]))
    if "reference" in task:
        found.append(_compared(task))
    elif task["answer"] == "choice":
        found.append(find_verifier("choice"))
    if "sources" in task:
        found.append(find_verifier("grounding", sources=task["sources"]))
    if not found:
        raise CallerError(
            "nothing to verify with: the task file has no tests, schema, sources, reference or choices. Name a "
            f"verifier with --verifier: {', '.join(names())}, or module:function"
        )
    return found


def _compared(task: dict[str, Any]) -> Any:
    """The verifier that compares with the reference."""
    from ..verifiers.check import Check
    from ..verifiers.registry import find_verifier

    reference, kind = task["reference"], task["answer"]
    if kind == "json":
        return Check(lambda value: bool(value == reference), name="exact", blocking=False)
    if kind == "code":
        raise CallerError('code is not compared with a "reference": give "tests", "calls" or "cases"')
    if isinstance(reference, int | float) and not isinstance(reference, bool):
        reference = json.dumps(reference)
    several = kind == "text" and isinstance(reference, list)
    if not all(isinstance(one, str) for one in (reference if several else [reference])):
        raise BadQuery(f"the task's reference: expected a text (or, of a text, several), not {reference!r:.60}")
    return find_verifier({"number": "math", "choice": "choice"}.get(kind, "exact"), reference=reference)


# -- output -----------------------------------------------------------------------------------------------------------


def passed(solution: Solution) -> bool | None:
    """False if an exact verdict failed, True if one passed and none failed, None if nothing exact was said."""
    exact = [j.verdict.passed for j in solution.verdicts if j.verdict.exact]
    return all(exact) if exact else None


def told_code(solution: Solution) -> int:
    """The exit code of `verify`."""
    if passed(solution) is False:
        return REFUTED
    if solution.stop_reason == "cancelled":
        return INTERRUPTED
    return 0 if any(j.verdict.score is not None for j in solution.verdicts) else NOTHING_TOLD


def show_verdicts(solution: Solution, as_json: bool, again: Sequence[str] = ()) -> None:
    """The verdicts on stdout. `again`: the verifiers that a reply has to name again."""
    told = solution.verdicts
    if as_json:
        data = solution.to_dict(candidates=False)
        verdicts = [{"verifier": one["verifier"], **one["verdict"]} for one in data["verdicts"]]
        wanted = ("answer", "status", "question", "options", "stop_reason", "spend", "warnings", "policy", "run_id")
        rest = {key: data[key] for key in wanted if key in data}
        emit({"passed": passed(solution), "verdicts": verdicts, **rest})
        return
    if solution.status == "waiting":
        note(f"a person is asked:\n{solution.question}")
        note(reply_hint(solution.run_id, again))
        return
    cells = [
        (
            j.verifier,
            "unknown" if j.verdict.score is None else f"{j.verdict.score:.3g}",
            "" if j.verdict.p is None else f"{j.verdict.p:.2f}",
            "yes" if j.verdict.exact else "",
            usd(j.verdict.spent.nanos / 1e9) if j.verdict.spent.nanos else "free",
            _line(j.verdict.evidence),
        )
        for j in told
    ]
    table(["verifier", "score", "P(right)", "exact", "cost", "evidence"], cells, right="score P(right)")
    for warning in _other(solution.warnings, told):
        note(f"warning: {warning}")
    word = {True: "every exact verdict passed", False: "an exact verdict failed", None: "no exact verdict"}
    if solution.stop_reason not in ("verified", "refuted", "checked"):
        note(f"warning: not every verifier was asked: {solution.stop_reason}")
    spend = solution.spend
    uncalibrated = any(j.verdict.p is None and j.verdict.score is not None for j in told)
    hint = "; scores without P(right) are not calibrated: see `calibrate`" if uncalibrated else ""
    note(
        f"{word[passed(solution)]}; {spent_said(spend.usd, spend.tokens, spend.calls)}, "
        f"{spend.seconds:.1f} s{hint}; run {solution.run_id}"
    )


def _other(warnings: tuple[str, ...], told: Sequence[Judgement]) -> list[str]:
    """Warnings that the table does not show."""
    shown = {j.verdict.evidence for j in told if j.verdict.score is None}
    return [warning for warning in warnings if warning.partition(" (")[0] not in shown and warning not in shown]


def _line(text: str, most: int = 300) -> str:
    """Evidence on one line that a terminal can show."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 3] + "..."
