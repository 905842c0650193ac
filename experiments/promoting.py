"""Promoting: is a policy shown to be better than the one in production? Exact bounds on paired figures, or a refusal.

Both policies are replayed on the same questions of a bank; figures are paired by question, which is what counts as one
observation. A candidate goes to production where the lower bound of its improvement in net utility (in accuracy, where
no worth is known) is above 0; or, with a margin, where it is not worse by more than that and surely cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.amounts import NANO
from ..core.errors import CallerError, PromotionRefused
from .evidence import ALPHA, Bound, Evidence, mcnemar_bound, needed_of, paired_evidence

if TYPE_CHECKING:
    from ..budgets.budget import Budget
    from ..budgets.policy import Policy
    from ..budgets.registry.betting import Race
    from ..budgets.registry.registry import Registry
    from ..budgets.registry.versions import Standing
    from .bank import Bank
    from .report import Each, Row

__all__ = [
    "Bound",
    "Evidence",
    "check",
    "evidence_on",
    "live_evidence",
    "mcnemar_bound",
    "most_of",
    "paired_evidence",
    "promote",
]

MISSED = 0.05  # of the questions, that either policy may leave unreplayed
RESAMPLES = 1
NEXT = {"draft": "shadow", "retired": "shadow", "shadow": "canary", "canary": "production"}
SHARE = 0.1  # of requests, that a canary gets where nobody says
PICO = 1000  # pico-dollars, in which prices of tokens are, in a nano-dollar
FEW_LOOKS = 1_000_000  # questions beyond which saying how many it takes says nothing


def evidence_on(
    bank: Bank,
    candidate: Policy,
    production: Policy,
    *,
    worth: float | None = None,
    wrong: float = 0.0,
    models: Collection[str] | None = None,
    arms: Collection[str] | None = None,
    folds: Collection[int] | None = None,
    verifiers: Collection[str] = (),
    budget: Budget | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    alpha: float = ALPHA,
    margin: float | None = None,
    names: tuple[str, str] = ("candidate", "production"),
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Replays both policies on a bank, each with its own strategy (auto, where it names none), as requests would be
    served, under the arms that were recorded at its temperature, where there are any (`arms`: under these). `folds`:
    only the questions of these (None: those that the candidate was not fitted on, where its provenance tells). What a
    question can cost at most, by which bounds of dollars are scaled, is the budget's cap, else what `most_of` says.
    `worth` None: the candidate's, else production's; without either, accuracy is what counts. Where they run on several
    models alone, a question's figures are means over these. Other settings as of `evaluate`.

    Raises `CallerError`, and `PromotionRefused` where more than 5% of the questions cannot be replayed: what is missing
    is not missing at random."""
    from .unseen import in_sample, unseen

    worth = worth if worth is not None else candidate.worth or production.worth
    part = bank.select(folds=folds) if folds is not None else unseen(candidate, bank) or bank
    rows = [
        _rows(part, policy, worth, wrong, models, arms, verifiers, budget, resamples, seed, progress)
        for policy in (candidate, production)
    ]
    priced = all(row.usd is not None for side in rows for row in side)
    each = [_merged(side) for side in rows]
    chosen = part.select(models=models, arms=arms)
    cap = budget.usd if budget is not None and budget.usd is not None else most_of(chosen, budget, len(verifiers))
    found = paired_evidence(
        *each,
        worth=worth if priced else None,
        wrong=wrong,
        alpha=alpha,
        margin=margin,
        source=f"bank {bank.path.name if bank.path else 'in memory'}",
        names=names,
        priced=priced,
        most=cap if priced else None,
    )
    missed = len(chosen.questions) - found.questions
    if missed > MISSED * len(chosen.questions):
        text = f"{missed} of {len(chosen.questions)} questions cannot be replayed with both policies: "
        notes = [row.note for side in rows for row in side if row.note]
        raise PromotionRefused(text + (notes[0] if notes else "the bank lacks what they ask"), missed=missed)
    return replace(found, missed=missed, held_out=not any(in_sample(candidate, b) for b in (part, chosen)))


