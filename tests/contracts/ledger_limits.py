"""The second half of the contract of a ledger's store: the tree, grants, windows, alerts, questions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..budgets.ledger.accounts import ROOT, Account, Limit
from ..budgets.ledger.operations import (
    Done,
    Freeze,
    Grant,
    Open,
    Operation,
    Reserve,
    Void,
)
from ..budgets.ledger.stores import Query, Store
from ..budgets.ledger.windows import DAY, TOTAL, Window
from ..core.amounts import Amounts
from ..core.errors import CallerError, LedgerConflict, SatisficeError
from .ledger_checks import (
    HOUR,
    NOON,
    PER_DAY,
    PER_HOUR,
    alerts,
    audit,
    balance,
    done,
    failed,
    picture,
    put,
    refused,
    reserve,
    settle,
)


class LedgerLimitsContract:
    """`LedgerStoreContract` has all of it."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError("define the fixture `store`")

    @pytest.fixture
    def tree(self, store: Store) -> Iterator[Store]:
        """global > team ($100 of nanos) > key (50, 1,000 tokens) > run (30, 4 calls); beside it: other."""
        put(
            store,
            Account("team", limits=(Limit(nanos=100),)),
            Account("key", "team", (Limit(nanos=50, tokens=1000),)),
            Account("run", "key", (Limit(nanos=30, calls=4),)),
            Account("other", "team"),
        )
        yield store
        audit(store)

    # -- the tree's own affairs -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("where", ["run", "key", "team", ROOT])
    def test_frozen_here_or_above(self, tree: Store, where: str) -> None:
        done(tree, reserve("a"))
        done(tree, Freeze(where, by="ann"))
        assert tree.room("run", NOON) == (0, 0, 0)
        result = refused(tree, reserve("b"))
        assert (result.account, result.cap) == (where, "frozen")
        assert "frozen" in str(result)
        done(tree, settle("a", 3))  # what was under way is settled
        done(tree, Freeze(where, False))
        done(tree, reserve("b"))
        assert [(n.kind, n.account, n.by) for n in tree.notes(2)] == [("freeze", where, "ann"), ("unfreeze", where, "")]

    def test_frozen_beside_does_not_matter(self, tree: Store) -> None:
        done(tree, Freeze("other"))
        done(tree, reserve("a"))
        assert done(tree, Freeze("other")).repeated

    def test_a_limit_below_what_is_used_is_not_granted(self, tree: Store) -> None:
        done(tree, reserve("a", 20))
        done(tree, reserve("b", 5, account="other"))
        failed(tree, Grant("team", TOTAL, Limit(nanos=24)), LedgerConflict)
        done(tree, Grant("team", TOTAL, Limit(nanos=25)))
        refused(tree, reserve("c", 1, account="other"))
        done(tree, Grant("team", TOTAL, Limit(nanos=26)))
        done(tree, reserve("c", 1, account="other"))
        done(tree, Grant("team", TOTAL, None))
        failed(tree, Grant("team", TOTAL, None), CallerError)
        done(tree, reserve("d", 1 << 50, account="other"))

    def test_a_limit_may_be_raised_where_a_provider_has_passed_it(self, tree: Store) -> None:
        done(tree, reserve("a", 30))
        done(tree, settle("a", 60))
        failed(tree, Grant("run", TOTAL, Limit(nanos=29)), LedgerConflict)
        done(tree, Grant("run", TOTAL, Limit(nanos=40)))
        refused(tree, reserve("b", 1))
        assert done(tree, Grant("run", TOTAL, Limit(nanos=40))).repeated

    @pytest.mark.parametrize("window", [TOTAL, PER_DAY, Window("month"), PER_HOUR, Window.parse("7d")])
    def test_a_limit_granted_later_counts_what_was_before(self, tree: Store, window: Window) -> None:
        done(tree, reserve("old", 3, account="other"), NOON - 40 * DAY)
        done(tree, reserve("a", 10), NOON - HOUR // 2)
        done(tree, settle("a", 4), NOON)
        done(tree, reserve("b", 6, account="other"))
        done(tree, reserve("c", 9, account="other"))
        done(tree, Void("c"))
        past = 3 if window == TOTAL else 0
        failed(tree, Grant(ROOT, window, Limit(window, 9 + past)), LedgerConflict)
        done(tree, Grant(ROOT, window, Limit(window, 11 + past)))
        assert balance(tree, ROOT, window) == ((4, 0, 1), (6 + past, 0, 1 + (window == TOTAL)))
        result = refused(tree, reserve("d", 2))
        assert (result.account, result.window, result.left) == (ROOT, str(window), 1)
        done(tree, reserve("d", 1))
        done(tree, settle("b", 1, calls=0))
        done(tree, reserve("e", 5))

    # -- windows --------------------------------------------------------------------------------------------------

    @pytest.fixture
    def daily(self, store: Store) -> Iterator[Store]:
        put(store, Account("run", limits=(Limit(PER_DAY, 10), Limit(Window("month"), 25), Limit(nanos=1000))))
        yield store
        for at in (NOON, NOON + DAY, NOON + 40 * DAY):
            audit(store, at)

    def test_days_and_months_begin_anew(self, daily: Store) -> None:
        midnight = NOON + 12 * HOUR
        done(daily, reserve("a"), midnight - 1)
        result = refused(daily, reserve("b"), midnight - 1)
        assert (result.window, result.resets) == ("day", midnight)
        done(daily, reserve("b"), midnight)
        assert refused(daily, reserve("c"), midnight + DAY).window == "month"
        done(daily, reserve("c", 5), midnight + DAY)
        result = refused(daily, reserve("d", 1), midnight + DAY)
        february = NOON - 12 * HOUR + 31 * DAY
        assert (result.window, result.left, result.resets) == ("month", 0, february)
        refused(daily, reserve("d"), february - 1)
        done(daily, reserve("d"), february)

    def test_what_comes_of_a_hold_is_posted_where_it_was_held(self, daily: Store) -> None:
        tomorrow = NOON + DAY
        done(daily, reserve("a"))
        done(daily, settle("a", 4), tomorrow)
        assert balance(daily, "run", PER_DAY) == ((4, 0, 1), (0, 0, 0))
        assert balance(daily, "run", PER_DAY, tomorrow) == ((0, 0, 0), (0, 0, 0))
        done(daily, reserve("b"), tomorrow)
        done(daily, Void("b"), tomorrow + DAY)
        done(daily, settle("b", 12), tomorrow + 2 * DAY)
        assert balance(daily, "run", PER_DAY, tomorrow) == ((12, 0, 1), (0, 0, 0))
        assert daily.room("run", tomorrow)[0] == 0

    def test_a_clock_that_goes_back_finds_the_day_as_it_was(self, daily: Store) -> None:
        done(daily, reserve("a", 6), NOON + DAY)
        done(daily, reserve("b", 7), NOON)
        refused(daily, reserve("c", 4), NOON)
        refused(daily, reserve("c", 5), NOON + DAY)
        done(daily, settle("a", 6), NOON - DAY)
        done(daily, reserve("c", 4), NOON + DAY)

    @pytest.fixture
    def rolling(self, store: Store) -> Iterator[Store]:
        put(store, Account("run", limits=(Limit(PER_HOUR, 10),)))
        yield store
        for at in (NOON - DAY, NOON, NOON + HOUR, NOON + DAY):
            audit(store, at)

    def test_a_rolling_window_lets_go_when_its_length_is_over(self, rolling: Store) -> None:
        done(rolling, reserve("a", 6))
        done(rolling, reserve("b", 4), NOON + HOUR // 2)
        for at in (NOON, NOON + HOUR // 2, NOON + HOUR - 1):
            assert refused(rolling, reserve("c", 1), at).window == "1h"
        result = refused(rolling, reserve("c", 7), NOON + HOUR + HOUR // 60)
        assert result.left == 6
        assert result.resets is not None
        done(rolling, reserve("c", 6), NOON + HOUR + HOUR // 60)
        done(rolling, reserve("d", 10), result.resets + HOUR)

    def test_no_stretch_of_its_length_passes_the_limit_when_clocks_jump(self, rolling: Store) -> None:
        done(rolling, reserve("a", 6), NOON + DAY)  # a clock far ahead
        refused(rolling, reserve("b", 5), NOON)  # and back: what lies ahead counts as well
        done(rolling, reserve("b", 4), NOON)
        refused(rolling, reserve("c", 1), NOON - HOUR)
        done(rolling, Void("a"), NOON)
        done(rolling, reserve("c", 6), NOON - HOUR)

    @pytest.mark.parametrize("at", [-1, 1 << 62, 300_000_000_000_000])
    def test_a_time_that_cannot_be_is_an_error(self, tree: Store, at: int) -> None:
        before = picture(tree, NOON)
        with pytest.raises(SatisficeError, match="clock"):
            tree.apply([reserve("a")], at)
        assert picture(tree, NOON) == before

    # -- alerts ---------------------------------------------------------------------------------------------------

    def test_shares_of_a_limit_are_told_once_in_each_window(self, store: Store) -> None:
        put(store, Account("run", limits=(Limit(PER_DAY, 100, alerts=(50, 80, 100)),)))

        def told(id: str, nanos: int, at: int = NOON) -> list[int]:
            return [a.percent for a in alerts(store, [reserve(id, nanos)], at) if a.kind == "share"]

        assert told("a", 49) == []
        assert told("b", 1) == [50]
        assert told("c", 10) == []
        done(store, Void("c"))
        assert told("d", 10) == []
        assert told("e", 40) == [100]  # the highest that is reached
        assert told("f", 100, NOON + DAY) == [100]
        done(store, Grant("run", PER_DAY, Limit(PER_DAY, 1000, alerts=(50, 80, 100))), NOON)
        assert told("g", 399) == []
        assert told("h", 1) == [50]
        assert [n.kind for n in store.notes(100)].count("share") == 4
        audit(store)

    def test_alerts_name_the_account_and_the_window(self, tree: Store) -> None:
        found = [(a.account, a.percent) for a in alerts(tree, [reserve("a", 25)])]
        assert found == [("run", 80)]
        found = [(a.account, a.percent) for a in alerts(tree, [reserve("b", 5), reserve("c", 65, account="other")])]
        assert found == [("run", 100), ("team", 80)]

    # -- questions ------------------------------------------------------------------------------------------------

    def test_which_holds(self, tree: Store) -> None:
        for i in range(6):
            account = "run" if i % 2 else "other"
            done(tree, Reserve(f"h{i}", account, Amounts(1), 1000, run=f"r{i % 3}"), NOON + 10 * i)
        done(tree, settle("h1", 1, calls=0))
        done(tree, Void("h2"))

        def ids(**query: object) -> str:
            return "".join(hold.id[1:] for hold in tree.holds(Query(**query)))  # type: ignore[arg-type]

        assert ids() == ids(account=ROOT) == ids(account="team") == "012345"
        assert ids(account="key") == ids(account="run") == "135"
        assert ids(run="r1") == "14"
        assert (ids(state="settled"), ids(state="voided"), ids(state="pending")) == ("1", "2", "0345")
        assert ids(since=NOON + 20, until=NOON + 40) == "23"
        assert ids(ambiguous=NOON + 1031) == "03"
        assert ids(limit=2) == "01"
        assert ids(ids=("h5", "h0", "none")) == "05"
        assert ids(account="run", run="r1", state="settled", ids=("h1",)) == "1"

    def test_notes_are_in_order_and_limited(self, tree: Store) -> None:
        done(tree, Grant("run", TOTAL, Limit(nanos=31), by="bob"))
        done(tree, Freeze("run"))
        notes = tree.notes(2)
        assert [note.kind for note in notes] == ["grant", "freeze"]
        assert (notes[0].by, notes[0].account) == ("bob", "run")
        assert tree.notes(0) == []
        assert len(tree.notes(1 << 20)) == 6

    def test_what_it_hands_out_is_a_copy(self, tree: Store) -> None:
        done(tree, reserve("a"))
        (hold,) = tree.holds(Query())
        hold.state = "settled"
        assert tree.holds(Query())[0].state == "pending"

    def test_many_operations_in_one_batch_come_to_the_same(self, tree: Store) -> None:
        batch: list[Operation] = [Open(Account("big", "team", (Limit(nanos=10**9),)))]
        done(tree, Grant("team", TOTAL, Limit(nanos=10**9)))
        for i in range(1500):
            batch += [reserve(f"h{i}", 3, account="big"), settle(f"h{i}", 2) if i % 3 else Void(f"h{i}")]
        assert all(isinstance(result, Done) for result in tree.apply(batch, NOON))
        assert balance(tree, "big") == ((2000, 0, 1000), (0, 0, 0))
