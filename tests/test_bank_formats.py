"""Imports of what others record: OpenAI batches, Inspect AI logs, plain JSON lines; and labels that were not there.

The records have the shape of real ones: OpenAI's reference of the batch API, and logs written by Inspect AI 0.3.285
(whose .eval files are zips compressed with zstandard).
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from satisfice.budgets.prices import Price
from satisfice.core.errors import CallerError, StoreError
from satisfice.experiments import Bank, evaluate, import_file

pa = pytest.importorskip("pyarrow")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def request(name: str, text: str = "What is 3 + 4?", **body: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    full = {"model": "gpt-4o-mini", "messages": messages, "temperature": 0.7, "max_tokens": 50, **body}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": full}


def response(name: str, *texts: str, status: int = 200, **body: Any) -> dict[str, Any]:
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]},
            "finish_reason": "stop",
        }
        for i, text in enumerate(texts)
    ]
    full = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1724858089,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": choices,
        "usage": {"prompt_tokens": 24, "completion_tokens": 8, "total_tokens": 32},
        "system_fingerprint": "fp_1",
        **body,
    }
    told = {"status_code": status, "request_id": "req-1", "body": full}
    return {"id": f"batch_req_{name}", "custom_id": name, "response": told, "error": None}


@pytest.fixture
def batch(tmp_path: Path) -> dict[str, Path]:
    asked = [request("a-0"), request("a-1"), request("b", "What is 2 + 2?"), request("c", "What is 9?")]
    said = [
        response("a-1", "3 + 4 = 7", "It must be 9."),
        response("a-0", "The answer is 7."),
        response("b", "I do not know."),
        {
            "id": "batch_req_c",
            "custom_id": "c",
            "response": None,
            "error": {"code": "batch_expired", "message": "late"},
        },
    ]
    (tmp_path / "gold.csv").write_text("id,gold\na-0,7\nb,4\nc,9\n")
    return {
        "path": write_lines(tmp_path / "sums.jsonl", said),
        "requests": write_lines(tmp_path / "requests.jsonl", asked),
        "gold": tmp_path / "gold.csv",
        "out": tmp_path / "bank",
    }


def test_an_openai_batch(batch: dict[str, Path]) -> None:
    bank = import_file(**batch, prices={"gpt-4o-mini": Price.per_million(1, 2)})
    assert {q.id: (q.text, q.gold, q.kind, q.dataset) for q in bank.questions.values()} == {
        "a-0": ("What is 3 + 4?", "7", "number", "sums"),
        "b": ("What is 2 + 2?", "4", "number", "sums"),
    }
    row = bank.draws["a-0", "gpt-4o-mini", "batch@0.7"]
    assert [(d.answer, d.correct, d.prompt_tokens, d.completion_tokens) for d in row] == [
        ("7", True, 24, 3),
        ("9", False, 24, 5),
        ("7", True, 24, 8),
    ]
    assert row[2].nanos == 24 * 1000 + 8 * 2000
    assert (row[2].finish, row[2].logprob_mean, row[2].logprob_min) == ("stop", -1.0, -1.5)
    assert row[2].text == "The answer is 7."
    (blank,) = bank.draws["b", "gpt-4o-mini", "batch@0.7"]
    assert (blank.answer, blank.correct) == ("", False)
    assert bank.manifest["left_out"] == {"failed": 1}
    assert bank.manifest["models"]["gpt-4o-mini"]["fingerprint"] == "gpt-4o-mini-2024-07-18/fp_1"
    assert bank.manifest["source"]["format"] == "openai-batch"
    assert not any("mixed" in warning for warning in bank.info()["warnings"])
    assert Bank.open(batch["out"]).draws == bank.draws


def test_conditions_of_a_batch_are_arms(batch: dict[str, Path], tmp_path: Path) -> None:
    asked = [request("a-0"), request("a-1", max_tokens=9), request("b", temperature=0), request("c")]
    write_lines(tmp_path / "requests.jsonl", asked)
    said = [response(name, "7") for name in ("a-0", "a-1", "b", "c")]
    write_lines(batch["path"], said)
    batch["gold"].write_text("id,gold\na-0,7\n")  # all ask the same
    bank = import_file(**batch)
    arms = [arm for _, arm in bank.arms]
    assert len(arms) == 3
    assert all(arm.startswith("batch-") for arm in arms)
    assert len(bank.questions) == 1


def test_a_model_that_changed_during_a_batch_is_named(batch: dict[str, Path]) -> None:
    said = [response("a-0", "7"), response("a-1", "7", system_fingerprint="fp_2"), response("b", "4")]
    write_lines(batch["path"], said)
    (warning,) = (w for w in import_file(**batch).info()["warnings"] if "mixed" in w)
    assert "gpt-4o-mini: fingerprints gpt-4o-mini-2024-07-18/fp_1, gpt-4o-mini-2024-07-18/fp_2" in warning


def test_the_responses_endpoint(batch: dict[str, Path], tmp_path: Path) -> None:
    body = {"model": "gpt-4.1", "input": "What is 3 + 4?", "instructions": "Be brief."}
    asked = {"custom_id": "a-0", "method": "POST", "url": "/v1/responses", "body": body}
    write_lines(tmp_path / "requests.jsonl", [asked])
    output = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "7", "annotations": []}]},
    ]
    told = {"id": "resp_1", "model": "gpt-4.1-2025-04-14", "status": "completed", "output": output}
    usage = {"input_tokens": 12, "output_tokens": 2}
    row = response("a-0")
    row["response"]["body"] = {**told, "usage": usage}
    write_lines(batch["path"], [row])
    (draw,) = import_file(**batch).draws["a-0", "gpt-4.1", "batch"]
    assert (draw.answer, draw.correct, draw.prompt_tokens, draw.completion_tokens) == ("7", True, 12, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"requests": None}, "add --requests"),
        ({"gold": None}, r"3 of 4 rows have no label|4 of 4 rows have no label .*--gold FILE.*--drop-unlabelled"),
        ({"path": "requests"}, "is the input of a batch"),
        ({"kind": "poem"}, "kind 'poem'"),
    ],
)
def test_what_a_batch_lacks_is_said(batch: dict[str, Any], change: dict[str, Any], says: str) -> None:
    given = {**batch, **change}
    if change.get("path"):
        given["path"] = batch["requests"]
    before = sorted(batch["path"].parent.iterdir())
    with pytest.raises(CallerError, match=says):
        import_file(**given)
    assert sorted(batch["path"].parent.iterdir()) == before


def test_faults_of_requests_and_golds(batch: dict[str, Path], tmp_path: Path) -> None:
    golds = tmp_path / "gold.csv"
    for text, says in (
        ("id,gold\nz,1\n", "no gold answer is of a question"),
        ("id,gold\na-0,7\na-1,8\n", "two gold answers"),
        ("id,gold\na-0,7\na-0,8\n", "two gold answers"),
        ("name,right\na-0,7\n", "expected the columns id and gold"),
    ):
        golds.write_text(text)
        with pytest.raises(CallerError, match=says):
            import_file(**batch)
    golds.write_text("id,gold\na-0,7\n")
    write_lines(tmp_path / "requests.jsonl", [request("a-0"), request("a-0")])
    with pytest.raises(CallerError, match="line 2: custom_id 'a-0' stands twice"):
        import_file(**batch)
    write_lines(tmp_path / "requests.jsonl", [request("z")])
    with pytest.raises(CallerError, match="holds no request 'a-1'"):
        import_file(**batch)
    write_lines(tmp_path / "requests.jsonl", [request(name) for name in ("a-0", "a-1", "b", "c")])
    with pytest.raises(StoreError, match=r"none\.csv"):
        import_file(**{**batch, "gold": tmp_path / "none.csv"})
    assert not batch["out"].exists()


# -- Inspect AI ----------------------------------------------------------------------------------------------------


def sample(name: str | int, epoch: int, text: str, value: Any, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    message = {"id": "d3T8", "content": text, "source": "generate", "role": "assistant", "model": "mockllm/model"}
    choice = {"message": message, "stop_reason": "stop"}
    return {
        "id": name,
        "epoch": epoch,
        "input": f"What is {name} + 2?",
        "target": ["4", "four"],
        "messages": [{"id": "ZU23", "content": f"What is {name} + 2?", "source": "input", "role": "user"}, message],
        "output": {"model": "mockllm/model", "choices": [choice], "completion": text, "usage": usage, "time": 0.1},
        "scores": {"match": {"value": value, "answer": text, "explanation": text, "history": []}},
        "metadata": {},
        "store": {},
        "model_usage": {"mockllm/model": usage},
        "total_time": 0.3,
        "working_time": 0.2,
        "uuid": f"{name}-{epoch}",
        "error_retries": [],
        "attachments": {},
        **more,
    }


HEAD = {
    "version": 2,
    "status": "success",
    "eval": {
        "task": "task",
        "dataset": {"name": "sums", "samples": 2, "sample_ids": ["a", 2], "shuffled": False},
        "model": "mockllm/model",
        "model_generate_config": {},
        "config": {"epochs": 2},
    },
    "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {"temperature": 0.7}},
    "stats": {"model_usage": {}},
}
SAMPLES = [
    sample(2, 1, "ANSWER: 4", "C"),
    sample("a", 1, "The answer is 4", 1.0),
    sample(2, 2, "5", "I"),
    sample("a", 2, "no idea", False),
    sample("b", 1, "", "I", error={"message": "ConnectionError()", "traceback": ""}, scores={}),
]


def log(folder: Path, samples: list[dict[str, Any]] = SAMPLES) -> Path:
    path = folder / "log.json"
    path.write_text(json.dumps({**HEAD, "samples": samples}))
    return path


def zipped(path: Path, files: dict[str, Any], *, zstandard: bool) -> Path:
    """An .eval: each file deflated, or stored as zstandard frames whose method number (93) is then put into the
    headers, since zipfile cannot write them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if zstandard else zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            archive.writestr(name, pa.compress(data, "zstd", asbytes=True) if zstandard else data)
        entries = archive.infolist()
        start = archive.start_dir if hasattr(archive, "start_dir") else 0
    data = bytearray(path.read_bytes())
    if zstandard:
        for info in entries:
            struct.pack_into("<H", data, info.header_offset + 8, 93)
        at = data.find(b"PK\x01\x02", start)
        while at >= 0:
            struct.pack_into("<H", data, at + 10, 93)
            at = data.find(b"PK\x01\x02", at + 4)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", ["json", "deflate", "zstandard"])