def most_of(bank: Bank, budget: Budget | None = None, verifiers: int = 0) -> float:
    """Dollars that a question of the bank can cost at most, whatever the strategy: its dearest call, as often as there
    are draws of a question (or the budget's calls), with as many verdicts. Of conditions that name `max_tokens` and a
    price, the dearest call is what these allow; of others, the dearest recorded, and that none to come is dearer is an
    assumption. A cap in dollars needs none."""
    calls = bank.most * (1 + verifiers)
    if budget is not None and budget.calls is not None:
        calls = min(calls, budget.calls)
    dearest = max(
        *(draw.nanos or 0 for row in bank.draws.values() for draw in row),
        *(effect.nanos or 0 for found in bank.runs.values() for run in found for effect in run.effects),
        *(said.nanos or 0 for scores in bank.verdicts.values() for said in scores.values()),
        *(_allowed(bank, model, arm) for model, arm in bank.arms),
        0,
    )
    whole = max((run.nanos for found in bank.runs.values() for run in found), default=0)  # those without their effects
    return max(calls * dearest, whole) / NANO


def _allowed(bank: Bank, model: str, arm: str) -> float:
    """Nano-dollars that a draw may cost by the price and conditions that the bank was recorded under; 0 if unknown."""
    condition = bank.manifest.get("conditions", {}).get(f"{model} {arm}")
    price = bank.manifest.get("prices", {}).get(model)
    params = condition.get("params") if isinstance(condition, dict) else None
    limit = params.get("max_tokens") if isinstance(params, dict) else None
    if not isinstance(limit, int) or not isinstance(price, dict):
        return 0.0
    asked = max((draw.prompt_tokens or 0 for row in bank.of_arm(model, arm).values() for draw in row), default=0)
    return (float(price.get("completion") or 0) * limit + float(price.get("prompt") or 0) * asked) / PICO


