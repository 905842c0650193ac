"""A made-up report, for tests of what is drawn and told from one: every figure is known, so that none needs a bank."""

from __future__ import annotations

from random import Random

from satisfice.experiments.intervals import clustered
from satisfice.experiments.report import Bin, Calibration, Each, Latency, Report, Row

TOPICS = ("sums", "words", "graphs")
HOSTILE = '<script>alert(1)</script> & "o\'clock"'


def made_report(
    policies: tuple[str, ...] = ("declared", "fitted"),
    *,
    questions: int = 60,
    worths: tuple[float, ...] = (0.01, 0.1, 1.0),
    seconds: bool = True,
    models: tuple[str, ...] = ("lab/small",),
    seed: int = 0,
) -> Report:
    """Rows of self_consistency under each policy, model and worth, with all baselines; later policies and larger worths
    are righter and dearer. Dollars of a question are below a cent."""
    names = [f"q{i}" for i in range(questions)]
    rows: list[Row] = []
    for i, model in enumerate(models):
        for j, policy in enumerate(policies):
            for k, worth in enumerate(worths):
                draws = 2.0 + 2 * k + j
                rows.append(
                    _row(
                        names, "self_consistency", model, policy, worth, draws, 0.5 + 0.05 * (k + j + i), seconds, seed
                    )
                )
        for k, (name, draws) in enumerate((("single_shot", 1.0), ("majority of 3", 3.0), ("majority of all", 9.0))):
            rows.append(_row(names, name, model, "", None, draws, 0.45 + 0.05 * k, seconds, seed))
    oracle = _row(names, "oracle", f"{len(models)} models", "", None, 0.0, 0.9, False, seed)
    rows.append(oracle)
    return Report(
        tuple(rows),
        {"path": "made-up", "questions": questions},
        {"resamples": 3, "seed": seed, "interval": "95%, percentile bootstrap clustered by question", "budget": {}},
        {policy: {"bank": "made-up", "questions": questions} for policy in policies},
        {name: TOPICS[i % len(TOPICS)] for i, name in enumerate(names)},
    )


def _row(
    names: list[str],
    name: str,
    model: str,
    policy: str,
    worth: float | None,
    draws: float,
    share: float,
    seconds: bool,
    seed: int,
) -> Row:
    dice = Random(seed)  # the same for all rows: questions are as hard for each
    hard = {question: dice.random() for question in names}
    each = {
        q: Each(float(hard[q] < share), draws * 0.001 * (1 + hard[q]), 100 * draws, draws, draws / 2 * seconds)
        for q in names
    }
    right, usd = [e.right for e in each.values()], [e.usd for e in each.values()]
    mean, own = sum(right) / len(right), not name.startswith(("single", "majority", "oracle"))
    return Row(
        name,
        model,
        "direct@1",
        policy,
        len(names),
        clustered(right),
        clustered(usd) if draws else None,
        tokens=100 * draws or None,
        calls=draws or None,
        worth=worth,
        net=clustered([r * worth - u for r, u in zip(right, usd, strict=True)]) if worth else None,
        runs=3 * len(names),
        stops={"value": 2 * len(names), "budget_calls": len(names)} if own else {},
        calibration=Calibration(0.04, 0.2, 0.5, mean, mean, policy == "fitted") if own else None,
        baseline=not own,
        each=each if draws else {},
        strategy=name if own else "",
        latency=Latency(draws / 2, draws / 2, draws, draws / 2, draws / 2) if seconds and own else None,
        reliability=(Bin(0.25, 0.2, 0.4 * len(names)), Bin(0.75, 0.8, 0.6 * len(names))) if own else (),
        money={"value": (2 / 3, 0.6 * draws * 0.0015), "budget_calls": (1 / 3, 0.4 * draws * 0.0015)} if own else {},
    )
