"""The value of a check and of a checked draw: against what their docstrings say, summed up or simulated plainly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import exp, log, log2
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from satisfice.budgets import evidence as evidence_module
from satisfice.budgets.calibrators import Calibration, Identity, ScoreModel
from satisfice.budgets.checking import (
    LEVELS,
    SILENT,
    CheckBelief,
    DrawBelief,
    _many_draws,
    _one_draw,
    _value,
    after_check,
    information,
    joint,
    merged,
    p_right,
    pick,
)
from satisfice.budgets.evidence import AGAIN, Answers, Evidence, Posterior, posterior
from satisfice.budgets.policy import VerifierPolicy
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import UNMEASURED, Channel, Priors, Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Voting = tuple[tuple[float, float, float], ...]
WORLD: Voting = ((0.1, 0.5, 0.3), (0.4, 0.3, 0.3), (0.8, 0.1, 0.4))
EPS = 1e-9


@st.composite
def worlds(draw: st.DrawFn) -> Voting:
    kinds = []
    for _ in range(draw(st.integers(1, 3))):
        theta = draw(st.sampled_from([0.05, 0.2, 0.45, 0.6, 0.9]))
        kinds.append((theta, round((1 - theta) * draw(st.sampled_from([0.1, 0.5, 0.9])), 6)))
    return tuple((theta, phi, 1 / len(kinds)) for theta, phi in kinds)


@st.composite
def channels(draw: st.DrawFn, most: int = 6) -> Channel:
    """Each column sums to 1; levels may be silent on one side."""
    n = draw(st.integers(1, most))
    columns = [draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)) for _ in range(2)]
    assume(all(sum(column) for column in columns))
    assume(all(map(sum, zip(*columns, strict=True))))
    right, wrong = ([x / sum(column) for x in column] for column in columns)
    return Channel(tuple(zip(right, wrong, strict=True)))


said = st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1)), max_size=2).map(tuple)
given_answers = st.lists(
    st.builds(Evidence, st.integers(1, 6), said),
    min_size=1,
    max_size=4,
)
answers_ = st.builds(
    lambda some, refuted: (*some, *(Evidence(count, refuted=True) for count in refuted)),
    given_answers,
    st.lists(st.integers(1, 3), max_size=2),
)


def terms(priors: Priors, wrong: float = 0.0, price: float = 0.001, steps: int = 30) -> Terms:
    return Terms(price, 1.0, steps, priors, wrong)


@pytest.fixture
def _never_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A world in which a fresh wrong answer really is never repeated, as the votes' model has it."""
    monkeypatch.setattr(evidence_module, "AGAIN", 1e-12)
    evidence_module._posterior.cache_clear()
    yield
    evidence_module._posterior.cache_clear()


# -- the posterior ---------------------------------------------------------------------------------------------------


def brute(counts: tuple[int, ...], ratios: tuple[float, ...], voting: Voting) -> tuple[list[float], float]:
    """Masses of each answer being right, and of none: summed over kinds and over which answer is the mistake."""
    places = [None, *range(len(counts))]
    found = [0.0] * (len(counts) + 1)
    for theta, phi, weight in voting:
        fresh = 1 - theta - phi
        for right, mistake in product(places, places):
            if right is not None and right == mistake:
                continue
            mass = weight * (1.0 if right is None else ratios[right])
            for i, count in enumerate(counts):
                if i in (right, mistake):
                    mass *= (theta if i == right else phi) ** count
                else:
                    mass *= fresh**count * AGAIN ** (count - 1)
            found[-1 if right is None else right] += mass
    return found[:-1], found[-1]


@given(worlds(), answers_)
def test_the_posterior_is_the_sum_over_all_that_may_be(voting: Voting, answers: Answers) -> None:
    priors = Priors(voting)
    now = posterior(answers, priors)
    masses, none = brute(tuple(a.count for a in answers), tuple(a.ratio(priors) for a in answers), voting)
    total = sum(masses) + none
    for i, mass in enumerate(masses):
        assert now.p(i) == pytest.approx(mass / total, abs=1e-7)
    assert now.evidence == pytest.approx(log(total), abs=1e-6)
    assert now.leader == pick(answers, terms(priors))


