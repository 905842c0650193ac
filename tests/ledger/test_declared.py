"""What is declared beside what a ledger has, places that are none, and amounts and names that cannot be."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice.budgets.ledger.accounts import MOST, ROOT, Account, Limit, money
from satisfice.budgets.ledger.declared import differences
from satisfice.budgets.ledger.ledger import Ledger, store_at
from satisfice.budgets.ledger.operations import Hold, Reserve, Settle, Void
from satisfice.budgets.ledger.places import named, place_of
from satisfice.budgets.ledger.statement import statement
from satisfice.budgets.ledger.stores import MemoryStore, Standing
from satisfice.core.amounts import Amounts
from satisfice.core.errors import BadBudget, CallerError, LedgerConflict, UnknownName
from satisfice.models.accounts import ledger_place
from satisfice.models.settings import Settings
from satisfice.testing.places import Place

DAY = Limit.of("day", usd="100")


def declare(place: str | None, accounts: list[Account]) -> dict[str, Account]:
    """All accounts, after these were declared."""

    async def main() -> dict[str, Account]:
        async with await Ledger.open(place, accounts) as ledger:
            return {s.account.name: s.account for s in await ledger.standings()}

    return anyio.run(main)


# -- declared limits --------------------------------------------------------------------------------------------------


def test_declared_limits_that_differ_are_said(durable: Place, caplog: pytest.LogCaptureFixture) -> None:
    url = durable.url
    first = [Account(ROOT, None, (Limit.of(usd="100"),)), Account("key", ROOT, (DAY,)), Account("my key")]
    with caplog.at_level(logging.WARNING, "satisfice"):
        declare(url, first)
        declare(url, first)
    assert caplog.messages == []
    more = [
        Account(ROOT, None, (Limit.of(usd="50"), Limit.of("day", usd="1"))),
        Account("key", ROOT, (Limit.of("day", usd="1", tokens=5), Limit.of("1h", calls=7))),
        Account("my key", ROOT, (Limit.of("month", usd="0.25", alerts=(50,)),)),
    ]
    with caplog.at_level(logging.WARNING, "satisfice"):
        have = declare(url, more)
    assert have[ROOT].limits == (Limit.of(usd="100"), Limit.of("day", usd="1"))  # the root had none over that window
    assert (have["key"].limits, have["my key"].limits) == ((DAY,), ())
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 4
    for text, parts in zip(
        warned,
        (
            ("account global", "$50.0", "the ledger has $100.0", "grant global --usd 50.000000000 --per total`"),
            ("account key", "$1.0", "5 tokens per day", "has $100.0", "--usd 1.000000000 --tokens 5 --per day`"),
            ("account key", "7 calls per 1h", "the ledger has no limit", "grant key --calls 7 --per 1h`"),
            ("account my key", "no limit", "grant 'my key' --usd 0.250000000 --alerts 50 --per month`"),
        ),
        strict=True,
    ):
        assert all(part in text for part in parts), text


def test_other_alerts_alone_are_said_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = str(tmp_path / "ledger.db")
    declare(url, [Account("key", ROOT, (DAY,))])
    with caplog.at_level(logging.WARNING, "satisfice"):
        declare(url, [Account("key", ROOT, (Limit.of("day", usd="100", alerts=()),))])
    (text,) = caplog.messages
    assert "alerts at nothing per day" in text
    assert "alerts at 80%, 100%" in text
    assert "--alerts '' --per day`" in text


def test_the_command_of_a_warning_does_what_it_says() -> None:
    have = Account("key", ROOT, (Limit.of("day", usd="1", tokens=5, alerts=(50,)),))
    (text,) = differences(Account("key", ROOT, (Limit.of("day", usd="2"),)), have)
    remove, grant = "`satisfice ledger grant key --remove --per day`", "grant key --usd 2.000000000 --per day`"
    assert f"{remove} and then `satisfice ledger {grant}" in text
    (text,) = differences(Account("key", ROOT, (Limit.of("day", usd="2", tokens=5),)), have)
    assert "`satisfice ledger grant key --usd 2.000000000 --tokens 5 --alerts 80,100 --per day`" in text
    assert differences(have, have) == []
    assert differences(Account("key"), have) == []  # nothing is declared


class Asked(MemoryStore):
    """Notes what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def accounts(self, names: Any) -> list[Account]:
        self.asked.append(sorted(names))
        return super().accounts(names)

    def standings(self, at: int) -> list[Standing]:
        self.asked.append("all")
        return super().standings(at)


