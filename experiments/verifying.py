"""What a bank teaches of its verifiers: calibration, error rates, the curse of the selected, drift, news beside votes.

`fit_verifiers` makes the part of a policy; `measure` says how good that is on questions that were not fitted on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from ..budgets.calibrators import Rates, ScoreModel, logit
from ..budgets.checking import information
from ..budgets.evidence import Answers, Evidence
from ..budgets.policy import VerifierPolicy
from ..core.belief import Priors
from ..core.errors import CallerError, UnknownName
from ..verifiers.calibration import (
    Fitted,
    FittedSelected,
    Interval,
    Row,
    Winners,
    auc,
    brier,
    expected_calibration_error,
    fit_calibrator,
    fit_drift,
    fit_selected,
    fit_winners,
    log_loss,
    rates,
    reliability,
    score_model,
)
from .bank import Bank
from .posteriors import leaders

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PREFIXES, ORDERS, MOST_QUESTIONS = (1, 2, 4, 8, 16), 2, 400  # of draws, on which trust is measured
FEWEST = 30  # labelled verdicts, below which nothing is said of a verifier
HALF = 0.5  # a calibrated verdict at or above it says "right"


@dataclass(frozen=True)
class Recorded:
    """One verifier's known verdicts in a bank, (verdicts,) each: raw scores, labels, question ids, kinds of answer."""

    name: str
    scores: list[float]
    labels: list[bool]
    questions: list[str]
    kinds: Sequence[str]
    unknown: int
    usd: float

    @classmethod
    def of(cls, bank: Bank, name: str) -> Recorded:
        """Raises `UnknownName` for a verifier that the bank has not recorded."""
        if name not in bank.verifiers:
            raise UnknownName.of("recorded verifier", name, bank.verifiers)
        scores, labels, questions, kinds, unknown, nanos = [], [], [], [], 0, [0]
        for group, row in bank.draws.items():
            for draw in row:
                said = bank.verdicts.get((*group, draw.sample_index), {}).get(name)
                if said is None:
                    continue
                nanos.append(said.nanos or 0)
                if said.score is None:
                    unknown += 1
                    continue
                scores.append(said.score)
                labels.append(draw.correct)
                questions.append(group[0])
                kinds.append(bank.questions[group[0]].kind)
        return cls(name, scores, labels, questions, kinds, unknown, sum(nanos) / max(1, len(nanos) - 1) / 1e9)


def fit_verifiers(
    bank: Bank, priors: Priors | None = None, names: Collection[str] | None = None, *, seed: int = 0
) -> dict[str, VerifierPolicy]:
    """What the bank teaches of each verifier (`names`, None: all) with 30 labelled verdicts or more. With `priors` of
    the votes, also which share of its evidence is news beside them (`trust`, by log loss on prefixes of draws)."""
    found = {}
    for name in names if names is not None else bank.verifiers:
        recorded = Recorded.of(bank, name)
        if len(recorded.scores) < FEWEST:
            continue
        fitted = _fit(recorded, seed)
        verifier = _policy(recorded, fitted, _selected(recorded, fitted, seed))
        found[name] = _trusted(bank, verifier, name, priors, seed) if priors is not None else verifier
    return found


def _fit(recorded: Recorded, seed: int) -> Fitted:
    return fit_calibrator(recorded.scores, recorded.labels, recorded.questions, recorded.kinds, seed)


def _selected(recorded: Recorded, fitted: Fitted, seed: int) -> FittedSelected:
    return fit_selected(recorded.scores, recorded.labels, recorded.questions, fitted.calibration, seed=seed)


def _policy(recorded: Recorded, fitted: Fitted, selected: FittedSelected) -> VerifierPolicy:
    own = fitted.calibration
    p = [own(score, kind) for score, kind in zip(recorded.scores, recorded.kinds, strict=True)]
    return VerifierPolicy(
        calibration=own,
        model=score_model(p, recorded.labels, recorded.questions),
        selected=selected.model,
        rates=rates(p, recorded.labels, HALF, recorded.questions),
        drift=fit_drift(recorded.scores, recorded.labels, recorded.questions),
        usd=recorded.usd,
        questions=len(set(recorded.questions)),
        verdicts=len(recorded.scores),
        provenance={
            "family": fitted.family,
            "held_out_gain": round(fitted.gain.estimate, 5),
            "unknown": recorded.unknown,
        },
    )


