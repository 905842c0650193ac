"""The parts of a tree search: the tree, the algorithms on it, what reads and values."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.rounds import RoundsBelief
from satisfice.budgets.waves import WaveBelief
from satisfice.core.belief import Terms
from satisfice.core.task import Candidate, Task
from satisfice.strategies.trees import Step, Tree, Value, Vote
from satisfice.strategies.trees.abmcts import Adaptive, Moments
from satisfice.strategies.trees.mcts import Uct
from satisfice.strategies.trees.nodes import ROOT
from satisfice.strategies.trees.reading import LONGEST, ends, graded, listed, voted
from satisfice.strategies.trees.tot import select
from satisfice.strategies.trees.valuing import LABELS

TASK = Task.of("1 + 1?", "number")


def thought(text: str) -> Candidate:
    return Candidate(text, path="p", thought=True)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1. add one\n2. add two", ["add one", "add two"]),
        ("Here are steps:\n- a\n* b\n(c) third\nHope this helps", ["a", "b", "third"]),
        ("2 + 8 = 10 (left: 8 10)\n8 / 2 = 4 (left: 4 8)", ["2 + 8 = 10 (left: 8 10)", "8 / 2 = 4 (left: 4 8)"]),
        ("Steps:", ["Steps:"]),
        ("I do not know what you mean", ["I do not know what you mean"]),
        ("-1 + 3 = 2 (left: 2)", ["-1 + 3 = 2 (left: 2)"]),
        ("", []),
        ("  \n\n", []),
    ],
)
def test_proposals_are_read_line_by_line(text: str, steps: list[str]) -> None:
    assert [step.text for step in listed(TASK, thought(text), 9)] == steps


def test_a_line_that_states_the_answer_is_a_complete_step() -> None:
    steps = listed(TASK, thought("1. go on\n2. **Answer:** 12\n3. Answer: none"), 9)
    assert [(s.candidate.key, s.candidate.path, s.candidate.thought) if s.candidate else None for s in steps] == [
        None,
        ("12", "p", False),
        None,
    ]
    assert ends(TASK, thought("x"), "so 3 + 4\nThe answer is 7").candidate is not None


@given(st.text(max_size=300))
def test_no_reply_raises_and_none_is_lost(text: str) -> None:
    steps = listed(TASK, thought(text), 5)
    assert bool(steps) == bool(text.strip()) or "```" in text
    assert len(steps) <= 5
    assert graded(text, LABELS) in (*LABELS, None)
    assert voted(text, 3) in (0, 1, 2, None)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("sure", "sure"),
        ("10 + 14 = 24\nSure.", "sure"),
        ("impossible or likely?\n**likely**", "likely"),
        ("hm", None),
        ("not sure", None),
        ("I'm not at all sure.", None),
        ("It isn\u2019t likely", None),
        ("not impossible", None),
        ("I am not sure, but likely", "likely"),
        ("It cannot reach 24: impossible", "impossible"),
        ("likely\nI am not sure", "likely"),
    ],
)
def test_grades_are_read(text: str, grade: str | None) -> None:
    assert graded(text, LABELS) == grade


@pytest.mark.parametrize(
    ("text", "place"),
    [("The best choice is 2", 1), ("best choice is {3}", 2), ("Choice 1 is weak. 2", 1), ("9", None), ("none", None)],
)
def test_votes_are_read(text: str, place: int | None) -> None:
    assert voted(text, 3) == place


FLOODS = [
    " ",
    "\n",
    "\t \n",
    "{",
    "[(",
    "best choice",
    "best choice ",
    "step",
    "step ",
    "1",
    "1.",
    "- ",
    "answer is",
    "*_# ",
]


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("start", ["", "best choice", "step", "the final answer", "not"])
def test_a_flood_is_read_in_linear_time(start: str, flood: str) -> None:
    """With a pattern that backtracks, none of these would end."""
    text = start + flood * (1_000_000 // len(flood)) + "x"
    assert len(listed(TASK, thought(text), 3)) <= 3
    assert len(ends(TASK, thought(text), text).text) <= LONGEST
    assert voted(text, 3) in (None, 0)
    assert graded(text, LABELS) is None
    assert voted(text + "\nThe best choice is 2", 3) == 1


def replied(plan: Any, reply: Any) -> Any:
    """Runs a valuer's plan whose Gather is answered by `reply(samples)`."""
    try:
        effect = next(plan)
        plan.send(tuple(reply(effect.branches)))
    except StopIteration as end:
        return end.value
    raise AssertionError("more than one effect")


def test_values_are_the_mean_of_the_grades_that_can_be_read() -> None:
    texts = ["sure", "hm", "likely", "impossible", "", ""]

    def reply(samples: Sequence[Any]) -> list[Candidate | None]:
        return [thought(text) if text else None for text in texts]

    values = replied(Value(2)(TASK, (("a",), ("b",), ("c",))), reply)
    assert values == pytest.approx((1.0, 1.001 / 40, 0.05))  # (sure), (likely and impossible), none: as a likely


def test_a_judge_that_prefers_a_position_prefers_no_state() -> None:
    """Each vote sees the states in another order, so that "always the first" gives every state the same."""
    paths = (("a",), ("b",), ("c",))
    first = replied(Vote(3)(TASK, paths), lambda samples: [thought("The best choice is 1")] * len(samples))
    assert first == pytest.approx((1 / 3, 1 / 3, 1 / 3))

    def honest(samples: Sequence[Any]) -> list[Candidate]:
        seen = [sample.messages[-1].content for sample in samples]
        return [thought(f"best choice is {text.split(chr(10) + 'b')[0].rsplit('Choice ', 1)[1][0]}") for text in seen]

    assert replied(Vote(3)(TASK, paths), honest) == (0.0, 1.0, 0.0)
    assert replied(Vote(2)(TASK, paths), lambda samples: [thought("hm")] * 2) == (None, None, None)