def test_an_inspect_log(tmp_path: Path, form: str) -> None:
    path = log(tmp_path)
    if form != "json":
        files = {"_journal/start.json": HEAD, "header.json": HEAD}
        files |= {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in SAMPLES}
        path = zipped(tmp_path / "log.eval", files, zstandard=form == "zstandard")
    bank = import_file(path, tmp_path / "bank")
    assert {q.id: (q.text, q.gold, q.kind) for q in bank.questions.values()} == {
        "2": ("What is 2 + 2?", "4", "number"),
        "a": ("What is a + 2?", "4", "number"),
    }
    two, a = bank.draws["2", "mockllm/model", "generate@0.7"], bank.draws["a", "mockllm/model", "generate@0.7"]
    assert [(d.answer, d.correct) for d in two] == [("4", True), ("5", False)]
    assert [(d.answer, d.correct) for d in a] == [("4", True), ("no idea", False)]
    assert (two[0].prompt_tokens, two[0].completion_tokens, two[0].seconds) == (10, 5, 0.2)
    assert (two[0].finish, two[0].text, two[0].request) == ("stop", "ANSWER: 4", "2-1")
    assert bank.manifest["left_out"] == {"failed": 1}
    assert bank.manifest["source"]["format"] == "inspect"


def test_parts_of_inspect_samples(tmp_path: Path) -> None:
    told = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "attachment://1f"}]},
    ]
    more = {"input": told, "attachments": {"1f": "Which is a fruit?"}, "choices": ["car", "apple"], "target": "B"}
    scores = {"choice": {"value": "C", "answer": "B", "explanation": "ANSWER: B"}}
    usage = {"m": {"input_tokens": 1, "input_tokens_cache_read": 9, "output_tokens": 5, "total_cost": 0.5}}
    path = log(tmp_path, [sample("c", 1, "ANSWER: B", "C", scores=scores, model_usage=usage, **more)])
    bank = import_file(path, tmp_path / "bank")
    question = bank.questions["c"]
    assert question.text == "Which is a fruit?\nA) car\nB) apple"
    assert (question.kind, question.choices, question.gold) == ("choice", ("A", "B"), "B")
    ((draw,),) = bank.draws.values()
    assert (draw.answer, draw.prompt_tokens, draw.nanos) == ("B", 10, 500_000_000)


