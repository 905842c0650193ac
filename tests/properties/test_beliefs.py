"""The beliefs' mathematics against brute force, and the contract of every belief."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.beliefs import Committed, ExactBelief, Unstarted
from satisfice.budgets.checking import CheckBelief, DrawBelief
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import Belief, Priors, Terms
from satisfice.testing.belief import BeliefContract

# -- the world of the votes, said again in the plainest way: sequences of answers, and who may be who ------------------


class Brute:
    """`counts`: how often each answer was given. One of them may be right, another one the systematic mistake; all
    others were given once."""

    def __init__(self, voting: Sequence[tuple[float, float, float]], wrong: float, step: float) -> None:
        self.voting, self.wrong, self.step = voting, wrong, step
        self.value = cache(self._value)

    def evidence(self, counts: tuple[int, ...], right: int | None = -1) -> float:
        """P(this sequence), with answer `right` the right one (None: none of them; -1: whichever)."""
        total = 0.0
        places = [None, *range(len(counts))]
        for theta, phi, weight in self.voting:
            fresh = 1 - theta - phi
            pairs = [(None, None), *((a, b) for a, b in permutations(places, 2))]
            for good, bad in pairs:
                if right not in (-1, good):
                    continue
                rest = [n for i, n in enumerate(counts) if i not in (good, bad)]
                if all(n == 1 for n in rest):
                    hits = theta ** (counts[good] if good is not None else 0)
                    total += weight * hits * phi ** (counts[bad] if bad is not None else 0) * fresh ** len(rest)
        return total

    def p(self, counts: tuple[int, ...]) -> float:
        """P(the leader is right); `counts` come with the leader first."""
        return self.evidence(counts, 0) / self.evidence(counts)

    def utility(self, counts: tuple[int, ...]) -> float:
        if not counts:
            return 0.0
        p = self.p(counts)
        return max(0.0, p - (1 - p) * self.wrong)

    def moves(self, counts: tuple[int, ...]) -> list[tuple[float, tuple[int, ...]]]:
        """The next answer: an old one, or a new one."""
        after = [tuple(n + (i == j) for j, n in enumerate(counts)) for i in range(len(counts))]
        after.append((*counts, 1))
        now = self.evidence(counts) if counts else 1.0
        # A new answer stands for whichever: its evidence counts the ways in which it can be the right one, or neither.
        return [(self.evidence(c) / now, tuple(sorted(c, reverse=True))) for c in after]

    def _value(self, counts: tuple[int, ...], left: int) -> float:
        stop = self.utility(counts)
        if left == 0:
            return stop
        return max(stop, sum(p * self.value(c, left - 1) for p, c in self.moves(counts) if p > 0) - self.step)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[tuple[float, float, float], ...]:
    kinds = []
    for _ in range(draw(st.integers(1, 3))):
        theta = draw(st.sampled_from([0.05, 0.2, 0.45, 0.6, 0.9]))
        kinds.append((theta, round((1 - theta) * draw(st.sampled_from([0.1, 0.5, 0.9])), 6)))
    return tuple((theta, phi, 1 / len(kinds)) for theta, phi in kinds)


STATES = [(), (1,), (1, 1), (2,), (2, 1), (1, 1, 1), (3, 2), (2, 2), (2, 2, 1), (4, 1, 1), (3, 3, 1, 1), (6,)]


def belief_of(counts: tuple[int, ...]) -> VotingBelief:
    first, second = [*counts, 0, 0][:2]
    return VotingBelief(first, second, sum(counts[2:]))


def terms(voting: tuple[tuple[float, float, float], ...], price: float, steps: int, wrong: float) -> Terms:
    return Terms(price, 1.0, steps, Priors(voting), wrong)


@settings(deadline=None, max_examples=30)
@given(
    worlds(),
    st.sampled_from(STATES),
    st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.2]),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.5, 2.0]),
)
def test_voting_agrees_with_brute_force(
    voting: tuple[tuple[float, float, float], ...], counts: tuple[int, ...], price: float, steps: int, wrong: float
) -> None:
    brute, belief, at = Brute(voting, wrong, price), belief_of(counts), terms(voting, price, steps, wrong)
    assert sum(p for p, _ in brute.moves(counts)) == pytest.approx(1)
    if counts:
        assert belief.p(at) == pytest.approx(brute.p(counts), abs=1e-6)
    way = belief.best(at)
    best = brute.value(counts, steps) - brute.utility(counts)
    assert way.net(at) == pytest.approx(best, abs=1e-6)
    assert (way.size > 0) == (best > 1e-9) or abs(best) < 1e-6


@settings(deadline=None, max_examples=30)
@given(worlds(), st.sampled_from([c for c in STATES if c and c[0] > (*c, 0)[1] + 1]))
def test_drawing_does_not_change_what_is_expected_of_a_fixed_answer(
    voting: tuple[tuple[float, float, float], ...], counts: tuple[int, ...]
) -> None:
    brute, at = Brute(voting, 0.0, 0.0), terms(voting, 0.01, 5, 0.0)
    after = sum(p * (belief_of(c).p(at) or 0.0) for p, c in brute.moves(counts))
    assert after == pytest.approx(belief_of(counts).p(at), abs=1e-6)


@given(
    st.integers(0, 30), st.floats(0.1, 5), st.floats(0.1, 5), st.floats(1e-3, 1), st.floats(0, 0.1), st.integers(1, 12)
)
def test_exact_checks_agree_with_brute_force(
    failures: int, a: float, b: float, price: float, per_second: float, steps: int
) -> None:
    at = Terms(price, 1.0, steps, Priors((), (a, b)), seconds=1.0, per_second=per_second)
    way = ExactBelief(failures).best(at)

    @cache
    def value(k: int, left: int) -> float:
        """Of the best course after k failures: stop, or any wave and on from there."""
        ways, missed = [0.0], 1.0
        for m in range(1, left + 1):
            missed *= (b + k + m - 1) / (a + b + k + m - 1)
            ways.append(1 - missed - price * (m + per_second) + missed * value(k + m, left - m))
        return max(ways)

    best = value(failures, steps)
    assert way.net(at) == pytest.approx(best, abs=1e-9)
    if per_second == 0:  # stop after k failures when a / (a + b + k) * worth <= cost
        assert (way.size > 0) == (a / (a + b + failures) > price) or abs(a / (a + b + failures) - price) < 1e-9


def test_the_value_of_stopping_counts_what_a_mistake_costs() -> None:
    at = terms(DEFAULT_PRIORS.voting, 0.01, 10, 3.0)
    assert at.value(0.75) == 0.0
    assert at.value(1.0) == 1.0


class TestVoting(BeliefContract):
    @pytest.fixture(
        params=[
            *((0, 0, 0, 0), (1, 0, 0, 0), (2, 2, 1, 0), (3, 1, 0, 2), (5, 4, 2, 0), (60, 30, 9, 0)),
            pytest.param((9, 8, 3, 0), marks=pytest.mark.long),
        ]
    )
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return VotingBelief(*request.param)

    slack = 2e-3  # prices are rounded to two digits


class TestExact(BeliefContract):
    @pytest.fixture(params=[0, 1, 40])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return ExactBelief(request.param)


_SOME = (
    (),
    (Evidence(),),
    (Evidence(said=(("judge", 0.2),)),),
    (Evidence(3, (("judge", 0.9),)), Evidence(1), Evidence(refuted=True)),
)


class TestDraws(BeliefContract):
    @pytest.fixture(params=[(answers, checks) for answers in _SOME for checks in ((), ("judge",))])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return DrawBelief(*request.param)

    slack = 2e-3  # that of the votes


class TestChecks(BeliefContract):
    waves = False

    @pytest.fixture(params=_SOME[1:])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return CheckBelief(request.param, 0, ("judge", "tests"))


class TestCommitted(BeliefContract):
    waves = False

    @pytest.fixture(params=[0, 1, 5])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return Committed(request.param)


class TestUnstarted(BeliefContract):
    waves = False

    @pytest.fixture
    def belief(self) -> Belief:
        return Unstarted()
