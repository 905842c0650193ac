"""Reading a workflow: from JSON, YAML or data to a checked document, and from a document to stable text.

A workflow may be written by a model: nothing in it is run before it is checked, no step can name what is not
registered, and what it could come to at the most is bounded. Errors name the place, e.g. `steps[2].then[0].do`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...core.errors import CallerError
from .caps import USUAL, Caps

if TYPE_CHECKING:
    from pydantic import ValidationError

    from .schema import Document


@lru_cache(maxsize=256)
def document(source: str, caps: Caps = USUAL) -> Document:
    """The document that a text holds, JSON or YAML. Raises `CallerError` for one that is none, or too large."""
    if len(source) > caps.chars:
        raise CallerError(f"workflow: {len(source):,} characters, at most {caps.chars:,} are read")
    return checked(_parsed(source), caps)


def checked(data: Any, caps: Caps = USUAL) -> Document:
    """The document that JSON data holds. Raises as `document` does."""
    from pydantic import ValidationError

    from .auditing import audit
    from .schema import Document

    if isinstance(data, list):  # bare steps
        data = {"steps": data}
    if isinstance(data, str) and re.fullmatch(r"@?\S+\.(?:ya?ml|json)", data):
        name = data.removeprefix("@")
        raise CallerError(
            f"workflow: {data!r} is the name of a file: write workflow:source=@{name} on the command line, "
            f"Workflow.of(Path({name!r}).read_text()) in Python"
        )
    if not isinstance(data, Mapping):
        raise CallerError(f"workflow: expected a mapping with `steps`, got {type(data).__name__}")
    _shallow(data, 4 * caps.depth + 8, 64 * caps.nodes)
    try:
        json.dumps(data, ensure_ascii=False, default=str).encode()
        found = Document.model_validate(data)
    except UnicodeEncodeError:
        raise CallerError("workflow: half a surrogate pair, which is no text") from None
    except ValidationError as error:
        raise CallerError(f"workflow: {'; '.join(_told(error, data))}") from error
    audit(found, caps)
    return found


def canonical(found: Document) -> str:
    """The document as compact JSON: equal documents give equal texts."""
    return json.dumps(plain(found), ensure_ascii=False, separators=(",", ":"))


def plain(found: Document) -> dict[str, Any]:
    """The document as JSON data, defaults left out."""
    data: dict[str, Any] = _ordered(found.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return data


def _ordered(value: Any) -> Any:
    """What a step does before everything else, and its name."""
    if isinstance(value, dict):
        first = [key for key in ("do", "as") if key in value]
        return {key: _ordered(value[key]) for key in (*first, *(key for key in value if key not in first))}
    return [_ordered(one) for one in value] if isinstance(value, list) else value


def to_yaml(found: Document) -> str:
    """The document as YAML for people: one key a line, in the order of the schema, texts of several lines as blocks."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump(plain(found), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1 << 20)


def _parsed(source: str) -> Any:
    try:
        return json.loads(source, object_pairs_hook=_once)
    except RecursionError:
        raise CallerError("workflow: nested too deep") from None
    except ValueError as error:
        # What opens like JSON is meant to be JSON: its own error says more than YAML's of the same text.
        if source.lstrip()[:1] in ("{", "["):
            raise CallerError(f"workflow: not JSON: {error}") from error
    return _yaml(source)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise CallerError(f"workflow: the key {twice!r} stands twice in one mapping")
    return found


def _yaml(source: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """No aliases: they can make a small text a huge or an endless document. No key twice."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise CallerError("workflow: YAML aliases (*name) are not allowed: write the steps out, or `call` them")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if odd := [key for key in keys if not isinstance(key, str)]:
                raise CallerError(f"workflow: the key {odd[0]!r:.60} is no text: write it in quotes")
            _once([(key, None) for key in keys])
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(source, Loader=Loader)
    except (RecursionError, yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        said = "nested too deep" if isinstance(error, RecursionError) else f"not YAML: {error}"
        raise CallerError(f"workflow: {said}") from error


def _shallow(data: Any, depth: int, most: int) -> None:
    """Refuses what is nested so deep, or so large, that looking at it would be dear."""
    level, seen = [data], 0
    for _ in range(depth):
        level = [inner for one in level for inner in _inside(one)]
        seen += len(level)
        if not level:
            return
        if seen > most:
            raise CallerError(f"workflow: more than {most:,} values")
    raise CallerError(f"workflow: nested more than {depth} deep")


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value


def _told(error: ValidationError, data: Any) -> Iterator[str]:
    """The first few errors, each at its place in the document."""
    errors = error.errors(include_url=False, include_input=False)
    for one in errors[:4]:
        message = str(one["msg"]).removeprefix("Value error, ")
        yield f"{_place(one['loc'], data, one['type'].startswith('union_tag'))}: {message}"
    if len(errors) > 4:
        yield f"and {len(errors) - 4} more"


def _place(loc: tuple[int | str, ...], data: Any, tag: bool) -> str:
    """`steps[2].then[0].do` for a pydantic location, which names unions' tags too, and lists that were one step."""
    place, at = "", data
    for part in loc:
        if isinstance(part, int):
            if isinstance(at, list | tuple):
                place, at = f"{place}[{part}]", at[part] if part < len(at) else None
            continue
        if isinstance(at, Mapping) and part not in at and part == at.get("do"):
            continue  # a tag
        place = f"{place}.{part}" if place else part
        at = at.get(part) if isinstance(at, Mapping) else None
    return (f"{place}.do" if tag else place) or "workflow"