def test_inspect_scorers_and_faults(tmp_path: Path) -> None:
    two = {"match": {"value": "C"}, "judge": {"value": 0}}
    path = log(tmp_path, [sample("a", 1, "4", "C", scores=two)])
    with pytest.raises(CallerError, match=r"several scorers.*judge, match"):
        import_file(path, tmp_path / "bank")
    assert not next(iter(import_file(path, tmp_path / "by", scorer="judge").draws.values()))[0].correct
    with pytest.raises(CallerError, match="has no scorer 'x'"):
        import_file(path, tmp_path / "bank", scorer="x")
    with pytest.raises(CallerError, match=r"gave 0\.4"):
        import_file(log(tmp_path, [sample("a", 1, "4", 0.4)]), tmp_path / "bank")
    bare = [sample("a", 1, "4", "C", scores={}, target=""), sample("b", 1, "4", "C")]
    with pytest.raises(CallerError, match=r"1 of 2 rows have no label .*question 'a'"):
        import_file(log(tmp_path, bare), tmp_path / "bank")
    kept = import_file(log(tmp_path, bare), tmp_path / "kept", drop_unlabelled=True)
    assert (list(kept.questions), kept.manifest["left_out"]) == (["b"], {"unlabelled": 1})
    path.write_text('{"a": 1}')
    with pytest.raises(CallerError, match="no log of Inspect AI"):
        import_file(path, tmp_path / "bank")
    path.write_text("{")
    with pytest.raises(CallerError, match="is not JSON"):
        import_file(path, tmp_path / "bank")
    torn = tmp_path / "torn.eval"
    torn.write_bytes(b"PK no zip")
    with pytest.raises(StoreError, match=r"torn\.eval"):
        import_file(torn, tmp_path / "bank")
    with pytest.raises(CallerError, match=r"no header\.json"):
        import_file(zipped(torn, {"x.json": {}}, zstandard=False), tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


# -- rows with few columns -----------------------------------------------------------------------------------------


def test_json_lines_with_the_least_columns(tmp_path: Path) -> None:
    rows = [
        {"question": "What is 3 + 4?", "gold": 7, "model": "m", "text": "I say 7"},
        {"question": "What is 3 + 4?", "gold": 7, "model": "m", "text": "I say 8", "seconds": 0.5},
        {"question": "What is 2 + 2?", "gold": 4, "model": "m", "text": "hm"},
    ]
    bank = import_file(write_lines(tmp_path / "mine.jsonl", rows), tmp_path / "bank")
    one, two = bank.questions.values()
    assert (one.dataset, one.kind, two.text) == ("mine", "number", "What is 2 + 2?")
    draws = bank.draws[one.id, "m", "sample"]
    assert [(d.sample_index, d.answer, d.correct, d.seconds) for d in draws] == [
        (0, "7", True, None),
        (1, "8", False, 0.5),
    ]
    assert bank.draws[two.id, "m", "sample"][0].answer == ""


def test_json_lines_end_where_json_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    row = '{"question": "a\u2028b\u0085c", "model": "m", "answer": "1", "gold": "1"}'
    path.write_text(row + "\r\n\n" + row.replace("c", "d") + "\n", "utf-8")
    bank = import_file(path, tmp_path / "bank")
    assert [q.text for q in bank.questions.values()] == ["a\u2028b\x85c", "a\u2028b\x85d"]


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ({"cost_usd": 1e300}, r"row 1: cost_usd=1e\+300: expected dollars"),
        ({"cost_usd": 1e10}, "row 1: cost_usd"),
        ({"prompt_tokens": 1e30}, r"row 1: prompt_tokens=1e\+30: expected a whole number below"),
    ],
)
def test_amounts_that_no_bank_holds(tmp_path: Path, amount: dict[str, float], says: str) -> None:
    row = {"question": "a", "model": "m", "answer": "1", "gold": "1", **amount}
    with pytest.raises(CallerError, match=says):
        import_file(write_lines(tmp_path / "mine.jsonl", [row]), tmp_path / "bank")


