"""Voting replayed without plans, millions of draws at a time: the same stops and answers (a property test holds it to
`SelfConsistency` under the replay driver)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.voting import VotingBelief
from ..budgets.voting_world import State, states
from ..core.belief import Terms
from ..core.errors import CallerError
from .bank import Bank
from .replaying import order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Small: TypeAlias = NDArray[np.uint8]
    Whole: TypeAlias = NDArray[np.int64]

MOST = 60  # draws of a question; more would need wider counters


@dataclass(frozen=True, slots=True, eq=False)
class Deals:
    """Recorded draws as arrays (questions x draws): `answers` numbered from 1 within each question (0: none), and
    whether each is `right`. `model` and `arm` are theirs."""

    questions: tuple[str, ...]
    answers: Small
    right: NDArray[np.bool_]
    model: str = ""
    arm: str = ""

    @classmethod
    def of(cls, bank: Bank, model: str, arm: str) -> Deals:
        """Raises `CallerError` where questions differ in how many draws they have, an answer was not recorded, or
        there are more than 60 draws."""
        import numpy as np

        rows = bank.of_arm(model, arm)
        sizes = {len(row) for row in rows.values()}
        if len(sizes) != 1 or max(sizes) > MOST:
            raise CallerError(
                f"{model}, {arm}: questions have {sorted(sizes)} draws: expected as many of each, <= {MOST}"
            )
        if any(draw.answer is None for row in rows.values() for draw in row):
            raise CallerError(f"{model}, {arm}: answers that were not recorded cannot vote")
        answers = []
        for row in rows.values():
            ids: dict[str, int] = {}
            answers.append([0 if d.key is None else ids.setdefault(d.key, len(ids) + 1) for d in row])
        right = [[d.correct for d in row] for row in rows.values()]
        return cls(tuple(rows), np.array(answers, dtype=np.uint8), np.array(right), model, arm)

    def orders(self, seeds: Sequence[int]) -> Small:
        """(questions x seeds x draws): the orders in which replays of these seeds meet the draws."""
        import numpy as np

        count = self.answers.shape[1]
        rows = [[order(count, seed, question, self.model, self.arm) for seed in seeds] for question in self.questions]
        return np.array(rows, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of tables by state: see `kernels.vote`."""

    states: tuple[State, ...]
    named: Whole
    scattered: Whole


@lru_cache(maxsize=8)
def rows_of(most: int) -> Rows:
    """All states of up to `most` votes."""
    import numpy as np

    every = [state for n in range(most + 1) for state in states(n, True, True)]
    named = np.zeros((most + 1, most // 2 + 1, most // 3 + 1, most // 4 + 1), dtype=np.int64)
    scattered = np.zeros((most + 1, most // 2 + 1, most + 1), dtype=np.int64)
    for i, (a, b, c, d, once) in enumerate(every):
        if once:
            scattered[a, b, c + d + once] = i
        else:
            named[a, b, c, d] = i
    return Rows(tuple(every), named, scattered)


def going(terms: Terms, most: int) -> Small:
    """(states x blanks): whether a vote at these terms draws once more, where `most` draws may be made in all."""
    import numpy as np

    every = rows_of(most).states
    go = np.zeros((len(every), most + 1), dtype=np.uint8)
    for i, state in enumerate(every):
        others = tuple(count for count in (*state[2:4], *[1] * state[4]) if count)
        for blanks in range(most - sum(state)):
            belief = VotingBelief(state[0], state[1], sum(others), blanks, others=others)
            way = belief.best(replace(terms, steps=most - sum(state) - blanks))
            go[i, blanks] = way.size > 0 and way.net(terms) > 0
    return go


def replay_votes(deals: Deals, orders: Small, go: Small) -> tuple[Small, Small]:
    """(questions x runs) twice: how many draws each run took, and the place of the first draw of its answer (255: it
    has none)."""
    import numpy as np

    from .kernels import vote

    rows = rows_of(deals.answers.shape[1])
    stops, leaders = (np.zeros(orders.shape[:2], dtype=np.uint8) for _ in range(2))
    vote(deals.answers, orders, rows.named, rows.scattered, go, stops, leaders)
    return stops, leaders
