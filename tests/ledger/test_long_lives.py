"""Ledgers that live long: what they forget, and what they put together, must not make room."""

from __future__ import annotations

from random import Random

import pytest

from satisfice.budgets.ledger import stores
from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.operations import Grant, Hold, Void
from satisfice.budgets.ledger.stores import MemoryStore, Query
from satisfice.budgets.ledger.windows import DAY, Window
from satisfice.core.errors import LedgerConflict
from satisfice.testing.ledger_checks import (
    HOUR,
    NOON,
    PER_DAY,
    PER_HOUR,
    balance,
    done,
    failed,
    put,
    refused,
    reserve,
    settle,
)
from satisfice.testing.ledger_model import play
from satisfice.testing.places import Place

SHORT = Window("rolling", 6000)


def test_a_clock_that_ran_ahead_for_long_does_not_find_room_on_its_return(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "TIDY", 16)
    store = place.open()
    put(store, Account("run", limits=(Limit(SHORT, 10),)))
    done(store, reserve("a", 10))
    done(store, settle("a", 10))
    for i in range(280):
        at = NOON + DAY + 100 * i
        store.apply([Void(f"b{i - 5}"), reserve(f"b{i}", 1)], at)
    store.apply([Void(f"b{i}") for i in range(280)], NOON + DAY)
    assert balance(store, "run", SHORT, NOON + DAY + 28_000) == ((0, 0, 0), (0, 0, 0))
    assert refused(store, reserve("c", 1), NOON + 50).window == "6s"
    done(store, reserve("c", 1), NOON + 2 * DAY)
    store.close()


def test_memory_does_not_grow_with_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "TIDY", 16)
    store = MemoryStore()
    put(store, Account("run", limits=(Limit(SHORT, 1000),)))
    for i in range(2000):
        done(store, reserve(f"h{i}", 1), NOON + 100 * i)
        done(store, settle(f"h{i}", 1), NOON + 100 * i)
    assert len(list(store._book.counters())) < 600
    assert balance(store, "run", SHORT, NOON + 100 * 1999)[0][0] == 61


@pytest.mark.parametrize("seed", range(3))
def test_old_slots_put_together_at_every_turn_are_not_too_little(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few slots they are never put together, so that the store agrees with the model to the letter."""
    monkeypatch.setattr(stores, "TIDY", 1)
    play(MemoryStore(), Random(seed), 300, NOON)


@pytest.mark.parametrize("window", [PER_DAY, PER_HOUR, Window("month")])
def test_what_memory_has_forgotten_counts_for_a_limit_that_is_granted_later(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "KEPT", 8)
    store = MemoryStore()
    put(store, Account("team"), Account("run", "team"))
    for i in range(50):
        done(store, reserve(f"old{i}", 1), NOON - 40 * DAY)
        done(store, settle(f"old{i}", 1), NOON - 40 * DAY)
        done(store, reserve(f"h{i}", 3), NOON - HOUR // 4)
        done(store, settle(f"h{i}", 2), NOON - HOUR // 4)
    done(store, reserve("pending", 7), NOON)
    assert len(store.holds(Query())) < 50
    failed(store, Grant("team", window, Limit(window, 106)), LedgerConflict)
    done(store, Grant("team", window, Limit(window, 108)))
    refused(store, reserve("more", 2))
    done(store, reserve("more", 1))
    done(store, settle("pending", 7))  # unresolved ones are never forgotten
    assert balance(store, "team") == ((157, 0, 101), (1, 0, 1))


def test_memory_forgets_a_few_with_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for all of them; unresolved ones stay, and the last `KEPT` resolved ones."""
    monkeypatch.setattr(stores, "KEPT", 100)
    monkeypatch.setattr(stores, "SLICE", 8)
    store = MemoryStore()
    put(store, Account("run"))
    store.apply([reserve("old", 1), reserve("given", 1), Void("given")], NOON)
    left = {"old", "given"}
    for i in range(300):
        batch = [reserve(f"h{i}", 1), settle(f"h{i}", 1)]
        store.apply(batch if i % 2 else [*batch, reserve(f"p{i}", 1)], NOON)
        now = {hold.id for hold in store.holds(Query())}
        assert len(left - now) <= 8 + 2 * 3  # a slice
        left = now
        assert (
            len(now) - len(store.holds(Query(state="pending"))) <= 100 + 25 + 15
        )  # a slice may find unresolved ones alone
    assert {f"h{i}" for i in range(200, 300)} | {"old", "p0", "p298"} <= left
    assert "given" not in left
    assert balance(store, "run") == ((300, 0, 300), (151, 0, 151))
    done(store, settle("old", 1))


def test_unresolved_holds_are_found_without_a_look_at_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    meant = MemoryStore._meant

    def counted(self: MemoryStore, hold: Hold, query: Query) -> bool:
        looked.append(hold.id)
        return meant(self, hold, query)

    monkeypatch.setattr(MemoryStore, "_meant", counted)
    store = MemoryStore()
    put(store, Account("run"))
    for i in range(100):
        store.apply([reserve(f"h{i}"), settle(f"h{i}")] if i % 2 else [reserve(f"h{i}"), Void(f"h{i}")], NOON)
    store.apply([reserve("a"), reserve("b"), settle("late", 1, account="run")], NOON)
    for query in (Query(state="pending"), Query(ambiguous=NOON + 2 * HOUR)):
        looked.clear()
        assert [hold.id for hold in store.holds(query)] == looked == ["a", "b"]
    done(store, Void("a"))
    done(store, reserve("a"))  # stands where it was made first, as in the other stores
    assert [hold.id for hold in store.holds(Query(state="pending"))] == ["a", "b"]
    done(store, settle("a"))
    looked.clear()
    assert [hold.id for hold in store.holds(Query(state="pending"))] == looked == ["b"]
