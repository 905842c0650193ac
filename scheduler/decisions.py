"""Decisions: what an Offer or a Choose came to, and the terms that it was judged at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ..budgets.asking import AskBelief
from ..budgets.budget import Budget
from ..budgets.lumping import near
from ..budgets.policy import Policy
from ..budgets.portfolio import ArmBelief, Portfolio
from ..budgets.switching import apart, dearest, leaves, rejected, scarce
from ..core.amounts import Amounts, dollars
from ..core.belief import Belief, Continuation, Terms
from ..core.effects import Effect, Sample, Score
from ..core.plans import Answer
from ..core.verdict import Verdict
from .codec import plain
from .nodes import Frame, line
from .tariff import Quote, Tariff, first_sample, quote_samples, quote_step, samples_of

STEPS = 256  # of which it is kept what they ask for
SINGLE_SHOTS = 100  # a right answer's worth, in calls of the dearest model, where nobody says


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way on as it was predicted: wave size, gain in value, dollars and seconds of the whole continuation, and
    net value after its price. `each`: expected dollars of one step, `p`: P(right) of its candidate, where
    it is an arm of a portfolio. Of a stop by value: what the best of its rejected courses would have
    been, whose net is below zero."""

    name: str
    size: int
    gain: float
    cost: float
    seconds: float
    net: float
    each: float = 0.0
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice: what was known (`p`, None while unknown), the alternatives to stopping, and what was chosen:
    `size` more of alternative `index`, or 0 for a stop, with the reason; `said`: the same in words and numbers
    (`scheduler.saying`)."""

    path: str
    at: float
    spent_usd: float
    p: float | None
    price: float
    alternatives: tuple[Alternative, ...]
    index: int
    size: int
    reason: str
    said: str = ""

    def to_dict(self) -> dict[str, Any]:
        data: dict[str, Any] = plain(self)
        for row in data["alternatives"]:
            for key in ("gain", "net"):
                row[key] = row[key] if isfinite(row[key]) else None
        return data


class Economics:
    """Fills in the terms: the price of value from worth, the cost of a step from the tariff, what the purse can pay."""

    def __init__(
        self,
        budget: Budget,
        policy: Policy,
        tariff: Tariff,
        shadow: float | None = None,
        widen: Mapping[str, float] | None = None,
        shifts: Mapping[str, float] | None = None,
    ) -> None:
        """`shadow` is the dual price of a budget shared across requests, in value per dollar beside what `worth` asks
        (None: not shared). `widen`: how far the scores of verifiers have drifted from what the policy knows (0 to 1).
        `shifts`: what has been learnt of arms since the policy was fitted, in logits by their keys."""
        self.budget, self.tariff, self.shadow = budget, tariff, shadow
        self.worth = budget.worth if budget.worth is not None else policy.worth
        self.policy, self.widen = policy, widen or {}
        self.priors = replace(policy.priors(), shifts=shifts) if shifts else policy.priors()
        self._needs: dict[int, tuple[tuple[Effect[Any], ...], tuple[Sample, ...]]] = {}

    @property
    def only_caps(self) -> bool:
        """Nobody said what an answer is worth, right or wrong."""
        return self.worth is None and not self.budget.wrong

    def calibrated(self, verifier: str, kind: str, verdict: Verdict) -> Verdict:
        """The verdict with P(right) as the policy has learnt it for this verifier and kind of answer."""
        if verdict.score is None or verdict.p is not None:
            return verdict
        if verdict.exact:
            return replace(verdict, p=1.0 if verdict.score == 1.0 else 0.0)
        model = self.policy.verifiers.get(verifier)
        return (
            verdict
            if model is None
            else replace(verdict, p=model.p(verdict.score, kind, self.widen.get(verifier, 0.0)))
        )

    def quote(self, step: tuple[Effect[Any], ...]) -> Quote:
        """What a step comes to. What it asks for is found out once: the arms of a run are the same steps each time."""
        known = self._needs.get(id(step))
        if known is None or known[0] is not step:
            if len(self._needs) >= STEPS:
                self._needs.clear()
            known = self._needs[id(step)] = (step, samples_of(step))
        return quote_samples(self.tariff, known[1])

    def terms(self, frame: Frame, step: tuple[Effect[Any], ...], now: float) -> tuple[Terms, str]:
        """The terms for one step, and which cap binds first."""
        quote = self.quote(step)
        worth = self.worth
        if worth is None:
            root = line(frame)[-1]
            if root.worth is None:  # by the first step of the run: a right answer is worth no more for a longer prompt
                sample = first_sample(step)
                root.worth = SINGLE_SHOTS * (self.tariff.dearest(sample) if sample else quote.usd)
            worth = root.worth
        price = frame.price if frame.price is not None else _per(1.0, worth) + (self.shadow or 0.0)
        steps, cap = self._payable(frame, step, quote, now)
        wrong = _per(self.budget.wrong, worth)
        checks = step if len(step) > 1 and isinstance(step[0], Score) else ()
        parts = tuple(quote_step(self.tariff, (check,)).usd for check in checks)
        waiting = (quote.seconds, self.budget.per_second, parts, quote.at_once)
        terms = Terms(price, quote.usd, steps, self.priors, wrong, *waiting)
        return terms, cap

    def _payable(self, frame: Frame, step: tuple[Effect[Any], ...], quote: Quote, now: float) -> tuple[int, str]:
        room, worst = frame.purse.room(), quote.worst
        over = frame.purse.short_of(Amounts()) if worst.calls else None
        if over is not None:  # a call came dearer than it was held at: then not even what is free is called
            return 0, f"budget_{over}"
        seen = frame.purse.room(hints=True)
        each = {"usd": worst.nanos, "tokens": worst.tokens, "calls": worst.calls}
        counts = {name: have // each[name] for name, have in zip(each, room, strict=True) if each[name]}
        name, steps = min(counts.items(), key=lambda kv: kv[1], default=("usd", 1 << 20))
        if not steps and len(step) == 1 and isinstance(step[0], Sample) and self.tariff.shrunk(step[0], room):
            steps = 1
        # Waves are no wider than what the account was seen to hold; whether it holds one more is for the ledger to say.
        at_hand = min((have // each[name] for name, have in zip(each, seen, strict=True) if each[name]), default=steps)
        steps = max(min(steps, at_hand), min(steps, 1))
        if frame.deadline is not None and now + quote.seconds * quote.measured > frame.deadline:
            return 0, "budget_seconds"
        return min(steps, 1 << 20), f"budget_{name}"


def _per(amount: float, worth: float) -> float:
    """`amount` per worth; a free model's single shot is worth nothing, and then nothing is dear."""
    return amount / worth if worth > 0 else 0.0


