"""Several processes on one ledger, and processes that are killed at some moment, in mid-transaction too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.operations import Freeze, Open, Reserve
from satisfice.budgets.ledger.stores import Query
from satisfice.core.amounts import Amounts
from satisfice.testing.ledger_checks import HOUR, NOON, PER_DAY, alerts, audit, balance, done, refused, reserve, settle
from satisfice.testing.places import Place

LIMIT = 2000
CHILD = """
import json, os, signal, sys
from random import Random
from satisfice.budgets.ledger.ledger import store_at
from satisfice.budgets.ledger.operations import Done, Reserve, Settle, Void
from satisfice.core.amounts import Amounts

url, log, name, seed, rounds, size, at, dies = json.loads(sys.argv[1])
store, dice, out = store_at(url), Random(seed), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
perform = store._db.transaction
left = [dies[1]] if dies else [0]

def killed(where):  # in the n-th transaction, before it is committed or just after
    if dies and dies[0] == where:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def transaction(work, *, writes):
    def until_the_end():
        result = work()
        killed("before")
        return result
    result = perform(until_the_end, writes=writes)
    killed("after")
    return result

store._db.transaction = transaction
print("ready", flush=True)
sys.stdin.readline()
held = []
for i in range(rounds):
    batch = [Reserve(f"{name}-{i}-{j}", "run", Amounts(dice.randint(1, 3), 0, 1)) for j in range(size)]
    for hold, worst in held:
        if dice.random() < 0.4:
            batch.append(Void(hold))
        else:
            batch.append(Settle(hold, Amounts(dice.randint(0, worst), 0, 1)))
    results = store.apply(batch, at)
    said, held = [], []
    for op, result in zip(batch, results):
        assert not isinstance(result, Exception), result
        if isinstance(result, Done):
            kind = type(op).__name__
            amount = 0 if kind == "Void" else op.amounts.nanos
            said.append((kind, op.id, amount))
            if kind == "Reserve":
                held.append((op.id, amount))
    os.write(out, (json.dumps(said) + "\\n").encode())
print("done", flush=True)
"""


def start(place: Place, folder: Path, name: str, seed: int, rounds: int, size: int, dies: object = None) -> Any:
    arguments = json.dumps([place.url, str(folder / name), name, seed, rounds, size, NOON, dies])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def go(children: list[Any]) -> None:
    """All at once."""
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()


def end(children: list[Any]) -> list[str]:
    found = []
    for child in children:
        found.append(child.stdout.read())
        child.wait()
        child.stdin.close()
        child.stdout.close()
    return found


def prepare(place: Place) -> None:
    store = place.open()
    done(store, Open(Account("run", limits=(Limit(nanos=LIMIT), Limit(PER_DAY, LIMIT)))))
    store.close()


def nothing_is_lost(place: Place, logs: list[Path], unsaid: int) -> int:
    """What was acknowledged is there as it was said, all adds up, and nothing else is there but for `unsaid` holds. How
    many were acknowledged."""
    store = place.open()
    audit(store, NOON)
    posted, pending = balance(store, "run")
    holds = {hold.id: hold for hold in store.holds(Query())}
    assert posted[0] + pending[0] <= LIMIT
    assert len(holds) == len(store.holds(Query()))
    store.close()
    said: dict[str, dict[str, int]] = {}
    for log in logs:
        for line in log.read_text().splitlines() if log.exists() else ():
            for kind, id, amount in json.loads(line):
                assert kind not in said.setdefault(id, {}), "acknowledged twice"
                said[id][kind] = amount
    for id, kinds in said.items():
        hold = holds[id]
        assert hold.held[0] == kinds["Reserve"]
        if "Settle" in kinds:
            assert (hold.state, hold.spent[0]) == ("settled", kinds["Settle"])
        if "Void" in kinds:
            assert hold.state == "voided"
    assert len(holds.keys() - said.keys()) <= unsaid
    return len(said)


def test_several_processes_share_one_limit(durable: Place, tmp_path: Path) -> None:
    prepare(durable)
    children = [start(durable, tmp_path, f"p{i}", i, 12, 20) for i in range(4)]
    go(children)
    assert end(children) == ["done\n"] * 4
    assert nothing_is_lost(durable, [tmp_path / f"p{i}" for i in range(4)], 0) > 400


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_around_the_commit(durable: Place, tmp_path: Path, where: str) -> None:
    prepare(durable)
    child = start(durable, tmp_path, "p", 5, 10, 4, (where, 4))
    go([child])
    assert end([child]) == [""]
    assert child.returncode == -signal.SIGKILL
    assert len((tmp_path / "p").read_text().splitlines()) == 3
    store = durable.open()
    assert len(store.holds(Query())) == (12 if where == "before" else 16)
    store.close()
    assert nothing_is_lost(durable, [tmp_path / "p"], 4) == 12


@pytest.mark.parametrize("rounds", [1, pytest.param(25, marks=pytest.mark.long)])
def test_killed_at_some_moment(durable: Place, tmp_path: Path, rounds: int) -> None:
    """Two of four processes die while all write; the others go on as if nothing had happened."""
    prepare(durable)
    logs: list[Path] = []
    for seed in range(rounds):
        names = [f"p{seed}-{i}" for i in range(4)]
        logs += [tmp_path / name for name in names]
        children = [start(durable, tmp_path, name, 100 * seed + i, 12, 40) for i, name in enumerate(names)]
        go(children)
        dice = Random(seed)
        for child in children[:2]:
            time.sleep(dice.random() * 0.06)
            child.send_signal(signal.SIGKILL)
        assert end(children)[2:] == ["done\n"] * 2
        nothing_is_lost(durable, logs, 2 * 40 * (seed + 1))


def test_two_nodes_with_different_prices_are_told_so(durable: Place) -> None:
    prepare(durable)
    here, there = durable.open(), durable.open()
    assert alerts(here, [Reserve("a", "run", Amounts(1), HOUR, "", "m", "prices 1")]) == []
    assert [a.kind for a in alerts(there, [Reserve("b", "run", Amounts(1), HOUR, "", "m", "prices 2")])] == ["price"]
    assert alerts(here, [Reserve("c", "run", Amounts(1), HOUR, "", "m", "prices 1")]) == []  # told once
    assert [note.kind for note in here.notes(1)] == ["price"]
    here.close()
    there.close()


def test_two_nodes_see_each_others_limits_and_freezes(durable: Place) -> None:
    prepare(durable)
    here, there = durable.open(), durable.open()
    done(here, reserve("a", LIMIT - 1))
    refused(there, reserve("b", 2))
    done(there, Freeze("run"))
    assert refused(here, reserve("b", 1)).cap == "frozen"
    done(here, Freeze("run", False))
    done(there, settle("a", 5))
    done(here, reserve("b", LIMIT - 5))
    here.close()
    there.close()
