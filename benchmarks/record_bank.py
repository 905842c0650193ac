"""Records the bank of verifier scores that ships with satisfice (`experiments/banks/verifiers`).

    pip install reasoning-gym==0.1.25
    python benchmarks/record_bank.py questions work          # 720 questions over 12 kinds of task, seeded
    python benchmarks/record_bank.py draws work qwen2.5-coder-0.5b --gguf qwen2.5-coder-0.5b-instruct-q4_k_m.gguf
    python benchmarks/record_bank.py verdicts work smollm2   # asks the embedded model of every different answer
    python benchmarks/record_bank.py build work experiments/banks/verifiers

`isomorphic_strings` depends on Python's hash seed, which was not fixed: its questions are those in the bank, the others
come out the same. Each step goes on where it was stopped. One CPU thread makes about 25 tokens a second of draws with
the 0.5B model and 4 verdicts a second with the embedded one: some two hours in all. Small models judging small models:
the verdicts tell little, and the bank says how little.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from shutil import rmtree
from statistics import fmean
from time import monotonic
from typing import Any

import anyio
import click

from satisfice.budgets.prices import Price
from satisfice.core.completions import Message, Params, Request, Usage
from satisfice.core.task import Candidate, Contract, Task
from satisfice.experiments import tables
from satisfice.experiments.bank import Bank, Draw, Question, RecordedRun, Scored
from satisfice.experiments.intervals import clustered
from satisfice.models.catalog import LOCAL_PRICE
from satisfice.models.local import LocalModel
from satisfice.verifiers.confidence import Confidence
from satisfice.verifiers.judge import Judge, PTrue

SEED, SAMPLES, SLOTS = 20261122, 16, 8
NUMBER = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}
# reasoning-gym task -> (settings, kind of answer, questions). Sized so that a 0.5B model is right now and then.
TASKS: dict[str, tuple[dict[str, Any], str, int]] = {
    "chain_sum": (NUMBER, "number", 68),
    "products": ({**NUMBER, "max_terms": 2}, "number", 68),
    "gcd": ({"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 60}, "number", 68),
    "lcm": ({"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 20}, "number", 68),
    "letter_counting": ({"min_words": 3, "max_words": 6}, "number", 68),
    "count_bits": ({"min_n": 3, "max_n": 255}, "number", 68),
    "simple_equations": (
        {"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 20, "operators_weights": [0.5, 0.5, 0.0]},
        "number",
        68,
    ),
    "spell_backward": ({"min_word_len": 3, "max_word_len": 6}, "text", 68),
    "needle_haystack": ({"min_num_statements": 5, "max_num_statements": 12}, "text", 56),
    "basic_arithmetic": (NUMBER, "number", 40),
    "leg_counting": ({"min_animals": 1, "max_animals": 2, "min_instances": 1, "max_instances": 5}, "number", 40),
    "isomorphic_strings": ({"min_string_length": 3, "max_string_length": 5}, "choice", 40),
}
LABELS = {"choice": ("True", "False")}
ENDING = {
    "number": "Reply with just the number.",
    "text": "Reply with just the answer.",
    "choice": "Reply with just True or False.",
}
# Short judges' prompts, the same up to their last line: what the two share is read once.
HEAD = "{{ query }}\nProposed answer: {{ candidate }}\n"
PROMPTS = {
    "p_true": HEAD + "Is the proposed answer true or false? Reply with one word, True or False:",
    "judge": HEAD + "Grade the proposed answer from {{ low }} (wrong) to {{ high }} (right). Reply with one digit:",
}
ONE = Params(temperature=0.0, max_tokens=1, logprobs=True, top_logprobs=20)
JUDGES = (PTrue(params=ONE), Judge(params=ONE))
FREE = tuple(Confidence(kind) for kind in ("mean", "min"))


MANIFEST = {
    "source": "recorded with benchmarks/record_bank.py: reasoning-gym 0.1.25 questions, drawn once by a 0.5B model",
    "models": "Qwen2.5-Coder-0.5B-Instruct Q4_K_M (sha256 1d9614638d18...) drew; SmolLM2-135M-Instruct judged",
    "sampling": "temperature 0.7, at most 24 tokens, one line, 16 draws in two calls of n = 8",
    "judge_prompts": json.dumps(PROMPTS),
    "licence": "Apache-2.0",
}


@click.group()
def main() -> None:
    """Records a bank of draws and verdicts with small local models."""


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
def questions(work: Path) -> None:
    """Draws the questions."""
    import reasoning_gym

    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (settings, kind, size) in TASKS.items():
        entries = reasoning_gym.create_dataset(name, size=size * 6, seed=SEED, **settings)
        different: dict[str, str] = {}
        for entry in entries:
            different.setdefault(entry["question"].strip(), str(entry["answer"]).strip())
        for i, (text, gold) in enumerate(list(different.items())[:size]):
            rows.append({"id": f"{name}-{i}", "dataset": name, "kind": kind, "question": text, "gold": gold})
    _append(work / "questions.jsonl", rows)


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--gguf", type=click.Path(path_type=Path), help="The model's file; the embedded one needs none.")
def draws(work: Path, name: str, gguf: Path | None) -> None:
    """Draws 16 completions of every question, with log-probabilities."""
    model = LocalModel(f"local/{gguf}" if gguf else f"local/{name}", slots=SLOTS, context=768)
    out = work / f"draws-{name}.jsonl"
    done = {row["question_id"] for row in _rows(out)}
    todo = [row for row in _interleaved(work) if row["id"] not in done]
    params = Params(temperature=0.7, max_tokens=24, stop=("\n",), logprobs=True)

    async def record() -> None:
        for row in _told(todo):
            prompt = f"{row['question']}\n{ENDING[row['kind']]}"
            found = []
            for first in range(0, SAMPLES, SLOTS):
                reply = await model.complete(Request((Message("user", prompt),), params, n=SLOTS, seed=first))
                assert reply.usage is not None
                found += [
                    {
                        "question_id": row["id"],
                        "sample_index": first + i,
                        "text": completion.text,
                        "prompt_tokens": reply.usage.prompt,
                        "completion_tokens": completion.tokens,
                        "logprobs": completion.logprobs or (),
                    }
                    for i, completion in enumerate(reply.completions)
                ]
            _append(out, found)

    anyio.run(record)


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--gguf", type=click.Path(path_type=Path), help="The judging model's file; the embedded one needs none.")
@click.option("--of", "drawn", default="qwen2.5-coder-0.5b", show_default=True, help="Whose draws are judged.")
def verdicts(work: Path, name: str, gguf: Path | None, drawn: str) -> None:
    """Asks a model whether each different answer is right: P(true) and a grade from 1 to 5."""
    model = LocalModel(f"local/{gguf}" if gguf else f"local/{name}", slots=1, context=1024)
    out = work / f"verdicts-{name}.jsonl"
    done = {(row["question_id"], row["key"], row["verifier"]) for row in _rows(out)}
    of_question: dict[str, list[str]] = {}
    for row in _rows(work / f"draws-{drawn}.jsonl"):
        of_question.setdefault(row["question_id"], []).append(row["text"])

    async def record() -> None:
        for row in _told(_interleaved(work)):
            task, seen = _task(row), set()
            for text in of_question.get(row["id"], ()):
                reading = task.contract.read(text)
                if reading is None or reading.key in seen:
                    continue
                seen.add(reading.key)
                candidate = Candidate(text, reading.answer, reading.key)
                fresh = [v for v in JUDGES if (row["id"], reading.key, v.name) not in done]
                _append(out, [await _asked(model, v, task, candidate, row["id"]) for v in fresh])

    anyio.run(record)


async def _asked(model: LocalModel, verifier: Any, task: Task, candidate: Candidate, question: str) -> dict[str, Any]:
    plan, reply, tokens = verifier(task, candidate), None, 0
    while True:
        try:
            effect = plan.send(reply)
        except StopIteration as end:
            facts = {"question_id": question, "key": candidate.key, "verifier": verifier.name, "tokens": tokens}
            return {**facts, "score": end.value.score, "evidence": end.value.evidence}
        came = await model.complete(Request(effect.messages, effect.params, 1, 0))
        assert came.usage is not None
        tokens += came.usage.prompt + came.usage.completion
        one = came.completions[0]
        reply = Candidate(one.text, finish=one.finish, logprobs=one.logprobs, alternatives=one.alternatives)


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def build(work: Path, out: Path) -> None:
    """Puts questions, draws and verdicts together into a bank."""
    asked = {row["id"]: row for row in _interleaved(work)}
    known: dict[str, Question] = {}
    found: dict[tuple[str, str, str], tuple[Draw, ...]] = {}
    said: dict[tuple[str, str, str, int], dict[str, Scored]] = {}
    judged = {
        (path.stem.removeprefix("verdicts-"), row["question_id"], row["key"], row["verifier"]): row
        for path in sorted(work.glob("verdicts-*.jsonl"))
        for row in _rows(path)
    }
    judges = sorted({(judge, verifier) for judge, _, _, verifier in judged})
    for path in sorted(work.glob("draws-*.jsonl")):
        model = f"local/{path.stem.removeprefix('draws-')}"
        for row in _rows(path):
            question = asked[row["question_id"]]
            contract = _task(question).contract
            gold = contract.read(question["gold"])
            reading = contract.read(row["text"])
            key = reading.key if reading else None
            group = (question["id"], model, "direct@0.7")
            known[question["id"]] = Question(
                question["id"],
                question["dataset"],
                question["question"],
                question["gold"],
                contract.kind,
                contract.choices,
                int(sha1(question["id"].encode()).hexdigest(), 16) % 10,
            )
            draw = Draw(
                row["sample_index"],
                reading.answer if reading else "",
                key,
                gold is not None and key == gold.key,
                row["prompt_tokens"],
                row["completion_tokens"],
                LOCAL_PRICE.cost(Usage(row["prompt_tokens"], row["completion_tokens"])),
                row["text"],
                "recorded",
                "nominal",
            )
            found[group] = (*found.get(group, ()), draw)
            place = (*group, draw.sample_index)
            said[place] = {}
            candidate = Candidate(row["text"], logprobs=tuple(row["logprobs"]) or None)
            for verifier in FREE:
                verdict = verifier(_task(question), candidate)
                said[place][verifier.name] = Scored(verdict.score, 0, 0)
            for judge, verifier in judges:
                one = judged.get((judge, question["id"], key or "", verifier))
                if one is not None:
                    nanos = LOCAL_PRICE.cost(Usage(one["tokens"]))
                    said[place][f"{verifier}@{judge}"] = Scored(one["score"], one["tokens"], nanos)
    Bank(known, found, MANIFEST, None, said).save(out)


@main.command()
@click.argument("recorded", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def small(recorded: Path, out: Path) -> None:
    """Makes the bank `experiments/banks/small`: what `satisfice bank record` has RECORDED on the first questions of
    `verifiers` (docs/banks.md has the commands), and what `verifiers` has of the same questions."""
    made, older = Bank.open(recorded), Bank.open("verifiers")
    kept = set(made.questions)
    draws = {group: row for group, row in older.draws.items() if group[0] in kept} | dict(made.draws)
    verdicts = {place: dict(said) for place, said in older.verdicts.items() if place[0] in kept} | dict(made.verdicts)
    manifest = {key: value for key, value in made.manifest.items() if key not in ("parts", *tables.TABLES)}
    manifest |= SMALL
    conditions = {
        **manifest["conditions"],
        f"{QWEN} direct@0.7": {"as": MANIFEST["sampling"], "latency": "not recorded"},
    }
    manifest["conditions"] = conditions
    manifest["prices"] = {**manifest["prices"], QWEN: {"prompt": 40_000, "completion": 160_000, "source": "nominal"}}
    draws = {g: tuple(map(_priced, row)) if g[1] == QWEN else row for g, row in draws.items()}
    # A debate of the smaller model was recorded on 18 questions, and never right: it is left out.
    runs = {place: tuple(map(_run_priced, found)) for place, found in made.runs.items() if found[0].model == QWEN}
    told = {text: manifest["run_settings"][text] for text in dict.fromkeys(text for _, text in runs)}
    manifest["run_settings"] = told
    if out.exists():
        rmtree(out)
    Bank(made.questions, draws, manifest, None, verdicts, runs).save(out)


@main.command()
@click.argument("path")
def table(path: str) -> None:
    """Prints what a bank holds and what its models get right, as a table of docs/banks.md."""
    bank = Bank.open(path)
    click.echo("| model | arm | questions | draws each | one draw right | majority right | tokens | seconds |")
    click.echo("|---|---|--:|--:|---|---|--:|--:|")
    for model, arm in bank.arms:
        rows = bank.of_arm(model, arm)
        one = [fmean(d.correct for d in row) for row in rows.values()]
        majority = [_majority(row) for row in rows.values()]
        drawn = [d for row in rows.values() for d in row]
        times = [d.seconds for d in drawn if d.seconds is not None]
        told = f"{fmean(times):.1f}" if times else "unknown"
        sizes = sorted({len(row) for row in rows.values()})
        shares = f"{_interval(one)} | {_interval(majority)} | {fmean(d.tokens for d in drawn):.0f} | {told}"
        click.echo(f"| {model} | {arm} | {len(rows)} | {'-'.join(map(str, sizes))} | {shares} |")
    click.echo("\n| strategy | model | questions | runs | right | calls | tokens |\n|---|---|--:|--:|---|--:|--:|")
    found: dict[tuple[str, str], list[RecordedRun]] = {}
    for (_, text), runs in bank.runs.items():
        found.setdefault((text, runs[0].model), []).extend(runs)
    for (text, model), runs in found.items():
        name = text.partition(":")[0]
        calls, tokens = fmean(len(run.effects) for run in runs), fmean(run.tokens for run in runs)
        right = _interval([float(run.correct) for run in runs])
        click.echo(f"| {name} | {model} | {len(runs)} | {len(runs)} | {right} | {calls:.1f} | {tokens:.0f} |")
    verdicts = sum(len(said) for said in bank.verdicts.values())
    size = sum(file.stat().st_size for file in bank.path.iterdir()) if bank.path else 0
    click.echo(
        f"\n{len(bank.questions)} questions, {verdicts:,} verdicts ({', '.join(bank.verifiers)}), {size / 1e6:.2f} MB."
    )


def _majority(row: tuple[Draw, ...]) -> float:
    """The share of the most frequent answers (of equals, all) that are right."""
    votes = Counter(draw.key for draw in row if draw.key is not None)
    best = [key for key, n in votes.items() if n == max(votes.values())]
    right = {draw.key for draw in row if draw.correct}
    return sum(key in right for key in best) / len(best) if best else 0.0


def _interval(values: list[float]) -> str:
    found = clustered(values)
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _priced(draw: Draw) -> Draw:
    return replace(draw, nanos=QWEN_PRICE.cost(Usage(draw.prompt_tokens or 0, draw.completion_tokens or 0)))


def _run_priced(run: RecordedRun) -> RecordedRun:
    """The run at the larger model's price."""
    costs = [QWEN_PRICE.cost(Usage(e.prompt_tokens or 0, e.completion_tokens or 0)) for e in run.effects]
    effects = tuple(replace(e, nanos=cost) for e, cost in zip(run.effects, costs, strict=True))
    return replace(run, nanos=sum(costs), effects=effects)


