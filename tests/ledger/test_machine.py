"""Every store against a model that reckons everything anew, over operations, clocks, restarts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from satisfice.budgets.ledger.stores import MemoryStore, Store
from satisfice.testing.ledger_checks import NOON
from satisfice.testing.ledger_model import KINDS, STEPS, LedgerModel, Script, play, said
from satisfice.testing.places import Place

amounts = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
numbers = st.integers(0, 63)
operations = st.tuples(st.sampled_from(KINDS), numbers, numbers, amounts)


class Machine(RuleBasedStateMachine):
    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, self.model, self.now = place, LedgerModel(), NOON
        self.script = Script(self.model)
        self.store: Store = place.open()

    @rule(batch=st.lists(operations, min_size=1, max_size=4))
    def send(self, batch: list[tuple[str, int, int, tuple[int, int, int]]]) -> None:
        made, wanted = [], []
        for kind, a, b, asked in batch:
            made.append(self.script.next(kind, a, b, asked))
            wanted.append(self.model.perform(made[-1], self.now))
        assert [said(result) for result in self.store.apply(made, self.now)] == wanted, made

    @rule(step=st.sampled_from(STEPS), back=st.booleans())
    def turn_the_clock(self, step: int, back: bool) -> None:
        self.now += -step if back else step

    @precondition(lambda self: self.place.kind != "memory")
    @rule()
    def begin_again(self) -> None:
        self.store.close()
        self.store = self.place.open()

    @invariant()
    def it_holds(self) -> None:
        self.model.agree(self.store, self.now)
        self.model.hold_true()

    def teardown(self) -> None:
        self.store.close()


def explore(place: Callable[[str], Place], kind: str, examples: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    options = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=checks)
    run_state_machine_as_test(lambda: Machine(place(kind)), settings=options)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("kind", "examples"), [("memory", 100), ("sqlite", 20), ("postgres", 6)])
def test_any_sequence(places: Callable[[str], Place], kind: str, examples: int) -> None:
    explore(places, kind, examples, 20)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "examples"), [("memory", 1500), ("sqlite", 150), ("postgres", 60)])
def test_any_long_sequence(places: Callable[[str], Place], kind: str, examples: int) -> None:
    explore(places, kind, examples, 40)


@pytest.mark.parametrize("seed", range(2))
def test_random_sequences(place: Place, seed: int) -> None:
    store = place.open()
    done, refused = play(store, Random(seed), 300, NOON)
    store.close()
    assert done > 50
    assert refused > 5


def test_the_model_notices_a_store_that_lets_too_much_pass() -> None:
    class Lax(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            reserve = self._book.reserve
            self._book.reserve = lambda op, at: reserve(op, at - 1)  # type: ignore[method-assign]

    noticed = 0
    for seed in range(10):
        try:
            play(Lax(), Random(seed), 300, NOON)
        except AssertionError:
            noticed += 1
    assert noticed > 5
