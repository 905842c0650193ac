"""A JSON Schema made safe to run on what a model wrote: bounded work, no fetching, linear-time patterns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..core.answers.json_ import _plain
from ..core.errors import CallerError, MissingExtra
from . import regex

if TYPE_CHECKING:
    from .schema import Validator

STEPS = 100_000  # keywords that are looked at for one candidate
SEEN = 50  # faults that are collected before the most telling are chosen
_IN_PLACE = (
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "dependentSchemas",
)
_DATA = ("const", "enum", "default", "examples")  # keywords whose value is no schema
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_work = threading.local()


def prepared(schema: Any) -> Validator:
    """The validator of a schema (JSON data of our own, which is changed here). Raises CallerError."""
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry

    dialect = schema.get("$schema") if isinstance(schema, dict) else None
    cls = validator_for(schema, default=None) if dialect is not None else Draft202012Validator
    if cls is None:
        raise CallerError(f"the schema's $schema {dialect!r:.80} is not known")
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        raise CallerError(f"the schema is wrong at {_at(error.absolute_path)}: {error.message:.200}") from None
    except RecursionError:
        raise CallerError("the schema is nested too deeply") from None
    for place, part in _subschemas(schema):
        nested = part.get("$schema")
        if nested not in (None, dialect):
            raise CallerError(f"the schema is wrong at {_at(place)}: $schema may differ only in a schema of its own")
        if "unevaluatedProperties" in part and "patternProperties" in part:
            raise CallerError(f"{_at(place)}: unevaluatedProperties beside patternProperties is not supported")
        for pattern in [part.get("pattern"), *(part.get("patternProperties") or ())]:
            if pattern is not None:
                _pattern(pattern, _at(place))
        part.pop("$schema", None)  # jsonschema would take the plain class of the dialect for it
    safe = extend(cls, {name: _counted(_SAFE.get(name, fn)) for name, fn in cls.VALIDATORS.items()})
    made = safe(schema, registry=Registry())
    _check_references(schema, made)

    def check(text: str, value: Any) -> list[str]:
        _work.left = STEPS
        found = list(islice(made.iter_errors(value), SEEN))
        # The shallowest first; of alternatives the fault that is nearest to being none.
        found.sort(key=lambda error: len(error.absolute_path))
        return [f"{(e := best_match([error]) or error).json_path}: {e.message:.160}" for error in found]

    return check


def _at(path: Any) -> str:
    return "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)


def _subschemas(schema: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every subschema with its place."""
    todo: list[tuple[tuple[str | int, ...], Any, bool]] = [((), schema, True)]
    while todo:
        place, part, is_schema = todo.pop()
        if isinstance(part, list):
            todo += [((*place, i), item, True) for i, item in enumerate(part)]
        elif isinstance(part, dict):
            if is_schema:
                yield place, part
            todo += [
                ((*place, key), value, not (is_schema and key in _NAMED))
                for key, value in part.items()
                if not (is_schema and key in _DATA)
            ]


def _pattern(pattern: str, place: str) -> Any:
    try:
        return regex.compiled(pattern)
    except MissingExtra:
        raise MissingExtra.of("regex", "a schema with patterns") from None
    except CallerError as error:
        raise CallerError(f"the schema is wrong at {place}: {error}") from None


def _check_references(schema: Any, made: Any) -> None:
    """Every reference is inside the schema, and none leads back to itself without going into the value.

    Raises CallerError.
    """
    from referencing.exceptions import Unresolvable

    leads: dict[int, list[Any]] = {}
    places = {id(part): place for place, part in _subschemas(schema)}

    def visit(part: Any, resolver: Any) -> None:
        todo = [(part, resolver)]
        while todo:
            part, resolver = todo.pop()
            if isinstance(part, list):
                todo += [(item, resolver) for item in part]
            if not isinstance(part, dict):
                continue
            if id(part) in places:
                if id(part) in leads:
                    continue
                name = part.get("$id") or part.get("id")
                if isinstance(name, str) and places[id(part)]:
                    resolver = resolver.in_subresource(_resource(part, made))
                leads[id(part)] = _leads(part, resolver)
            todo += [(value, resolver) for key, value in part.items() if id(part) not in places or key not in _DATA]

    def _leads(part: dict[str, Any], resolver: Any) -> list[Any]:
        found: list[Any] = []
        for key in _IN_PLACE:
            value = part.get(key)
            if key.endswith(("ef", "Ref")) and isinstance(value, str):
                try:
                    found.append(resolver.lookup(value).contents)
                except (Unresolvable, ValueError, LookupError, TypeError):
                    where = _at(places.get(id(part), ()))
                    raise CallerError(
                        f"the schema's {key} {value!r:.80} at {where} leads nowhere inside the schema: put what it "
                        "names under $defs (nothing is fetched)"
                    ) from None
            elif isinstance(value, list):
                found += value
            elif isinstance(value, dict):
                found += value.values() if key == "dependentSchemas" else [value]
        return found

    visit(schema, made._resolver)
    _check_progress(leads, places)


def _resource(part: Any, made: Any) -> Any:
    from referencing.jsonschema import specification_with

    return specification_with(made.META_SCHEMA.get("$schema")).create_resource(part)


def _check_progress(leads: dict[int, list[Any]], places: dict[int, tuple[str | int, ...]]) -> None:
    """Depth-first, without recursion: a schema that is met again on its own path is a cycle."""
    done: set[int] = set()
    for start in leads:
        path: list[tuple[int, Iterator[Any]]] = [(start, iter(leads[start]))] if start not in done else []
        open_ = {start}
        while path:
            at, rest = path[-1]
            step = next((s for s in rest if isinstance(s, dict) and id(s) not in done), None)
            if step is None:
                done.add(at)
                open_.discard(at)
                path.pop()
            elif id(step) in open_:
                raise CallerError(f"the schema refers to itself without end at {_at(places.get(id(step), ()))}")
            else:
                open_.add(id(step))
                path.append((id(step), iter(leads.get(id(step), ()))))


# -- keywords ------------------------------------------------------------------------------------------------------


class TooMuchWork(Exception):
    """The schema multiplies the work on this value beyond its bound."""


def _counted(keyword: Any) -> Any:
    """The keyword, counting what it yields and how often it is asked."""

    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = getattr(_work, "left", STEPS) - 1
        _work.left = left
        if left < 0:
            raise TooMuchWork(f"more than {STEPS:,} steps")
        return keyword(validator, value, instance, schema) or ()

    return run


def _error(message: str) -> Any:
    from jsonschema.exceptions import ValidationError

    return ValidationError(message)


def _matches(pattern: str, text: str) -> bool:
    return regex.search(regex.cached(pattern), text)


def _pattern_keyword(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield _error(f"{instance[:60]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, part in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, part, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [key for key in instance if key not in named and not any(_matches(p, key) for p in patterns)]
    if isinstance(allowed, dict):
        for key in extra:
            yield from validator.descend(instance[key], allowed, path=key)
    elif allowed is False and extra:
        names = ", ".join(f"{key[:40]!r}" for key in sorted(extra)[:5])
        yield _error(f"additional properties are not allowed ({names}{' ...' if len(extra) > 5 else ''})")


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """In n log n: jsonschema's own compares every pair."""
    if not unique or not validator.is_type(instance, "array"):
        return
    if len({json.dumps(_plain(item), sort_keys=True) for item in instance}) < len(instance):
        yield _error("the items are not unique")


_SAFE = {
    "pattern": _pattern_keyword,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
