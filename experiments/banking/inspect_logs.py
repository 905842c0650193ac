"""Logs of Inspect AI: `.json`, and `.eval` (a zip of one file per sample, compressed by deflate or zstandard)."""

from __future__ import annotations

import json
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import CallerError, StoreError
from ..tables import arrow
from .batches import content
from .files import Read, logprobs

_ZSTD = 93  # the zip format's number of zstandard, which Python's own zipfile cannot read before 3.14
_HEAD = 30  # bytes of a zip entry's own header before its name
_RIGHT, _WRONG = ("C", "c"), ("I", "i", "N", "n", "P", "p")  # correct; incorrect, no answer, partially correct


def read(file: Path, scorer: str = "") -> Read:
    """Rows of a log: its samples' epochs are samples of one question, a score of C, true or 1 the label. Samples that
    failed are left out and counted; those without a score are unlabelled. Raises `CallerError` for what is no log, a
    score that is neither right nor wrong, and several scorers without a word which; `StoreError`."""
    head, samples = (_zipped if file.suffix == ".eval" else _plain)(file)
    spec = head["eval"]
    names = sorted({name for sample in samples for name in sample.get("scores") or {}})
    if scorer and scorer not in names:
        raise CallerError(f"{file.name} has no scorer {scorer!r}, it has: {', '.join(names) or 'none'}", scorers=names)
    if not scorer and len(names) > 1:
        raise CallerError(
            f"{file.name} has several scorers: choose one with --scorer: {', '.join(names)}", scorers=names
        )
    scorer = scorer or (names[0] if names else "")
    dataset = str((spec.get("dataset") or {}).get("name") or spec.get("task") or file.stem)
    steps = [str(step.get("solver")) for step in (head.get("plan") or {}).get("steps") or ()]
    temperature = (spec.get("model_generate_config") or {}).get("temperature")
    if temperature is None:
        temperature = ((head.get("plan") or {}).get("config") or {}).get("temperature")
    base = {"dataset": dataset, "strategy": "+".join(steps) or "generate", "temperature": temperature}
    left_out = Counter(failed=sum(bool(sample.get("error")) for sample in samples))
    rows = [{**base, **_row(sample, spec, scorer, file)} for sample in samples if not sample.get("error")]
    models = {row["model"]: {"fingerprint": "", "source": "Inspect AI log"} for row in rows}
    return Read("inspect", rows, models, {k: n for k, n in left_out.items() if n})


def _row(sample: Mapping[str, Any], spec: Mapping[str, Any], scorer: str, file: Path) -> dict[str, Any]:
    output = sample.get("output") or {}
    choice = (output.get("choices") or [{}])[0]
    score = (sample.get("scores") or {}).get(scorer)
    target = sample.get("target")
    usages = list((sample.get("model_usage") or {}).values()) or [output.get("usage") or {}]
    costs = [usage.get("total_cost") for usage in usages]
    text = output.get("completion") or content((choice.get("message") or {}).get("content"))
    attached = sample.get("attachments") or {}
    return {
        "question_id": str(sample.get("id")),
        "question": _question(sample, attached),
        "gold": str(target[0] if isinstance(target, list) and target else target or "") or None,
        "model": str(output.get("model") or spec.get("model")),
        "sample_index": int(sample.get("epoch") or 1) - 1,
        "text": _resolved(text, attached),
        "answer": None if score is None else _answer(score),
        "correct": None if score is None else _right(score.get("value"), scorer, sample, file),
        "prompt_tokens": _sum(usages, "input_tokens", "input_tokens_cache_read", "input_tokens_cache_write"),
        "completion_tokens": _sum(usages, "output_tokens"),
        "tokens_source": "recorded" if any(usages) else "",
        "cost_usd": None if None in costs else sum(costs),
        "cost_source": "" if None in costs else "recorded",
        "seconds": sample.get("working_time", output.get("time")),
        "finish": str(choice.get("stop_reason") or ""),
        "request": str(sample.get("uuid") or ""),
        **logprobs(choice),
    }


def _answer(score: Mapping[str, Any]) -> str | None:
    """A scorer's reading of the answer; None: it gave none, and the completion's own text is read."""
    return str(score["answer"]) if score.get("answer") not in (None, "") else None


def _right(value: Any, scorer: str, sample: Mapping[str, Any], file: Path) -> int:
    if value in _RIGHT or value is True or value == 1:
        return 1
    if value in _WRONG or value is False or value == 0:
        return 0
    text = f"{file.name}, sample {sample.get('id')!r}: scorer {scorer!r} gave {value!r}, neither right (C, 1) nor wrong"
    raise CallerError(f"{text} (I, 0): a bank holds labels", sample=sample.get("id"))


def _question(sample: Mapping[str, Any], attached: Mapping[str, str]) -> str:
    told = sample.get("input")
    if isinstance(told, list):
        texts = [_resolved(content(m.get("content")), attached) for m in told if m.get("role") != "system"]
        told = "\n\n".join(texts)
    options = [f"{chr(65 + i)}) {option}" for i, option in enumerate(sample.get("choices") or ())]
    return "\n".join([_resolved(str(told), attached), *options])


def _resolved(text: Any, attached: Mapping[str, str]) -> str:
    """Long texts stand apart from where they are used, by "attachment://" and a hash."""
    text = str(text or "")
    return str(attached.get(text.removeprefix("attachment://"), text)) if text.startswith("attachment://") else text


def _sum(usages: Sequence[Mapping[str, Any]], *names: str) -> int | None:
    found = [usage[name] for usage in usages for name in names if usage.get(name) is not None]
    return sum(found) if found else None


def _plain(file: Path) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    return _checked(_json(file.read_bytes(), file, file.name), None, file)


def _zipped(file: Path) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            head = next((n for n in ("header.json", "_journal/start.json") if n in entries), None)
            if head is None:
                raise CallerError(f"{file.name} is no log of Inspect AI: it holds no header.json", file=str(file))
            with file.open("rb") as stream:
                found = {
                    name: _json(_unpacked(archive, stream, info), file, name)
                    for name, info in entries.items()
                    if name == head or (name.startswith("samples/") and name.endswith(".json"))
                }
    except (zipfile.BadZipFile, struct.error) as error:
        raise StoreError(f"cannot read {file}: {error}", path=str(file)) from error
    spec = found.pop(head)
    return _checked(spec, list(found.values()), file)


def _unpacked(archive: zipfile.ZipFile, stream: Any, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != _ZSTD:
        return archive.read(info)
    pa, _ = arrow()
    stream.seek(info.header_offset)
    name, extra = struct.unpack("<HH", stream.read(_HEAD)[26:])
    stream.seek(name + extra, 1)
    packed = pa.BufferReader(stream.read(info.compress_size))
    try:
        return bytes(pa.CompressedInputStream(packed, "zstd").read())
    except (OSError, pa.ArrowException) as error:
        raise zipfile.BadZipFile(f"{info.filename}: {error}") from error


def _json(data: bytes, file: Path, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise CallerError(f"{file.name}: {name} is not JSON ({error})", file=str(file)) from None


def _checked(log: Any, samples: Any, file: Path) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    samples = log.get("samples") if samples is None and isinstance(log, dict) else samples
    if not isinstance(log, dict) or not isinstance(log.get("eval"), dict) or not isinstance(samples, list):
        raise CallerError(f"{file.name} is no log of Inspect AI: it lacks `eval` or `samples`", file=str(file))
    return log, samples