@given(worlds(), answers_)
def test_probabilities_sum_to_one(voting: Voting, answers: Answers) -> None:
    now = posterior(answers, Priors(voting))
    none = float(now.masses[:, -1].sum()) / now.total
    ps = [now.p(i) for i in range(len(answers))]
    assert sum(ps) + none == pytest.approx(1)
    assert all(0 <= p <= 1 for p in (*ps, none))
    assert all(p == 0 for p, answer in zip(ps, answers, strict=True) if answer.refuted)


def votes_of(counts: tuple[int, ...]) -> VotingBelief:
    first, second = [*counts, 0][:2]
    return VotingBelief(first, second, sum(counts[2:]))


@pytest.mark.usefixtures("_never_again")
@pytest.mark.parametrize("voting", [WORLD, DEFAULT_PRIORS.voting, ((0.3, 0.3, 1.0),)])
@pytest.mark.parametrize("counts", [(1,), (2,), (5,), (1, 1), (3, 1), (2, 2), (4, 3), (3, 1, 1), (4, 2, 1), (1, 1, 1)])
def test_without_verdicts_it_is_what_the_votes_say(voting: Voting, counts: tuple[int, ...]) -> None:
    priors = Priors(voting)
    now = posterior(tuple(map(Evidence, counts)), priors)
    votes = votes_of(counts).p(terms(priors))
    assert now.p(0) == pytest.approx(votes, abs=1e-5)


@pytest.mark.parametrize("counts", [(1,), (3,), (1, 1), (3, 1), (2, 2), (4, 1, 1)])
def test_it_is_near_what_the_votes_say_as_it_ships(counts: tuple[int, ...]) -> None:
    priors = replace(DEFAULT_PRIORS, kinds=())  # verdicts are weighed in the plainer world of `voting`
    now = posterior(tuple(map(Evidence, counts)), priors)
    votes = votes_of(counts).p(terms(priors))
    assert now.p(0) == pytest.approx(votes, abs=0.02)