def _trusted(bank: Bank, verifier: VerifierPolicy, name: str, priors: Priors, seed: int) -> VerifierPolicy:
    """The trust with the least log loss of the leader's P(right), over the first 1 to 16 draws in random orders."""
    prefixes = list(_prefixes(bank, name, verifier, seed))
    if not prefixes:
        return verifier
    at = {t: replace(priors, channels={name: verifier.model_copy(update={"trust": t}).channel()}) for t in TRUSTS}
    losses = {trust: prefix_loss(prefixes, terms) for trust, terms in at.items()}
    best = min(losses, key=lambda trust: losses[trust])
    settled = fit_winners(_winners(prefixes, at[best]), seed)
    facts = {
        "votes_log_loss": round(losses[0.0], 5),
        "with_verdicts_log_loss": round(losses[best], 5),
        "settled_log_loss": round(settled.losses.get(settled.form, losses[best]), 5),
    }
    facts["slope_within"] = round(_within(bank, name, verifier), 4)
    within = min(1.0, max(0.0, facts["slope_within"]))
    changed = {
        "trust": best,
        "within": within,
        "settled": settled.model,
        "provenance": {**verifier.provenance, **facts},
    }
    return verifier.model_copy(update=changed)


def _within(bank: Bank, name: str, verifier: VerifierPolicy) -> float:
    """The slope of a verdict's log-odds between a right and a wrong answer to the same question: 1 where they tell the
    two apart as well as they tell right from wrong over all questions, 0 where they only tell easy questions from hard
    ones. By conditional logistic regression (Breslow & Day 1980) over pairs of different answers."""
    import numpy as np

    gaps = []
    for group, row in bank.draws.items():
        kind, seen = bank.questions[group[0]].kind, {}
        for draw in row:
            said = bank.verdicts.get((*group, draw.sample_index), {}).get(name)
            if draw.key is not None and draw.key not in seen and said is not None and said.score is not None:
                seen[draw.key] = (draw.correct, logit(verifier.p(said.score, kind)))
        right = [x for correct, x in seen.values() if correct]
        gaps += [x - y for x in right for correct, y in seen.values() if not correct]
    if not any(gaps):
        return 1.0 if not gaps else 0.0
    gap, slope = np.asarray(gaps), 0.5
    for _ in range(20):  # Newton's method on a concave function; one right answer among many is weighed by pairs
        lost = 1 / (1 + np.exp(np.clip(slope * gap, -30, 30)))
        step = float(gap @ lost) / max(1e-9, float((gap**2) @ (lost * (1 - lost))))
        slope = min(3.0, max(-3.0, slope + step))
    return float(slope)


Prefix = tuple[Answers, tuple[bool, ...], str]


def _winners(prefixes: list[Prefix], priors: Priors) -> Winners:
    """The likeliest answer of each prefix."""
    import numpy as np

    places = {question: i for i, question in enumerate(dict.fromkeys(question for _, _, question in prefixes))}
    best, p = leaders([answers for answers, _, _ in prefixes], priors)
    n = np.array([sum(a.count for a in answers) for answers, _, _ in prefixes])
    labels = np.array([float(right[i]) for i, (_, right, _) in zip(best, prefixes, strict=True)])
    groups = np.array([places[question] for _, _, question in prefixes])
    return Winners(p, n, labels, groups, np.ones(len(p)))


def _prefixes(bank: Bank, name: str, verifier: VerifierPolicy, seed: int) -> list[Prefix]:
    dice = Random(seed)
    groups = [g for g, row in bank.draws.items() if len(row) > 1]
    found: list[Prefix] = []
    for group in sorted(dice.sample(groups, min(len(groups), MOST_QUESTIONS))):
        kind = bank.questions[group[0]].kind
        for _ in range(ORDERS):
            row = dice.sample(bank.draws[group], len(bank.draws[group]))
            for size in (n for n in PREFIXES if n <= len(row)):
                answers: dict[str, list[Any]] = {}
                for draw in row[:size]:
                    if draw.key is None:
                        continue
                    said = bank.verdicts.get((*group, draw.sample_index), {}).get(name)
                    p = verifier.p(said.score, kind) if said is not None and said.score is not None else None
                    answers.setdefault(draw.key, [0, p, draw.correct])[0] += 1
                if answers:
                    evidence = tuple(Evidence(n, ((name, p),) if p is not None else ()) for n, p, _ in answers.values())
                    found.append((evidence, tuple(right for _, _, right in answers.values()), group[0]))
    return found


