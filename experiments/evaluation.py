"""Evaluate: every strategy on every recorded (model, arm), beside its baselines, with intervals. One that names several
models is replayed on all of them together.

Each question is replayed several times, every time with its draws in another order; figures are means over questions
of means over these orders, and intervals are by bootstrap clustered by question. Arms are never mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import log
from typing import Any, Literal

from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..core.errors import CallerError, TraceMiss
from ..core.plans import Strategy
from ..core.verdict import name_of
from ..scheduler.decisions import SINGLE_SHOTS
from ..scheduler.run import Run
from . import baselines
from .bank import Bank
from .baselines import Prices, Tally
from .fitting import fit
from .replaying import BankTariff, Deck, check_priced, run_on
from .report import Calibration, Report, Row
from .teams import Missed, armed_on, casts_of, teams_of, with_ladders, without_ladder

BINS = 10  # of the expected calibration error

Progress = Callable[[int, int], None]
Strategies = Mapping[str, Strategy] | Sequence[Strategy]


def evaluate(
    bank: Bank,
    strategies: Strategies,
    *,
    models: Collection[str] | None = None,
    arms: Collection[str] | None = None,
    budget: Budget | None = None,
    worth: float | Sequence[float] | None = None,
    policy: Policy | Literal["fit"] | None = None,
    verifiers: Collection[str] = (),
    resamples: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Replays `strategies` on each (model, arm) of the bank (or those of `models` and `arms`).

    `budget` holds for each question (None: as many calls as were recorded). `worth`: dollars, one row for each (None:
    the budget's or the policy's, else 100 mean calls of the arm). `policy` "fit" judges every fold by a policy that
    was fitted on the other folds of the same selection; None is the declared one. `verifiers`: recorded ones that are
    the checks of every question, billed as they were; `resamples`: orders of each
    question's draws (one suffices where there is one draw). `progress(done, total)` counts questions.

    A strategy that names one model runs on that model only. One that names several gets one row for each arm under
    which all of them were recorded (without such an arm: each model under its main one), over the questions that all
    have; where a part of it names no model, one for each model in turn as its default. `Auto` without arms has a draw
    of every model. A row whose runs could not all be replayed says why in its `note`: a bank of plain draws has no
    replies to critiques or syntheses.

    Raises `CallerError` where the selection cannot be fitted or crossed, or where a strategy refuses the task;
    `UnpricedModel` for dollars over unknown costs; `UnknownName`, also for a model that a strategy names and that is
    not in the selection.
    """
    if resamples < 1:
        raise CallerError(f"resamples={resamples}: expected 1 or more")
    chosen = bank.select(models=models, arms=arms)
    named = {name: armed_on(strategy, chosen) for name, strategy in _named(strategies).items()}
    casts = {name: casts_of(strategy, chosen) for name, strategy in named.items()}
    worths = [worth] if worth is None or isinstance(worth, int | float) else list(worth)
    policies = _policies(chosen, policy)
    sides = [({m: a}, [n for n, found in casts.items() if {(), (m,)} & set(found)]) for m, a in chosen.arms]
    several = [(n, cast) for n, found in casts.items() for cast in found if len(cast) > 1]
    teams = [(team, [n]) for n, cast in several for team in teams_of(chosen, cast)]
    shared = {id(team): list(chosen.common(team)) for team, _ in (*sides, *teams)}
    count = _Count(progress, len(worths) * sum(len(shared[id(team)]) * len(n) for team, n in (*sides, *teams)))
    budget = budget or Budget(calls=chosen.most * (1 + len(verifiers)))
    checks = tuple(verifiers)
    rows: list[Row] = []
    for team, names in (*sides, *teams):
        tariff = BankTariff(chosen, team, verifiers=verifiers)
        for value in worths:
            terms = budget if value is None else replace(budget, worth=value)
            check_priced(terms, tariff)
            stated = terms.worth if terms.worth is not None else policies[chosen.folds[0]].worth
            prices = Prices(stated or SINGLE_SHOTS * max(map(tariff.expected, team)), terms.wrong, not tariff.nominal)
            for name in names:
                own = with_ladders(policies, chosen, named[name], team) if policy == "fit" else policies
                bench = _Bench(chosen, team, shared[id(team)], terms, own, prices, checks, resamples, seed, count)
                rows.append(bench.measure(name, named[name]))
            if len(team) == 1:
                ((model, arm),) = team.items()
                rows += baselines.of_arm(chosen.of_arm(model, arm), model, arm, prices, resamples, seed)
    for arm in sorted({a for _, a in chosen.arms}):
        together = [m for m, a in chosen.arms if a == arm]
        known = not BankTariff(chosen, dict.fromkeys(together, arm)).nominal
        rows += baselines.across(chosen, arm, together, Prices(None, 0.0, known))
    settings = {
        "resamples": resamples,
        "seed": seed,
        "policy": policy if isinstance(policy, str) else next(iter(policies.values())).name,
        "budget": {f.name: getattr(budget, f.name) for f in fields(budget) if getattr(budget, f.name) != float("inf")},
        "interval": "95%, percentile bootstrap clustered by question",
    }
    facts = {"path": str(bank.path) if bank.path else None, "questions": len(chosen.questions)}
    return Report(
        tuple(rows), facts, settings, {f"fold {f}": p.provenance for f, p in policies.items() if p.provenance}
    )