@given(worlds(), answers_, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_better_verdict_raises_its_answer_and_lowers_the_others(
    voting: Voting, answers: Answers, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    priors = Priors(voting)
    less, more = (posterior((Evidence(answers[0].count, (("j", p),)), *answers[1:]), priors) for p in (low, high))
    assert more.p(0) >= less.p(0) - EPS
    assert all(more.p(i) <= less.p(i) + EPS for i in range(1, len(answers)))


# -- one check ---------------------------------------------------------------------------------------------------------


def outcomes(answers: Answers, index: int, channel: Channel, voting: Voting) -> list[tuple[float, Posterior]]:
    """What a check of one answer may show: (probability, posterior), through the posterior's own evidence."""
    ratios = tuple(a.ratio(Priors(voting)) for a in answers)
    counts = tuple(a.count for a in answers)
    now = evidence_module._posterior(counts, ratios, voting)
    found = []
    for right, wrong in channel.levels:
        if wrong > 0:
            told = tuple(r * right / wrong if i == index else r for i, r in enumerate(ratios))
            after = evidence_module._posterior(counts, told, voting)
            found.append((wrong * exp(after.evidence - now.evidence), after))
    return found


@given(worlds(), given_answers.map(tuple), st.integers(0, 3), channels())
def test_a_check_changes_nothing_that_is_expected(voting: Voting, answers: Answers, at: int, channel: Channel) -> None:
    at %= len(answers)
    channel = _two_sided(channel)
    now = posterior(answers, Priors(voting))
    shown = outcomes(answers, at, channel, voting)
    assert sum(mass for mass, _ in shown) == pytest.approx(1, abs=1e-7)
    for i in range(len(answers)):
        assert sum(mass * after.p(i) for mass, after in shown) == pytest.approx(now.p(i), abs=1e-7)


@given(worlds(), given_answers.map(tuple), st.integers(0, 3), channels(), st.sampled_from([0.0, 0.5, 3.0]))
def test_the_value_after_a_check_is_that_of_the_best_choice(
    voting: Voting, answers: Answers, at: int, channel: Channel, wrong: float
) -> None:
    at %= len(answers)
    channel = _two_sided(channel)
    priors = Priors(voting)
    shown = outcomes(answers, at, channel, voting)
    value = sum(
        mass * terms(priors, wrong).value(max(after.p(i) for i in range(len(answers)))) for mass, after in shown
    )
    assert after_check(posterior(answers, priors), at, channel, terms(priors, wrong)) == pytest.approx(value, abs=1e-7)


def _two_sided(channel: Channel) -> Channel:
    """Mixed with a little of everything, so that every ratio is finite."""
    n = len(channel.levels)
    return Channel(tuple((0.99 * a + 0.01 / n, 0.99 * b + 0.01 / n) for a, b in channel.levels))


@given(worlds(), given_answers.map(tuple), st.integers(0, 3), channels(), st.sampled_from([0.0, 0.5, 3.0]))
def test_a_check_never_hurts_and_a_silent_one_never_helps(
    voting: Voting, answers: Answers, at: int, channel: Channel, wrong: float
) -> None:
    at %= len(answers)
    now, at_terms = posterior(answers, Priors(voting)), terms(Priors(voting), wrong)
    worth = _value(now, at_terms)
    assert after_check(now, at, channel, at_terms) >= worth - EPS
    mute = Channel(tuple((b, b) for _, b in channel.levels))
    for silent in (mute, SILENT):
        assert after_check(now, at, silent, at_terms) == pytest.approx(worth, abs=EPS)
    priors = Priors(voting, channels={"mute": mute, "x": channel})
    assert not CheckBelief(answers, at, ("mute",)).best(terms(priors, wrong, price=0.0)).size
    assert CheckBelief(answers, at, ("x",)).best(terms(priors, wrong, price=0.0)).gain >= 0


@given(worlds(), given_answers.map(tuple), channels(), st.randoms(use_true_random=False), st.sampled_from([0.0, 2.0]))
def test_garbling_a_channel_never_raises_its_value(
    voting: Voting, answers: Answers, channel: Channel, dice: Any, wrong: float
) -> None:
    """Blackwell (1951): what is told by way of noise is worth no more, to whatever end."""
    n, m = len(channel.levels), dice.randint(1, 6)
    rows = [[dice.random() ** 3 + 1e-6 for _ in range(m)] for _ in range(n)]
    noise = [[x / sum(row) for x in row] for row in rows]
    garbled = Channel(
        tuple(
            (
                sum(channel.levels[i][0] * noise[i][j] for i in range(n)),
                sum(channel.levels[i][1] * noise[i][j] for i in range(n)),
            )
            for j in range(m)
        )
    )
    now, at = posterior(answers, Priors(voting)), terms(Priors(voting), wrong)
    assert after_check(now, 0, garbled, at) <= after_check(now, 0, channel, at) + EPS
    assert _one_draw(answers, garbled, at) <= _one_draw(answers, channel, at) + EPS
    for p in (0.1, 0.5, 0.8):
        assert information(p, garbled) <= information(p, channel) + EPS


# -- channels ----------------------------------------------------------------------------------------------------------


def entropy(p: float) -> float:
    return sum(-x * log2(x) for x in (p, 1 - p) if x > 0)


@given(st.sampled_from([0.0, 1.0]) | st.floats(1e-9, 1), channels())
def test_a_verdict_tells_no_more_than_there_is_to_know(p: float, channel: Channel) -> None:
    assert -EPS <= information(p, channel) <= entropy(p) + EPS
    assert information(p, Channel(((1.0, 0.0), (0.0, 1.0)))) == pytest.approx(entropy(p), abs=EPS)
    assert information(p, SILENT) == 0


@given(st.floats(0.05, 0.95), channels(12), st.integers(1, 16))
def test_merged_levels_lose_and_never_add(p: float, channel: Channel, most: int) -> None:
    made = merged(list(channel.levels), most)
    assert len(made) <= most
    assert [sum(column) for column in zip(*made, strict=True)] == pytest.approx([1, 1])
    assert information(p, Channel(made)) <= information(p, channel) + EPS
    if most == LEVELS:
        assert information(p, Channel(made)) >= 0.8 * information(p, channel)


@given(st.floats(0.05, 0.95), channels(), channels(), channels())
def test_several_verifiers_tell_more_than_one_and_less_than_all_they_say(
    p: float, a: Channel, b: Channel, c: Channel
) -> None:
    priors = Priors(WORLD, channels={"a": a, "b": b, "c": c})
    both = Channel(tuple((x * u, y * v) for (x, y), (u, v) in product(a.levels, b.levels)))
    together = joint(priors, ("a", "b"))
    assert len(joint(priors, ("a", "b", "c")).levels) <= LEVELS
    assert information(p, together) <= information(p, both) + EPS
    assert information(p, together) <= information(p, a) + information(p, b) + EPS
    assert joint(priors, ()) == SILENT
    assert joint(priors, ("a",)) == Channel(a.levels)
    assert joint(priors, ("nobody",)) == Channel(UNMEASURED.levels)


measured = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8)


def planned(counts: list[tuple[int, int]], trust: float) -> list[tuple[float, float]]:
    """For each level the likelihood ratio of the plan, and the one of a verdict when it comes."""
    model = ScoreModel.of(tuple(counts))
    policy = VerifierPolicy(calibration=Calibration(pooled=Identity()), model=model, trust=trust)
    channel = policy.channel()
    assert [sum(column) for column in zip(*channel.levels, strict=True)] == pytest.approx([1, 1])
    pairs = zip(model.levels, channel.levels, strict=True)
    return [(right / wrong, channel.ratio(p)) for (p, _, _), (right, wrong) in pairs]


@given(measured)
def test_what_is_planned_of_a_measured_verifier_is_what_its_verdicts_will_mean(counts: list[tuple[int, int]]) -> None:
    assert all(plan == pytest.approx(fact, rel=1e-6) for plan, fact in planned(counts, 1.0))


@pytest.mark.parametrize("trust", [0.2, 0.5])
def test_the_same_holds_where_it_is_trusted_in_part(trust: float) -> None:
    pairs = planned([(1, 30), (20, 10)], trust)
    assert all(plan == pytest.approx(fact, rel=1e-6) for plan, fact in pairs)


# -- draws -------------------------------------------------------------------------------------------------------------


def after_a_draw(answers: Answers, voting: Voting) -> list[tuple[float, Posterior]]:
    """Each way on: (probability, posterior)."""
    priors = Priors(voting)
    now = posterior(answers, priors).evidence
    ways = [(*answers[:i], Evidence(a.count + 1, a.said, a.refuted), *answers[i + 1 :]) for i, a in enumerate(answers)]
    found = [posterior(way, priors) for way in (*ways, (*answers, Evidence()))]
    return [(exp(after.evidence - now), after) for after in found]


@pytest.mark.usefixtures("_never_again")
@pytest.mark.parametrize("voting", [WORLD, DEFAULT_PRIORS.voting, ((0.3, 0.3, 1.0),)])
@pytest.mark.parametrize(
    "answers",
    [
        (Evidence(),),
        (Evidence(3),),
        (Evidence(2), Evidence(1)),
        (Evidence(2, (("j", 0.3),)), Evidence(1, (("j", 0.9),)), Evidence(1, refuted=True)),
        (Evidence(4), Evidence(3, (("j", 0.8),)), Evidence(), Evidence()),
    ],
)
def test_drawing_changes_nothing_that_is_expected(voting: Voting, answers: Answers) -> None:
    ways = after_a_draw(answers, voting)
    now = posterior(answers, Priors(voting))
    assert sum(weight for weight, _ in ways) == pytest.approx(1, abs=1e-6)
    for i in range(len(answers)):
        assert sum(weight * after.p(i) for weight, after in ways) == pytest.approx(now.p(i), abs=1e-6)


@given(worlds(), given_answers.map(tuple))
def test_drawing_changes_little_that_is_expected_as_it_ships(voting: Voting, answers: Answers) -> None:
    """A fresh wrong answer may come again with AGAIN, beside whatever else comes: that much the sum is off."""
    ways = after_a_draw(answers, voting)
    total = sum(weight for weight, _ in ways)
    assert total == pytest.approx(1, abs=AGAIN * len(answers))
    now = posterior(answers, Priors(voting))
    for i in range(len(answers)):
        expected = sum(weight * after.p(i) for weight, after in ways) / total
        assert expected == pytest.approx(now.p(i), abs=AGAIN * len(answers))


@given(worlds(), given_answers.map(tuple), channels(), st.sampled_from([0.0, 0.5, 3.0]))
def test_one_draw_is_worth_what_the_best_choice_after_it_is(
    voting: Voting, answers: Answers, channel: Channel, wrong: float
) -> None:
    at, value, total = terms(Priors(voting), wrong), 0.0, 0.0
    *again, (weight, fresh) = after_a_draw(answers, voting)
    for way, after in again:
        total += way
        value += way * at.value(max(after.p(i) for i in range(len(answers))))
    total += weight
    value += weight * after_check(fresh, len(answers), channel, at)
    assert _one_draw(answers, channel, at) == pytest.approx(value / total, abs=1e-9)


@pytest.mark.usefixtures("_never_again")
@given(worlds(), given_answers.map(tuple), channels(), st.sampled_from([0.0, 0.5, 3.0]))
def test_a_draw_never_hurts(voting: Voting, answers: Answers, channel: Channel, wrong: float) -> None:
    at = terms(Priors(voting), wrong)
    # Counts that two wrong answers share are next to impossible in this world: nothing is known of what follows.
    assume(sum(answer.count > 1 for answer in answers) <= 1)
    assert _one_draw(answers, channel, at) >= _value(posterior(answers, at.priors), at) - 1e-6


SHARP, BLUNT = Channel(((0.8, 0.2), (0.2, 0.8))), Channel(((0.5, 0.3), (0.3, 0.3), (0.2, 0.4)))
STATES: list[Answers] = [
    (),
    (Evidence(),),
    (Evidence(2), Evidence(1)),
    (Evidence(3, (("j", 0.3),)), Evidence(1)),
    (Evidence(refuted=True),),
]


def simulated(now: Posterior, channel: Channel, m: int, n: int, dice: np.random.Generator) -> Floats:
    """P(right) of the rule, by threshold: of m draws the best-checked new candidate is taken if its level is t or
    better, else the leader stays. Wrong candidates are different ones; each that ties with the right one beats it half
    the time."""
    right, wrong = np.asarray(sorted(channel.levels, key=lambda level: level[0] / max(level[1], 1e-12))).T
    shares = now.masses / now.total
    picked = dice.choice(shares.size, n, p=shares.ravel() / shares.sum())
    kind, which = np.unravel_index(picked, shares.shape)
    leader = now.leader if shares.shape[1] > 1 else -1
    hits = dice.random((n, m)) < now.theta[kind][:, None]
    levels = np.where(hits, -1, dice.choice(len(wrong), (n, m), p=wrong))
    found = hits.any(axis=1) & (which == shares.shape[1] - 1)  # the right one is new
    mine = np.where(found, dice.choice(len(right), n, p=right), -1)
    best = levels.max(axis=1)
    ties = (levels == mine[:, None]).sum(axis=1)
    wins = found & ((mine > best) | ((mine == best) & (dice.random(n) < 0.5**ties)))
    kept = (which == leader) & (shares.shape[1] > 1)
    return np.asarray([np.where(np.maximum(mine, best) >= t, wins, kept).mean() for t in range(len(right))])


@pytest.mark.parametrize("channel", [SHARP, BLUNT, UNMEASURED], ids=["sharp", "blunt", "unmeasured"])
@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_many_draws_against_a_simulation_of_the_rule(state: Answers, channel: Channel) -> None:
    """Its docstring's rule, played out 40,000 times."""
    n, at = 40_000, terms(DEFAULT_PRIORS)
    now = posterior(state, DEFAULT_PRIORS)
    gains = _many_draws(now, channel, at, 16)
    dice = np.random.default_rng(7)
    for m in (1, 2, 4, 8, 16):
        p = gains[m - 1] + _value(now, at)
        played = float(simulated(now, channel, m, n, dice).max())
        error = 3 * (played * (1 - played) / n) ** 0.5
        assert p <= played + error, f"{m} draws are promised more than they bring"
        assert p >= played - error, f"{m} draws"


def test_the_best_number_of_draws_is_finite_with_an_imperfect_check_alone() -> None:
    now, at = posterior((), DEFAULT_PRIORS), terms(DEFAULT_PRIORS)
    gains = _many_draws(now, SHARP, at, 32)
    assert gains[0] < max(gains) > gains[-1]


@settings(deadline=None, max_examples=60)
@given(worlds(), answers_, channels(), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1e-4, 1e-2]))
def test_a_draw_is_a_way_on_that_can_be_paid(
    voting: Voting, answers: Answers, channel: Channel, wrong: float, price: float
) -> None:
    priors = Priors(voting, channels={"a": channel, "b": channel})
    for steps in (0, 1, 5):
        at = terms(priors, wrong, price, steps)
        way = DrawBelief(answers, ("a",)).best(at)
        assert 0 <= way.size <= steps
        assert way.size == 0 or (way.gain > 0 and way.net(at) > 0)
        assert way.gain <= 1 + EPS
    twice = any(len({name for name, _ in a.said}) < len(a.said) for a in answers)
    assert (p_right(answers, at) is None) == (twice or all(a.refuted for a in answers))
    assert p_right((Evidence(said=(("unheard", 0.5),)),), at) is None


