"""What a round is worth: reflexion and debate on small models, full and pruned, and recorded Reflexion trials.

    pip install reasoning-gym==0.1.25
    python benchmarks/rounds.py live work --gguf MODEL.gguf --size 5 --most-tokens 100000     # resumable
    python benchmarks/rounds.py mask work --keep 0.5                                          # a learned edge mask
    python benchmarks/rounds.py report work
    python benchmarks/rounds.py trials hotpotqa_reflexion_trials.parquet

Every arm of a question has the same seed, so that debates begin with the same answers and differ in who hears whom.
Every round is bought (worth=inf): what is measured is what rounds bring, not when they are stopped. One CPU thread
makes some 40 tokens a second with a 0.5B model; a full debate of 3 agents and 2 rounds takes about 2,500.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import click
from strategies import SEED, Item, items

from satisfice.budgets.budget import Budget
from satisfice.core.completions import Params
from satisfice.core.effects import Choose, Gather, Offer
from satisfice.core.errors import SatisficeError
from satisfice.core.plans import Answer, Plan, Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.experiments.intervals import paired, wilson
from satisfice.experiments.pruning import Debated, learn_edges
from satisfice.scheduler.engine import Engine
from satisfice.strategies.best_of_n import BestOfN
from satisfice.strategies.debate import Debate
from satisfice.strategies.reflexion import Reflexion
from satisfice.strategies.self_consistency import SelfConsistency

AGENTS, ROUNDS, RETRIES = 3, 2, 3
SHORT = Params(temperature=0.7, max_tokens=96)
BESIDE = {  # recorded strategies with reflections -> the same without
    "react_reflexion": "react_base",
    "cot_no_context_reflexion": "cot_no_context_base",
    "cot_context_last_trial_and_reflexion": "cot_context_last_trial",
    "cot_no_context_last_trial_and_reflexion": "cot_no_context_last_trial",
}
NOTE = Params(temperature=0.0, max_tokens=64)


def arms(edges: tuple[Any, ...] | None) -> dict[str, tuple[Strategy, bool]]:
    """Name -> (strategy, with the exact check? Then only on questions that can be checked without their answer)."""
    debate = Debate(AGENTS, ROUNDS, params=SHORT)
    reflexion = Reflexion(RETRIES, params=SHORT, reflect_params=NOTE)
    found: dict[str, tuple[Strategy, bool]] = {
        "reflexion, exact check": (reflexion, True),
        "best of n, exact check": (BestOfN(most=RETRIES + 1, params=SHORT), True),
        "reflexion, own criticism": (reflexion, False),
        "debate, full": (debate, False),
        "debate, ring": (replace(debate, topology="ring"), False),
        "debate, dissent": (replace(debate, dissent=True), False),
        "vote": (SelfConsistency(samples=AGENTS * (ROUNDS + 1), params=SHORT), False),
    }
    if edges is not None:
        found["debate, learned mask"] = (replace(debate, edges=edges), False)
    return found


@dataclass(slots=True)
class Watched:
    """A strategy, and what it had on offer after each round, at how many tokens; and each wave's answers."""

    inner: Strategy
    name: str = "watched"
    offers: list[tuple[str | None, int, int]] = field(default_factory=list)
    waves: list[list[str | None]] = field(default_factory=list)
    prompt: int = 0
    completion: int = 0

    def __call__(self, task: Task) -> Plan[Answer]:
        plan, step = self.inner(task), _sending(None)
        while True:
            try:
                effect = step(plan)
            except StopIteration as end:
                self._offer(end.value)
                return end.value  # type: ignore[no-any-return]
            if isinstance(effect, Offer | Choose):
                self._offer(effect.answer)
            try:
                reply = yield effect
            except SatisficeError as error:
                step = _throwing(error)
                continue
            if isinstance(effect, Gather):
                self.waves.append([one.key if isinstance(one, Candidate) else None for one in reply])
            self._count(reply)
            step = _sending(reply)

    def _offer(self, answer: Answer | None) -> None:
        key = answer.candidate.key if answer is not None and answer.candidate is not None else None
        self.offers.append((key, self.prompt, self.completion))

    def _count(self, reply: Any) -> None:
        for one in reply if isinstance(reply, tuple) else (reply,):
            if isinstance(one, Candidate):
                self.prompt += one.spent.tokens - (one.tokens or 0)
                self.completion += one.tokens or 0
            elif isinstance(one, Verdict):
                self.prompt += one.spent.tokens  # a critic's; nearly all of it is what it reads


