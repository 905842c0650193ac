"""The value of a check, and of another draw that will be checked: what to verify, when, and how often.

All in the world of `budgets.evidence`. A check's gain is the expected value of sample information (Raiffa & Schlaifer
1961): what the best choice is expected to be worth once the verdict is known, less what it is worth now. It is nothing
where no verdict could change the choice.

Draws: where a bank recorded what draws did under these verifiers, by backward induction in that (`budgets.scored`).
Where a verifier was heard that nobody has measured, by what its own scores show. Else as the better of three ways, each
of which could really be followed, so that the gain is a lower bound: the votes alone (exact dynamic programming), one
draw checked and weighed with all that is known (exact), and m draws of which the best-checked replaces the answer on
offer if its verdict is good enough. With an imperfect check the last one's value stops growing, and in the end falls
with m, as wrong candidates get more chances to be scored high: best-of-n's best n is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import exp, isnan, log2
from typing import TYPE_CHECKING

from ..core.belief import STOP, Chain, Channel, Continuation, Priors, Terms
from .beliefs import widest
from .evidence import Answers, Evidence, Posterior, posterior
from .scored import FEWEST, PandoraBelief, course, settled
from .voting import HORIZON, VotingBelief

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVELS = 16  # of several verifiers taken together
TINY = 1e-300  # masses below it are none
SILENT = Channel(((1.0, 1.0),))


def joint(priors: Priors, verifiers: tuple[str, ...]) -> Channel:
    """Several verifiers as one channel, independent given the truth."""
    channels = [priors.channel(name) for name in verifiers]
    if not channels:
        return SILENT
    levels = channels[0].levels
    for channel in channels[1:]:
        levels = merged([(a * c, b * d) for (a, b), (c, d) in product(levels, channel.levels)])
    return Channel(levels)


def merged(levels: list[tuple[float, float]], most: int = LEVELS) -> tuple[tuple[float, float], ...]:
    """Levels of like meaning put together, so that at most `most` are left. Loses little, and never adds."""
    ranked = sorted(levels, key=lambda level: level[0] / (level[0] + level[1]) if sum(level) else 0.5)
    groups: list[list[float]] = []
    filled = 0.0
    for right, wrong in ranked:
        if not groups or filled >= len(groups) / most * 2.0 - 1e-12:
            groups.append([0.0, 0.0])
        groups[-1][0] += right
        groups[-1][1] += wrong
        filled += right + wrong
    return tuple((a, b) for a, b in groups)


def information(p: float, channel: Channel) -> float:
    """Bits that a verdict is expected to say about whether a candidate with P(right) = `p` is right: the mutual
    information of the channel (Shannon 1948). Cascades order their verifiers by this per dollar."""
    bits = 0.0
    for right, wrong in channel.levels:
        mean = p * right + (1 - p) * wrong
        if mean > TINY:
            bits += p * right * log2(right / mean) if p * right > TINY else 0.0
            bits += (1 - p) * wrong * log2(wrong / mean) if (1 - p) * wrong > TINY else 0.0
    return max(0.0, bits)


@dataclass(frozen=True, slots=True)
class CheckBelief:
    """About asking the first of `verifiers` of answer `index`, and then the others as far as each is still worth its
    price: a cascade. The others are asked in the order of information per dollar."""

    answers: Answers
    index: int
    verifiers: tuple[str, ...]

    def p(self, terms: Terms) -> float | None:
        return p_right(self.answers, terms)

    def pick(self, terms: Terms) -> int:
        return pick(self.answers, terms)

    def best(self, terms: Terms) -> Continuation:
        if terms.steps <= 0:
            return STOP
        now = posterior(self.answers, terms.priors)
        mine = now.answers[self.index]
        rest = max((a for i, a in enumerate(now.answers) if i != self.index), default=0.0)
        value, cost = _cascade(mine, rest, now.total, self._order(now.p(self.index), terms), terms, asked=False)
        gain = value / now.total - _value(now, terms)
        return Continuation(1, gain, cost / now.total, terms.seconds) if gain > NOTHING else STOP

    def _order(self, p: float, terms: Terms) -> list[tuple[Channel, float]]:
        """(channel, expected dollars) of each verifier in the order in which they are asked."""
        costs = terms.parts or (terms.cost,) * len(self.verifiers)
        stages = [(terms.priors.channel(name), cost) for name, cost in zip(self.verifiers, costs, strict=True)]
        if len(stages) > 1:
            few = [(Channel(merged(list(channel.levels), STAGE)), cost) for channel, cost in stages]
            rest = sorted(few[1:], key=lambda stage: -information(p, stage[0]) / max(stage[1], TINY))
            stages = [few[0], *rest[: STAGES - 1]]
        return stages


STAGES, STAGE = 3, 6  # verifiers that a cascade looks ahead to, and levels of each


def _cascade(
    mine: float, rest: float, total: float, stages: list[tuple[Channel, float]], terms: Terms, asked: bool
) -> tuple[float, float]:
    """(value, expected dollars), both times `total`, of asking stage after stage while it pays. `mine`: the mass of
    the asked answer, `rest` that of the best other one, `total` that of all; `asked`: stopping is a choice."""
    stop = total * terms.value(max(mine, rest) / total) if total > 0 else 0.0
    if not stages or total <= 0:
        return stop, 0.0
    (channel, price), then = stages[0], stages[1:]
    value, cost = 0.0, price * total
    for right, wrong in channel.levels:
        after = right * mine + wrong * (total - mine)
        worth, dollars = _cascade(right * mine, wrong * rest, after, then, terms, asked=True)
        value, cost = value + worth, cost + dollars
    if asked and value - terms.price * cost <= stop:
        return stop, 0.0
    return value, cost


NOTHING = 1e-9


def p_right(answers: Answers, terms: Terms) -> float | None:
    """P(right) of the likeliest answer so far. None while there is none to give, and where a verifier was heard that
    nobody has measured: a raw score is not a probability."""
    names = {name for answer in answers for name, _ in answer.said}
    if any(len({name for name, _ in answer.said}) < len(answer.said) for answer in answers):
        return None  # two verifiers by one name: the policy can have measured one of them at most
    if all(answer.refuted for answer in answers) or not names <= terms.priors.channels.keys():
        return None
    draws, chain = sum(answer.count for answer in answers), _chain(answers, tuple(names), terms.priors)
    if chain is not None:
        return settled(chain, draws, _standing(answers, chain, terms.priors))
    now = posterior(answers, terms.priors)
    p = now.p(now.leader)
    came = [channel.settled for channel in map(terms.priors.channel, names) if channel.settled is not None]
    return min((f(p, draws) for f in came), default=p)


def _chain(answers: Answers, verifiers: tuple[str, ...], priors: Priors) -> Chain | None:
    """What was recorded of draws under these verifiers, if all of them have told of every answer, and nothing else."""
    chain = priors.chains.get("+".join(sorted(verifiers))) if verifiers else None
    names = sorted(verifiers)
    heard = chain is not None and all(not a.refuted and sorted(name for name, _ in a.said) == names for a in answers)
    return chain if heard else None


def _standing(answers: Answers, chain: Chain, priors: Priors) -> float:
    """How the likeliest answer stands, as the chain has it; 0 while there is none."""
    if not answers:
        return 0.0
    if chain.by_score:
        return max(p for answer in answers for _, p in answer.said)
    now = posterior(answers, priors)
    return now.p(now.leader)


def pick(answers: Answers, terms: Terms) -> int:
    """Which answer to give: the likeliest, the first of equals."""
    chain = _chain(answers, tuple(name for name, _ in answers[0].said), terms.priors) if answers else None
    if chain is not None and chain.by_score:
        return max(range(len(answers)), key=lambda i: answers[i].said[0][1])
    return posterior(answers, terms.priors).leader


def after_check(now: Posterior, index: int, channel: Channel, terms: Terms) -> float:
    """The value expected of the best choice after a check of answer `index`."""
    answers = now.answers
    mine, rest = answers[index], max((a for i, a in enumerate(answers) if i != index), default=0.0)
    value = 0.0
    for right, wrong in channel.levels:
        mass = right * mine + wrong * (now.total - mine)
        if mass > 0:
            value += mass * terms.value(max(right * mine, wrong * rest) / mass)
    return value / now.total


def _value(now: Posterior, terms: Terms) -> float:
    return terms.value(max(now.answers, default=0.0) / now.total)


@dataclass(frozen=True, slots=True)
class DrawBelief:
    """About drawing more candidates, each new one to be asked of `verifiers` (none: votes only)."""

    answers: Answers
    verifiers: tuple[str, ...] = ()
    limit: int = 1 << 30

    def p(self, terms: Terms) -> float | None:
        return p_right(self.answers, terms)

    def pick(self, terms: Terms) -> int:
        return pick(self.answers, terms)

    def best(self, terms: Terms) -> Continuation:
        most = min(terms.steps, self.limit, COURSE)
        if most <= 0:
            return STOP
        chain = _chain(self.answers, self.verifiers, terms.priors)
        if chain is not None:
            p, draws = _standing(self.answers, chain, terms.priors), sum(answer.count for answer in self.answers)
            return course(chain, draws, p, terms, self.limit)
        now = posterior(self.answers, terms.priors)
        scores = self._unmeasured(terms)
        if len(scores) >= FEWEST:
            return PandoraBelief(scores, self.limit).best(terms)
        channel = joint(terms.priors, self.verifiers)
        gains = _many_draws(now, channel, terms, most)
        gains[0] = max(gains[0], _one_draw(self.answers, channel, terms) - _value(now, terms))
        wide, best = widest(terms), STOP
        for m, gain in enumerate(gains, start=1):
            # Where time is free a wave of one loses nothing: what it shows can still save the next draw.
            size, wait = (min(m, wide), terms.waves(m)) if wide > 1 else (1, m)
            way = Continuation(size, gain, m * terms.cost, wait * terms.seconds)
            best = way if gain > NOTHING and way.net(terms) > max(0.0, best.net(terms)) else best
        by_votes = self._votes(now, terms)
        return by_votes if by_votes.size and by_votes.net(terms) > max(0.0, best.net(terms)) else best

    def _unmeasured(self, terms: Terms) -> tuple[float, ...]:
        """The scores of the draws so far, where nobody has measured who gave them; () where all are measured, or where
        exact checks count too."""
        names = {name for answer in self.answers for name, _ in answer.said}
        if names <= terms.priors.channels.keys() or any(answer.refuted for answer in self.answers):
            return ()
        means = [(sum(p for _, p in a.said) / len(a.said), a.count) for a in self.answers if a.said]
        return tuple(mean for mean, count in means for _ in range(count) if not isnan(mean))

    def _votes(self, now: Posterior, terms: Terms) -> Continuation:
        """What the votes alone would gain. That gain comes about where the leader is wrong, and verdicts have made
        that less or more likely than the votes say."""
        counts = sorted((answer.count for answer in self.answers), reverse=True)
        if counts and self.answers[now.leader].count < counts[0]:
            return STOP  # verdicts have overruled the votes
        votes = VotingBelief(sum(counts[:1]), sum(counts[1:2]), sum(counts[2:]), others=tuple(counts[2:]))
        way, p = votes.best(replace(terms, steps=min(terms.steps, self.limit, HORIZON))), votes.p(terms)
        if not way.size or p is None or p >= 1:
            return way if p is None else STOP
        return replace(way, gain=way.gain * min(1.0, (1 - now.p(now.leader)) / (1 - p)))


COURSE = 32  # draws that are looked ahead


EXPANDED = 8  # answers whose coming again is looked at one by one


def _one_draw(answers: Answers, channel: Channel, terms: Terms) -> float:
    """The value expected after one more draw: one of the answers again, or a new one that is checked."""
    before = posterior(answers, terms.priors)
    now, masses = before.evidence, before.answers
    total = value = 0.0
    likely = sorted(range(len(answers)), key=lambda i: -masses[i])[:EXPANDED]
    for i in likely:
        answer = answers[i]
        again = (*answers[:i], replace(answer, count=answer.count + 1), *answers[i + 1 :])
        after = posterior(again, terms.priors)
        weight = exp(after.evidence - now)
        total += weight
        value += weight * _value(after, terms)
    fresh = (*answers, Evidence())
    after = posterior(fresh, terms.priors)
    weight = exp(after.evidence - now)
    rest = max(0.0, 1.0 - total - weight) if len(answers) > len(likely) else 0.0  # unlikely ones again: nothing changes
    found = value + weight * after_check(after, len(answers), channel, terms) + rest * _value(before, terms)
    return found / (total + weight + rest)


def _many_draws(now: Posterior, channel: Channel, terms: Terms, most: int) -> list[float]:
    """The gain of 1 to `most` draws of which the best-checked new one is taken if its level is at least some t, for
    the best t. Draws of one wrong answer are taken for different ones, each with its own chance to deceive."""
    import numpy as np

    ranked = sorted(channel.levels, key=lambda level: level[0] / max(level[1], 1e-12))
    right, wrong = np.asarray(ranked, dtype=float).T
    m = np.arange(1, most + 1)[:, None, None]  # (draws, kinds, levels)
    theta, weights = now.theta[:, None], now.masses / now.total
    lead = weights[:, now.leader] if weights.shape[1] > 1 else np.zeros(len(now.theta))
    below = np.cumsum(wrong) - wrong  # P(a wrong one below level t)
    # The right one, if drawn at all, at level l, and every wrong draw below it; ties are lost half the time.
    miss = (1 - theta) * (below + wrong / 2)
    tops = right * ((theta + miss) ** m - miss**m)
    taken = np.cumsum(tops[:, :, ::-1], axis=2)[:, :, ::-1]  # ... at level t or above
    won = np.einsum("k,mkt->mt", weights[:, -1], taken)
    kept = np.einsum("k,mkt->mt", lead, (theta + (1 - theta) * below) ** m)
    p = (won + kept).max(axis=1)
    now_worth = _value(now, terms)
    return [terms.value(min(1.0, float(x))) - now_worth for x in p]