def judge(beliefs: Sequence[tuple[str, Belief, Terms]]) -> tuple[int, Continuation, tuple[Alternative, ...]]:
    """The continuation with the highest net (the first of equals), and all of them as predicted. Among arms of their
    own, and where the purse cannot pay the whole course of that one, the one whose dollars buy the most, as long as
    the purse can pay the former after it (`budgets.switching`)."""
    group = portfolio_of(beliefs)
    joint = _courses(beliefs, Portfolio.jointly, group)
    ways = [(b, terms, joint[i] if i in joint else b.best(terms)) for i, (_, b, terms) in enumerate(beliefs)]
    chances = _chances(beliefs, group)
    rows = tuple(
        _predicted(name, terms, way, chances.get(i))
        for i, ((name, _, _), (_, terms, way)) in enumerate(zip(beliefs, ways, strict=True))
    )
    index = max(range(len(rows)), key=lambda i: rows[i].net)
    if rows[index].net > 0.0 and not joint and (apart(ways) or scarce(ways, index)):
        first = dearest(ways)
        index = first if leaves(ways, first, index) else index
    return index, ways[index][2], rows


def portfolio_of(beliefs: Sequence[tuple[str, Belief, Terms]]) -> tuple[Portfolio | None, dict[int, Terms]]:
    """The one portfolio that the arms among these are of, and the terms of each of its arms that is on offer."""
    arms = [(belief, terms) for _, belief, terms in beliefs if isinstance(belief, ArmBelief)]
    first = arms[0][0].portfolio if arms else None
    if any(belief.portfolio is not first for belief, _ in arms):
        return None, {}
    return first, {belief.arm: terms for belief, terms in arms}


def used_up(belief: Belief) -> bool:
    """Whether it is about an arm of which nothing more may be bought, whatever the purse holds."""
    return isinstance(belief, ArmBelief) and bool(belief.portfolio.left) and belief.portfolio.left[belief.arm] <= 0