def _sending(reply: Any) -> Callable[[Any], Any]:
    return lambda plan: plan.send(reply)


def _throwing(error: Exception) -> Callable[[Any], Any]:
    return lambda plan: plan.throw(error)


@click.group()
def main() -> None:
    """What a round of reflexion or debate is worth."""


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--gguf", type=click.Path(path_type=Path), help="The model's file (default: the embedded model).")
@click.option("--size", default=5, show_default=True, help="Questions of each task.")
@click.option("--skip", default=0, show_default=True, help="Questions of each task that are left out, e.g. for a mask.")
@click.option("--only", default="", help="Arms, separated by ';' (default: all).")
@click.option("--most-tokens", default=300_000, show_default=True, help="Stops before a run that may pass this.")
@click.option("--minutes", default=inf, help="Starts no further run after so many minutes.")
def live(work: Path, gguf: Path | None, size: int, skip: int, only: str, most_tokens: int, minutes: float) -> None:
    """Runs every arm on every question that has no row yet."""
    work.mkdir(parents=True, exist_ok=True)
    model = f"local/{gguf.resolve()}" if gguf else "local/smollm2"
    out, mask = work / "rounds.jsonl", work / "edges.json"
    edges = _tuples(json.loads(mask.read_text())) if mask.exists() else None
    chosen = {name: arm for name, arm in arms(edges).items() if not only or name in only.split(";")}
    rows = _rows(out)
    done = {(row["question_id"], row["arm"]) for row in rows}
    spent, end = sum(row["rounds"][-1]["tokens"] for row in rows), monotonic() + 60 * minutes

    async def run() -> None:
        nonlocal spent
        async with Engine(journal=False) as engine:
            for item in items(skip + size)[4 * skip :]:
                for name, (strategy, checked) in chosen.items():
                    if (item.id, name) in done or (checked and not item.check):
                        continue
                    if spent + 4_000 > most_tokens or monotonic() > end:
                        click.echo(f"stopped at {spent:,} tokens", err=True)
                        return
                    found = await _once(engine, model, item, strategy, checked)
                    spent += found["rounds"][-1]["tokens"]
                    _append(out, {"question_id": item.id, "dataset": item.dataset, "arm": name, **found})

    anyio.run(run)


async def _once(engine: Engine, model: str, item: Item, strategy: Strategy, checked: bool) -> dict[str, Any]:
    task = item.task() if checked else replace(item.task(), checks=())
    watched = Watched(strategy)
    budget = Budget(tokens=50_000, worth=inf)
    fault = None
    try:
        await engine.solve(task, models=model, strategy=watched, budget=budget, seed=SEED)
    except SatisficeError as error:
        fault = f"{type(error).__name__}: {error}"[:200]
    rounds = [
        {"right": item.right(key), "blank": key is None, "prompt": prompt, "tokens": prompt + said}
        for key, prompt, said in watched.offers or [(None, 0, 0)]
    ]
    right = sorted({key for wave in watched.waves for key in wave if item.right(key)})
    return {"model": Path(model).name, "right": right, "rounds": rounds, "waves": watched.waves, "fault": fault}


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--keep", default=0.5, show_default=True, help="The share of edges that is kept.")
@click.option("--by-round", is_flag=True)
def mask(work: Path, keep: float, by_round: bool) -> None:
    """Learns a mask from the recorded full debates. Measure it on other questions (`live --skip`)."""
    debates = [
        Debated(tuple(tuple(wave) for wave in row["waves"]), (row["right"] or [None])[0])
        for row in _rows(work / "rounds.jsonl")
        if row["arm"] == "debate, full" and all(len(wave) == AGENTS for wave in row["waves"])
    ]
    edges = learn_edges(debates, AGENTS, keep, by_round=by_round)
    (work / "edges.json").write_text(json.dumps(edges))
    click.echo(f"{len(debates)} debates: {json.dumps(edges)}")


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
def report(work: Path) -> None:
    """Accuracy after each round, and full debates against pruned ones on the same questions."""
    by_arm: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _rows(work / "rounds.jsonl"):
        by_arm.setdefault(row["arm"], {})[row["question_id"]] = row
    click.echo(
        "| arm | n | after | right | gain over the first answer | tokens (of which prompt) |\n|---|---|---|---|---|---|"
    )
    for arm, rows in by_arm.items():
        last = max(len(row["rounds"]) for row in rows.values())
        begun = 1  # the first offer comes before anything is bought
        first = [float(_at(row, begun)["right"]) for row in rows.values()]
        for at in sorted({begun, *range(begun, last)}) if not arm.startswith(("vote", "best")) else [last - 1]:
            now = [_at(row, at) for row in rows.values()]
            right = [float(one["right"]) for one in now]
            gain = f"{_told(paired(right, first), '+.3f')}" if at > begun else ""
            tokens, prompt = (_mean([one[what] for one in now]) for what in ("tokens", "prompt"))
            what = "all" if arm.startswith(("vote", "best")) else f"round {at - begun}"
            click.echo(f"| {arm} | {len(rows)} | {what} | {_share(right)} | {gain} | {tokens:.0f} ({prompt:.0f}) |")
    _against(by_arm, "debate, full")