@given(st.lists(st.sampled_from([0.0, 0.2, 0.2, 1.0]), max_size=8), st.integers(1, 5))
def test_selection_is_greedy_and_keeps_the_order_of_equals(values: list[float], keep: int) -> None:
    chosen = select(values, keep)
    assert chosen == sorted(range(len(values)), key=lambda i: values[i], reverse=True)[:keep]


def grown(search: Any, tree: Tree, node: int, values: dict[str, float]) -> None:
    fresh = [tree.add(node, Step(text))[0] for text in values]
    for child in search.grown(node, fresh, []):
        tree.values[child] = values[tree.texts[child]]
    search.valued(fresh)


def test_uct_prefers_value_and_comes_back_to_what_was_seldom_seen() -> None:
    tree = Tree()
    search = Uct(tree, explore=0.5)
    grown(search, tree, ROOT, {"low": 0.1, "high": 0.9})
    visited = []
    for turn in range(40):
        (node,) = search.pick(1)
        top = node
        while tree.depths[top] > 1:
            top = tree.parents[top]
        visited.append(tree.texts[top])
        grown(search, tree, node, {f"{turn}": tree.values[top]})
    assert visited[0] == "high" and visited.count("high") > 25 and "low" in visited
    assert tree.visits[ROOT] == 42


@pytest.mark.parametrize("posterior", ["gaussian", "beta"])
def test_adaptive_branching_goes_wider_where_children_differ_by_luck_and_deeper_where_depth_pays(
    posterior: Any,
) -> None:
    def share(deeper: bool) -> float:
        tree, dice = Tree(), Random(1)
        search = Adaptive(tree, dice, posterior)
        for turn in range(120):
            (node,) = search.pick(1)
            value = min(1.0, 0.2 + 0.2 * tree.depths[node]) if deeper else max(0.0, 0.8 - 0.4 * tree.depths[node])
            grown(search, tree, node, {f"{turn}": value})
        return len(tree.children[ROOT] or ()) / 120

    assert share(deeper=True) < 0.3 < 0.6 < share(deeper=False)


def test_posteriors_are_those_of_the_paper() -> None:
    """Mean of draws: (kappa m + sum) / (kappa + n) with m = 0, kappa = 1; Beta(.5, .5) before anything is seen."""
    arm, dice = Moments(), Random(0)
    for value in (0.6, 0.8, 1.0):
        arm.add(value)
    draws = [arm.draw(dice, "gaussian") for _ in range(20_000)]
    assert sum(draws) / len(draws) == pytest.approx(2.4 / 4, abs=0.01)
    draws = [arm.draw(dice, "beta") for _ in range(20_000)]
    assert sum(draws) / len(draws) == pytest.approx((0.5 + 2.4) / (1 + 3), abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), max_size=40))
def test_a_tree_is_a_tree(moves: list[tuple[int, str]]) -> None:
    tree = Tree()
    for parent, text in moves:
        node, new = tree.add(parent % len(tree), Step(text))
        assert new == (node == len(tree) - 1) or not new
    for node in range(1, len(tree)):
        path = tree.path(node)
        assert len(path) == tree.depths[node] == len(set(path))  # no state twice on a path
        assert node in (tree.children[tree.parents[node]] or ())
    for node in range(len(tree)):
        texts = [tree.texts[child] for child in tree.children[node] or ()]
        assert len(texts) == len(set(texts))


def test_virtual_losses_spread_the_picks_and_leave_no_trace() -> None:
    tree = Tree()
    search = Uct(tree, explore=0.5)
    assert search.pick(3) == [ROOT]
    grown(search, tree, ROOT, {"low": 0.1, "high": 0.9, "middle": 0.8})
    before = list(tree.visits)
    assert [tree.texts[node] for node in search.pick(1)] == ["high"]
    assert [tree.texts[node] for node in search.pick(2)] == ["high", "middle"]
    assert len(set(search.pick(9))) == len(search.pick(9)) <= 3
    assert tree.visits == before


def terms(price: float, steps: int = 100) -> Terms:
    return Terms(price=price, cost=0.01, steps=steps, priors=DEFAULT_PRIORS, seconds=1.0)


@given(st.integers(0, 5), st.integers(1, 30), st.integers(1, 12), st.sampled_from([0.0, 0.5, 2.0, 8.0, 90.0]))
def test_a_wave_is_as_large_as_may_be_paid_and_pays(stalled: int, left: int, most: int, price: float) -> None:
    rounds = RoundsBelief(stalled, left)
    for steps in (0, 1, 3, 100):
        now = terms(price, steps)
        way, single = WaveBelief(rounds, most).best(now), rounds.best(now)
        assert 0 <= way.size <= min(most, left, steps)
        assert bool(way.size) == bool(single.size)  # a wave is worth starting where its first member is
        assert way.net(now) <= single.net(now) + 1e-9  # one after another is never worse where time is free
        if not price:
            assert way.size == min(most, left, steps)
    dear = [WaveBelief(rounds, most).best(terms(p)).size for p in (0.0, 0.5, 2.0, 8.0, 90.0)]
    assert dear == sorted(dear, reverse=True)
