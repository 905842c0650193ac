"""Banks that grow: what was flushed stays, however the writer ends; what was not is not there."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from satisfice.core.errors import CallerError, StoreError, UnknownName
from satisfice.experiments import Bank
from satisfice.experiments.banking import shipped
from satisfice.experiments.banking.appending import Appender
from satisfice.experiments.banking.records import Draw, Question, RecordedEffect, RecordedRun, Scored

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def question(name: str) -> Question:
    return Question(name, "sums", f"What is {name}?", "7", "number", (), len(name) % 3, "adding", f"About {name}.")


def draw(index: int, answer: str = "7") -> Draw:
    told = ("recorded", "list", "r1", 0.25, "stop", -0.5, -2.0, "0.1", "self_consistency:samples=4")
    return Draw(index, answer, answer, answer == "7", 10, 20, 1000, "So it is 7.", *told)


def run(number: int) -> RecordedRun:
    effects = tuple(
        RecordedEffect(f"0.{i}", 0, "ask", "m", "sha256:1", json.dumps({"text": str(i)}), 10, 20, 5, None)
        for i in range(3)
    )
    return RecordedRun("debate:rounds=2", number, 2**62, "m", "7", "7", True, "done", 15, 90, 1.5, effects)


def listing(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.name != ".lock"}


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A bank of two flushes."""
    with Appender(tmp_path / "bank", {"models": {"m": {"fingerprint": "sha256:1"}}, "licence": "CC0-1.0"}) as bank:
        bank.add(question("3 + 4"), draws={("m", "cot"): [draw(0), draw(1, "8")]}, runs=[run(0)])
        bank.flush()
        bank.add(
            question("3 + 4"), draws={("m", "cot"): [draw(2)]}, verdicts={("m", "cot", 0): {"v": Scored(0.5, 3, 0)}}
        )
        bank.add(question("5 + 2"), draws={("m", "cot"): [draw(0)]}, runs=[run(1), run(0)])
    return tmp_path / "bank"


def test_what_was_added_comes_back_whole(grown: Path) -> None:
    bank = Bank.open(grown, verify=True)
    assert bank.questions["3 + 4"] == question("3 + 4")
    assert bank.questions["3 + 4"].task().topic == "adding"
    assert bank.draws["3 + 4", "m", "cot"] == (draw(0), draw(1, "8"), draw(2))
    assert bank.verdicts == {("3 + 4", "m", "cot", 0): {"v": Scored(0.5, 3, 0)}}
    assert bank.runs == {
        ("3 + 4", "debate:rounds=2"): (run(0),),
        ("5 + 2", "debate:rounds=2"): (run(0), run(1)),
    }
    assert bank.manifest["format"] == 2
    assert (bank.manifest["licence"], bank.manifest["candidates"]) == ("CC0-1.0", 4)
    files = bank.files("candidates")
    assert len(files) == 2
    for file, part in zip(files, bank.manifest["parts"]["candidates"], strict=True):
        assert file.name == f"candidates-{part['sha256'][:12]}.parquet"


def test_saving_makes_one_part_of_each_table(grown: Path, tmp_path: Path) -> None:
    bank = Bank.open(grown)
    again = Bank.open(bank.save(tmp_path / "again").path or "")
    assert (again.questions, again.draws, again.verdicts, again.runs) == (
        bank.questions,
        bank.draws,
        bank.verdicts,
        bank.runs,
    )
    assert {len(parts) for parts in again.manifest["parts"].values()} == {1}
    assert again.info()["runs"]["debate:rounds=2"] == {"questions": 2, "runs": 3, "effects": 9, "accuracy": 1.0}


def test_runs_are_selected_with_their_questions_and_models(grown: Path) -> None:
    bank = Bank.open(grown)
    assert set(bank.select(folds=[question("3 + 4").fold]).questions) == {"3 + 4", "5 + 2"}
    assert bank.select(models=["m"]).runs == bank.runs
    assert bank.select(folds=[]).runs == {}


def test_known_is_for_resuming(grown: Path) -> None:
    with Appender(grown) as bank:
        known = bank.known()
        assert known.questions == {"3 + 4", "5 + 2"}
        assert ("3 + 4", "m", "cot", 2) in known.draws
        assert known.verdicts == {(("3 + 4", "m", "cot", 0), "v")}
        assert ("5 + 2", "debate:rounds=2", 1) in known.runs