def _against(by_arm: dict[str, dict[str, dict[str, Any]]], base: str) -> None:
    """Every other arm without a check against the full debate, on the questions that both have."""
    click.echo(f"\n| against {base} | n | accuracy | tokens | prompt tokens |\n|---|---|---|---|---|")
    for arm, rows in by_arm.items():
        both = sorted(rows.keys() & by_arm.get(base, {}).keys())
        if arm == base or "check" in arm or not both:
            continue
        mine, theirs = ([one[q]["rounds"][-1] for q in both] for one in (rows, by_arm[base]))
        right = paired([float(r["right"]) for r in mine], [float(r["right"]) for r in theirs])
        ratios = [f"{_mean([r[w] for r in mine]) / _mean([r[w] for r in theirs]):.2f}" for w in ("tokens", "prompt")]
        click.echo(f"| {arm} | {len(both)} | {_told(right, '+.3f')} | x{ratios[0]} | x{ratios[1]} |")


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def trials(path: Path) -> None:
    """Accuracy after each recorded trial. An oracle decided who was tried again: those that were right stay right, so
    that accuracy cannot fall, and a strategy that only draws again gains too."""
    import pyarrow.parquet as pq

    found: dict[str, dict[str, dict[int, float]]] = {}
    for row in pq.read_table(path, columns=["strategy", "question_id", "sample_index", "correct"]).to_pylist():
        found.setdefault(row["strategy"], {}).setdefault(row["question_id"], {})[row["sample_index"]] = row["correct"]
    click.echo(
        "| strategy | n | trial | right | gain over trial 0 | gain over the last trial |\n|---|---|---|---|---|---|"
    )
    for strategy, questions in sorted(found.items()):
        rows = [one for _, one in sorted(questions.items())]
        for at in range(max(max(one) for one in rows) + 1):
            kept = [one for one in rows if at in one and 0 in one]
            now, first = [one[at] for one in kept], [one[0] for one in kept]
            before = [one.get(at - 1, one[0]) for one in kept]
            gains = [_told(paired(now, then), "+.3f") if at else "" for then in (first, before)]
            click.echo(f"| {strategy} | {len(kept)} | {at} | {_share(now)} | {gains[0]} | {gains[1]} |")

    click.echo("\n| with reflections | without | n | difference of the gains over trial 0 |\n|---|---|---|---|")
    for one, other in BESIDE.items():
        both = sorted(found.get(one, {}).keys() & found.get(other, {}).keys())
        last = min(max(trial) for name in (one, other) for trial in found[name].values()) if both else 0
        gained = [[found[name][q][last] - found[name][q][0] for q in both] for name in (one, other)]
        click.echo(f"| {one} | {other} | {len(both)} | after trial {last}: {_told(paired(*gained), '+.3f')} |")


def _at(row: dict[str, Any], at: int) -> dict[str, Any]:
    """What was on offer after a round; a run that ended before keeps its answer."""
    rounds: list[dict[str, Any]] = row["rounds"]
    return rounds[min(at, len(rounds) - 1)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _told(interval: Any, form: str = ".3f") -> str:
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _share(right: list[float]) -> str:
    low, high = wilson(sum(right), len(right))
    return f"{_mean(right):.3f} [{low:.3f}, {high:.3f}]"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