def test_golds_label_rows_that_have_none(tmp_path: Path) -> None:
    rows = [
        {"question_id": name, "question": f"What of {name}?", "model": "m", "answer": answer, "gold": None}
        for name, answer in (("a", "7"), ("b", "8"), ("c", "9"))
    ]
    path, golds = write_lines(tmp_path / "mine.jsonl", rows), tmp_path / "gold.jsonl"
    with pytest.raises(CallerError, match="3 of 3 rows have no label"):
        import_file(path, tmp_path / "bank")
    write_lines(golds, [{"id": "a", "gold": "7.0"}, {"id": "b", "gold": 7}])
    with pytest.raises(CallerError, match=r"1 of 3 rows have no label \(the first is row 3, question 'c'\)"):
        import_file(path, tmp_path / "bank", gold=golds)
    bank = import_file(path, tmp_path / "bank", gold=golds, drop_unlabelled=True)
    assert {q: row[0].correct for (q, _, _), row in bank.draws.items()} == {"a": True, "b": False}
    assert bank.manifest["left_out"] == {"unlabelled": 1}


def test_mixed_prices_under_one_name_are_told(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"How much is {i} + 1?",
            "answer": str(i + 1),
            "gold": str(i + 1),
            "model": "m",
            "question_id": str(i),
        }
        | {"prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 0.05 if i == 2 else 0.001}
        for i in range(4)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bank = import_file(file, tmp_path / "bank", kind="number")
    said = [text for text in bank.info()["warnings"] if text.startswith("mixed prices of m")]
    assert len(said) == 1
    assert "10 + 5 tokens cost $0.001 and $0.05" in said[0]
    assert said[0] in evaluate(bank, resamples=1).warnings
