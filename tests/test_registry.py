"""The policy registry: versions, stages, the chain of the log, writers at once, and what a damaged file says."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.policy import Policy
from satisfice.budgets.registry.betting import Race, lower_bound, upper_bound
from satisfice.budgets.registry.registry import Registry
from satisfice.budgets.registry.trials import Outcome, count_shadows, outcomes, put_outcome, shadows
from satisfice.budgets.registry.versions import Entry, Standing, broken, canonical, hash_of, standing_of
from satisfice.core.errors import BadSettings, CallerError, RegistryConflict, StoreError, UnknownName


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "deep" / "policies.db")


def three(registry: Registry) -> list[str]:
    return [registry.add(Policy(name=name, worth=worth)).id for name, worth in (("a", 1.0), ("b", 2.0), ("c", 3.0))]


def test_a_version_is_its_content_and_is_kept_once(registry: Registry) -> None:
    policy = Policy(name="fitted", worth=0.5, provenance={"questions_hash": "abc", "questions": 7})
    one = registry.add(policy, by="ann", metrics={"net": 0.1}, why="first")
    again = registry.add(policy.model_copy(), name="another name", by="bob")
    assert again == one
    assert again.name == "fitted"
    assert (one.id, one.bank, one.metrics) == (f"p-{hash_of(policy)[:12]}", "abc", {"net": 0.1})
    assert one.policy == policy
    child = registry.add(policy.model_copy(update={"worth": 0.6}), name="child", parents=[one.id[:6]])
    assert child.parents == (one.id,)
    assert [v.id for v in registry.versions()] == [one.id, child.id]
    assert registry.get("child") == registry.get(child.id[:9]) == child
    with pytest.raises(UnknownName, match=one.id):
        registry.get("nobody")
    assert [e.what for e in registry.log()] == ["add", "add"]
    assert registry.verify() == ""
    assert registry.path.stat().st_mode & 0o777 == 0o600


def test_reading_makes_no_file(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.log() == []
    assert registry.standing() == Standing()
    with pytest.raises(StoreError, match="policy add"):
        registry.rollback()
    assert not registry.path.exists()


def test_stages_follow_each_other_and_what_was_before_comes_back(registry: Registry) -> None:
    a, b, c = three(registry)
    registry.move(a, "production", by="ann", why="the first")
    registry.move(b, "shadow")
    now = registry.move(b, "canary", share=0.1)
    assert (now.production, now.canary, now.share, now.shadow, now.trial) == (a, b, 0.1, None, now.n)
    wider = registry.move(b, "canary", share=0.5)
    assert (wider.share, wider.trial) == (0.5, now.trial)  # the same trial goes on
    now = registry.move(b, "production")
    assert (now.production, now.canary, now.before, now.stage_of(a)) == (b, None, (None, a), "retired")
    registry.move(c, "production")
    assert registry.rollback(by="bob", why="slow").production == b
    assert registry.rollback().production == a
    now = registry.rollback()
    assert now.production is None
    with pytest.raises(CallerError, match="nothing to go back to"):
        registry.rollback()
    assert {now.stage_of(one) for one in (a, b, c)} == {"retired"}
    assert registry.move(a, "production").production == a  # a retired one may come back
    assert registry.verify() == ""


def test_moves_that_make_no_sense_are_refused_and_change_nothing(registry: Registry) -> None:
    a, b, c = three(registry)
    registry.move(a, "production")
    registry.move(b, "canary", share=0.2)
    rows = len(registry.log())
    for work in (
        lambda: registry.move(a, "canary", share=0.1),
        lambda: registry.move(a, "production"),
        lambda: registry.move(c, "canary", share=0.1),  # there is one
        lambda: registry.move(b, "canary", share=0.2),
        lambda: registry.move(c, "canary", share=1.0),
        lambda: registry.move(c, "canary"),
        lambda: registry.move(c, "draft"),
        lambda: registry.retire(a),
        lambda: registry.move("nobody", "shadow"),
        lambda: registry.move(c, "shadow", why="x" * 10_001),
    ):
        with pytest.raises(CallerError):
            work()
    assert len(registry.log()) == rows


def test_channels_stand_each_for_itself(registry: Registry) -> None:
    a, b, _ = three(registry)
    registry.move(a, "production")
    registry.move(b, "production", channel="batch")
    assert (registry.standing().production, registry.standing("batch").production) == (a, b)
    assert registry.standing("other").production is None
    assert registry.channels() == ["main", "batch"]


def test_of_two_who_decided_on_the_same_standing_one_wins(registry: Registry) -> None:
    a, b, c = three(registry)
    now = registry.move(a, "production")

    def promote(one: str) -> str:
        try:
            Registry(registry.path).move(one, "production", expect=now)
        except RegistryConflict as error:
            assert error.details["expected"] == now.n
            return "late"
        return one

    with ThreadPoolExecutor(2) as pool:
        came = list(pool.map(promote, (b, c)))
    assert sorted(came)[0] == "late"
    assert registry.standing().production == next(one for one in came if one != "late")
    assert len(registry.standing().before) == 2


def test_writers_at_once_leave_one_whole_chain(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda i: Registry(registry.path).add(Policy(worth=1.0 + i % 12)).id, range(24)))
    assert len(set(ids)) == len(registry.versions()) == 12
    assert [e.n for e in registry.log()] == list(range(1, 13))
    assert registry.verify() == ""


KILLED = """
import os, signal, sys
from satisfice.budgets.policy import Policy
from satisfice.budgets.registry import sql
from satisfice.budgets.registry.registry import Registry
registry = Registry(sys.argv[1])
real = sql.append
def append(db, entry):
    real(db, entry)
    if entry.what == "promote":
        os.kill(os.getpid(), signal.SIGKILL)  # written, not committed
