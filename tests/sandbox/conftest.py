"""Whether there is a sandbox to attack, and eyes on the host."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from satisfice.verifiers.sandbox import isolation
from satisfice.verifiers.sandbox.isolation import found

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _isolated():
    if isolation() is None:
        why = f"no isolation works here: {found()[1]}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


def named(mark: str) -> list[int]:
    """The host's processes of this name, zombies left out."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text()
        except OSError:
            continue
        name, _, rest = state.partition("(")[2].rpartition(")")
        if name == mark and rest.split()[0] not in "ZX":
            pids.append(int(folder.name))
    return pids


def eventually(true: Callable[[], object], seconds: float = 20.0) -> bool:
    """Whether it becomes true; the time is a guard against hanging only."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def host():
    """`named(mark)` and `eventually(condition)`."""
    return type("Host", (), {"named": staticmethod(named), "eventually": staticmethod(eventually)})


@pytest.fixture
def mark():
    """A process name that nobody else has: children inherit it, the host can look for it."""
    return f"sbx{os.getpid()}-{next(_numbers)}"[:15]


@pytest.fixture
def canary(tmp_path):
    """A file of the host's that everybody may read and write."""
    path = tmp_path / "canary"
    path.write_text("SECRET")
    path.chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    yield path
    assert path.read_text() == "SECRET"
