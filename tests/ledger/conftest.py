"""The three stores, each empty, behind one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from satisfice.testing.places import DURABLE, KINDS, Place


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Place]]:
    """New empty places of a kind, as many as are asked for."""
    made: list[Place] = []
    with ExitStack() as stack:

        def place(kind: str) -> Place:
            url = None
            if kind == "sqlite":
                url = str(tmp_path / f"ledger{len(made)}.db")
            elif kind == "postgres":
                url = stack.enter_context(request.getfixturevalue("postgres_server").database())
            made.append(Place(kind, url))
            return made[-1]

        yield place


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    return places(request.param)


@pytest.fixture(params=DURABLE)
def durable(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    return places(request.param)