def _rows(
    bank: Bank,
    policy: Policy,
    worth: float | None,
    wrong: float,
    models: Collection[str] | None,
    arms: Collection[str] | None,
    verifiers: Collection[str],
    budget: Budget | None,
    resamples: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> list[Row]:
    """What one policy measures, without baselines."""
    from ..budgets.budget import Budget
    from ..scheduler.preparing import DEFAULT
    from ..strategies.registry import recorded_strategy
    from .evaluation import evaluate
    from .teams import asked_at

    text = policy.strategy or DEFAULT
    strategy = recorded_strategy(text)
    arms = arms if arms is not None else asked_at(bank, strategy)
    calls = bank.select(models=models, arms=arms).most * (1 + len(verifiers))
    report = evaluate(
        bank,
        {text: strategy},
        models=models,
        arms=arms,
        budget=replace(budget, wrong=wrong, calls=budget.calls or calls)
        if budget
        else Budget(calls=calls, wrong=wrong),
        worth=worth,
        policy=policy,
        verifiers=verifiers,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    return [row for row in report.rows if not row.baseline]


def _merged(rows: Sequence[Row]) -> dict[str, Each]:
    """One figure for each question: the mean over rows, which have to be of the same questions to count."""
    from .report import Each

    shared = set.intersection(*(set(row.each) for row in rows)) if rows else set()
    columns = {q: list(zip(*(row.each[q] for row in rows), strict=True)) for q in shared}
    return {q: Each(*(sum(column) / len(column) for column in found)) for q, found in columns.items()}


def live_evidence(race: Race, names: tuple[str, str], alpha: float = ALPHA) -> Evidence:
    """Evidence from the outcomes of a canary and of production, one of each key (account, say): `accuracy` is the
    difference of outcomes, net utility scaled to what was at stake; its bounds hold at every look."""
    estimate, low, high = race.gain(alpha)
    source = f"live requests ({race.canaries} outcomes of the canary, {race.productions} of production)"
    seen = race.differences
    needed = needed_of(seen, alpha) if seen else None
    return Evidence(*names, source, len(seen), alpha, Bound(estimate, low, high, "betting"), needed=needed)


def check(stage: str, evidence: Evidence | None) -> None:
    """Raises `PromotionRefused` where the evidence is not enough for the stage: "shadow" asks for none, "canary" that
    the version is not clearly worse, "production" that it is shown to be better."""
    if stage == "shadow" or (stage == "canary" and (evidence is None or not evidence.worse)):
        return
    way = "a named person may promote it all the same: --override --by NAME --reason TEXT"
    if evidence is None:
        text = "no evidence that it is better: give a bank that it was not fitted on (--bank), or try it as a canary"
        raise PromotionRefused(f"{text}; {way}")
    facts = evidence.to_dict()
    if stage == "canary":
        raise PromotionRefused(f"clearly worse than production on {evidence.said}; {way}", **facts)
    if not evidence.held_out:
        text = f"it was fitted on these very questions, or some of them, so its figures say little ({evidence.said})"
        raise PromotionRefused(
            f"{text}: measure it on others (those that `tune --hold-out` leaves, or another bank); {way}", **facts
        )
    if not evidence.better:
        more = (evidence.needed or 0) - evidence.questions
        if evidence.needed is None:
            takes = "nothing was gained on these questions, so more of them would not help as it stands"
        elif evidence.needed > FEW_LOOKS:
            takes = "no bank of a usual size would show a difference this small"
        else:
            takes = (
                f"about {max(more, evidence.questions // 10, 1):,} more questions would, if it is as good as it looks"
            )
        raise PromotionRefused(f"not shown to be better: {evidence.said}; {takes}; {way}", **facts)


def promote(
    registry: Registry,
    version: str,
    stage: str | None = None,
    *,
    measure: Callable[[Policy, Policy, tuple[str, str]], Evidence] | None = None,
    share: float | None = None,
    channel: str = "main",
    override: bool = False,
    by: str = "",
    why: str = "",
) -> tuple[Standing, Evidence | None]:
    """Moves a version to `stage` (None: the next one), where the evidence is enough for it: that of `measure(candidate,
    production, their ids)`, or, of a canary, what its live requests have come to. Where nothing is in production the
    candidate is compared with the declared policy. `override`: whatever the evidence, on the word of `by`, for the
    reason `why`; all of it goes on record.

    Returns how the channel stands, and the evidence. Raises `PromotionRefused`, `CallerError` for an override without a
    name or a reason, and as `Registry.move` does: also `RegistryConflict`, where the channel has changed while the
    evidence was measured."""
    from ..budgets.policy import Policy
    from ..strategies.registry import recorded_strategy

    if override and not (by.strip() and why.strip()):
        raise CallerError("an override needs who says so and why: --by NAME --reason TEXT")
    one, now = registry.get(version), registry.standing(channel)
    stage = stage or NEXT.get(now.stage_of(one.id), "")
    if not stage:
        raise CallerError(f"{one.id} is in {now.stage_of(one.id)}: say where to (--to shadow, canary or production)")
    share = share if share is not None or stage != "canary" else SHARE
    names = (one.id, now.production or "the declared policy")
    candidate, evidence = one.policy, None
    if candidate.strategy:
        recorded_strategy(candidate.strategy)  # one that nobody knows would fail every request
    if measure is not None:
        beside = registry.get(now.production).policy if now.production else Policy()
        evidence = replace(measure(candidate, beside, names), candidate=names[0], production=names[1])
    elif now.canary == one.id and stage == "production":
        from ..scheduler.serving.trial import Trial

        evidence = live_evidence(Trial(registry).race(now), names)
    if not override:
        check(stage, evidence)
    facts = evidence.to_dict() if evidence is not None else {}
    moved = registry.move(
        one.id, stage, share=share, channel=channel, by=by, why=why, evidence=facts, override=override, expect=now
    )
    return moved, evidence
