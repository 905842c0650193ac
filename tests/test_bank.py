"""Banks: what is imported comes back, what is wrong is named, and half a bank is never left behind."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from satisfice.budgets.prices import Price
from satisfice.core.errors import CallerError, MissingExtra, StoreError, UnknownName
from satisfice.experiments import Bank, import_file
from satisfice.experiments.importing import fold_of, key_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def row(**given: Any) -> dict[str, Any]:
    return {
        "dataset": "sums",
        "question_id": "q1",
        "question": "What is 3 + 4?",
        "gold": "7",
        "model": "m",
        "strategy": "cot",
        "sample_index": 0,
        "answer": "7",
        "correct": 1,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "tokens_source": "recorded",
        "cost_usd": 0.000123,
        "cost_source": "list",
        **given,
    }


ROWS = [
    row(),
    row(sample_index=1, answer="7.0"),
    row(sample_index=2, answer="8", correct=0),
    row(sample_index=3, answer="", correct=0),
    row(question_id="q2", question="What is 2 + 2?", gold="4", answer="4"),
]


def write(folder: Path, rows: list[dict[str, Any]], kind: str = "parquet") -> Path:
    path = folder / f"samples.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def load(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Bank:
    return import_file(write(folder, rows), folder / "bank", **settings)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_round_trip(tmp_path: Path, kind: str) -> None:
    seen: list[tuple[int, int]] = []
    made = import_file(
        write(tmp_path, ROWS, kind), tmp_path / "bank", licence="MIT", progress=lambda i, n: seen.append((i, n))
    )
    bank = Bank.open(tmp_path / "bank")
    assert bank.questions == made.questions
    assert bank.draws == made.draws
    assert seen[-1] == (5, 5)
    draws = bank.draws["q1", "m", "cot"]
    assert [d.answer for d in draws] == ["7", "7.0", "8", ""]
    assert [d.correct for d in draws] == [True, True, False, False]
    assert draws[0].key == draws[1].key != draws[2].key
    assert draws[3].key is None
    assert draws[0].nanos == 123_000
    assert draws[0].tokens == 30
    assert bank.questions["q1"].kind == "number"
    assert bank.questions["q1"].fold == fold_of("what is 3   4")
    assert bank.manifest["licence"] == "MIT"
    assert len(bank.manifest["source"]["sha256"]) == 64
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bank", f"samples.{kind}"]


def test_info_and_select(tmp_path: Path) -> None:
    other = row(
        model="n", dataset="more", question_id="q3", question="?", gold="1", answer="2", correct=0, cost_usd=None
    )
    bank = load(tmp_path, [*ROWS, other])
    info = bank.info()
    assert (info["questions"], info["candidates"], info["models"]) == (3, 6, ["m", "n"])
    assert info["draws"] == {"min": 1, "median": 1, "max": 4}
    cells = {(c["dataset"], c["model"]): c for c in info["cells"]}
    assert cells["sums", "m"]["accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert cells["sums", "m"]["cost_known"]
    assert not cells["more", "n"]["cost_known"]
    json.dumps(info)
    assert list(bank.select(models=["n"]).questions) == ["q3"]
    assert list(bank.select(datasets=["sums"]).questions) == ["q1", "q2"]
    assert bank.select(folds=[]).questions == {}
    with pytest.raises(UnknownName, match="sums"):
        bank.select(datasets=["sum"])


def test_arms_are_conditions(tmp_path: Path) -> None:
    bank = load(tmp_path, [row(temperature=0.7), row(temperature=1.0), row(strategy="retry", temperature=None)])
    assert bank.arms == (("m", "cot@0.7"), ("m", "cot@1"), ("m", "retry"))


def test_ids_that_two_datasets_share_are_prefixed(tmp_path: Path) -> None:
    bank = load(tmp_path, [row(), row(dataset="other", question="What is 9?"), row(question_id="own", question="Q")])
    assert set(bank.questions) == {"sums/q1", "other/q1", "own"}


def test_unknown_costs_stay_unknown_or_are_priced(tmp_path: Path) -> None:
    rows = [row(cost_usd=None), row(sample_index=1, cost_usd=float("nan")), row(model="n", cost_usd=None)]
    bank = load(tmp_path, rows, prices={"m": Price.per_million(1, 2, "list")})
    assert [d.nanos for d in bank.draws["q1", "m", "cot"]] == [50_000, 50_000]
    assert bank.draws["q1", "m", "cot"][0].cost_source == "priced at import: list"
    assert bank.draws["q1", "n", "cot"][0].nanos is None


def test_kinds_follow_golds_and_answers(tmp_path: Path) -> None:
    text = "Which?\nChoices:\n  A: one\n  B: two"
    rows = [
        row(dataset="c", question_id="c", question=text, gold="B", answer="B"),
        row(dataset="e", question_id="e", question="24?", gold="24", answer="(10 - 6) * 6"),
        row(dataset="t", question_id="t", question="Who?", gold=None, answer="The Queen"),
    ]
    bank = load(tmp_path, rows)
    assert {q.id: q.kind for q in bank.questions.values()} == {"c": "choice", "e": "text", "t": "text"}
    assert bank.questions["c"].choices == ("A", "B")
    assert key_of("text", "The Queen") == key_of("text", "queen.")


def test_a_blank_answer_is_never_right(tmp_path: Path) -> None:
    bank = load(tmp_path, [row(answer="", correct=1)])
    assert not bank.draws["q1", "m", "cot"][0].correct
    assert bank.manifest["rows_changed"]["blank_marked_correct"] == 1


def test_an_unrecorded_answer_keeps_its_label(tmp_path: Path) -> None:
    bank = load(tmp_path, [row(answer=None, correct=1), row(sample_index=1)])
    assert bank.draws["q1", "m", "cot"][0].correct
    assert bank.draws["q1", "m", "cot"][0].answer is None


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"correct": 2}, "row 2: correct=2"),
        ({"prompt_tokens": -1}, "row 2: prompt_tokens=-1"),
        ({"cost_usd": float("inf")}, "row 2: cost_usd=inf"),
        ({"model": " "}, "row 2: model is empty"),
        ({"sample_index": None}, "row 2: sample_index is empty"),
        ({"question": "Something else"}, "another text"),
        ({"sample_index": 0}, "sample_index 0 already in row 1"),
        ({"kind": "poem"}, "kind='poem'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, bad: dict[str, Any], says: str) -> None:
    with pytest.raises(CallerError, match=says):
        load(tmp_path, [row(kind=None), row(**{"sample_index": 1, "kind": None, **bad})])
    assert not (tmp_path / "bank").exists()


def test_missing_columns_are_named(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row().items() if k not in ("gold", "correct")}]
    with pytest.raises(CallerError, match="lacks the columns gold, correct"):
        load(tmp_path, rows)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        import_file(tmp_path / "none.parquet", tmp_path / "bank")
    broken = tmp_path / "broken.parquet"
    broken.write_text("no parquet")
    with pytest.raises(StoreError):
        import_file(broken, tmp_path / "bank")
    with pytest.raises(CallerError, match=r"expected \.parquet"):
        import_file(tmp_path / "samples.xlsx", tmp_path / "bank")
    lines = tmp_path / "broken.jsonl"
    lines.write_text('{"a": 1}\n{')
    with pytest.raises(CallerError, match="line 2"):
        import_file(lines, tmp_path / "bank")


@pytest.mark.parametrize("breaks", ["os.rename", "pyarrow.parquet.write_table", "json.dumps"])
def test_no_half_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    path = write(tmp_path, ROWS)

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(breaks, fails)
    with pytest.raises(StoreError, match="disk full"):
        import_file(path, tmp_path / "bank")
    assert [p.name for p in tmp_path.iterdir()] == ["samples.parquet"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    bank = load(tmp_path, ROWS)
    with pytest.raises(StoreError, match="exists already"):
        load(tmp_path, ROWS)
    with pytest.raises(StoreError, match="exists already"):
        bank.save(tmp_path / "bank")


def test_open_refuses_what_is_no_bank(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no bank"):
        Bank.open(tmp_path)
    load(tmp_path, ROWS)
    manifest = tmp_path / "bank" / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "format": 99}))
    with pytest.raises(StoreError, match="format 99"):
        Bank.open(tmp_path / "bank")
    manifest.write_text(json.dumps({**facts, "candidates": 6}))
    with pytest.raises(StoreError, match=r"counts 6 candidates, its parts hold 5"):
        Bank.open(tmp_path / "bank")
    facts["parts"]["candidates"][0]["rows"] = 6
    manifest.write_text(json.dumps({**facts, "candidates": 6}))
    with pytest.raises(StoreError, match=r"counts 6 candidates, candidates-.* holds 5"):
        Bank.open(tmp_path / "bank")
    manifest.write_text("[]")
    with pytest.raises(StoreError, match="cannot be read"):
        Bank.open(tmp_path / "bank")


def test_open_names_a_missing_column(tmp_path: Path) -> None:
    (file,) = load(tmp_path, ROWS).files("candidates")
    whole = pq.read_table(file)
    pq.write_table(whole.drop_columns(["key"]), file)
    with pytest.raises(StoreError, match="no column key"):
        Bank.open(tmp_path / "bank")
    pq.write_table(whole.set_column(0, "question_id", pa.array(["x"] * 5)), file)
    with pytest.raises(StoreError, match="which it lacks"):
        Bank.open(tmp_path / "bank")
    file.write_text("torn")
    with pytest.raises(StoreError, match=r"candidates-.*\.parquet.*truncated.*import or record"):
        Bank.open(tmp_path / "bank")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ROWS, "csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[bank\]"):
        import_file(path, tmp_path / "bank")


def test_importing_the_package_is_light() -> None:
    code = "import sys, satisfice.experiments; print({'numpy', 'pyarrow'} & set(sys.modules))"
    came = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert came.stdout.strip() == "set()"