@pytest.mark.parametrize(
    "given",
    [
        {"draws": {("m", "cot"): [draw(7), draw(1)]}},
        {"draws": {("m", "new"): [draw(7), draw(7)]}},
        {"runs": [run(0)]},
        {"draws": {("m", "new"): [draw(7)]}, "verdicts": {("m", "cot", 0): {"v": Scored(1.0)}}},
        {"draws": {("m", "new"): [draw(7)]}, "verdicts": {("m", "cot", 9): {"v": Scored(1.0)}}},
    ],
)
def test_a_bank_only_grows(grown: Path, given: dict[str, object]) -> None:
    before = listing(grown)
    with Appender(grown) as bank:
        with pytest.raises(CallerError):
            bank.add(question("3 + 4"), **given)  # type: ignore[arg-type]
        assert not {place for place in bank.known().draws if place[3] == 7}  # nothing of a refused call
    assert listing(grown) == before


def test_another_model_under_the_same_name_is_refused(grown: Path) -> None:
    before = listing(grown)
    with pytest.raises(CallerError, match=r"'m' has fingerprint sha256:1 .* sha256:2"):
        Appender(grown, {"models": {"m": {"fingerprint": "sha256:2"}}})
    with Appender(grown, {"prices": {"m": {"prompt": 1, "completion": 2}}}):
        pass
    with pytest.raises(CallerError, match="mixed prices"):
        Appender(grown, {"prices": {"m": {"prompt": 1, "completion": 3}}})
    assert {name for name in listing(grown) if name != "manifest.json"} == set(before) - {"manifest.json"}
    Appender(grown).close()  # and no lock stays behind


def test_an_arm_or_a_strategy_that_was_recorded_otherwise_is_refused(grown: Path) -> None:
    plain = {"prefill": "", "params": {"max_tokens": 24, "stop": ("\n",)}}
    runs = {"debate:rounds=2": {"prompts": {}, "calls": 64}}
    with Appender(grown, {"conditions": {"m cot": plain}, "run_settings": runs}):
        pass
    before = listing(grown)
    with Appender(
        grown, {"conditions": {"m cot": plain, "m short@1": {"prefill": "So"}}, "run_settings": runs}
    ) as bank:
        assert bank.known().draws
    longer = {**plain, "params": {**plain["params"], "max_tokens": 500}}  # type: ignore[dict-item]
    for changes, says in (
        ({"m cot": longer}, r"'m cot' .* params.max_tokens 24 there, 500 here\. .*--arm NAME"),
        ({"m cot": {"params": plain["params"], "prefill": "Answer:"}}, "prefill '' there, 'Answer:' here"),
    ):
        with pytest.raises(CallerError, match=says):
            Appender(grown, {"conditions": changes})
    with pytest.raises(CallerError, match="calls 64 there, 8 here"):
        Appender(grown, {"run_settings": {"debate:rounds=2": {"prompts": {}, "calls": 8}}})
    # of "short@1" there are no draws yet: nothing would be mixed
    Appender(grown, {"conditions": {"m short@1": {"prefill": "Well"}}}).close()
    assert listing(grown).keys() == before.keys()


def test_another_question_under_a_known_id_is_refused_and_nothing_of_it_is_added(grown: Path) -> None:
    there = question("3 + 4")
    with Appender(grown) as bank:
        for changed, says in (
            ({"text": "What is 8?"}, r"its text is 'What is 3 \+ 4\?' there, and here 'What is 8\?'"),
            ({"gold": "8"}, "its gold is '7' there, and here '8'"),
            ({"kind": "text"}, "its kind"),
            ({"passage": "About nothing."}, "its passage"),
        ):
            with pytest.raises(CallerError, match=says):
                bank.add(replace(there, **changed), draws={("m", "cot"): [draw(9)]})  # type: ignore[arg-type]
        assert ("3 + 4", "m", "cot", 9) not in bank.known().draws
        bank.check([replace(there, gold="7.0", fold=9), replace(there, gold=None)])
        bank.add(question("new"))
        with pytest.raises(CallerError, match="is another one"):
            bank.add(replace(question("new"), text="Another?"))


