"""Sweeping: thousands of votes' stopping rules over the same resampled draws at once.

A vote under one prior goes on in a state while a draw is cheap enough, and stops at every dearer price (the contract
of a belief). So a state has one figure, the number of policies, the cheapest first, that go on in it; a replayed order
of draws is a row of such figures; and every policy's stop in it is known from the running minimum. The work depends on
the states and the orders, hardly on how many policies there are. Stops and answers are those of `SelfConsistency`
under the replay driver (a property test holds them to it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.policy import Policy
from ..budgets.voting import HORIZON, VotingBelief
from ..core.amounts import NANO
from ..core.belief import Priors, Terms
from ..core.errors import CallerError
from .bank import Bank
from .replaying import BankTariff, Deck, order
from .walking import BLANK, THOUGHT, symbols_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Whole: TypeAlias = NDArray[np.int64]

_RIGHT, _ANSWERED, _CALLS, _NANOS = range(4)


@dataclass(frozen=True, slots=True)
class Vote:
    """One way of voting: `worth` of a right answer in dollars (inf: the most that the draws allow), `wrong` the cost
    of a wrong one, and the policy whose prior judges; or exactly `samples` draws. `most`: draws at the most."""

    worth: float = inf
    policy: Policy = Policy()
    wrong: float = 0.0
    samples: int | None = None
    most: int = HORIZON


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """What came, (votes x questions) each, means over the resampled orders: share right, share with an answer, calls,
    and dollars. `questions` are the columns, `votes` the rows."""

    votes: tuple[Vote, ...]
    questions: tuple[str, ...]
    right: Floats
    answered: Floats
    calls: Floats
    usd: Floats

    def net(self, worth: float, wrong: float = 0.0) -> Floats:
        """Net utility in dollars (votes x questions), where a right answer is worth and a wrong one costs so much."""
        found: Floats = self.right * worth - (self.answered - self.right) * wrong - self.usd
        return found


def sweep_votes(
    bank: Bank,
    votes: Sequence[Vote],
    *,
    model: str | None = None,
    arm: str | None = None,
    resamples: int = 100,
    seed: int = 0,
) -> Sweep:
    """Replays each vote on every question of one (model, arm), in the orders that replays of the seeds `seed` to
    `seed + resamples - 1` meet the draws; as many calls as were recorded may be made.

    Votes under one policy that differ in `worth` alone cost next to nothing more; each other policy, and each cost of
    a wrong answer, is one look-up for every state that its runs meet. Raises `CallerError` where the bank has several
    arms and none is named, or a draw's answer or cost is not known.
    """
    import numpy as np

    model, arm = _chosen(bank, model, arm)
    cost = BankTariff(bank, {model: arm}).expected(model)
    rows = bank.of_arm(model, arm)
    places = {question: i for i, question in enumerate(rows)}
    sums = np.zeros((4, len(votes), len(places)), dtype=np.int64)
    sizes: dict[int, list[str]] = {}
    for question, row in rows.items():
        sizes.setdefault(len(row), []).append(question)
    for size, questions in sizes.items():
        paths = _Paths.of(bank, questions, model, arm, range(seed, seed + resamples))
        columns = [places[q] for q in questions]
        for group in _groups(votes):
            found = paths.sums([votes[i] for i in group], cost, size)
            for row_, i in enumerate(group):
                sums[:, i, columns] = found[:, row_]
    means = sums / resamples
    usd = means[_NANOS] / NANO
    return Sweep(tuple(votes), tuple(places), means[_RIGHT], means[_ANSWERED], means[_CALLS], usd)


def _chosen(bank: Bank, model: str | None, arm: str | None) -> tuple[str, str]:
    found = [(m, a) for m, a in bank.arms if model in (None, m) and arm in (None, a)]
    if len(found) != 1:
        there = ", ".join(f"{m}: {a}" for m, a in found or bank.arms)
        raise CallerError(f"a sweep is of one model and arm: name model= and arm= ({there})")
    return found[0]


def _groups(votes: Sequence[Vote]) -> list[list[int]]:
    """Places of votes that differ in their worth alone, the highest worth (the lowest price) first."""
    found: dict[tuple[object, ...], list[int]] = {}
    for i, vote in enumerate(votes):
        alike = (id(vote.policy), vote.most, vote.samples)
        key = (*alike, i) if vote.wrong else alike
        found.setdefault(key, []).append(i)
    return [sorted(group, key=lambda i: -votes[i].worth) for group in found.values()]


@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    """Replays of some questions with as many draws each, question by question, seed by seed: for each (runs x draws +
    1) which of `states` it is in, and the figures (4 x runs x draws + 1) of stopping there."""

    count: int
    states: tuple[VotingBelief, ...]
    ids: Whole
    figures: Whole

    @classmethod
    def of(cls, bank: Bank, questions: Sequence[str], model: str, arm: str, seeds: Sequence[int]) -> _Paths:
        import numpy as np

        met, right, nanos = [], [], []
        for question in questions:
            deck = Deck.of(bank, question, {model: arm})
            symbols, draws = symbols_of(deck), deck.draws[model]
            if symbols is None:
                raise CallerError(f"question {question!r}: a sweep needs draws whose answers and costs are known")
            orders = np.array([order(len(draws), seed, question, model, arm) for seed in seeds])
            met.append(np.array(symbols)[orders])
            right.append(np.array([draw.correct for draw in draws])[orders])
            nanos.append(np.array([draw.nanos or 0 for draw in draws], dtype=np.int64)[orders])
        symbols_, right_ = np.concatenate(met), np.concatenate(right)
        keys, figures = _walked(symbols_, right_)
        figures[_NANOS, :, 1:] = np.cumsum(np.concatenate(nanos), axis=1)
        _, firsts, ids = np.unique(keys, return_index=True, return_inverse=True)
        states = tuple(_belief(symbols_[i // keys.shape[1], : i % keys.shape[1]]) for i in firsts)
        return cls(len(questions), states, ids.reshape(keys.shape), figures)

    def sums(self, votes: Sequence[Vote], cost: float, size: int) -> Whole:
        """(4 x votes x questions): the figures of each vote's runs, added up. The votes' worths fall."""
        import numpy as np

        ranks, runs = len(votes), self.ids.shape[0]
        rule = _Rule(votes, cost, size)
        question = np.arange(runs) // (runs // self.count)
        changes = np.zeros((4, self.count * (ranks + 1)), dtype=np.int64)
        alive = np.full(runs, ranks)  # of each run, how many votes (the first so many) are still drawing
        for drawn in range(size + 1):
            ids = self.ids[:, drawn]
            going = np.zeros(len(self.states), dtype=np.int64)
            np.maximum.at(going, ids, alive)
            for i in np.flatnonzero(going):
                going[i] = rule.going(self.states[i], drawn, int(going[i]))
            left = np.minimum(alive, going[ids])
            stopped = np.flatnonzero(left < alive)  # those between stop here
            start = question[stopped] * (ranks + 1)
            figures = self.figures[:, stopped, drawn]
            if rule.wrong:
                silent = [i for i in np.unique(ids[stopped]) if rule.abstains(self.states[i])]
                mute = np.isin(ids[stopped], silent)
                figures[_RIGHT, mute] = 0
                figures[_ANSWERED, mute] = 0
            for row, figure in zip(changes, figures, strict=True):
                np.add.at(row, start + left[stopped], figure)
                np.add.at(row, start + alive[stopped], -figure)
            alive = left
        found: Whole = np.cumsum(changes.reshape(4, self.count, ranks + 1), axis=2)[:, :, :ranks].transpose(0, 2, 1)
        return found


class _Rule:
    """How many of some votes, the highest worth first, draw once more in a state."""

    def __init__(self, votes: Sequence[Vote], cost: float, size: int) -> None:
        self.votes, self.cost, self.size = votes, cost, size
        self.priors: Priors = votes[0].policy.priors()
        self.wrong = votes[0].wrong

    def going(self, state: VotingBelief, drawn: int, many: int) -> int:
        """Of the first `many` of them: by halving, as those that go on come first."""
        first = self.votes[0]
        most = min(self.size, first.most if first.samples is None else first.samples)
        if drawn >= most:
            return 0
        if first.samples is not None:
            return many
        low, high = 0, many  # those below `low` go on, those from `high` on do not
        middle = many - 1
        while low < high:
            if self._goes(self.votes[middle], state, drawn):
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        return low

    def abstains(self, state: VotingBelief) -> bool:
        """Whether no answer is better than the one that leads, where a wrong one costs."""
        terms = self._terms(self.votes[0], 0)
        p = state.p(terms)
        return p is not None and terms.value(p) <= 0.0

    def _goes(self, vote: Vote, state: VotingBelief, drawn: int) -> bool:
        limit = VotingBelief(state.first, state.second, state.rest, state.blanks, vote.most, state.others)
        terms = self._terms(vote, self.size - drawn)
        way = limit.best(terms)
        return way.size > 0 and way.net(terms) > 0

    def _terms(self, vote: Vote, steps: int) -> Terms:
        return Terms(1 / vote.worth, self.cost, steps, self.priors, vote.wrong / vote.worth)


def _walked(symbols: Whole, right: Whole) -> tuple[NDArray[np.uint64], Whole]:
    """(runs x draws + 1): a number for each state of the votes, alike where the counts are, and (4 x ...) what a stop
    there comes to. `symbols`, `right`: (runs x draws), as in `walking.symbols_of`."""
    import numpy as np

    runs, most = symbols.shape
    dice = np.random.default_rng(0)
    # The state's number is the sum of random numbers of its counts (Zobrist 1970): two states in 2^64 share one.
    weights = dice.integers(1 << 63, size=most + 3, dtype=np.uint64)
    blank, thought = weights[most + 1], weights[most + 2]
    keys = np.zeros((runs, most + 1), dtype=np.uint64)
    figures = np.zeros((4, runs, most + 1), dtype=np.int64)
    width = int(symbols.max(initial=0)) + 1
    counts = np.zeros((runs, width), dtype=np.int64)
    seen = np.full((runs, width), most, dtype=np.int64)
    good = np.zeros((runs, width), dtype=np.int64)
    leader, highest = np.zeros(runs, dtype=np.int64), np.zeros(runs, dtype=np.int64)
    key = np.zeros(runs, dtype=np.uint64)
    for n in range(most):
        symbol = symbols[:, n]
        key = key + np.where(symbol == BLANK, blank, np.uint64(0)) + np.where(symbol == THOUGHT, thought, np.uint64(0))
        i = np.flatnonzero(symbol >= 0)
        a = symbol[i]
        before = counts[i, a]
        counts[i, a] = before + 1
        key[i] += weights[before + 1] - np.where(before > 0, weights[before], np.uint64(0))
        new = before == 0
        seen[i[new], a[new]] = n
        good[i[new], a[new]] = right[i[new], n]
        ahead = (before + 1 > highest[i]) | ((before + 1 == highest[i]) & (seen[i, a] < seen[i, leader[i]]))
        leader[i[ahead]], highest[i[ahead]] = a[ahead], before[ahead] + 1
        keys[:, n + 1] = key
        figures[_ANSWERED, :, n + 1] = highest > 0
        figures[_RIGHT, :, n + 1] = np.where(highest > 0, good[np.arange(runs), leader], 0)
    figures[_CALLS] = np.arange(most + 1)
    return keys, figures


def _belief(symbols: Whole) -> VotingBelief:
    """The evidence of these draws."""
    import numpy as np

    ranked = sorted((int(n) for n in np.unique(symbols[symbols >= 0], return_counts=True)[1]), reverse=True)
    first, second = [*ranked, 0, 0][:2]
    others = tuple(ranked[2:])
    return VotingBelief(first, second, sum(others), int((symbols == BLANK).sum()), HORIZON, others)
