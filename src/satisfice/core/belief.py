"""Terms and beliefs: what a plan knows about going on, and what the run tells it of the price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

SURE = 0.01  # no verdict is believed nearer than this to 0 or 1


@dataclass(frozen=True, slots=True)
class Channel:
    """A verifier as a noisy channel from right or wrong to what it says.

    `levels`: (P(level | right), P(level | wrong)) of each thing that it may say, each column summing to 1.
    `base_rate`: the share of right candidates behind its calibrated p. `trust` in [0, 1]: the share of its evidence
    that is news beside how often an answer was drawn; a verifier and the model it checks make the same mistakes.
    `settled`: from (P(right) of the likeliest of n draws, votes and this verifier's word weighed together, n) to the
    share of such answers that was right.
    """

    levels: tuple[tuple[float, float], ...]
    base_rate: float = 0.5
    trust: float = 1.0
    settled: Callable[[float, int], float] | None = None

    def ratio(self, p: float) -> float:
        """The likelihood ratio, right to wrong, of a verdict with this calibrated probability."""
        p, base = min(max(p, SURE), 1 - SURE), self.base_rate
        return float((p / (1 - p) * (1 - base) / base) ** self.trust)


# Of a verifier that nobody has measured: its score is taken for P(right), and each score for as likely as any other.
UNMEASURED = Channel(tuple(((2 * i + 1) / 64, (15 - 2 * i) / 64) for i in range(8)))


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is known of a chain of models that are asked one after the other, cheap first (a cascade).

    How far the answers so far agree, count / (draws + 1) of the answer on offer, falls between `cuts`, and so on a
    level. `right[i][level]`: P(right) of the answers of stages i, i + 1, ... given the level after stage i.
    `follows[i]`, for all but the last: for each stage after i (P(right | stage i right), P(right | stage i wrong)).
    `alone`: P(right) of each stage. `costs`: mean dollars of each, of which only proportions are used.
    """

    cuts: tuple[float, ...]
    right: tuple[tuple[tuple[float, ...], ...], ...]
    follows: tuple[tuple[tuple[float, float], ...], ...]
    alone: tuple[float, ...]
    costs: tuple[float, ...]

    def reach(self, stage: int, agreement: float) -> tuple[float, ...]:
        """P(right) of the answers of `stage` and of those after it, at this agreement."""
        return self.right[stage][sum(agreement >= cut for cut in self.cuts)]

    def times(self, stage: int, other: int) -> float:
        """What stage `other` costs as a multiple of `stage`; 1 where neither costs anything."""
        return self.costs[other] / self.costs[stage] if self.costs[stage] else 1.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is known of the rounds of one strategy (its policy curve). `curve`: of the first, second, ... round (the
    last one stands for those after it) (P(a wrong answer turns right), P(a right one turns wrong)). `fade`: what is
    left of both chances after a round that changed nothing."""

    curve: tuple[tuple[float, float], ...]
    fade: float = 1.0

    def ahead(self, done: int, stalled: int, n: int) -> tuple[tuple[float, float], ...]:
        """(P(wrong turns right), P(right turns wrong)) of the next `n` rounds after `done`, the last `stalled` of which
        changed nothing, if those to come change nothing either."""
        last = len(self.curve) - 1
        rows = (self.curve[min(done + j, last)] for j in range(n))
        return tuple(
            (heal * self.fade ** (stalled + j), hurt * self.fade ** (stalled + j))
            for j, (heal, hurt) in enumerate(rows)
        )


@dataclass(frozen=True, eq=False)
class Chain:
    """What recorded draws with verdicts did (`budgets.scored`). A state is how many readable draws there were, n, and
    between which `cuts` the posterior probability of the likeliest answer falls. `right[n][level]`: the share of such
    answers that was right. `moves[n][level]`: the chances of each level after one more. `blank`: the share of draws
    that were not readable. `by_score`: where the likeliest answer is the one with the best verdict, whose calibrated p
    stands in for the posterior: votes add nothing to it. `kept`: of the gain that such a chain promises once there is
    an answer, the share that came, above 0."""

    cuts: tuple[float, ...]
    right: tuple[tuple[float, ...], ...]
    moves: tuple[tuple[tuple[float, ...], ...], ...]
    blank: float = 0.0
    by_score: bool = False
    kept: float = 1.0


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed before the first sample, declared or fitted (`fit(bank)`).

    `voting`: (theta, phi, weight) rows: kinds of question on which a draw is right with probability theta, hits
    the one systematic mistake with probability phi, and is some fresh wrong answer otherwise; weights sum to 1.
    `kinds`: (theta, phi, others, blank, weight) rows: the same for counting votes, in full (`budgets.voting_world`);
    empty: `voting`, with open answers and no blanks. `stops`: tables of when to stop, made from `kinds` beforehand
    (`budgets.voting_stops`); empty: none, they are made on demand.
    `success`: (a, b) of theta ~ Beta(a, b), the chance that one draw passes an exact check.
    `channels`: what is known of each verifier, by name (`UNMEASURED` where nothing is).
    `ladders`: what is known of chains of models, by their names joined with ">".
    `chances`: (theta, weight) rows, a mixture in place of `success` where a bank taught one; weights sum to 1.
    `rounds`: what is known of the rounds of strategies, by their names.
    `chains`: what recorded draws did under verifiers, by their names in order, joined with "+".
    `allocation`: what is known of many arms on one question (`budgets.portfolio_world.World`; None: nothing).
    `shifts`: what was learnt of arms since, or is tried out, in logits by their keys.
    `fitted` says that they come from a bank, so that P(right) may be called a confidence.
    """

    voting: tuple[tuple[float, float, float], ...]
    success: tuple[float, float] = (0.5, 1.0)
    fitted: bool = False
    channels: Mapping[str, Channel] = field(default_factory=dict)
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    chances: tuple[tuple[float, float], ...] = ()
    rounds: Mapping[str, Rounds] = field(default_factory=dict)
    kinds: tuple[tuple[float, float, int, float, float], ...] = ()
    stops: str = field(default="", repr=False)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    allocation: Any = None
    shifts: Mapping[str, float] = field(default_factory=dict)

    def channel(self, verifier: str) -> Channel:
        return self.channels.get(verifier, UNMEASURED)


@dataclass(frozen=True, slots=True)
class Terms:
    """What one more step costs and what it must buy.

    `price`: value (probability units) that a dollar must buy. `wrong`: cost of a wrong answer as a share of a
    right one's worth. `cost`: expected dollars of one step. `seconds`: expected seconds of one wave, however wide
    it is. `per_second`: dollars that a second is worth. `steps`: how many steps the purse can pay at their worst.
    `parts`: where a step is several checks, expected dollars of each. `at_once`: how many steps the provider performs
    at the same time (0: no limit known); more of them take `seconds` for each such helping. `others`: in a choice among
    arms, expected dollars of one step of each of them, in order (empty: not known).
    """

    price: float
    cost: float
    steps: int
    priors: Priors
    wrong: float = 0.0
    seconds: float = 0.0
    per_second: float = 0.0
    parts: tuple[float, ...] = ()
    at_once: int = 0
    others: tuple[float, ...] = ()

    def waves(self, size: int) -> int:
        """How many waves of calls `size` steps take that are started together, one after the other as the provider
        lets them through."""
        return -(-size // self.at_once) if self.at_once > 0 else 1 if size > 0 else 0

    @property
    def step_price(self) -> float:
        """What one more step must buy, in value."""
        return self.price * self.cost

    @property
    def wave_price(self) -> float:
        """What one more wave must buy for its time alone, in value."""
        return self.price * self.seconds * self.per_second

    def value(self, p: float) -> float:
        """U(p): the value of answering with P(right) = p, when abstaining is worth nothing."""
        return max(0.0, p - (1.0 - p) * self.wrong)


@dataclass(frozen=True, slots=True)
class Continuation:
    """The best adaptive way on: the size of its next wave (0: stop), and over its whole course the expected gain
    in value, expected dollars and expected seconds."""

    size: int
    gain: float
    cost: float = 0.0
    seconds: float = 0.0

    def net(self, terms: Terms) -> float:
        """Gain less price, in value."""
        return self.gain - terms.price * (self.cost + self.seconds * terms.per_second)


STOP = Continuation(0, 0.0)


class Belief(Protocol):
    """Frozen evidence. Contract: `best(terms).size` never exceeds `terms.steps`, and its net falls, never rises,
    as the price rises; `p` is None where nothing is known."""

    def p(self, terms: Terms) -> float | None:
        """P(right) of the answer on offer."""
        ...

    def best(self, terms: Terms) -> Continuation:
        """The best continuation at these terms."""
        ...


def picked_by(belief: Belief | None, terms: Terms) -> int:
    """Which of the candidates that an answer is among the evidence finds the likeliest: its optional `pick(terms)`, the
    first where it does not say."""
    pick: Callable[[Terms], int] | None = getattr(belief, "pick", None)
    return pick(terms) if pick is not None else 0
