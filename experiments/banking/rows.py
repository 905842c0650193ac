"""From a bank's records to the rows of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..tables import EFFECTS, OF_A_DRAW, RUNS
from .records import Draw, Place, Question, RecordedRun, Scored

if TYPE_CHECKING:
    from ..bank import Bank

Row = dict[str, Any]
_PLACE = ("question_id", "model", "arm", "sample_index")
_OF_A_RUN = tuple(RUNS)[1:]
_OF_AN_EFFECT = tuple(EFFECTS)[4:]


def of_bank(bank: Bank) -> dict[str, list[Row]]:
    """All rows of a bank, by table."""
    runs = [(question, run) for (question, _), found in bank.runs.items() for run in found]
    return {
        "questions": [question(q) for q in bank.questions.values()],
        "candidates": [row for group, drawn in bank.draws.items() for row in candidates(*group, drawn)],
        "verdicts": [row for place, said in bank.verdicts.items() for row in verdicts(place, said)],
        "runs": [run_row(question, run) for question, run in runs],
        "effects": [row for question, run in runs for row in effects(question, run)],
    }


def question(q: Question) -> Row:
    """The row of a question."""
    return {
        "question_id": q.id,
        "dataset": q.dataset,
        "question": q.text,
        "gold": q.gold,
        "kind": q.kind,
        "choices": list(q.choices),
        "fold": q.fold,
        "topic": q.topic,
        "passage": q.passage,
    }


def candidates(question: str, model: str, arm: str, drawn: Iterable[Draw]) -> Iterator[Row]:
    """The rows of a group's draws."""
    for draw in drawn:
        yield {
            "question_id": question,
            "model": model,
            "arm": arm,
            **{name: getattr(draw, name) for name in OF_A_DRAW},
        }


def verdicts(place: Place, said: Mapping[str, Scored]) -> Iterator[Row]:
    """The rows of what verifiers said of one draw."""
    at = dict(zip(_PLACE, place, strict=True))
    for verifier, scored in said.items():
        yield {**at, "verifier": verifier, "score": scored.score, "tokens": scored.tokens, "nanos": scored.nanos}


def run_row(question: str, run: RecordedRun) -> Row:
    """The row of a run, without its effects."""
    return {"question_id": question, **{name: getattr(run, name) for name in _OF_A_RUN}}


def effects(question: str, run: RecordedRun) -> Sequence[Row]:
    """The rows of a run's effects."""
    at = {"question_id": question, "strategy": run.strategy, "run": run.run}
    return [
        {**at, "position": i, **{name: getattr(effect, name) for name in _OF_AN_EFFECT}}
        for i, effect in enumerate(run.effects)
    ]
