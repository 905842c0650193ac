"""From a bank's columns to its records, without a dictionary per row."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter, itemgetter
from pathlib import Path

from ...core.errors import StoreError
from ..tables import CANDIDATES, OF_A_DRAW, QUESTIONS, Columns
from .records import Draw, Group, Place, Question, RecordedEffect, RecordedRun, Scored


@contextmanager
def without_pauses() -> Iterator[None]:
    """No garbage collection meanwhile: tens of thousands of small objects, none of which is garbage, set off dozens
    of passes over each other (a third of the time that reading takes)."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def questions(columns: Columns) -> dict[str, Question]:
    """Questions by id, in their order."""
    columns = {**columns, "choices": [tuple(choices) for choices in columns["choices"]]}
    made = map(Question, *(columns[name] for name in QUESTIONS))
    return dict(zip(columns["question_id"], made, strict=True))


def draws(columns: Columns, known: Collection[str], folder: Path) -> dict[Group, tuple[Draw, ...]]:
    """Draws by group, sorted by sample index. Raises `StoreError` for one that stands twice or has no question."""
    if strange := set(columns["question_id"]).difference(known):
        raise StoreError(f"bank {folder}: a candidate is of question {min(strange)!r}, which it lacks")
    found: dict[Group, list[Draw]] = defaultdict(list)
    groups = zip(*(columns[name] for name in CANDIDATES if name not in OF_A_DRAW), strict=True)
    for group, draw in zip(groups, map(Draw, *(columns[name] for name in OF_A_DRAW)), strict=True):
        found[group].append(draw)
    by_index = attrgetter("sample_index")
    made = {group: tuple(sorted(row, key=by_index)) for group, row in found.items()}
    for group, row in made.items():
        if len({draw.sample_index for draw in row}) < len(row):
            raise StoreError(f"bank {folder}: a draw of {group} stands twice", path=str(folder))
    return made


def verdicts(columns: Columns, drawn: Mapping[Group, tuple[Draw, ...]], folder: Path) -> dict[Place, dict[str, Scored]]:
    """Verdicts by the draw they are on. Raises `StoreError` for one on a draw that the bank lacks."""
    known = {(*group, draw.sample_index) for group, row in drawn.items() for draw in row}
    found: dict[Place, dict[str, Scored]] = {}
    last: Place | None = None
    here: dict[str, Scored] = {}
    places = zip(*(columns[name] for name in ("question_id", "model", "arm", "sample_index")), strict=True)
    said = map(Scored, columns["score"], columns["tokens"], columns["nanos"])
    for place, verifier, scored in zip(places, columns["verifier"], said, strict=True):
        if place != last:  # those on one draw mostly stand together
            if place not in known:
                raise StoreError(f"bank {folder}: a verdict of {verifier!r} is on a draw that it lacks: {place}")
            last, here = place, found.setdefault(place, {})
        here[verifier] = scored
    return found


def runs(
    columns: Columns, effects: Columns, known: Collection[str], folder: Path
) -> dict[tuple[str, str], tuple[RecordedRun, ...]]:
    """Recorded runs by question and strategy, sorted by number, with their effects in order. Raises `StoreError` for
    a run that stands twice or has no question, and an effect without a run."""
    within: dict[tuple[str, str, int], list[tuple[int, RecordedEffect]]] = defaultdict(list)
    order = zip(*(effects[name] for name in ("question_id", "strategy", "run")), strict=True)
    told = map(RecordedEffect, *(values for name, values in list(effects.items())[4:]))
    for place, position, effect in zip(order, effects["position"], told, strict=True):
        within[place].append((position, effect))
    found: dict[tuple[str, str], dict[int, RecordedRun]] = defaultdict(dict)
    own = list(columns.values())
    for question, *rest in zip(*own, strict=True):
        strategy, run = rest[0], rest[1]
        mine = within.pop((question, strategy, run), [])
        if question not in known:
            raise StoreError(f"bank {folder}: a run is of question {question!r}, which it lacks")
        if run in found[question, strategy]:
            raise StoreError(f"bank {folder}: run {run} of {strategy!r} on {question!r} stands twice")
        ordered = tuple(effect for _, effect in sorted(mine, key=itemgetter(0)))
        found[question, strategy][run] = replace(RecordedRun(*rest), effects=ordered)
    if within:
        raise StoreError(f"bank {folder}: an effect is of a run that it lacks: {min(within)}", path=str(folder))
    return {place: tuple(run for _, run in sorted(made.items())) for place, made in found.items()}