QWEN = "local/qwen2.5-coder-0.5b"
QWEN_PRICE = Price.per_million(0.04, 0.16, source="nominal")  # four times as dear as one of a quarter of its size
SMALL = {
    "source": "recorded by `satisfice bank record` on reasoning-gym 0.1.25 questions; docs/banks.md says how",
    "licence": "Apache-2.0",
    "machine": "one thread of a shared cloud machine (2 cores, no GPU): latencies are those of a busy machine",
    "about": (
        "A bank for a first look: 12 kinds of easy questions, two models that are right now and then. Good for trying "
        "every command, for votes, cascades, verifiers and exact replay of whole strategies; its figures say nothing "
        "of other models or tasks. Prices are nominal, in proportion to the models' parameters (135 and 494 million)."
    ),
}


def _task(row: dict[str, Any]) -> Task:
    contract = Contract(row["kind"], LABELS.get(row["kind"], ()))
    return Task((Message("user", row["question"]),), contract, prompts=PROMPTS, label=row["id"])


def _interleaved(work: Path) -> list[dict[str, Any]]:
    """By kind in turn, so that a part is a fair part."""
    return sorted(_rows(work / "questions.jsonl"), key=lambda row: (int(row["id"].rsplit("-", 1)[1]), row["id"]))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def _told(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    began = monotonic()
    for i, row in enumerate(rows):
        if i % 20 == 0 and i:
            left = (monotonic() - began) / i * (len(rows) - i)
            click.echo(f"{i} of {len(rows)}, {left / 60:.0f} min left", err=True)
        yield row


if __name__ == "__main__":
    main()