sql.append = append
registry.move(sys.argv[2], "production")
"""


def test_a_process_that_dies_between_write_and_commit_has_changed_nothing(registry: Registry) -> None:
    a, b, _ = three(registry)
    registry.move(a, "production")
    died = subprocess.run([sys.executable, "-c", KILLED, str(registry.path), b], check=False)
    assert died.returncode == -signal.SIGKILL
    assert registry.standing().production == a
    assert registry.move(b, "production").production == b
    assert registry.verify() == ""


def _tampered(registry: Registry, *statements: str) -> None:
    db = sqlite3.connect(registry.path)
    for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_the_file_refuses_to_be_rewritten(registry: Registry) -> None:
    three(registry)
    db = sqlite3.connect(registry.path)
    for statement in (
        "UPDATE log SET why = 'x'",
        "DELETE FROM log",
        "DELETE FROM versions",
        "UPDATE versions SET name=''",
        "INSERT OR REPLACE INTO log SELECT * FROM log WHERE n = 2",
        "INSERT OR REPLACE INTO versions SELECT * FROM versions WHERE name = 'a'",
        "REPLACE INTO versions SELECT 'p-0', hash, name, created, 'eve', parents, bank, metrics, policy FROM versions",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE log SET why = 'nothing to see' WHERE n = 4", "row 4"),
        ("UPDATE log SET evidence = '{\"net\": 1}' WHERE n = 4", "row 4"),
        ("DELETE FROM log WHERE n = 2", "row 2 is missing"),
        ("DELETE FROM log WHERE n = 1", "row 1 is missing"),
        ("UPDATE versions SET policy = replace(policy, '2.0', '9.0')", "hash"),
        ("UPDATE versions SET id = 'p-000000000000' WHERE name = 'a'", "id of its hash"),
    ],
)
def test_tampering_shows(registry: Registry, statement: str, said: str) -> None:
    a, _, _ = three(registry)
    registry.move(a, "production", by="ann", why="good")
    _tampered(registry, statement)
    assert said in registry.verify()


def test_how_a_channel_stands_is_never_told_by_a_log_that_is_not_whole(registry: Registry) -> None:
    a, b, _ = three(registry)
    registry.move(a, "production")
    _tampered(registry, f"UPDATE log SET version = '{b}' WHERE what = 'promote'")
    assert "row 4" in registry.verify()
    for work in (registry.standing, registry.rollback, lambda: registry.move(b, "shadow")):
        with pytest.raises(StoreError, match="not whole: row 4"):
            work()


def test_what_is_hashed_is_what_is_stored(registry: Registry) -> None:
    one = registry.add(Policy(worth=1.0), metrics={"by_fold": {2: 0.1, 10: (0.2, None)}, "ä": 1e-9})
    assert one.metrics == {"by_fold": {"2": 0.1, "10": [0.2, None]}, "ä": 1e-9}
    assert registry.get(one.id) == one
    registry.move(one.id, "production", evidence={"by_fold": {10: 1, 9: 2}})
    assert registry.verify() == ""


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(registry: Registry) -> None:
    kept = registry.add(Policy(worth=1.0)).id
    new = Policy(worth=2.0)
    for work in (
        lambda: registry.add(new, metrics={"net": float("nan")}),
        lambda: registry.add(new, metrics={"of": object()}),
        lambda: registry.add(new, why="\ud800"),
        lambda: registry.add(new, by="\ud800"),
        lambda: registry.add(new, name="\ud800"),
        lambda: registry.add(Policy(provenance={"gain": float("nan")})),
        lambda: registry.move(kept, "shadow", evidence={"low": float("-inf")}),
        lambda: registry.move(kept, "shadow", why="\ud800"),
        lambda: registry.move(kept, "shadow", by="\ud800"),
    ):
        with pytest.raises(CallerError):
            work()
    assert len(registry.log()) == 1
    assert registry.verify() == ""


def test_one_bad_version_does_not_hide_the_others(registry: Registry) -> None:
    a, b, _ = three(registry)
    _tampered(registry, f"UPDATE versions SET metrics = '{{bad' WHERE id = '{b}'")
    assert registry.get(a).name == "a"
    with pytest.raises(StoreError, match=f"version {b} of the registry cannot be read"):
        registry.get(b)
    assert "cannot be read" in registry.verify()


def test_a_changed_policy_is_not_served(registry: Registry) -> None:
    _, b, _ = three(registry)
    _tampered(registry, "UPDATE versions SET policy = replace(policy, '2.0', '9.0')")
    with pytest.raises(StoreError, match="not what was added"):
        _ = registry.get(b).policy


@given(
    st.integers(0, 4), st.sampled_from(("at", "by", "why", "version", "channel", "stage", "what")), st.text(min_size=1)
)
def test_any_change_of_any_row_breaks_the_chain(place: int, field: str, text: str) -> None:
    rows: list[Entry] = []
    for i in range(5):
        entry = Entry(i + 1, f"2026-01-0{i + 1}", "ann", "promote", "main", f"p-{i}", "shadow", why="so")
        rows.append(entry.sealed(rows[-1].hash if rows else Entry.__dataclass_fields__["previous"].default))
    assert broken(rows) == ""
    changed = replace(rows[place], **{field: text})
    if changed != rows[place]:
        assert f"row {place + 1}" in broken([*rows[:place], changed, *rows[place + 1 :]])
    assert (broken([*rows[:place], *rows[place + 1 :]]) == "") == (place == 4)  # what is cut off at the end is not seen
    assert standing_of(rows).shadow == "p-4"


def test_canonical_json_knows_no_order() -> None:
    assert (
        canonical({"b": [1.5, "ä"], "a": None}) == canonical({"a": None, "b": [1.5, "ä"]}) == '{"a":null,"b":[1.5,"ä"]}'
    )


def test_files_that_are_no_registry_say_so(tmp_path: Path) -> None:
    other = tmp_path / "runs.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE runs (id)")
    text = tmp_path / "text.db"
    text.write_text("no database, but longer than a header of SQLite would be: " * 20)
    (tmp_path / "folder").mkdir()
    for path, said in ((other, "no policy registry"), (text, "no SQLite database"), (tmp_path / "folder", "such file")):
        with pytest.raises(StoreError, match=said):
            Registry(path).log()
    with pytest.raises(StoreError):
        Registry(text / "below").add(Policy())


def test_a_registry_of_a_newer_satisfice_is_left_alone(registry: Registry) -> None:
    a, _, _ = three(registry)
    _tampered(registry, "INSERT INTO meta VALUES (2)")
    for work in (registry.log, lambda: registry.move(a, "shadow"), lambda: registry.add(Policy(worth=9.0))):
        with pytest.raises(StoreError, match="newer satisfice"):
            work()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"format": 2, "things": []}, r"newer satisfice \(format 2; this one knows 1\): update"),
        ({"format": 1, "wings": 2, "provenance": {"made_by": "satisfice 99.1.0"}}, "newer satisfice .satisfice 99.1.0"),
        ({"format": 1, "wings": 2, "provenance": {"made_by": "satisfice 0.0.1"}}, "wings: Extra inputs"),
        ({"format": 1, "wings": 2}, "wings: Extra inputs"),
        ({"format": 1, "worth": -1, "provenance": {"made_by": "satisfice 99.1.0"}}, "worth: "),
    ],
)
def test_a_policy_of_a_newer_satisfice_says_so(tmp_path: Path, data: dict[str, object], said: str) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(data))
    with pytest.raises(BadSettings, match=said):
        Policy.load(file)


def test_outcomes_are_kept_once_and_belong_to_their_trial(registry: Registry) -> None:
    a, b, c = three(registry)
    registry.move(a, "production")
    idle = registry.standing()
    assert not put_outcome(registry, idle, Outcome("r1", "production", 1.0))
    now = registry.move(b, "canary", share=0.5)
    assert put_outcome(registry, now, Outcome("r1", "canary", 1.0))
    assert not put_outcome(registry, now, Outcome("r1", "canary", 0.0))
    assert put_outcome(registry, now, Outcome("r2", "production", 0.25))
    assert [(o.run, o.value) for _, o in outcomes(registry, now)] == [("r1", 1.0), ("r2", 0.25)]
    assert put_outcome(registry, now, Outcome("r4", "canary", 0.5, "who"))
    assert outcomes(registry, now, 2)[0][1].key == "who"
    later = registry.move(c, "production")  # another production: another comparison
    assert later.canary == b
    assert later.trial != now.trial
    assert not put_outcome(registry, now, Outcome("r3", "canary", 1.0))
    assert outcomes(registry, later) == []


def test_counts_of_shadows_add_up(registry: Registry) -> None:
    a, b, _ = three(registry)
    count_shadows(registry, "main", b, a, {"requests": 1, "misses": 1})
    count_shadows(registry, "main", b, a, {"requests": 2, "same": 2, "faults": 0})
    assert shadows(registry, b) == {("main", a): {"requests": 3, "misses": 1, "same": 2}}
    assert shadows(registry, a) == {}


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_betting_bounds_cover_and_close_in() -> None:
    from random import Random

    covered, widths = 0, []
    for seed in range(100):
        dice = Random(seed)
        values = [float(dice.random() < 0.6) - float(dice.random() < 0.5) for _ in range(250)]
        low, high = lower_bound(values, 0.05, -1, 1), upper_bound(values, 0.05, -1, 1)
        covered += low <= 0.1
        widths.append(high - low)
        assert low <= sum(values) / len(values) <= high
    assert covered >= 95  # 95%; by Ville's inequality more
    assert max(widths) < 0.45


def test_betting_bounds_at_the_edges() -> None:
    assert (lower_bound([], 0.05, -2, 3), upper_bound([], 0.05, -2, 3)) == (-2, 3)
    assert lower_bound([1.0] * 300, 0.05) > 0.97
    assert lower_bound([0.0] * 300, 0.05) == 0.0
    assert 0 > lower_bound([0.0] * 300, 0.05, -1, 1) > -0.05
    with pytest.raises(ValueError, match="low < high"):
        lower_bound([1.0], 0.05, 1, 1)


def _stopped(canary: float, production: float, share: float, requests: int, runs: int) -> float:
    """How many trials of so many requests are stopped, looked at after every outcome."""
    from random import Random

    stopped = 0
    for seed in range(runs):
        dice, race = Random(seed), Race()
        for _ in range(requests):
            side = dice.random() < share
            race.add(side, float(dice.random() < (canary if side else production)))
        stopped += race.worse(0.05)
    return stopped / runs


def test_a_canary_that_is_not_worse_is_seldom_stopped() -> None:
    """Peeking after every outcome: the rate stays below alpha, here 5% (with room for the luck of 150 runs)."""
    assert _stopped(0.7, 0.7, 0.2, 500, 150) <= 0.08
    assert _stopped(0.8, 0.7, 0.2, 500, 50) == 0


def test_a_canary_that_is_worse_is_stopped() -> None:
    assert _stopped(0.4, 0.7, 0.2, 600, 50) >= 0.9


def _accounts(count: int, runs: int, lost: float = 0.0) -> tuple[float, float]:
    """How many trials are stopped, and how many show a canary to be better, whose requests stick by account, where
    accounts differ in how hard their questions are."""
    from random import Random

    stopped, better = 0, 0
    for seed in range(runs):
        dice, race = Random(seed), Race()
        right = [dice.betavariate(2, 1) for _ in range(count)]
        canary = [dice.random() < 0.2 for _ in range(count)]
        for _ in range(1500):
            i = dice.randrange(count)
            race.add(canary[i], float(dice.random() < right[i] * (1 - lost * canary[i])), f"account {i}")
        stopped += race.worse(0.05)
        better += race.gain(0.05)[1] > 0
    return stopped / runs, better / runs


@pytest.mark.parametrize("count", [10, 30, 100])
def test_accounts_that_differ_do_not_stop_or_promote_a_canary_that_is_the_same(count: int) -> None:
    """Were each outcome an observation, one in eight to one in three of these trials would end so."""
    stopped, better = _accounts(count, 60)
    assert stopped <= 0.05
    assert better <= 0.05


def test_a_canary_that_is_always_wrong_is_stopped_on_a_hundred_accounts() -> None:
    assert _accounts(100, 20, lost=1.0)[0] >= 0.7


def test_a_key_is_one_observation() -> None:
    race = Race()
    for key in ("x", "x", "", "", "y", "x"):
        race.add(key == "x", 1.0, key)
    assert (race.canaries, race.productions, race.repeats) == (1, 3, 2)


@pytest.mark.long
def test_a_canary_that_is_not_worse_is_seldom_stopped_at_length() -> None:
    for p, share in ((0.5, 0.1), (0.7, 0.5), (0.95, 0.1)):
        assert _stopped(p, p, share, 3000, 1000) <= 0.05


@given(st.lists(st.tuples(st.booleans(), st.sampled_from((0.0, 0.25, 0.5, 1.0))), max_size=60))
def test_a_race_bets_once_for_each_pair(steps: list[tuple[bool, float]]) -> None:
    race = Race()
    for canary, value in steps:
        race.add(canary, value)
    assert race.canaries + race.productions == len(steps)
    assert len(race.differences) <= min(race.canaries, race.productions)
    assert all(-1 <= d <= 1 for d in race.differences)
    assert race.peak >= race.evidence > 0
    mean, low, high = race.gain(0.05)
    assert low <= mean <= high


def test_a_race_takes_outcomes_in_scale_only() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Race().add(True, 1.5)


def test_a_file_that_cannot_be_read_says_so(registry: Registry) -> None:
    three(registry)
    registry.path.unlink()
    registry.path.mkdir()
    with pytest.raises(StoreError):
        registry.log()