@dataclass(slots=True)
class _Count:
    progress: Progress | None
    total: int
    done: int = 0

    def one(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


@dataclass(slots=True)
class _Claims:
    """P(right) at the stop of each run that answered, and whether it was: (p, right, weight)."""

    rows: list[tuple[float, bool, float]] = field(default_factory=list)

    def calibration(self, fitted: bool) -> Calibration | None:
        if not self.rows:
            return None
        total = sum(w for _, _, w in self.rows)
        bins: dict[int, list[float]] = {}
        for p, right, weight in self.rows:
            sums = bins.setdefault(min(BINS - 1, int(p * BINS)), [0.0, 0.0])
            sums[0] += weight * p
            sums[1] += weight * right
        return Calibration(
            sum(abs(claimed - came) for claimed, came in bins.values()) / total,
            sum(w * (p - right) ** 2 for p, right, w in self.rows) / total,
            -sum(w * log(max(p if right else 1 - p, 1e-12)) for p, right, w in self.rows) / total,
            sum(w * p for p, _, w in self.rows) / total,
            sum(w * right for _, right, w in self.rows) / total,
            fitted,
        )


@dataclass(slots=True)
class _Bench:
    """Everything that a strategy on some models, each under its `arms`, is measured by at one worth."""

    bank: Bank
    arms: Mapping[str, str]
    questions: Sequence[str]
    budget: Budget
    policies: Mapping[int, Policy]
    prices: Prices
    verifiers: tuple[str, ...]
    resamples: int
    seed: int
    count: _Count
    decks: dict[str, Deck] = field(init=False)
    tariffs: dict[int, BankTariff] = field(init=False)

    def __post_init__(self) -> None:
        arms = self.arms
        folds: dict[int, list[str]] = {}
        for question in self.questions:
            folds.setdefault(self.bank.questions[question].fold, []).append(question)
        # Fold by fold, so that one policy's tables serve all its questions.
        self.decks = {q: Deck.of(self.bank, q, arms, self.verifiers) for fold in sorted(folds) for q in folds[fold]}
        crossed = len({id(policy) for policy in self.policies.values()}) > 1
        self.tariffs = {}
        shared = BankTariff(self.bank, arms, verifiers=self.verifiers)
        for fold in folds:
            # In cross-fitting a question's own cost is not known to those who decide about it either.
            others = self.bank.select(folds=[f for f in self.bank.folds if f != fold]) if crossed else None
            self.tariffs[fold] = BankTariff(self.bank, arms, others, self.verifiers) if others else shared

    def _capped(self, deck: Deck) -> bool:
        """Whether the caller's cap on calls comes before the end of the recorded draws."""
        return self.budget.calls is not None and self.budget.calls < deck.count * (1 + len(deck.task.checks))

    def measure(self, name: str, strategy: Strategy) -> Row:
        tally, claims, stops = Tally(), _Claims(), Counter[str]()
        faults, missed = 0, Missed()
        for question, deck in self.decks.items():
            fold = self.bank.questions[question].fold
            orders = self.resamples if deck.count > 1 else 1
            runs = []
            for seed in range(self.seed, self.seed + orders):
                source = deck.shuffled(seed)
                try:
                    run = run_on(source, strategy, self.budget, self.policies[fold], self.tariffs[fold], seed)
                except TraceMiss as miss:
                    missed.add(miss)
                    continue
                if isinstance(run.error, CallerError):
                    raise run.error
                assert run.outcome is not None
                ended = run.outcome.reason == "budget_calls" and not self._capped(deck)
                if ended and not run.outcome.spent.calls:
                    missed.add(TraceMiss("its first step takes more calls than were recorded", why="first"))
                    continue
                missed.ended += ended
                stops[run.outcome.reason] += 1
                faults += run.outcome.reason == "fault"
                candidate = run.outcome.answer.candidate if run.outcome.answer else None
                right, spent = source.right(candidate), run.outcome.spent
                runs.append((float(right), spent.usd, spent.tokens, spent.calls, float(candidate is not None)))
                p = claimed(run)
                if candidate is not None and p is not None:
                    claims.rows.append((p, right, 1 / orders))
            tally.add(question, runs)
            self.count.one()
        some = next(iter(self.policies.values()))
        return tally.row(
            name,
            " + ".join(self.arms),
            " + ".join(dict.fromkeys(self.arms.values())),
            self.prices,
            policy=some.name,
            stops=dict(stops),
            misses=missed.count,
            faults=faults,
            note="; ".join(filter(None, (missed.told(tally.runs), without_ladder(strategy, some)))),
            calibration=claims.calibration(some.fitted),
        )


def claimed(run: Run) -> float | None:
    """P(right) of the answer in the state in which the run stopped, at the policy's prior."""
    frame = run.root
    return frame.belief.p(frame.terms) if frame.belief is not None and frame.terms is not None else None


def _policies(bank: Bank, policy: Policy | str | None) -> dict[int, Policy]:
    """The policy that each fold is judged by."""
    if policy is None or isinstance(policy, Policy):
        return dict.fromkeys(bank.folds, policy or Policy())
    if policy != "fit":
        raise CallerError(f'policy={policy!r}: expected a Policy or "fit"')
    if len(bank.folds) < 2:
        raise CallerError("cross-fitting needs questions in two folds or more")
    return {fold: fit(bank, folds=[f for f in bank.folds if f != fold]) for fold in bank.folds}


def _named(strategies: Strategies) -> dict[str, Strategy]:
    """Strategies by name: their own, with the settings that differ from the default."""
    if isinstance(strategies, Mapping):
        return dict(strategies)
    named: dict[str, Strategy] = {}
    for strategy in strategies:
        name = name_of(strategy)
        made: Any = strategy
        if is_dataclass(made):
            plain = {f.name: f.default for f in fields(made)}
            set_ = [f"{n}={v!r}" for n, d in plain.items() if (v := getattr(strategy, n)) != d]
            name += f"({', '.join(set_)})" if set_ else ""
        if name in named:
            raise CallerError(f"two strategies are called {name!r}: pass a mapping of names")
        named[name] = strategy
    return named