def test_what_cannot_be_written_leaves_the_bank_as_it_was(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listing(grown)
    with Appender(grown) as bank:
        bank.add(question("new"), draws={("m", "cot"): [draw(0)]})
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise OSError("disk full")

            patch.setattr("json.dumps", full)  # the parts are written, the manifest is not
            with pytest.raises(StoreError, match="disk full"):
                bank.flush()
            assert listing(grown) == before
        bank.flush()  # it still waits
    assert "new" in Bank.open(grown).questions


def test_rows_that_do_not_fit_are_refused_whole(grown: Path) -> None:
    before = listing(grown)
    with pytest.raises(StoreError, match="rows for candidates"), Appender(grown) as bank:
        bank.add(question("new"), draws={("m", "cot"): [Draw(0, "7", "7", True, nanos=2**70)]})
    assert listing(grown) == before


def test_leaving_with_an_error_flushes_nothing(grown: Path) -> None:
    before = listing(grown)

    def fails() -> None:
        with Appender(grown) as bank:
            bank.add(question("new"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert listing(grown) == before


CRASH = """
import os, shutil, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from satisfice.experiments.banking.appending import Appender
from satisfice.experiments.banking.records import Draw, Question

def counted(work):
    def call(*args, **kwargs):
        tick()
        done = work(*args, **kwargs)
        tick()
        return done
    return call

def tick():  # before each write, and after it
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def write(folder):
    with Appender(folder) as bank:
        os.rename, os.fsync, pq.write_table = counted(os.rename), counted(os.fsync), counted(pq.write_table)
        question = Question("late", "sums", "What is late?", "7", "number", (), 0)
        bank.add(question, draws={("m", "cot"): [Draw(0, "7", "7", True)]})
    os._exit(0)

for step in range(100):
    folder = Path(f"{sys.argv[1]}-{step}")
    shutil.copytree(sys.argv[1], folder)
    child, left = os.fork(), step
    if child == 0:
        write(folder)
    if os.waitpid(child, 0)[1] == 0:
        break
print(step)
"""


def test_a_kill_between_any_two_writes_loses_no_flush(grown: Path) -> None:
    before = Bank.open(grown)
    told = subprocess.run([sys.executable, "-c", CRASH, str(grown)], check=True, capture_output=True, text=True)
    steps = int(told.stdout)
    assert steps >= 14  # two parts, each written, made durable, renamed; and the manifest
    seen = []
    for step in range(steps + 1):
        folder = grown.with_name(f"{grown.name}-{step}")
        bank = Bank.open(folder, verify=True)
        there = "late" in bank.questions
        seen.append(there)
        assert {name: q for name, q in bank.questions.items() if name != "late"} == before.questions
        assert {place: row for place, row in bank.draws.items() if place[0] != "late"} == before.draws
        assert (("late", "m", "cot") in bank.draws) == there  # all of a flush, or nothing
        if step % 4:
            continue
        with Appender(folder, {"note": "swept"}):
            pass
        listed = {p["file"] for parts in Bank.open(folder).manifest["parts"].values() for p in parts}
        assert set(listing(folder)) == listed | {"manifest.json"}
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


HOLD = """
import sys
from satisfice.experiments.banking.appending import Appender
with Appender(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(grown: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(grown)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_one_writer_at_a_time(grown: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreError, match="being written by another process"):
        Appender(grown)
    assert Bank.open(grown).questions  # readers wait for nobody
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Appender(grown), pytest.raises(StoreError, match="being written"):  # its lock went with it
        Appender(grown)


# -- reading what is damaged, old, new, or read by others ---------------------------------------------------------


def test_a_damaged_file_is_named(grown: Path) -> None:
    (file, _) = Bank.open(grown).files("candidates")
    whole = file.read_bytes()
    for torn in (whole[: len(whole) // 2], whole[:-1], b"", whole[:200] + bytes([whole[200] ^ 255]) + whole[201:]):
        file.write_bytes(torn)
        with pytest.raises(StoreError, match=rf"{file.name}") as told:
            Bank.open(grown, verify=True)
        assert "again" in str(told.value)
    file.write_bytes(whole)
    table = pq.read_table(file)
    pq.write_table(table, file)  # the same rows, other bytes
    Bank.open(grown)
    with pytest.raises(StoreError, match="SHA-256 differs"):
        Bank.open(grown, verify=True)
    file.unlink()
    with pytest.raises(StoreError, match="is missing"):
        Bank.open(grown)


def test_no_flipped_bit_and_no_cut_changes_what_is_read(tmp_path: Path) -> None:
    """Pages carry checksums: damage is refused, or it is where nothing is read from."""
    source = Bank.open("strategies")
    folder = tmp_path / "bank"
    shutil.copytree(source.path or "", folder)
    (file,) = Bank.open(folder).files("candidates")
    whole, dice, refused = file.read_bytes(), random.Random(1), 0
    for i in range(80):
        at = dice.randrange(len(whole))
        torn = bytearray(whole)
        torn[at] ^= 1 << dice.randrange(8)
        file.write_bytes(torn if i % 2 else whole[:at])
        try:
            assert Bank.open(folder).draws == source.draws
        except StoreError:
            refused += 1
    assert refused >= 60


@pytest.mark.parametrize("parts", [{"candidates": [{"file": "../x.parquet", "rows": 4}]}, {"candidates": 3}, [], None])
def test_a_manifest_that_makes_no_sense(grown: Path, parts: object) -> None:
    manifest = grown / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "parts": parts}))
    with pytest.raises(StoreError, match=r"parts"):
        Bank.open(grown)


def test_a_draw_or_a_run_that_stands_twice_is_refused(grown: Path) -> None:
    manifest = grown / "manifest.json"
    facts = json.loads(manifest.read_text())
    for table in ("candidates", "runs", "effects"):
        twice = json.loads(json.dumps(facts))
        twice["parts"][table] += twice["parts"][table][:1]
        twice[table] += twice["parts"][table][0]["rows"]
        manifest.write_text(json.dumps(twice))
        if table == "effects":
            assert len(Bank.open(grown).runs["3 + 4", "debate:rounds=2"][0].effects) == 6  # the part is listed twice
        else:
            with pytest.raises(StoreError, match="twice"):
                Bank.open(grown)


def test_banks_of_format_1_open_and_grow(grown: Path, tmp_path: Path) -> None:
    """One file a table, without the columns that came later."""
    bank = Bank.open(grown)
    old = tmp_path / "old"
    old.mkdir()
    later = {"questions": ["topic", "passage"], "candidates": ["seconds", "finish", "logprob_mean", "logprob_min"]}
    counts = {}
    for name in ("questions", "candidates", "verdicts"):
        table = pa.concat_tables([pq.read_table(file) for file in bank.files(name)])
        pq.write_table(table.drop_columns(later.get(name, [])), old / f"{name}.parquet")
        counts[name] = table.num_rows
    (old / "manifest.json").write_text(json.dumps({"format": 1, "licence": "MIT", **counts}))
    opened = Bank.open(old)
    assert opened.draws["3 + 4", "m", "cot"][1].answer == "8"
    assert opened.draws["3 + 4", "m", "cot"][0].seconds is None
    assert opened.questions["3 + 4"].topic == ""
    assert opened.verdicts == bank.verdicts
    with Appender(old) as more:
        more.add(question("5 + 2"), draws={("m", "cot"): [draw(1)]})
    grown_old = Bank.open(old, verify=True)
    assert grown_old.manifest["format"] == 2
    assert [d.seconds for d in grown_old.draws["5 + 2", "m", "cot"]] == [None, 0.25]


def test_duckdb_and_polars_read_the_parts(grown: Path) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    query = "select question_id, count(*), avg(correct::int) from '{}' group by 1 order by 1"
    counted = duckdb.sql(query.format(grown / "candidates-*.parquet")).fetchall()
    assert counted == [("3 + 4", 3, pytest.approx(2 / 3)), ("5 + 2", 1, 1.0)]
    joined = duckdb.sql(
        f"select count(*) from '{grown}/effects-*.parquet' e join '{grown}/runs-*.parquet' r "
        "using (question_id, strategy, run) where r.correct"
    ).fetchall()
    assert joined == [(9,)]
    frame = polars.read_parquet(grown / "candidates-*.parquet")
    assert frame.filter(polars.col("correct"))["nanos"].sum() == 3000
    assert set(frame["strategy"]) == {"self_consistency:samples=4"}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("verifiers", "485c1f42f5452c6bec920aa404e5974445733e88169b4cf98ed029795c821dd1"),
        ("strategies", "88faeb122470d8ee6a7dec97d7abdf3b0ce68dd689890da00d7c7566f03085e6"),
    ],
)
def test_shipped_banks_hold_what_was_recorded(name: str, digest: str) -> None:
    """Taken before they were written anew in format 2: figures that were published from them stand."""
    bank = Bank.open(name, verify=True)
    told = [
        [astuple(question) for question in bank.questions.values()],
        [[*group, *map(astuple, row)] for group, row in bank.draws.items()],
        [[*at, {by: astuple(scored) for by, scored in said.items()}] for at, said in bank.verdicts.items()],
    ]
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest() == digest


def test_shipped_banks_open_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"strategies", "verifiers"} <= set(shipped.names())
    assert Bank.open("strategies").path == shipped.HOME / "strategies"
    for name in shipped.names():
        assert json.loads((shipped.HOME / name / "manifest.json").read_text())["licence"]
    with pytest.raises(StoreError, match=r"no such folder; shipped banks: .*verifiers"):
        Bank.open("verifier")
    (tmp_path / "strategies").mkdir()  # a folder that is no bank hides nothing
    bank = Bank.open("strategies")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        Bank.open(tmp_path / "strategies")
    with pytest.raises(UnknownName, match="candidates"):
        bank.files("candidate")
