"""OpenAI batch output: JSON lines of responses by custom_id, and of the requests that they answer."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...core.errors import CallerError
from .files import Read, lines, logprobs

# What of a request's body is not a condition of sampling that tells arms apart (temperature is told by itself).
_APART = frozenset({"model", "messages", "input", "prompt", "n", "seed", "user", "metadata", "temperature", "store"})


def read(file: Path, rows: Sequence[Mapping[str, Any]], requests: Path | None) -> Read:
    """Rows of a batch's output. Requests with the same text are samples of one question, called as the first of them;
    several choices of one response are samples too, each with the whole prompt's tokens and its share, by length, of
    the completion's. Failed requests are left out and counted. Raises `CallerError`."""
    if requests is None:
        text = f"{file.name} is the output of an OpenAI batch, which holds no prompts: add --requests INPUT.jsonl"
        raise CallerError(text, file=str(file))
    asked = _requests(requests)
    conditions = {_condition(body) for body in asked.values()}
    ids: dict[str, str] = {}
    for name, body in asked.items():
        ids.setdefault(_question(body), name)
    made: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    prints: dict[str, set[str]] = defaultdict(set)
    counts: Counter[tuple[str, ...]] = Counter()
    for i, row in enumerate(rows, start=1):
        name = str(row.get("custom_id"))
        if name not in asked:
            raise CallerError(f"{file.name}, line {i}: {requests.name} holds no request {name!r}", row=i)
        body = (row.get("response") or {}).get("body") or {}
        choices = list(_choices(body))
        if row.get("error") or (row.get("response") or {}).get("status_code") != 200 or not choices:
            left_out["failed"] += 1
            continue
        sent = asked[name]
        model = str(sent.get("model") or body.get("model"))
        prints[model].add("/".join(str(body[k]) for k in ("model", "system_fingerprint") if body.get(k)))
        question = _question(sent)
        arm = "batch" if len(conditions) == 1 else f"batch-{sha256(_condition(sent).encode()).hexdigest()[:6]}"
        base = {
            "dataset": file.stem,
            "question_id": ids[question],
            "question": question,
            "gold": None,
            "model": model,
            "strategy": arm,
            "temperature": sent.get("temperature"),
            "correct": None,
            "aliases": name,
        }
        place = (ids[question], model, arm, str(sent.get("temperature")))
        for choice in _spread(choices, body.get("usage") or {}):
            made.append({**base, **choice, "sample_index": counts[place], "request": f"{name}#{row.get('id', '')}"})
            counts[place] += 1
    models = {
        model: {"fingerprint": ",".join(sorted(found)), "source": "OpenAI batch"} for model, found in prints.items()
    }
    return Read("openai-batch", made, models, dict(left_out))


def _requests(file: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for i, row in enumerate(lines(file), start=1):
        name, body = row.get("custom_id"), row.get("body")
        if not name or not isinstance(body, Mapping):
            raise CallerError(f"{file.name}, line {i}: no request of an OpenAI batch (custom_id, body)", row=i)
        if str(name) in found:
            raise CallerError(f"{file.name}, line {i}: custom_id {name!r} stands twice", row=i)
        found[str(name)] = body
    return found


def _messages(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """(role, text) of what was asked: chat completions, responses and completions."""
    told = body.get("messages", body.get("input", body.get("prompt", "")))
    if body.get("instructions"):
        yield "system", str(body["instructions"])
    for one in told if isinstance(told, list) else [told]:
        if isinstance(one, Mapping):
            yield str(one.get("role", "user")), content(one.get("content"))
        else:
            yield "user", str(one)


def content(told: Any) -> str:
    """A message's text, whether it is written as one or in parts."""
    if isinstance(told, list):
        parts = (p.get("text", "") if isinstance(p, Mapping) else str(p) for p in told)
        return "\n".join(part for part in parts if part)
    return "" if told is None else str(told)


def _question(body: Mapping[str, Any]) -> str:
    return "\n\n".join(text for role, text in _messages(body) if role not in ("system", "developer"))


def _condition(body: Mapping[str, Any]) -> str:
    system = [text for role, text in _messages(body) if role in ("system", "developer")]
    return json.dumps([system, {k: v for k, v in body.items() if k not in _APART | {"instructions"}}], sort_keys=True)


def _choices(body: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for choice in body.get("choices") or ():
        said = content((choice.get("message") or {}).get("content")) if "message" in choice else str(choice.get("text"))
        yield {"text": said, "finish": str(choice.get("finish_reason") or ""), **logprobs(choice)}
    output = body.get("output")
    if isinstance(output, list):  # the responses endpoint
        said = "\n".join(content(item.get("content")) for item in output if item.get("type") == "message")
        yield {"text": said, "finish": str(body.get("status") or "")}


def _spread(choices: Sequence[dict[str, Any]], usage: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    source = "recorded" if len(choices) == 1 else "prompt recorded; completion split by length"
    lengths = [len(choice["text"]) + 1 for choice in choices]
    before = 0
    for i, choice in enumerate(choices):
        until = completion * sum(lengths[: i + 1]) // sum(lengths) if completion is not None else 0
        share = until - before if completion is not None else None
        before = until
        told = {"prompt_tokens": prompt, "completion_tokens": share, "tokens_source": source if usage else ""}
        yield {**choice, **told}