def prefix_loss(prefixes: list[Prefix], priors: Priors) -> float:
    """Mean log loss (nats) of the likeliest answer's P(right)."""
    import numpy as np

    best, chance = leaders([answers for answers, _, _ in prefixes], priors)
    p = np.clip(chance, 1e-3, 1 - 1e-3)
    right = np.array([told[i] for i, (_, told, _) in zip(best, prefixes, strict=True)])
    return -float(np.where(right, np.log(p), np.log(1 - p)).mean())


@dataclass(frozen=True)
class Measured:
    """One verifier, measured on questions that its calibration was not fitted on (five folds by question).

    `gain`: how much lower the calibrated log loss is than the raw score's, with a 95% interval by question.
    `constant_loss`: that of saying the base rate to everything. `raw` and `calibrated` are rows of the reliability
    diagram. `bits` are the information of a verdict on a candidate at the base rate, `bits_per_usd` per dollar (None
    where it is free).
    """

    name: str
    verdicts: int
    questions: int
    unknown: int
    base_rate: float
    family: str
    auc: Interval
    raw_loss: Interval
    loss: Interval
    constant_loss: float
    gain: Interval
    raw_ece: Interval
    ece: Interval
    brier: Interval
    rates: Rates
    selected: FittedSelected
    model: ScoreModel
    bits: float
    usd: float
    raw: tuple[Row, ...]
    calibrated: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def bits_per_usd(self) -> float | None:
        return self.bits / self.usd if self.usd else None


def measure(bank: Bank, name: str, *, seed: int = 0) -> Measured:
    """Measures one verifier of a bank. Raises `CallerError` below 30 labelled verdicts."""
    return measured(Recorded.of(bank, name), seed=seed)


def measured(recorded: Recorded, *, seed: int = 0) -> Measured:
    """The same of verdicts from anywhere. Raises as `measure` does."""
    scores, labels, questions = recorded.scores, recorded.labels, recorded.questions
    if len(scores) < FEWEST:
        raise CallerError(
            f"verifier {recorded.name!r}: {len(scores)} verdicts with a label, and {FEWEST} are needed to say anything",
            verdicts=len(scores),
        )
    fitted = _fit(recorded, seed)
    selected = _selected(recorded, fitted, seed)
    policy = _policy(recorded, fitted, selected)
    held = [p if p == p else policy.model.base_rate for p in fitted.held_out]
    base = sum(labels) / len(labels)
    channel = policy.channel()
    return Measured(
        recorded.name,
        len(scores),
        len(set(questions)),
        recorded.unknown,
        base,
        fitted.family,
        auc(scores, labels, questions, seed=seed),
        log_loss(_clipped(scores), labels, questions, seed=seed),
        log_loss(held, labels, questions, seed=seed),
        float(fitted.losses.get("constant", float("nan"))),
        fitted.gain,
        expected_calibration_error(scores, labels, questions, seed=seed),
        expected_calibration_error(held, labels, questions, seed=seed),
        brier(held, labels, questions, seed=seed),
        rates(held, labels, HALF, questions),
        selected,
        policy.model,
        information(policy.model.base_rate, channel),
        recorded.usd,
        reliability(scores, labels, questions),
        reliability(held, labels, questions),
        fitted.notes,
    )


def _clipped(scores: list[float]) -> list[float]:
    return [min(max(score, 1e-3), 1 - 1e-3) for score in scores]


def to_dict(one: Measured) -> dict[str, Any]:
    """JSON-ready."""
    from dataclasses import asdict

    data: Mapping[str, Any] = {k: v for k, v in vars(one).items() if k not in ("model", "selected", "rates")}
    plain = {k: v.to_dict() if isinstance(v, Interval) else v for k, v in data.items()}
    plain["raw"], plain["calibrated"] = ([asdict(row) for row in rows] for rows in (one.raw, one.calibrated))
    chosen = one.selected
    return {
        **plain,
        "rates": one.rates.model_dump(),
        "bits_per_usd": one.bits_per_usd,
        "selected": {"form": chosen.form, "gain": chosen.gain.to_dict(), "gaps": [list(gap) for gap in chosen.gaps]},
    }
