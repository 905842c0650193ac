"""Learned routing between Mixtral-8x7B and GPT-4 on RouteLLM's files (Ong et al. 2024, 2406.18665).

    python benchmarks/routellm.py mmlu routellm_gsm8k_mmlu.parquet [--out docs/measurements/routing-routellm]
    python benchmarks/routellm.py gsm8k routellm_gsm8k_mmlu.parquet zeroeval_many_models.parquet

Everything that is fitted is fitted on the other folds, its penalties and thresholds too; only marks and words are
scaled over all questions, without labels ("ridge on the gap", "50 neighbours by words"). A router sees the question and
its subject before anything is spent, and no model's answer; "per dollar" is per dollar as expected: the prompt, and the
mean completion of the other folds. The cascade of `gsm8k` asks Mixtral, checks its answer
against Mixtral's own rerun in the second file, joined by question text, and asks GPT-4 where they differ; the rerun is
billed on every question. Dollars are nominal: list prices, prompts without their examples, MMLU's answers one token.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as parquet

from satisfice import Task
from satisfice.budgets.features import HASHED, MARKS
from satisfice.experiments import Interval
from satisfice.experiments.importing import key_of, plain
from satisfice.experiments.predicting import Examples, calibration_error, cross_predicted
from satisfice.experiments.routing import (
    Kept,
    Pair,
    Unit,
    compare,
    cpt,
    cross_means,
    curve,
    kept,
    neighbours,
    sent,
    sent_for,
)

WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
RERUN = "Mixtral-8x7B-Instruct-v0.1"
PRICE = 0.6e-6  # dollars a token, Mixtral's in the first file, for a rerun that has none
COMPLETION = {WEAK: 0.6e-6, STRONG: 30e-6}  # dollars a token of a reply
SAME = 300  # characters: questions on one passage begin alike, and so do they all where the task is put in many words
DRAWN = (
    "predictor",
    "predictor, per dollar",
    "domain mean",
    "domain mean, per dollar",
    "words only",
    "length",
    "random",
)
WORDS = ((inf, 100.0), (inf, 500.0))


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    pair: Pair
    examples: Examples
    texts: list[str]
    answers: list[str]  # the weak arm's
    topics: tuple[str, ...]
    folds: tuple[int, ...]
    extra: Any  # dollars that asking the strong arm instead is expected to cost, (questions,)


def read(path: Path, dataset: str) -> Data:
    rows = [row for row in parquet.read_table(path).to_pylist() if row["dataset"] == dataset]
    weak = {row["question_id"]: row for row in rows if row["model"] == WEAK}
    strong = {row["question_id"]: row for row in rows if row["model"] == STRONG}
    both = [q for q in weak if q in strong]
    kind: Any = "choice" if dataset == "mmlu" else "number"
    tasks = [Task.of(weak[q]["question"], kind, topic=weak[q]["subject"] if kind == "choice" else "") for q in both]
    draws = [[[bool(weak[q]["correct"])], [bool(strong[q]["correct"])]] for q in both]
    folds = tuple(int(weak[q]["fold"]) for q in both)
    pair = Pair(
        *([row[q]["correct"] for q in both] for row in (weak, strong)),
        *([row[q]["cost_usd"] for q in both] for row in (weak, strong)),
        [plain(weak[q]["question"])[:SAME] for q in both],
    )
    texts, answers = [weak[q]["question"] for q in both], [weak[q]["answer"] or "" for q in both]
    examples = Examples.made(("weak", "strong"), tasks, draws, folds)
    extra = expected([strong[q] for q in both], folds) - expected([weak[q] for q in both], folds)
    return Data(pair, examples, texts, answers, examples.topics, folds, extra)


def expected(rows: Sequence[Mapping[str, Any]], folds: Sequence[int]) -> Any:
    """Dollars of each call as they are known before it: its prompt, and a completion of the mean length of the other
    folds."""
    tokens, of = np.asarray([float(row["completion_tokens"]) for row in rows]), np.asarray(folds)
    mean = np.asarray([tokens[of != fold].mean() for fold in folds])
    price = np.asarray([COMPLETION[row["model"]] for row in rows])
    return np.asarray([row["cost_usd"] for row in rows]) + price * (mean - tokens)


def told(data: Data, name: str, p: Any) -> Any:
    """The predicted gain, and how good the predictions are."""
    for i, (arm, right) in enumerate((("weak", data.pair.weak), ("strong", data.pair.strong))):
        ours = np.clip(p[:, i], 1e-6, 1 - 1e-6)
        loss = -np.mean(right * np.log(ours) + (1 - right) * np.log(1 - ours))
        brier, mean = np.mean((ours - right) ** 2), right.mean()
        base = -(mean * log(mean) + (1 - mean) * log(1 - mean))
        ece = calibration_error(ours, right)
        click.echo(
            f"{name}, {arm}: log loss {loss:.4f} (mean {base:.4f}), Brier {brier:.4f} (mean {mean * (1 - mean):.4f}),"
            f" ECE {ece:.4f}"
        )
    return p[:, 1] - p[:, 0]


def on_the_gap(data: Data, words: float = 1000.0) -> Any:
    """Ridge regression of the gap itself on topics, marks and words."""
    seen = data.examples.seen
    seen = (seen - seen.mean(axis=0)) / np.maximum(seen.std(axis=0), 1e-9)
    names = sorted(set(data.topics))
    one = np.asarray([[t == name for name in names] for t in data.topics], dtype=float)
    x = np.concatenate([one, seen], axis=1)
    ridge = np.concatenate([np.full(len(names), 20.0), np.full(MARKS, 200.0), np.full(HASHED, words)])
    gap, folds, found = data.pair.gap, np.asarray(data.folds), np.zeros(len(data.folds))
    for fold in np.unique(folds):
        rest = folds != fold
        mean = gap[rest].mean()
        slope = np.linalg.solve(x[rest].T @ x[rest] + np.diag(ridge), x[rest].T @ (gap[rest] - mean))
        found[~rest] = mean + x[~rest] @ slope
    return found


def routers(data: Data) -> dict[str, Any]:
    """Scores of every router, by name: ours first."""
    several = len(set(data.topics)) > 1
    gap, length = data.pair.gap, np.asarray([float(len(text)) for text in data.texts])
    found = {"predictor": told(data, "predictor", cross_predicted(data.examples))}
    found["predictor, per dollar"] = found["predictor"] / data.extra
    if several:
        blind = told(data, "predictor without topic", cross_predicted(data.examples, topics=False))
        found["predictor without topic"] = blind
        found["ridge on the gap"] = on_the_gap(data)
        found["domain mean"] = cross_means(gap, data.topics, data.folds)
        found["domain mean, per dollar"] = found["domain mean"] / data.extra
    p = cross_predicted(data.examples, penalties=WORDS, topics=False)
    found["words only"] = told(data, "words only", p)
    words = data.examples.seen[:, MARKS:]
    rare = words * np.log(len(words) / np.maximum((words > 0).sum(axis=0), 1))
    found["50 neighbours by words"] = neighbours(rare, gap, data.folds)
    return found | {"length": length, "random": np.zeros(len(gap)), "oracle": gap}


def shown(x: Interval, sign: str = "") -> str:
    return f"{x.estimate:{sign}.3f} [{x.low:{sign}.3f}, {x.high:{sign}.3f}]"


def table(data: Data, scores: Mapping[str, Any], by: Unit) -> None:
    names = list(scores)
    rows = compare(data.pair, scores, by=by)
    domain = "domain mean, per dollar" if by == "usd" else "domain mean"
    bases = [name for name in (domain, "words only", "length") if name in scores]
    click.echo(f"\nin {by}:\n")
    above = " | ".join(f"APGR above {base} | PGR above {base}" for base in bases)
    click.echo(f"| router | APGR | PGR at 40% | CPT(80%) | {above} |\n" + "|---" * (4 + 2 * len(bases)) + "|")
    for name, row in zip(names, rows, strict=True):
        cells = [shown(row.apgr), shown(row.pgr), f"{cpt(data.pair, scores[name], 0.8, by):.2f}"]
        for base in bases:
            cells += [shown(x, "+") for x in row.over[base]] if base in row.over else ["", ""]
        click.echo(f"| {name} | " + " | ".join(cells) + " |")


def said(name: str, found: Kept) -> None:
    figures = (found.pgr, found.calls, found.usd, found.accuracy)
    click.echo(f"| {name} | " + " | ".join(map(shown, figures)) + " |")


HEADER = "| way | PGR | strong calls | dollars / strong alone | accuracy |\n|---|---|---|---|---|"


@click.group()
def main() -> None:
    """Routing on RouteLLM's files."""


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="Writes the curves as OUT.csv and OUT.png.")
def mmlu(path: Path, out: Path | None) -> None:
    """A router alone, on MMLU."""
    data = read(path, "mmlu")
    pair = data.pair
    click.echo(f"{len(data.folds)} questions, {len(set(data.topics))} subjects; Mixtral {pair.weak.mean():.4f},")
    click.echo(f"GPT-4 {pair.strong.mean():.4f}; ${pair.weak_usd.mean():.6f} and ${pair.strong_usd.mean():.6f} each")
    scores = routers(data)
    for by in ("calls", "usd"):
        table(data, scores, by)
    click.echo(f"\nthresholds fixed on the other folds:\n\n{HEADER}")
    for share in (0.2, 0.4, 0.6):
        said(f"predictor, {share:.0%} of calls", kept(pair, sent(scores["predictor"], data.folds, share)))
        said(f"domain mean, {share:.0%} of calls", kept(pair, sent(scores["domain mean"], data.folds, share)))
    for target in (0.5, 0.8):
        said(f"predictor, PGR {target:g}", kept(pair, sent_for(pair, scores["predictor"], data.folds, target)))
    if out is not None:
        draw(data, scores, out, "MMLU")


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.argument("zeroeval", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Writes the curves as OUT.csv and OUT.png.")
def gsm8k(path: Path, zeroeval: Path | None, out: Path | None) -> None:
    """A router alone, and a cascade that checks Mixtral by its own rerun, on GSM8K."""
    data = read(path, "gsm8k")
    pair = data.pair
    click.echo(f"{len(data.folds)} questions; Mixtral {pair.weak.mean():.4f}, GPT-4 {pair.strong.mean():.4f};")
    click.echo(f"${pair.weak_usd.mean():.6f} and ${pair.strong_usd.mean():.6f} each")
    scores = routers(data)
    for by in ("calls", "usd"):
        table(data, scores, by)
    if zeroeval is not None:
        cascades(data, zeroeval)
    if out is not None:
        draw(data, scores, out, "GSM8K")


def cascades(data: Data, zeroeval: Path) -> None:
    rerun = {plain(r["question"]): r for r in parquet.read_table(zeroeval).to_pylist() if r["model"] == RERUN}
    found = [rerun.get(plain(text)) for text in data.texts]
    if any(row is None for row in found):
        raise click.ClickException(f"{sum(row is None for row in found)} questions have no rerun")
    again = [row["answer"] or "" for row in found if row is not None]
    check = np.asarray([PRICE * (r["prompt_tokens"] + r["completion_tokens"]) for r in found if r is not None])
    pair, folds = data.pair, np.asarray(data.folds)
    same = [
        a != "" and b != "" and key_of("number", a) == key_of("number", b)
        for a, b in zip(data.answers, again, strict=True)
    ]
    agree = np.asarray(same)
    click.echo(
        f"\nrerun: {np.mean([r['correct'] for r in found if r is not None]):.4f} right, ${check.mean():.6f} each;"
        f" agrees on {agree.mean():.3f}, and then Mixtral is right on {pair.weak[agree].mean():.3f},"
        f" else on {pair.weak[~agree].mean():.3f}\n\n{HEADER}"
    )

    def cascade(asked: Any, checked: Any = 1.0) -> Kept:
        asked = np.asarray(asked, dtype=float)
        right = np.where(asked > 0, pair.strong, pair.weak)
        return kept(pair, asked, right, pair.weak_usd + checked * check + asked * pair.strong_usd)

    said("Mixtral alone", kept(pair, np.zeros(len(folds))))
    said("GPT-4 alone", kept(pair, np.ones(len(folds))))
    said("cascade: accept where the rerun agrees", cascade(~agree))
    gain = posterior(data, agree)
    for share in (0.3, 0.35, 0.4, 0.45, 0.48):
        said(f"agreement and features, {share:.0%} of calls", cascade(sent(gain, data.folds, share)))
    for target in (0.9, 1.0):
        said(f"agreement and features, PGR {target:g}", cascade(sent_for(pair, gain, data.folds, target)))
    oracle = pair.gap > 0
    said("oracle after the check", cascade(oracle))


def posterior(data: Data, agree: Any) -> Any:
    """The predicted gain of asking the strong arm, given the features and whether the rerun agreed: agreement is a
    mark among the others."""
    seen = data.examples.seen.copy()
    seen[:, 0] = 0.0  # the kind of answer, the same everywhere
    seen[:, 1] = agree
    p = cross_predicted(replace(data.examples, seen=seen), penalties=((1.0, inf), (3.0, inf), (10.0, inf), (50.0, inf)))
    return told(data, "agreement and features", p)


def draw(data: Data, scores: Mapping[str, Any], out: Path, title: str) -> None:
    """Curves as a table and a picture."""
    from matplotlib import use

    use("Agg")
    from matplotlib import pyplot

    out.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    with Path(f"{out}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["router", "unit", "share", "pgr"])
        for axis, by in zip(axes, ("calls", "usd"), strict=True):
            for name, score in scores.items():
                found = curve(data.pair, score, by)  # type: ignore[arg-type]
                writer.writerows(
                    [name, by, f"{x:.2f}", f"{y:.4f}"] for x, y in zip(found.shares, found.pgr, strict=True)
                )
                if name in DRAWN:
                    axis.plot(found.shares, found.pgr, label=name, lw=2 if name == "predictor" else 1)
            axis.set_xlabel(f"share of the strong arm's extra {'calls' if by == 'calls' else 'dollars'}")
            axis.set_ylabel("PGR")
            axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{title}: Mixtral-8x7B and GPT-4, cross-fitted", fontsize=10)
    figure.savefig(Path(f"{out}.png"), dpi=80)


if __name__ == "__main__":
    main()
