"""Evaluate: every strategy under every policy on every recorded (model, arm), beside its baselines, with intervals. One
that names several models is replayed on all of them together.

Each question is replayed several times, every time with its draws in another order; figures are means over questions
of means over these orders, and intervals are by bootstrap clustered by question. Arms are never mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any, Literal

from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..core.errors import CallerError
from ..core.plans import Strategy
from ..scheduler.decisions import SINGLE_SHOTS
from . import baselines
from .at_k import Votes, votes_of
from .bank import Bank
from .cautions import cautions
from .contrasts import contrasts
from .engines import spread
from .fitting import fit
from .measuring import CHUNK, Job, Part, jobs_of
from .naming import Strategies, default_strategies, named, spelling
from .replaying import BankTariff, check_priced
from .report import RECORDED, Report, Row
from .retracing import RUNS, recorded_as
from .summarising import metrics_of
from .tallies import Gathered, Prices
from .teams import armed_on, asked_at, casts_of, teams_of, with_ladders, without_ladder
from .walking import walkable

ORDERS = 20  # of each question's draws
QUICK = 400  # runs of a row that is replayed plan by plan, where nobody says how many

Progress = Callable[[int, int], None]
OnePolicy = Policy | Literal["fit", "declared"] | None


def evaluate(
    bank: Bank,
    strategies: Strategies | None = None,
    *,
    models: Collection[str] | None = None,
    arms: Collection[str] | None = None,
    budget: Budget | None = None,
    worth: float | Sequence[float] | None = None,
    policy: OnePolicy = None,
    policies: Mapping[str, OnePolicy] | None = None,
    verifiers: Collection[str] = (),
    resamples: int | None = ORDERS,
    seed: int = 0,
    progress: Progress | None = None,
    engine: str = "local",
    workers: int = 1,
    address: str | None = None,
    metrics: bool = False,
) -> Report:
    """Replays `strategies` on each (model, arm) of the bank (or those of `models` and `arms`), under each policy.

    `strategies` None: the policy's own (`Policy.strategy`), or self_consistency and those of which the bank holds whole
    runs. `policies`: by the name that their rows bear; `policy` is one alone. "fit" judges every fold by a policy
    that was fitted on the other folds of the same selection; None and "declared" are the declared one.

    `budget` holds for each question (None: as many calls as were recorded). `worth`: dollars, one row for each (None:
    the budget's or the policy's, else 100 mean calls of the arm). `verifiers`: recorded ones that are
    the checks of every question, billed as they were; `resamples`: orders of each
    question's draws (one suffices where there is one draw). None: 20 for what can be counted without a plan, fewer for
    the rest, which is slow; each row's `note` says so. `progress(done, total)` counts questions. `engine`
    ("local", "processes", "ray", at `address`) and `workers`: who does the work; the figures are the same, bit for
    bit. `metrics`: the report has those of `experiments.metrics` too.

    A strategy that names one model runs on that model only. One that names several gets one row for each arm under
    which all of them were recorded (without such an arm: each model under its main one), over the questions that all
    have; where a part of it names no model, one for each model in turn as its default. `Auto` without arms has a draw
    of every model. A strategy of which whole runs were recorded is replayed on these, under the arm "recorded runs". A
    row whose runs could not all be replayed says why in its `note`: a bank of plain draws has no replies to critiques
    or syntheses. The report's `comparisons` are paired differences (`contrasts`), its `warnings`
    what is amiss (`cautions`).

    Raises `CallerError` where the selection cannot be fitted or crossed, or where a strategy refuses the task;
    `UnpricedModel` for dollars over unknown costs; `UnknownName`, also for a model that a strategy names and that is
    not in the selection.
    """
    if resamples is not None and resamples < 1:
        raise CallerError(f"resamples={resamples}: expected 1 or more")
    if policies is not None and (policy is not None or not policies):
        raise CallerError("expected one of policy= and policies=, and of the latter one at least")
    chosen = bank.select(models=models, arms=arms)
    checked = bool(verifiers or chosen.runs)  # recorded runs may hold verdicts
    sides = [_side(chosen, name, one, strategies, checked) for name, one in (policies or {"": policy}).items()]
    worths = [worth] if worth is None or isinstance(worth, int | float) else list(worth)
    budget = budget or Budget(calls=chosen.most * (1 + len(verifiers)))
    terms = [budget if value is None else replace(budget, worth=value) for value in worths]
    steps = list(_steps(chosen, sides, terms, tuple(verifiers), resamples, seed))
    benches = [step for step in steps if isinstance(step, _Bench)]
    count = _Count(progress, sum(len(bench.questions) for bench in benches))
    slices: dict[Any, Bank] = {}
    jobs = (job for bench in benches for job in bench.jobs(slices))
    parts: Any = spread(jobs, engine, workers, address=address)
    with closing(parts):
        rows = [row for found in _performed(steps, parts, count) for row in found]
    for arm in sorted({a for _, a in chosen.arms}):
        together = [m for m, a in chosen.arms if a == arm]
        known = not BankTariff(chosen, dict.fromkeys(together, arm)).nominal
        rows += baselines.across(chosen, arm, together, Prices(None, 0.0, known))
    crossed = {s.name: s.policies for s in sides if s.fitted}
    report = Report(
        tuple(rows),
        {"path": str(bank.path) if bank.path else None, "questions": len(chosen.questions)},
        {
            "resamples": resamples or ORDERS,
            "seed": seed,
            "policy": sides[0].called,
            "policies": [side.name for side in sides],
            "budget": _plain(budget),
            "verifiers": list(verifiers),
            "interval": "95%, percentile bootstrap clustered by question",
        },
        {f"{name} fold {f}".strip(): p.provenance for name, by in _facts(sides).items() for f, p in by.items()},
        {q.id: q.topic or q.dataset for q in chosen.questions.values()},
        cautions(chosen, {s.name: s.some for s in sides if s.name not in crossed}, verifiers, bank),
    )
    votes = votes_by_arm(chosen)
    report = replace(report, comparisons=tuple(one.to_dict() for one in contrasts(report, votes)))
    return replace(report, metrics=metrics_of(report, chosen, votes)) if metrics else report


def votes_by_arm(bank: Bank) -> dict[tuple[str, str], Votes]:
    """pass@k and maj@k of every question of every (model, arm)."""
    return {(model, arm): votes_of(bank.of_arm(model, arm)) for model, arm in bank.arms}


@dataclass(frozen=True, slots=True)
class _Side:
    """A policy, by fold, and what is judged under it. `called`: what the settings call it."""

    name: str
    policies: Mapping[int, Policy]
    strategies: Mapping[str, Strategy]
    fitted: bool = False
    called: str = ""

    @property
    def some(self) -> Policy:
        return next(iter(self.policies.values()))


def _side(bank: Bank, name: str, policy: OnePolicy, strategies: Strategies | None, checked: bool) -> _Side:
    by_fold = _policies(bank, policy, checked)
    some = next(iter(by_fold.values()))
    asked = named(strategies if strategies is not None else default_strategies(bank, some))
    called = policy if isinstance(policy, str) else some.name
    made = {text: armed_on(strategy, bank) for text, strategy in asked.items()}
    return _Side(name or some.name, by_fold, made, policy == "fit", called)


def _policies(bank: Bank, policy: OnePolicy | str, checked: bool) -> dict[int, Policy]:
    """The policy that each fold is judged by. `checked`: verdicts may be met."""
    if policy in (None, "declared") or isinstance(policy, Policy):
        return dict.fromkeys(bank.folds, policy if isinstance(policy, Policy) else Policy())
    if policy != "fit":
        raise CallerError(f'policy={policy!r}: expected a Policy, "fit" or "declared"')
    if len(bank.folds) < 2:
        raise CallerError("cross-fitting needs questions in two folds or more")
    bank.check_split(near=False)
    return {fold: _fitted(bank, [f for f in bank.folds if f != fold], checked) for fold in bank.folds}


def _fitted(bank: Bank, folds: list[int], checked: bool) -> Policy:
    """What these folds teach. Where nothing is `checked`, no verdict is met, and what they teach is left out: fitting
    that is most of the work."""
    if not checked:
        found = fit(bank, folds=folds, parts=("chances", "cascades", "allocation"))
        if found.fitted or found.cascades or found.allocation:
            return found
    return fit(bank, folds=folds)


def _facts(sides: Sequence[_Side]) -> dict[str, dict[int, Policy]]:
    """The provenance to report, by policy: its name is told where there are several."""
    several = len(sides) > 1
    return {side.name if several else "": {f: p for f, p in side.policies.items() if p.provenance} for side in sides}


def _plain(budget: Budget) -> dict[str, Any]:
    return {f.name: getattr(budget, f.name) for f in fields(budget) if getattr(budget, f.name) != float("inf")}


@dataclass(slots=True)
class _Count:
    progress: Progress | None
    total: int
    done: int = 0

    def more(self, count: int) -> None:
        for _ in range(count):
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total)


@dataclass(frozen=True, slots=True)
class _Plainly:
    """The baselines of one (model, arm), at each of these prices. `counted`: what was counted at other ones, and
    is."""

    bank: Bank
    model: str
    arm: str
    prices: Sequence[Prices]
    resamples: int
    seed: int
    counted: dict[tuple[str, str], list[baselines.Counted]]

    def rows(self) -> list[Row]:
        place = self.model, self.arm
        deals = self.bank.of_arm(*place)
        if place not in self.counted:
            self.counted[place] = baselines.counted(deals, *place, self.resamples, self.seed)
        return baselines.rows_of(self.counted[place], deals, *place, self.prices)


def _steps(
    bank: Bank,
    sides: Sequence[_Side],
    terms: Sequence[Budget],
    verifiers: tuple[str, ...],
    resamples: int | None,
    seed: int,
) -> Iterator[_Bench | _Plainly]:
    """All that is to be measured, in the order of the report's rows."""
    counted: dict[tuple[str, str], list[baselines.Counted]] = {}
    for team, keys in _matches(bank, sides):
        tariff = BankTariff(bank, team, verifiers=verifiers)
        questions = bank.common(team)
        places = [(q, m, a) for q in questions for m, a in team.items()]
        timed = all(d.seconds is not None for place in places for d in bank.draws.get(place, ()))
        for budget in terms:
            check_priced(budget, tariff)
            usual = SINGLE_SHOTS * max(map(tariff.expected, team))
            stated = [s.some.worth if budget.worth is None else budget.worth for s in sides]
            prices = [Prices(worth or usual, budget.wrong, not tariff.nominal, timed) for worth in stated]
            for i, name in keys:
                yield _Bench(bank, team, questions, budget, sides[i], name, prices[i], verifiers, resamples, seed)
            if len(team) == 1 and tuple(*team.items()) in bank.arms:
                ((model, arm),) = team.items()
                yield _Plainly(bank, model, arm, tuple(dict.fromkeys(prices)), resamples or ORDERS, seed, counted)


