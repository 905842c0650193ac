"""Replies as JSON for the journal, and fingerprints of requests."""

from __future__ import annotations

import json
from dataclasses import is_dataclass, replace
from hashlib import blake2b
from typing import Any

from pydantic import TypeAdapter

from ..core import errors
from ..core.amounts import ZERO, Amounts
from ..core.effects import Ask, CallTool, Effect, Recall, Remember, Sample, Score, Within
from ..core.plans import Answer, Outcome
from ..core.task import Candidate
from ..core.verdict import Judgement, Verdict, name_of, sound

_CODED: dict[type[Effect[Any]], type[Any]] = {Sample: Candidate, Score: Verdict}


def fingerprint(effect: Effect[Any]) -> str:
    """Identifies a request: the same fingerprint asks the world for the same thing. Where in the run it stands, and
    which attempt it is, are not part of it."""
    return blake2b(repr(_facts(effect)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _facts(effect: Effect[Any]) -> tuple[Any, ...]:
    match effect:
        case Sample():
            contract = effect.task.contract if effect.task else None
            return ("sample", effect.messages, effect.model, effect.params, repr(contract))
        case Score():
            return ("score", name_of(effect.verifier), effect.candidate.key, effect.candidate.text)
        case CallTool():
            return ("tool", effect.tool, effect.arguments)
        case Ask():
            return ("ask", effect.question, effect.options)
        case Recall():
            return ("recall", effect.topic, effect.scope)
        case Remember():
            return ("remember", effect.topic, json.dumps(effect.value, sort_keys=True, default=str), effect.scope)
        case Within():
            # Settings are part of a dataclass's repr; that of any other object says where it lies in memory.
            how = repr(effect.strategy) if is_dataclass(effect.strategy) else name_of(effect.strategy)
            return ("within", how, effect.task.id, effect.share, effect.seconds, effect.price)
        case _:
            return (type(effect).__name__,)


def encode_reply(effect: Effect[Any], value: Any) -> str:
    """A reply as JSON. Raises TypeError for what JSON cannot hold."""
    made = _CODED.get(type(effect))
    if made is not None:
        return _adapter(made).dump_json(value).decode()
    return json.dumps({"value": value})


def decode_reply(effect: Effect[Any], payload: str) -> Any:
    made = _CODED.get(type(effect))
    if made is not None:
        return _adapter(made).validate_json(payload)
    value = json.loads(payload)["value"]
    return tuple(value) if isinstance(effect, Recall) else value


def _adapter(made: type[Any]) -> TypeAdapter[Any]:
    adapter = _ADAPTERS.get(made)
    if adapter is None:
        adapter = _ADAPTERS[made] = TypeAdapter(made)
    return adapter


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def encode_outcome(outcome: Outcome) -> str:
    """An outcome; a belief is evidence for the moment and is not kept."""
    answer = outcome.answer
    return json.dumps(
        {
            "outcome": {
                "candidate": plain(answer.candidate) if answer and answer.candidate else None,
                "answered": answer is not None,
                "answer_reason": answer.reason if answer else "",
                "found": [plain(c) for c in outcome.found],
                "spent": plain(outcome.spent),
                "reason": outcome.reason,
                "judged": [plain(j) for j in outcome.judged],
                "p": outcome.p,
                "part": outcome.part,
                "fault": outcome.fault,
            }
        }
    )


def decode_outcome(payload: str) -> Outcome:
    data = json.loads(payload)["outcome"]
    candidate = load(Candidate, data["candidate"]) if data["candidate"] else None
    answer = Answer(candidate, data["answer_reason"]) if data["answered"] else None
    found = tuple(load(Candidate, c) for c in data["found"])
    spent = load(Amounts, data["spent"]) if data["spent"] else ZERO
    judged = tuple(load(Judgement, j) for j in data.get("judged", ()))
    return Outcome(
        answer, found, spent, data["reason"], judged, data.get("p"), data.get("part", False), data.get("fault", "")
    )


def plain(value: Any) -> Any:
    """A dataclass as JSON-ready data."""
    return _adapter(type(value)).dump_python(value, mode="json")


def load(made: type[Any], data: Any) -> Any:
    """A dataclass from JSON-ready data. Raises `ValueError` for what is none."""
    return _adapter(made).validate_python(data)


def encode_error(error: Exception) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": str(error), "sent": getattr(error, "sent", True)}


def decode_error(data: dict[str, Any]) -> Exception:
    """The error again: one of our tree by its name, else a ToolError, since only tools raise anything else."""
    made = getattr(errors, data["type"], errors.ToolError)
    error: Exception = made(data["message"])
    return error


def held(effect: Effect[Any], value: Any) -> Any:
    """A reply as the journal will hold it, so that a plan sees now what it would see on resuming. Raises TypeError or
    ValueError for what JSON cannot hold."""
    if isinstance(effect, CallTool):
        return as_json(value)
    if isinstance(value, Verdict):
        value = sound(value)
        return replace(value, evidence=storable(value.evidence))
    return value


def as_json(value: Any) -> Any:
    """The value as JSON gives it back. Raises TypeError or ValueError for what JSON cannot hold."""
    return json.loads(json.dumps(value))


def storable(text: str) -> str:
    """The text without lone surrogates, which cannot be stored."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def loosely(text: Any) -> Any:
    """What a person typed where JSON was asked for: JSON if it is, else the text itself."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