def informed(beliefs: Sequence[tuple[str, Belief, Terms]]) -> list[tuple[str, Belief, Terms]]:
    """The same, with what the ways of one portfolio tell of each other: no step is left of an arm that is used up, and
    a verdict is weighed at what all of the arms cost, as the answers that it bears on are."""
    portfolio, offered = portfolio_of(beliefs)
    if portfolio is None:
        return list(beliefs)
    whole = len(offered) == len(portfolio.arms)
    costs = tuple(offered[i].cost for i in range(len(portfolio.arms))) if whole else ()
    found = []
    for name, belief, terms in beliefs:
        if used_up(belief):
            terms = replace(terms, steps=0)
        elif isinstance(belief, AskBelief) and belief.portfolio is portfolio:
            terms = replace(terms, others=costs)
        found.append((name, belief, terms))
    return found


def _courses(
    beliefs: Sequence[tuple[str, Belief, Terms]],
    together: Callable[[Portfolio, Sequence[Terms]], Sequence[Continuation]],
    group: tuple[Portfolio | None, dict[int, Terms]],
) -> dict[int, Continuation]:
    """By place among `beliefs`, what the arms of one portfolio, the `group`, come to when they are judged together."""
    portfolio, offered = group
    if portfolio is None:
        return {}
    gone = replace(next(iter(offered.values())), steps=0)  # arms that are not on offer are not bought
    terms = [offered.get(i, gone) for i in range(len(portfolio.arms))]
    every = together(near(portfolio, terms), terms)
    return {i: every[belief.arm] for i, (_, belief, _) in enumerate(beliefs) if isinstance(belief, ArmBelief)}


def settled_terms(beliefs: Sequence[tuple[str, Belief, Terms]], index: int) -> Terms:
    """The terms of the way that was chosen. What a portfolio says depends on what all of its arms cost."""
    terms = beliefs[index][2]
    portfolio, offered = portfolio_of(beliefs)
    if portfolio is None or len(offered) < len(portfolio.arms):
        return terms
    return replace(terms, others=tuple(offered[i].cost for i in range(len(portfolio.arms))))


def weighed(
    beliefs: Sequence[tuple[str, Belief, Terms]], rows: tuple[Alternative, ...]
) -> tuple[int, tuple[Alternative, ...]]:
    """What a stop by value rejected: each alternative's nearest course, and which of them lost the least."""
    found, joint = [], _courses(beliefs, Portfolio.rejected, portfolio_of(beliefs))
    for i, ((name, belief, terms), row) in enumerate(zip(beliefs, rows, strict=True)):
        way = None if row.size else joint[i] if i in joint else rejected(belief, terms)
        found.append(replace(_predicted(name, terms, way, row.p), size=0) if way is not None and way.size else row)
    real = [i for i, row in enumerate(found) if row.cost > 0]
    return max(real or range(len(found)), key=lambda i: found[i].net), tuple(found)


def _chances(
    beliefs: Sequence[tuple[str, Belief, Terms]], group: tuple[Portfolio | None, dict[int, Terms]]
) -> dict[int, float]:
    """By place among `beliefs`, P(right) of the next candidate of each arm of a portfolio."""
    portfolio, offered = group
    if portfolio is None or portfolio.exact:
        return {}
    whole = len(offered) == len(portfolio.arms)
    costs = tuple(offered[i].cost for i in range(len(portfolio.arms))) if whole else ()
    predicted = portfolio.predicted(next(iter(offered.values())), costs)
    return {i: predicted[belief.arm] for i, (_, belief, _) in enumerate(beliefs) if isinstance(belief, ArmBelief)}


def _predicted(name: str, terms: Terms, way: Continuation, p: float | None = None) -> Alternative:
    net = way.net(terms) if way.size else 0.0
    return Alternative(name, min(way.size, terms.steps), way.gain, way.cost, way.seconds, net, terms.cost, p)


def picked(frame: Frame) -> Answer | None:
    """The offer, with the candidate that the belief finds likeliest at the policy's terms."""
    offer, pick = frame.offer, getattr(frame.belief, "pick", None)
    if offer is None or not offer.among or pick is None or frame.terms is None:
        return offer
    return replace(offer, candidate=offer.among[pick(frame.terms)])


def spent_usd(frame: Frame) -> float:
    return dollars(frame.purse.posted[0])