def _matches(bank: Bank, sides: Sequence[_Side]) -> list[tuple[dict[str, str], list[tuple[int, str]]]]:
    """What is replayed on what: teams of models, each under its arm, and (side, strategy) of those that run there.
    Those of which whole runs were recorded are replayed on these alone: draws hold no replies to what they ask."""
    every = {(i, name): strategy for i, side in enumerate(sides) for name, strategy in side.strategies.items()}
    runs = {key: recorded_as(bank, strategy) for key, strategy in every.items()}
    # A policy's own strategy is the policy's word on the temperature too; of one that is asked for, all arms are tried.
    own = {key: asked_at(bank, every[key]) for key in every if key[1] == sides[key[0]].some.strategy}
    fits = {key: set(own.get(key) or (arm for _, arm in bank.arms)) for key in every}
    casts = {key: casts_of(strategy, bank) for key, strategy in every.items()}
    found = [
        ({m: a}, [k for k, cast in casts.items() if {(), (m,)} & set(cast) and not runs[k] and a in fits[k]])
        for m, a in bank.arms
    ]
    for key, cast in [(key, cast) for key, several in casts.items() for cast in several if len(cast) > 1]:
        if not runs[key]:
            teams = teams_of(bank, cast)
            right = [team for team in teams if set(team.values()) <= fits[key]]
            found += [(team, [key]) for team in right or teams]
    return found + [({m: a}, [key]) for key, arms in runs.items() for m, a in arms.items()]


