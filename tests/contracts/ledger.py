"""What every store of a ledger keeps to. Subclass `LedgerStoreContract` and define its fixture `store`, an empty one:

    class TestMine(LedgerStoreContract):
        @pytest.fixture
        def store(self, tmp_path) -> Iterator[Store]:
            store = MyStore(tmp_path)
            yield store
            store.close()

`audit` holds all that a store says of itself against each other, and is called after each test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from ..budgets.ledger.accounts import ROOT, Account, Limit
from ..budgets.ledger.operations import (
    Alert,
    Done,
    Freeze,
    Grant,
    Hold,
    Open,
    Operation,
    Refusal,
    Reserve,
    Result,
    Settle,
    Void,
)
from ..budgets.ledger.stores import Query, Standing, Store
from ..budgets.ledger.windows import DAY, TOTAL, Window
from ..core.amounts import Amounts
from ..core.completions import Usage
from ..core.errors import BadBudget, BudgetError, CallerError, LedgerConflict, SatisficeError, UnknownName

NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
HOUR = 3_600_000
PER_DAY = Window("day")
PER_HOUR = Window.parse("1h")
Triple = tuple[int, int, int]


def one(store: Store, operation: Operation, at: int = NOON) -> Result:
    """Does one operation."""
    (result,) = store.apply([operation], at)
    return result


def done(store: Store, operation: Operation, at: int = NOON) -> Done:
    result = one(store, operation, at)
    assert isinstance(result, Done), result
    return result


def refused(store: Store, operation: Operation, at: int = NOON) -> Refusal:
    result = one(store, operation, at)
    assert isinstance(result, Refusal), result
    return result


def failed(store: Store, operation: Operation, error: type[SatisficeError], at: int = NOON) -> SatisficeError:
    """The operation fails with this error, and nothing that the store says has changed."""
    before = picture(store, at)
    result = one(store, operation, at)
    assert isinstance(result, error), result
    assert picture(store, at) == before
    return result


def picture(store: Store, at: int) -> tuple[object, ...]:
    """All that a store says, to compare."""
    return store.standings(at), store.holds(Query()), store.notes(1 << 20)


def reserve(
    id: str, nanos: int = 10, tokens: int = 0, calls: int = 1, account: str = "run", ttl: int = HOUR
) -> Reserve:
    return Reserve(id, account, Amounts(nanos, tokens, calls), ttl)


def settle(id: str, nanos: int = 10, tokens: int = 0, calls: int = 1, account: str = "") -> Settle:
    return Settle(id, Amounts(nanos, tokens, calls), account=account)


def balance(store: Store, account: str, window: Window = TOTAL, at: int = NOON) -> tuple[Triple, Triple]:
    """Posted and pending."""
    (standing,) = (s for s in store.standings(at) if s.account.name == account)
    (found,) = (b for b in standing.balances if b.window == window)
    return found.posted, found.pending


def put(store: Store, *accounts: Account, at: int = NOON) -> None:
    for account in accounts:
        done(store, Open(account), at)


def audit(store: Store, at: int = NOON) -> None:
    """What the holds say adds up to what the counters say, to the nano-dollar, at every account and in every window."""
    standings, holds = store.standings(at), store.holds(Query())
    lines = lines_of(standings)
    for standing in standings:
        below = [hold for hold in holds if standing.account.name in lines[hold.account]]
        assert [h.id for h in below] == [h.id for h in store.holds(Query(account=standing.account.name))]
        for found in standing.balances:
            counted = [h for h in below if counts(found.window, h.at, at)]
            assert found.posted == total(h.spent for h in counted if h.state == "settled"), (
                standing.account.name,
                found,
            )
            assert found.pending == total(h.held for h in counted if h.state == "pending"), (
                standing.account.name,
                found,
            )
            if found.limit is not None and found.window == TOTAL:
                within(found.limit, total((found.posted, found.pending)), total(h.over for h in counted))


def within(limit: Limit, used: Triple, over: Triple) -> None:
    """The invariant: posted + pending - over <= limit."""
    for cap, u, o in zip((limit.nanos, limit.tokens, limit.calls), used, over, strict=True):
        assert cap is None or u - o <= cap, (limit, used, over)


def lines_of(standings: Sequence[Standing]) -> dict[str, list[str]]:
    """Each account with all above it."""
    parents = {s.account.name: s.account.parent for s in standings}
    lines: dict[str, list[str]] = {}
    for name in parents:
        at: str | None = name
        lines[name] = []
        while at is not None:
            lines[name].append(at)
            at = parents[at]
    return lines


def counts(window: Window, held: int, now: int) -> bool:
    """Whether what was reserved at `held` counts at `now`: in a rolling window, later slots do too."""
    slot, present = window.slot(held), window.slot(now)
    return slot >= present - window.back if window.kind == "rolling" else slot == present


def total(amounts: Iterator[Triple] | Sequence[Triple]) -> Triple:
    n, t, k = 0, 0, 0
    for a in amounts:
        n, t, k = n + a[0], t + a[1], k + a[2]
    return n, t, k


def alerts(store: Store, operations: Sequence[Operation], at: int = NOON) -> list[Alert]:
    return [alert for result in store.apply(operations, at) if isinstance(result, Done) for alert in result.alerts]


class LedgerStoreContract:
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

    # -- two phases -----------------------------------------------------------------------------------------------

    def test_a_hold_counts_at_every_level_until_it_is_resolved(self, tree: Store) -> None:
        assert done(tree, reserve("a", 10, 100)) == Done()
        for account in ("run", "key", "team", ROOT):
            assert balance(tree, account) == ((0, 0, 0), (10, 100, 1))
        assert balance(tree, "other") == ((0, 0, 0), (0, 0, 0))
        assert tree.room("run", NOON)[0] == 20
        assert done(tree, settle("a", 7, 80)) == Done()
        for account in ("run", "key", "team", ROOT):
            assert balance(tree, account) == ((7, 80, 1), (0, 0, 0))
        assert tree.room("run", NOON)[0] == 23
        assert tree.room("other", NOON)[0] == 93

    def test_void_gives_back_all_of_it(self, tree: Store) -> None:
        done(tree, reserve("a", 30, 1000, 4))
        assert tree.room("run", NOON) == (0, 0, 0)
        done(tree, Void("a"))
        assert tree.room("run", NOON) == (30, 1000, 4)

    def test_all_levels_or_none(self, tree: Store) -> None:
        done(tree, reserve("a", 95, account="other"))
        before = picture(tree, NOON)
        result = refused(tree, reserve("b", 6))
        assert (result.account, result.window, result.cap) == ("team", "total", "usd")
        assert (result.needed, result.left, result.limit, result.resets) == (6, 5, 100, None)
        assert picture(tree, NOON) == before
        done(tree, reserve("b", 5))  # to the last nano-dollar

    @pytest.mark.parametrize(
        ("asked", "account", "cap", "left"),
        [((31, 0, 1), "run", "usd", 30), ((1, 1001, 1), "key", "tokens", 1000), ((1, 0, 5), "run", "calls", 4)],
    )
    def test_a_refusal_says_where_and_how_much(
        self, tree: Store, asked: Triple, account: str, cap: str, left: int
    ) -> None:
        result = refused(tree, reserve("a", *asked))
        assert (result.account, result.cap, result.left, result.limit) == (account, cap, left, left)
        assert result.needed == max(asked)
        assert account in str(result)
        assert tree.holds(Query()) == []

    def test_a_hold_of_nothing_and_one_of_all(self, tree: Store) -> None:
        done(tree, reserve("a", 0, 0, 0))
        done(tree, reserve("b", 30, 1000, 4))
        done(tree, reserve("c", 0, 0, 0))
        refused(tree, reserve("d", 1, 0, 0))
        for id in "abc":
            done(tree, Void(id))

    # -- ids ------------------------------------------------------------------------------------------------------

    def test_each_happens_once_however_often_it_is_sent(self, tree: Store) -> None:
        assert not done(tree, reserve("a")).repeated
        assert done(tree, reserve("a")).repeated
        assert not done(tree, settle("a", 7)).repeated
        for at in (NOON, NOON + 5 * HOUR):
            assert done(tree, settle("a", 7), at).repeated
        done(tree, reserve("b"))
        assert not done(tree, Void("b")).repeated
        assert done(tree, Void("b")).repeated
        assert balance(tree, "run") == ((7, 0, 1), (0, 0, 0))

    def test_what_was_said_first_stands(self, tree: Store) -> None:
        done(tree, reserve("a"))
        failed(tree, reserve("a", 11), LedgerConflict)
        failed(tree, reserve("a", account="key"), LedgerConflict)
        done(tree, settle("a", 7))
        error = failed(tree, settle("a", 8), LedgerConflict)
        assert "a" in str(error)
        failed(tree, Void("a"), LedgerConflict)
        failed(tree, reserve("a"), LedgerConflict)

    def test_what_was_given_back_may_be_reserved_again(self, tree: Store) -> None:
        """A resumed run goes back to a call that had not left."""
        done(tree, reserve("b"))
        done(tree, Void("b"))
        assert not done(tree, reserve("b", 5)).repeated
        done(tree, settle("b", 4))
        (hold,) = tree.holds(Query())
        assert (hold.held[0], hold.spent[0], hold.late, hold.resolved) == (5, 4, False, NOON)
        assert balance(tree, "run")[1] == (0, 0, 0)
        failed(tree, reserve("b"), LedgerConflict)
        done(tree, reserve("c"))
        done(tree, Void("c"), NOON + 1)
        done(tree, reserve("c", 12, account="other"), NOON + DAY)  # elsewhere, and on another day
        assert tree.holds(Query(ids=("c",))) == [Hold("c", "other", NOON + DAY, NOON + DAY + HOUR, (12, 0, 1))]
        assert balance(tree, "team")[1] == (12, 0, 1)

    def test_usage_that_comes_after_the_hold_was_given_back_is_posted_and_told(self, tree: Store) -> None:
        done(tree, reserve("a"))
        done(tree, Void("a"))
        (alert,) = done(tree, settle("a", 7)).alerts
        assert (alert.kind, alert.account) == ("late", "run")
        (hold,) = tree.holds(Query())
        assert (hold.state, hold.late, hold.spent, hold.over) == ("settled", True, (7, 0, 1), (7, 0, 1))
        assert balance(tree, "run") == ((7, 0, 1), (0, 0, 0))
        assert done(tree, settle("a", 7)).repeated
        failed(tree, Void("a"), LedgerConflict)

    def test_an_expired_hold_counts_in_full_until_somebody_says_what_it_was(self, tree: Store) -> None:
        done(tree, reserve("a", 30, ttl=1000))
        later = NOON + 1001
        assert tree.holds(Query(ambiguous=later - 1)) == []
        (hold,) = tree.holds(Query(ambiguous=later))
        assert hold.ambiguous(later)
        assert tree.room("run", later)[0] == 0
        refused(tree, reserve("b", 1), later)
        done(tree, settle("a", 9), later)
        (hold,) = tree.holds(Query())
        assert (hold.late, hold.resolved, hold.over) == (True, later, (0, 0, 0))
        assert tree.room("run", later)[0] == 21

    # -- what providers do ----------------------------------------------------------------------------------------

    def test_usage_above_the_hold_is_posted_and_told(self, tree: Store) -> None:
        done(tree, reserve("a", 30, 10))
        result = done(tree, settle("a", 45, 4))
        assert (result.overrun.nanos, result.overrun.tokens, result.overrun.calls) == (15, 0, 0)
        assert "overrun" in [alert.kind for alert in result.alerts]
        assert "overrun" in [note.kind for note in tree.notes(10)]
        (hold,) = tree.holds(Query())
        assert (hold.spent, hold.over) == ((45, 4, 1), (15, 0, 0))
        assert tree.room("run", NOON)[0] == 0
        result2 = refused(tree, reserve("b", 1))
        assert (result2.left, result2.limit) == (0, 30)
        refused(tree, reserve("b", 0, 0, 1))  # nothing fits above the limit, not even nothing

    def test_usage_of_a_call_that_was_never_held(self, tree: Store) -> None:
        failed(tree, settle("x", 7), UnknownName)
        failed(tree, settle("x", 7, account="nobody"), UnknownName)
        assert done(tree, Void("x")).repeated  # nothing was held, nothing is given back
        (alert,) = done(tree, settle("x", 7, account="run")).alerts
        assert alert.kind == "late"
        assert balance(tree, "team") == ((7, 0, 1), (0, 0, 0))
        assert done(tree, settle("x", 7, account="run")).repeated
        failed(tree, settle("x", 8, account="run"), LedgerConflict)
        failed(tree, Void("x"), LedgerConflict)

    def test_what_was_billed_is_on_record(self, tree: Store) -> None:
        done(tree, Reserve("a", "run", Amounts(10, 100, 1), HOUR, run="r1", model="m", price="p1"))
        usage = Usage(60, 20, 30, 5)
        done(tree, Settle("a", Amounts(8, 80, 1), usage, "p2", by="reconcile"), NOON + 5)
        expected = Hold("a", "run", NOON, NOON + HOUR, (10, 100, 1), "settled", "r1", "m", "p2", NOON + 5, (8, 80, 1))
        expected.usage, expected.by = (60, 20, 30, 5), "reconcile"
        assert tree.holds(Query()) == [expected]

    def test_two_prices_for_one_model_are_told(self, tree: Store) -> None:
        def priced(id: str, price: str, model: str = "m") -> Reserve:
            return Reserve(id, "run", Amounts(1), HOUR, "", model, price)

        assert alerts(tree, [priced("a", "v1")]) == []
        assert alerts(tree, [priced("b", "v1"), priced("c", "v9", "n")]) == []
        (alert,) = alerts(tree, [priced("d", "v2")])
        assert alert.kind == "price"
        assert "v1" in alert.text
        assert "v2" in alert.text
        assert alerts(tree, [priced("e", "v2"), priced("f", "v1")]) == []  # told once

    # -- bad input ------------------------------------------------------------------------------------------------

    def test_unknown_accounts(self, tree: Store) -> None:
        failed(tree, reserve("a", account="nobody"), UnknownName)
        failed(tree, Freeze("nobody"), UnknownName)
        failed(tree, Grant("nobody", TOTAL, Limit(nanos=1)), UnknownName)
        failed(tree, Open(Account("x", "nobody")), UnknownName)
        with pytest.raises(UnknownName):
            tree.room("nobody", NOON)
        with pytest.raises(UnknownName):
            tree.holds(Query(account="nobody"))

    @pytest.mark.parametrize("wrong", [-1, (1 << 60) + 1, 1 << 70, 0.5, True])
    def test_amounts_that_no_account_can_hold(self, wrong: int) -> None:
        for amounts in (Amounts(wrong), Amounts(0, wrong), Amounts(0, 0, wrong)):
            with pytest.raises(BadBudget):
                Reserve("a", "run", amounts)
            with pytest.raises(BadBudget):
                Settle("a", amounts)
        with pytest.raises(BadBudget):
            Limit(nanos=wrong)

    def test_sums_beyond_what_can_be_counted_are_refused(self, store: Store) -> None:
        put(store, Account("run"))
        much = 1 << 60
        for id in "abc":
            done(store, reserve(id, much))
        done(store, reserve("d", 0))
        failed(store, settle("d", much), BudgetError)
        failed(store, settle("e", much, account="run"), BudgetError)
        for id in "ab":
            done(store, settle(id, 0))
        done(store, settle("d", much))
        audit(store)

    def test_an_account_stays_where_it_is(self, tree: Store) -> None:
        assert done(tree, Open(Account("run", "key", (Limit(nanos=999),)))).repeated
        assert tree.room("run", NOON)[0] == 30
        failed(tree, Open(Account("run", "team")), LedgerConflict)
        failed(tree, Open(Account("team", "run")), LedgerConflict)  # would be a circle

    def test_one_that_fails_leaves_the_others(self, tree: Store) -> None:
        batch: list[Operation] = [
            reserve("a"),
            settle("nobody"),
            reserve("b", 21),
            Open(Account("run2", "run")),
            reserve("c", account="run2"),
            settle("a", 5),
            settle("a", 6),
            Freeze("run2"),
            reserve("d", 1, account="run2"),
            Void("c"),
            reserve("e", 25),
        ]
        kinds = [type(result) for result in tree.apply(batch, NOON)]
        wanted = [Done, UnknownName, Refusal, Done, Done, Done, LedgerConflict, Done, Refusal, Done, Done]
        assert kinds == wanted
        assert balance(tree, "run") == ((5, 0, 1), (25, 0, 1))

    def test_strange_text_harms_nobody(self, tree: Store) -> None:
        strange = ["é\U0001f642", "'; --", "%s %(x)s $1 ?", "a\nb", "x" * 5000, "nul\x00nul", "half\ud800"]
        for i, text in enumerate(strange):
            results = tree.apply([reserve(f"a{i}", 1), Reserve(text, "run", Amounts(1), HOUR, text, text, text)], NOON)
            assert isinstance(results[0], Done)
            if isinstance(results[1], SatisficeError):  # a store may turn an id away, with an error in its place
                assert isinstance(one(tree, Settle(text, Amounts(1), account="run")), SatisficeError)
            else:
                assert done(tree, Settle(text, Amounts(1), by=text)) == Done()
            done(tree, Void(f"a{i}"))

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
