"""JSON Schema and pydantic models: whether a JSON answer is as it should be, and what is wrong where it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from ..core.errors import CallerError, MissingExtra, SatisficeError
from ..core.task import Candidate, Contract, Task
from ..core.verdict import Verdict
from .subject import LIMIT, shown, subject

ERRORS = 5  # that the evidence names
DIGITS = 1_000  # of a whole number
DEPTH = 100  # of nested objects and arrays
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[{}\]]")


class Validator(Protocol):
    """What is wrong with a JSON text and its value, as "path: what was expected"."""

    def __call__(self, text: str, value: Any) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Schema:
    """Whether the answer is JSON that fits a JSON Schema (draft 2020-12, or what `$schema` says) or a pydantic model
    (or any type that pydantic takes). None takes the schema of the task's contract.

    The score is 1.0 or 0.0, exact; the evidence names up to five faults by their JSON path. `format` is not
    asserted. References outside the schema are refused, never fetched; `pattern` is matched by RE2 and needs the
    extra `regex`. An object that names a key twice is wrong: readers of JSON disagree on its value.

    Raises CallerError for a schema that is wrong, saying where, MissingExtra without the extra `schema`.
    """

    schema: Mapping[str, Any] | type | None = None
    _validator: Validator | None = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "schema"
    blocking: ClassVar[bool] = True

    def __post_init__(self) -> None:
        made = None if self.schema is None else validator(self.schema)
        object.__setattr__(self, "_validator", made)

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """1.0 or 0.0, exact; unknown for JSON too large or too deep to check, or where there is no schema."""
        text = subject(candidate)
        if isinstance(text, Verdict):
            return text
        try:
            check = self._validator or (validator(task.contract.schema) if task.contract.schema is not None else None)
        except SatisficeError as error:
            return Verdict(None, evidence=f"the task's schema cannot be used: {error}")
        if check is None:
            return Verdict(None, evidence="no schema: neither the verifier nor the task's contract has one")
        try:
            written, value = _parsed(text)
            faults = check(written, value)
        except _NoJson as error:
            return Verdict(0.0, exact=True, evidence=str(error))
        except Exception as error:  # too deep, too much work, a model's own validator
            return Verdict(None, evidence=f"cannot be checked: {type(error).__name__}: {str(error)[:200]!r}")
        said = "; ".join(fault.encode("utf-8", "backslashreplace").decode() for fault in faults[:ERRORS])
        return Verdict(0.0 if faults else 1.0, exact=True, evidence=said or "it fits the schema")

    def __reduce__(self) -> Any:
        return Schema, (self.schema,)


class _NoJson(ValueError):
    """The answer holds no JSON, or JSON that means different things to different readers."""


class TooLarge(Exception):
    """JSON as the standard allows it, and more than is checked."""


def _parsed(text: str) -> tuple[str, Any]:
    """The JSON of an answer, as it stands or inside prose and fences; its text and its value."""
    try:
        return text, _strict(text)
    except _NoJson:
        raise
    except ValueError as error:
        why = str(error)
    reading = Contract("json").read(text[:LIMIT])
    if reading is None:
        raise _NoJson(f"{shown(text)} holds no JSON value: {why[:120]}")
    return reading.answer, _strict(reading.answer)


def _strict(text: str) -> Any:
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise _NoJson(f"the key {shown(twice)} stands twice in one object")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    def finite(number: str) -> float:
        value = float(number)
        if value in (float("inf"), float("-inf")):
            raise TooLarge(f"the number {number[:20]}")
        return value

    def whole(number: str) -> int:
        if len(number) > DIGITS:
            raise TooLarge(f"a number of {len(number)} digits")
        return int(number)

    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > DEPTH:
            raise TooLarge(f"more than {DEPTH} levels")
    return json.loads(text, object_pairs_hook=once, parse_constant=refuse, parse_float=finite, parse_int=whole)


def validator(schema: Any) -> Validator:
    """The validator of a schema or type. Raises CallerError and MissingExtra."""
    if isinstance(schema, str | bytes | int | float | list):
        raise CallerError(f"schema={schema!r:.80}: neither a JSON Schema (a mapping) nor a type that pydantic takes")
    if not isinstance(schema, Mapping):
        return _typed(schema)
    import json

    try:
        plain = json.dumps(schema, sort_keys=True, default=_as_data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerError(f"the schema is not JSON: {error}") from None
    return _json_schema(plain)


def _as_data(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


@lru_cache(maxsize=64)
def _json_schema(plain: str) -> Validator:
    import json

    try:
        import jsonschema  # noqa: F401
    except ImportError:
        raise MissingExtra.of("schema", "the verifier 'schema'") from None
    from .json_schema import prepared

    return prepared(json.loads(plain))


def _typed(model: Any) -> Validator:
    """The validator of a pydantic model."""
    from pydantic import TypeAdapter, ValidationError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(model)
    except Exception as error:  # whatever a class of the caller's raises
        raise CallerError(
            f"schema={model!r:.80}: neither a JSON Schema nor a type that pydantic takes: {error}"
        ) from None

    def check(text: str, value: Any) -> list[str]:
        try:
            adapter.validate_json(text)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False)[: ERRORS + 1]
            return [f"{_path(fault['loc'])}: {fault['msg']} (got {shown(repr(fault['input']))})" for fault in faults]
        return []

    return check


def _path(places: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in places)
