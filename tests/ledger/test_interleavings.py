"""Random interleavings of clients that crash, whose messages are lost, doubled and late, under a clock that jumps: a
million of them in the long tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from random import Random

import pytest

from satisfice.budgets.ledger.book import Book
from satisfice.budgets.ledger.operations import Done, Refusal, Reserve
from satisfice.budgets.ledger.stores import MemoryStore
from satisfice.testing.ledger_checks import NOON, audit
from satisfice.testing.ledger_clients import Counts, Interleaving
from satisfice.testing.places import Place

LONG_MEMORY = """
import sys
from dataclasses import asdict
from random import Random
from satisfice.budgets.ledger.stores import MemoryStore
from satisfice.testing.ledger_checks import NOON
from satisfice.testing.ledger_clients import Counts, Interleaving

counts = Counts()
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    try:
        counts += Interleaving(MemoryStore(), "x", Random(seed), NOON, 3 + seed % 3).run()
    except BaseException:
        print("seed", seed, file=sys.stderr)
        raise
print(asdict(counts))
"""


def on(place: Place, seed: int, each: int) -> Counts:
    """`each` interleavings on one ledger, at accounts of their own."""
    counts, store = Counts(), place.open()
    for i in range(each):
        try:
            counts += Interleaving(store, f"x{i}", Random(f"{seed} {i}"), NOON, 3 + i % 3).run()
        except BaseException as error:
            error.add_note(f"seed '{seed} {i}'")
            raise
    audit(store, NOON)
    store.close()
    return counts


@pytest.mark.parametrize(("kind", "ledgers", "each"), [("memory", 100, 5), ("sqlite", 1, 30), ("postgres", 1, 10)])
def test_interleavings(places: Callable[[str], Place], kind: str, ledgers: int, each: int) -> None:
    counts = Counts()
    for seed in range(ledgers):
        counts += on(places(kind), seed, each)
    assert counts.interleavings == ledgers * each
    assert min(counts.admitted, counts.refused, counts.lost, counts.repeated, counts.crashed, counts.jumps) > 0


@pytest.mark.long
def test_a_million_in_memory() -> None:
    """In two processes."""
    halves = [(0, 500_000), (500_000, 1_000_000)]
    children = [
        subprocess.Popen([sys.executable, "-c", LONG_MEMORY, str(a), str(b)], stdout=subprocess.PIPE, text=True)
        for a, b in halves
    ]
    for child in children:
        output, _ = child.communicate()
        assert child.returncode == 0
        print(output)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "ledgers", "each"), [("sqlite", 400, 50), ("postgres", 100, 50)])
def test_thousands_on_disk(places: Callable[[str], Place], kind: str, ledgers: int, each: int) -> None:
    counts = Counts()
    for seed in range(ledgers):
        counts += on(places(kind), seed, each)
    assert counts.interleavings == ledgers * each
    print(asdict(counts))


def test_a_book_that_admits_too_much_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = Book.reserve

    def lax(self: Book, op: Reserve, at: int) -> Done | Refusal:
        return reserve(self, op, at - 6000)

    monkeypatch.setattr(Book, "reserve", lax)
    noticed = 0
    for seed in range(50):
        try:
            Interleaving(MemoryStore(), "x", Random(seed), NOON).run()
        except AssertionError:
            noticed += 1
    assert noticed > 10