def _performed(steps: Sequence[_Bench | _Plainly], parts: Iterator[Part], count: _Count) -> Iterator[list[Row]]:
    """The rows of each step. All jobs are one stream, so that workers need not wait for each other between rows."""
    for step in steps:
        if isinstance(step, _Plainly):
            yield step.rows()
            continue
        gathered = Gathered()
        for part in islice(parts, -(-len(step.questions) // CHUNK)):
            gathered.take(part)
            count.more(len(part.runs))
        yield [step.row(gathered)]


@dataclass(slots=True)
class _Bench:
    """Everything that a strategy on some models, each under its `arms`, is measured by under one policy and at one
    worth."""

    bank: Bank
    arms: Mapping[str, str]
    questions: Sequence[str]
    budget: Budget
    side: _Side
    name: str
    prices: Prices
    verifiers: tuple[str, ...]
    resamples: int | None
    seed: int
    policies: Mapping[int, Policy] = field(init=False)
    orders: int = field(init=False)

    def __post_init__(self) -> None:
        # Fold by fold, so that one policy's tables serve all its questions.
        self.questions = sorted(self.questions, key=lambda question: self.bank.questions[question].fold)
        made, strategy = self.side.policies, self.side.strategies[self.name]
        self.policies = with_ladders(made, self.bank, strategy, self.arms) if self.side.fitted else made
        fast = walkable(strategy, self.budget, len(self.arms)) or self.whole
        slow = max(1, min(ORDERS, QUICK // max(1, len(self.questions))))
        self.orders = self.resamples or (ORDERS if fast else slow)

    @property
    def whole(self) -> bool:
        """Whether it is replayed on recorded runs of its own."""
        return any(arm.startswith(RUNS) for arm in self.arms.values())

    def _told(self, runs: int) -> str:
        """What is said where fewer orders were replayed than one would expect."""
        few = self.resamples is None and self.orders < ORDERS and runs > 0
        return f"replayed in {self.orders} of {ORDERS} orders, being slow: --resamples {ORDERS} asks for all" * few

    def jobs(self, slices: dict[Any, Bank]) -> Iterator[Job]:
        """The whole row's work, in chunks. `slices`: parts of the bank that other rows had, and leave."""
        folds = {self.bank.questions[question].fold for question in self.questions}
        crossed = len({id(policy) for policy in self.policies.values()}) > 1
        shared = BankTariff(self.bank, self.arms, verifiers=self.verifiers)
        tariffs = {}
        for fold in sorted(folds):
            # In cross-fitting a question's own cost is not known to those who decide about it either.
            others = self.bank.select(folds=[f for f in self.bank.folds if f != fold]) if crossed else None
            tariffs[fold] = BankTariff(self.bank, self.arms, others, self.verifiers) if others else shared
        job = Job(
            self.bank,
            self.arms,
            self.side.strategies[self.name],
            tuple(self.questions),
            self.budget,
            {fold: self.policies[fold] for fold in tariffs},
            tariffs,
            self.verifiers,
            self.orders,
            self.seed,
        )
        yield from jobs_of(job, slices=slices)

    def row(self, gathered: Gathered) -> Row:
        """The row of what came."""
        strategy, tally = self.side.strategies[self.name], gathered.tally
        notes = (
            gathered.missed.told(tally.runs),
            without_ladder(strategy, self.side.some),
            self._told(tally.runs),
        )
        return tally.row(
            self.name,
            " + ".join(self.arms),
            RECORDED if self.whole else " + ".join(dict.fromkeys(self.arms.values())),
            self.prices,
            policy=self.side.name,
            stops=dict(gathered.stops),
            misses=gathered.missed.count,
            faults=gathered.stops["fault"],
            note="; ".join(filter(None, notes)),
            calibration=gathered.calibration(self.side.some.fitted),
            strategy=spelling(strategy),
            reliability=gathered.reliability(),
            money=gathered.shares(self.prices.known),
        )