def _cascading() -> tuple[Priors, tuple[str, str]]:
    """Priors with a weak verifier and a strong one."""
    weak, strong = Channel(((0.3, 0.7), (0.7, 0.3))), Channel(((0.05, 0.95), (0.95, 0.05)))
    return replace(DEFAULT_PRIORS, channels={"weak": weak, "strong": strong}), ("weak", "strong")


def test_a_cascade_asks_the_dear_verifier_only_where_the_cheap_one_left_doubt() -> None:
    priors, names = _cascading()
    answers = (Evidence(1), Evidence(1))
    at = Terms(price=0.015, cost=11.0, steps=9, priors=priors, parts=(1.0, 10.0))
    cascade = CheckBelief(answers, 0, names).best(at)
    both = CheckBelief(answers, 0, names).best(replace(at, price=0.0))
    assert 1.0 < cascade.cost < 11.0  # sometimes the cheap verdict is enough
    weak = CheckBelief(answers, 0, ("weak",)).best(replace(at, cost=1.0, parts=()))
    assert cascade.net(at) >= weak.net(at) - 1e-12
    strong = CheckBelief(answers, 0, ("strong",)).best(replace(at, cost=10.0, parts=()))
    assert both.gain >= strong.gain - 1e-12  # a further verdict never tells less


def test_the_rest_of_a_cascade_goes_by_information_per_dollar() -> None:
    priors, _ = _cascading()
    belief = CheckBelief((Evidence(1),), 0, ("first", "weak", "strong"))
    same = Terms(price=0.01, cost=3.0, steps=9, priors=priors, parts=(1.0, 1.0, 1.0))
    dearer = replace(same, parts=(1.0, 1.0, 50.0))
    strong, weak = priors.channels["strong"], priors.channels["weak"]
    assert [c.levels for c, _ in belief._order(0.4, same)[1:]] == [strong.levels, weak.levels]
    assert [c.levels for c, _ in belief._order(0.4, dearer)[1:]] == [weak.levels, strong.levels]
