"""What every store of a ledger keeps to. Subclass `LedgerStoreContract` and define its fixture `store`, an empty one:

    class TestMine(LedgerStoreContract):
        @pytest.fixture
        def store(self, tmp_path) -> Iterator[Store]:
            store = MyStore(tmp_path)
            yield store
            store.close()

`ledger_checks.audit` holds all that a store says of itself against each other, and is called after each test.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ..budgets.ledger.accounts import ROOT, Account, Limit
from ..budgets.ledger.operations import (
    Done,
    Freeze,
    Grant,
    Hold,
    Open,
    Operation,
    Refusal,
    Reserve,
    Settle,
    Void,
)
from ..budgets.ledger.stores import Query, Store
from ..budgets.ledger.windows import DAY, TOTAL
from ..core.amounts import Amounts
from ..core.completions import Usage
from ..core.errors import BadBudget, BudgetError, LedgerConflict, SatisficeError, UnknownName
from .ledger_checks import (
    HOUR,
    NOON,
    Triple,
    alerts,
    audit,
    balance,
    done,
    failed,
    one,
    picture,
    put,
    refused,
    reserve,
    settle,
)
from .ledger_limits import LedgerLimitsContract


class LedgerStoreContract(LedgerLimitsContract):
    """Reserve, settle, void; the limits' half is in `ledger_limits`."""

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

    def test_a_hold_is_given_back_by_its_owner_alone(self, tree: Store) -> None:
        """What an earlier attempt still wants to give back must not take the hold of the one that runs now."""

        def held(owner: str) -> Reserve:
            return Reserve("a", "run", Amounts(10, 0, 1), HOUR, owner=owner)

        assert done(tree, held("first")) == Done()
        assert [hold.by for hold in tree.holds(Query())] == ["first"]
        assert done(tree, held("second")).repeated  # takes it over
        assert [hold.by for hold in tree.holds(Query(state="pending"))] == ["second"]
        before = picture(tree, NOON)
        assert done(tree, Void("a", "unreachable", "first")).repeated
        assert picture(tree, NOON) == before
        failed(tree, Reserve("a", "run", Amounts(11, 0, 1), HOUR, owner="third"), LedgerConflict)
        assert not done(tree, Void("a", "unreachable", "second")).repeated
        assert [(hold.state, hold.by) for hold in tree.holds(Query())] == [("voided", "unreachable")]
        for owner in ("first", "second"):
            assert done(tree, Void("a", owner=owner)).repeated
        assert done(tree, held("third")) == Done()
        assert not done(tree, Void("a")).repeated  # without an owner: whoever's it is
        assert done(tree, held("fourth")) == Done()
        assert done(tree, settle("a", 7)) == Done()
        assert [(hold.state, hold.by) for hold in tree.holds(Query())] == [("settled", "")]
        failed(tree, Void("a", owner="fourth"), LedgerConflict)

    def test_an_owner_changes_within_a_batch(self, tree: Store) -> None:
        first, second = (Reserve("a", "run", Amounts(10, 0, 1), HOUR, owner=owner) for owner in ("p", "q"))
        results = tree.apply([first, Void("a", owner="q"), second, Void("a", owner="p")], NOON)
        assert results == [Done(), Done(repeated=True), Done(repeated=True), Done(repeated=True)]
        assert balance(tree, "run") == ((0, 0, 0), (10, 0, 1))

    def test_unresolved_holds_are_found_by_what_is_asked(self, tree: Store) -> None:
        for i, run in enumerate(("r1", "r2", "r1", "r2")):
            done(tree, Reserve(f"a{i}", "run", Amounts(1), 1000 + i, run), NOON + i)
        done(tree, settle("a0", 1, calls=0), NOON + 5)
        done(tree, Void("a1"), NOON + 5)
        done(tree, reserve("b", 1, account="other"), NOON + 6)
        pending = Query(state="pending")
        assert [hold.id for hold in tree.holds(pending)] == ["a2", "a3", "b"]
        assert [hold.id for hold in tree.holds(replace(pending, run="r1"))] == ["a2"]
        assert [hold.id for hold in tree.holds(replace(pending, account="other"))] == ["b"]
        assert [hold.id for hold in tree.holds(replace(pending, limit=2))] == ["a2", "a3"]
        assert [hold.id for hold in tree.holds(Query(ambiguous=NOON + 1005))] == ["a2"]
        assert tree.holds(replace(pending, ids=("a0",))) == []
        assert tree.holds(Query(state="settled", ambiguous=NOON + DAY)) == []

    def test_accounts_by_their_names(self, tree: Store) -> None:
        standings = {s.account.name: s.account for s in tree.standings(NOON)}
        found = tree.accounts(["key", "nobody", ROOT, "key", "'; --"])
        assert {account.name: account for account in found} == {name: standings[name] for name in ("key", ROOT)}
        assert len(found) == 2
        assert tree.accounts([]) == []

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

    @pytest.mark.parametrize(
        "wrong",
        [-1, (1 << 60) + 1, 1 << 70, 1 << 20_000, 0.5, True],
        ids=["negative", "above", "far above", "endless", "fraction", "truth"],
    )
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