def test_only_the_declared_accounts_are_read() -> None:
    async def main() -> None:
        store = Asked()
        ledger = Ledger(store)
        await ledger.declare([])
        assert store.asked == []
        await ledger.declare([Account("a"), Account("team"), Account("key", "team")])
        await ledger.declare([Account("key", "team")])
        assert store.asked == [["a", ROOT, "key", "team"], ["key", "team"]]
        with pytest.raises(UnknownName, match="Did you mean 'team'"):
            await ledger.declare([Account("b"), Account("x", "taem")])
        with pytest.raises(LedgerConflict):
            await ledger.declare([Account("key", "a")])
        assert [s.account.name for s in await ledger.standings()] == [ROOT, "a", "team", "key"]

    anyio.run(main)


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "postgresql+psycopg://bob:s3cret@db.example/x",
        "postgresql:bob:s3cret@db/x",
        "postgresql:/bob:s3cret@db/x",
        "mysql://bob:s3cret@db/x",
        "  Redis://bob:s3cret@db/x",
        "file:ledger.db?key=s3cret",
        "://bob:s3cret@db",
        "a b://bob:s3cret@db",
        Path("postgresql://bob:s3cret@db/x"),
    ],
)
def test_what_looks_like_a_url_is_no_file_and_its_password_is_not_said(place: str | Path) -> None:
    for where in (store_at, place_of, lambda place: ledger_place(place, Settings())):
        with pytest.raises(CallerError, match="postgresql://user:password@host") as caught:
            where(place)
        assert "s3cret" not in str(caught.value)
        assert "bob" not in str(caught.value)
    with pytest.raises(CallerError) as caught:
        declare(place, [])  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


def test_places_that_are_some() -> None:
    url = "postgresql://bob:s3cret@db/x?sslmode=require"
    for text in (url, f" {url}\n", url.replace("postgresql", "PostgreSQL")):
        assert place_of(text) == ledger_place(text, Settings()) == url
    assert place_of("POSTGRES://h/x") == "postgres://h/x"
    assert named(url) == "postgresql://db/x"
    for text in ("ledger.db", "C:\\data\\ledger.db", "c:/ledger.db", "./a:b.db/x", "/srv/a:b.db", ":memory:"):
        assert place_of(text) == Path(text)
    assert place_of(Path("/srv/a:b.db")) == Path("/srv/a:b.db")
    assert ledger_place("~/ledger.db", Settings()) == Path("~/ledger.db").expanduser()


# -- amounts and names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "usd",
    [
        *("1e999990", "1e999999999", "-1e999999999", "1e-999999999", "0e99999999", "9" * 5_000, "0." + "0" * 80 + "1"),
        *("nan", "inf", "-inf", "sNaN", "", "1.0000000001", "1." + "0" * 40 + "1", "-1", "1e10"),
        *(float("nan"), float("inf"), 1e300, 10**5000, -(10**5000), True, None),
    ],
    ids=lambda usd: type(usd).__name__,
)
def test_amounts_that_are_none_are_refused_at_once(usd: Any) -> None:
    with pytest.raises(BadBudget) as caught:
        money(usd)
    assert len(str(caught.value)) < 200


def test_amounts_are_exact() -> None:
    assert [money(x) for x in ("$1.5", " 100 ", "1e3", "0.000000001", 7, 0.1, "0")] == [
        *(1_500_000_000, 100 * 10**9, 10**12, 1, 7 * 10**9, 10**8, 0)
    ]
    most = str(Decimal(MOST).scaleb(-9))
    assert money(most) == MOST
    with pytest.raises(BadBudget):
        money(str(Decimal(MOST + 1).scaleb(-9)))


@pytest.mark.parametrize("name", ["x\u2028y", "x\u2029", "x\x9b31mred", "\x85", "\ud800", "x\x7f", "x\u202ey"])
def test_names_that_cannot_be_shown(name: str) -> None:
    with pytest.raises(CallerError, match="printable") as caught:
        Account(name)
    assert str(caught.value).isprintable()


def test_names_that_can() -> None:
    for name in ("é\U0001f642", "a'; --", "my key", "=1+1", "key-1.2:3", "日本"):
        assert Account(name).name == name


# -- who owns a hold --------------------------------------------------------------------------------------------------


def test_the_owner_of_a_hold_is_not_who_resolved_it(place: Place) -> None:
    async def main() -> None:
        async with await Ledger.open(place.url, [Account("key")]) as ledger:
            for id in "abc":
                await ledger.do(Reserve(f"r/{id}", "key", Amounts(5, 5, 1), run="r", owner="attempt 1"))
            assert {hold.by for hold in await ledger.holds()} == {"attempt 1"}
            await ledger.do(Settle("r/a", Amounts(3, 3, 1)))
            await ledger.do(Void("r/b", owner="attempt 1"))
            made = await statement(ledger, "key")
            assert [(line.state, line.by) for line in made.lines] == [("settled", ""), ("voided", "")]
            assert "attempt" not in made.to_csv()
            (hold,) = [hold for hold in await ledger.holds() if hold.state == "pending"]
            assert (hold.id, hold.by) == ("r/c", "attempt 1")
            assert _shown(hold) == ""

    anyio.run(main)


def _shown(hold: Hold) -> object:
    from satisfice.cli.ledger_common import hold_dict

    return hold_dict(hold, hold.at)["by"]
