"""What a recorded debate teaches of its edges: who moved whom, and what could not have moved anybody."""

from __future__ import annotations

import pytest

from satisfice.core.errors import CallerError
from satisfice.experiments.pruning import Debated, edge_scores, learn_edges
from satisfice.strategies.topology import named


def test_a_sender_without_an_answer_could_move_nobody() -> None:
    credit, chances = edge_scores([Debated((("B", "A", None), ("A", "A", None)), "A")], 3)
    assert credit.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert chances.tolist() == [[0, 1, 1], [1, 0, 1], [0, 0, 0]]


def test_a_debate_without_a_target_says_nothing() -> None:
    credit, chances = edge_scores([Debated(((None, "A"), (None, None)))], 2)
    assert not credit.any()
    assert not chances.any()


def test_debates_without_rounds_leave_the_ring() -> None:
    for by_round in (False, True):
        (mask,) = learn_edges([Debated((("A", "B", "B"),))], 3, keep=0.5, by_round=by_round)
        assert set(mask) == set(named("ring", 3))


@pytest.mark.parametrize(
    "bad", [{"keep": 1.5}, {"rank": 0}, {"rank": -1}, {"doubt": 0.0}, {"doubt": float("nan")}, {"agents": 0}]
)
def test_bad_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(CallerError):
        learn_edges([Debated((("A", "B"), ("A", "A")), "A")], **{"agents": 2, **bad})  # type: ignore[arg-type]
