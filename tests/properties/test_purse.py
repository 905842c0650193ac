"""The purse: never overdrawn, on any level, whatever the order, and from many threads."""

from __future__ import annotations

import sys
import threading
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from satisfice.budgets.budget import Budget
from satisfice.budgets.purse import UNLIMITED, Hold, Purse
from satisfice.core.amounts import Amounts

amounts = st.builds(Amounts, st.integers(0, 60), st.integers(0, 60), st.integers(0, 3))


class Books(RuleBasedStateMachine):
    purses: Bundle[Purse] = Bundle("purses")
    holds: Bundle[Hold] = Bundle("holds")

    @initialize(target=purses, limits=st.tuples(*[st.integers(0, 200)] * 2, st.integers(0, 12)))
    def begin(self, limits: tuple[int, int, int]) -> Purse:
        self.all = [Purse(limits)]
        self.posted = {id(self.all[0]): Amounts()}
        self.opened: list[Hold] = []
        return self.all[0]

    @rule(target=purses, inside=purses, share=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]))
    def carve(self, inside: Purse, share: float) -> Purse:
        room = inside.room()
        purse = inside.carve(share)
        assert all(a <= b for a, b in zip(purse.room(), room, strict=True))
        self.all.append(purse)
        self.posted[id(purse)] = Amounts()
        return purse

    @rule(target=holds, purse=purses, asked=amounts)
    def reserve(self, purse: Purse, asked: Amounts) -> object:
        fits = purse.short_of(asked) is None
        hold = purse.reserve(asked)
        assert (hold is not None) == fits
        if hold is None:
            return multiple()
        self.opened.append(hold)
        return hold

    def _resolve(self, hold: Hold, actual: Amounts) -> None:
        if hold in self.opened:
            self.opened.remove(hold)
            level: Purse | None = hold.purse
            while level is not None:
                self.posted[id(level)] += actual
                level = level.parent

    @rule(hold=holds, part=st.floats(0, 1))
    def settle(self, hold: Hold, part: float) -> None:
        worst = hold.amounts
        actual = Amounts(int(worst.nanos * part), int(worst.tokens * part), worst.calls)
        hold.purse.settle(hold, actual)
        self._resolve(hold, actual)

    @rule(hold=holds)
    def void(self, hold: Hold) -> None:
        hold.purse.void(hold)
        self._resolve(hold, Amounts())

    @invariant()
    def never_overdrawn(self) -> None:
        for purse in getattr(self, "all", []):
            for posted, pending, limit in zip(purse.posted, purse.pending, purse.limit, strict=True):
                assert posted >= 0
                assert pending >= 0
                assert posted + pending <= limit
            known = self.posted[id(purse)]
            assert purse.posted == [known.nanos, known.tokens, known.calls]
            held = [h.amounts for h in self.opened if purse in levels(h.purse)]
            total = sum(held, Amounts())
            assert purse.pending == [total.nanos, total.tokens, total.calls]


def levels(purse: Purse | None) -> list[Purse]:
    return [] if purse is None else [purse, *levels(purse.parent)]


Books.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestBooks = Books.TestCase


def test_threads_cannot_overdraw_it_together() -> None:
    """Eight threads on one limit, each with purses of its own."""
    limit = Purse((10_000, 10_000, 1000))
    barrier = threading.Barrier(8)
    passed: list[str] = []

    def work(seed: int) -> None:
        dice = Random(seed)
        mine = Purse((3000, UNLIMITED, UNLIMITED), limit)
        held: list[Hold] = []
        barrier.wait()
        for _ in range(400):
            hold = mine.carve(0.5).reserve(Amounts(dice.randint(1, 40), 5, 1))
            if limit.posted[0] + limit.pending[0] > limit.limit[0]:
                passed.append("overdrawn")
            if hold is not None:
                held.append(hold)
            if held and dice.random() < 0.6:
                hold = held.pop(dice.randrange(len(held)))
                if dice.random() < 0.5:
                    hold.purse.void(hold)
                else:
                    hold.purse.settle(hold, Amounts(hold.amounts.nanos // 2, 5, 1))
        for hold in held:
            hold.purse.settle(hold, hold.amounts)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert passed == []
    assert limit.pending == [0, 0, 0]
    assert limit.posted[0] > 5000
    assert limit.posted[0] <= limit.limit[0]
    assert limit.posted[2] <= 1000


def test_a_purse_has_the_caps_of_its_budget() -> None:
    assert Purse.of(Budget(usd=0.1)).limit == (100_000_000, UNLIMITED, UNLIMITED)
    assert Purse.of(Budget(tokens=5, calls=2)).limit == (UNLIMITED, 5, 2)
    for usd in (0.29, 0.57, 1.1, 1e-9, 123.456789):
        assert Purse.of(Budget(usd=usd)).limit[0] == round(usd * 1e9)


def test_a_hint_shows_what_an_account_has_left_and_refuses_nothing() -> None:
    account = Purse((UNLIMITED,) * 3, hint=True)
    mine = Purse.of(Budget(usd=1, calls=5), account)
    hold = mine.reserve(Amounts(100, 10, 1))
    assert hold is not None
    account.allow((50, 1000, 2))
    assert mine.room(hints=True) == (50, 1000, 2)
    assert mine.room() == (999_999_900, UNLIMITED - 10, 4)
    assert mine.short_of(Amounts(51)) is None
    mine.settle(hold, Amounts(20, 10, 1))
    assert mine.room(hints=True)[0] == 130
    more = mine.reserve(Amounts(0, 0, 4))
    assert more is not None
    assert mine.reserve(Amounts(0, 0, 1)) is None


def test_an_overdrawn_level_pays_nothing_not_even_what_is_free() -> None:
    whole = Purse((100, 100, UNLIMITED))
    part, other = whole.carve(0.5), whole.carve(0.5)
    free, hold = Amounts(0, 1, 1), part.reserve(Amounts(10, 1, 1))
    assert hold is not None
    part.settle(hold, Amounts(60, 1, 1))  # above the part's 50, within the whole's 100
    assert (part.room()[0], part.short_of(free), part.reserve(free)) == (0, "usd", None)
    assert part.short_of(Amounts()) == "usd"
    held = other.reserve(free)
    assert held is not None
    other.settle(held, Amounts(41, 1, 1))
    assert other.short_of(Amounts(9)) == "usd"  # of its own 50 these are left, of the whole's less than none
    assert other.reserve(free) is None
    exact = Purse((100, 100, 5))
    assert exact.reserve(Amounts(100, 1, 1)) is not None
    assert exact.reserve(free) is not None  # used up is not overdrawn
