"""Settings of a verifier as text: split, read as what each setting takes, and made into what JSON cannot write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.errors import CallerError

_KEY = re.compile(r"\s*([A-Za-z_]\w*)=")
_NEXT = re.compile(r",(?=\s*[A-Za-z_]\w*=)")
_NUMBERS = {"int", "float", "bool"}
_MANY = {"Sequence", "Mapping", "tuple", "list", "dict", "Iterable"}
LARGEST = 64 << 20  # bytes of a file that a setting names


def parsed(text: str, name: str, kinds: Mapping[str, Any], files: bool = True) -> dict[str, Any]:
    """`key=value,...` as settings. `kinds`: the annotations of the settings; `files`: whether "@file" is read. Raises
    `CallerError`."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(text):
        if (key := _KEY.match(text, at)) is None:
            raise CallerError(
                f"{name}:{text[:80]}: expected settings as key=value,key=value, at {text[at : at + 20]!r}"
            )
        if key[1] in found:
            raise CallerError(f"{name}: the setting {key[1]!r} stands twice")
        end = _end(text, key.end())
        found[key[1]] = _value(text[key.end() : end], str(kinds.get(key[1], "")), f"{name}:{key[1]}", files)
        at = end + 1
    return found


def _end(text: str, start: int) -> int:
    """Where a value ends: after its JSON, else before the next `,key=`."""
    if text[start : start + 1] in ("[", "{", '"'):
        try:
            end = json.JSONDecoder().raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            pass
        else:
            if end == len(text) or _NEXT.match(text, end):
                return end
    after = _NEXT.search(text, start)
    return after.start() if after else len(text)


def _value(text: str, kind: str, where: str, files: bool = True) -> Any:
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        if not files:
            raise CallerError(f"{where}: {text[:60]!r}: what is written in a bank or a policy reads no file")
        return _of_file(text[1:], where)
    words = set(re.findall(r"\w+", kind))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if "str" in words and not words & _NUMBERS:  # a text, whatever it looks like: "42" is no number here
        several = isinstance(value, list | dict) and bool(words & _MANY)
        return value if several or isinstance(value, str) else text
    return value


def _of_file(place: str, where: str) -> Any:
    path = Path(place).expanduser()
    try:
        if path.stat().st_size > LARGEST:
            raise CallerError(f"{where}: {path} is larger than {LARGEST >> 20} MB", file=str(path))
        text = path.read_bytes().decode("utf-8").removesuffix("\n")
        return json.loads(text) if path.suffix == ".json" else text
    except OSError as error:
        raise CallerError(f"{where}: cannot read {path}: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise CallerError(f"{where}: {path} is not UTF-8 (byte {error.start})", file=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise CallerError(f"{where}: {path} is not JSON: {error}", file=str(path)) from error


def assembled(
    settings: Mapping[str, Any], kinds: Mapping[str, str], verifier_of: Callable[[str], Any]
) -> dict[str, Any]:
    """The settings with whatever JSON cannot write made of what it can: verifiers of their specs, functions of their
    addresses, tuples of lists, parameters and limits of mappings. What is none of these stays as it is."""
    return {key: _made(key, value, kinds.get(key, ""), verifier_of) for key, value in settings.items()}


def _made(key: str, value: Any, kind: str, verifier_of: Callable[[str], Any]) -> Any:
    if key in ("checks", "judges", "parts") and ("Any" in kind or "Verifier" in kind):
        return _verifiers(value, verifier_of)
    if isinstance(value, Mapping):
        return _of_mapping(key, value, kind)
    if isinstance(value, str):
        return _of_text(key, value, kind)
    return tuple(value) if isinstance(value, list) else value


def _verifiers(value: Any, verifier_of: Callable[[str], Any]) -> Any:
    def each(one: Any) -> Any:
        return verifier_of(one) if isinstance(one, str) else one

    if isinstance(value, str):
        return (each(value),)
    if isinstance(value, Mapping):
        return [(each(one), weight) for one, weight in value.items()]
    pairs = [tuple(one) if isinstance(one, list) else one for one in value]
    return tuple((each(one[0]), *one[1:]) if isinstance(one, tuple) else each(one) for one in pairs)


def _of_mapping(key: str, value: Mapping[str, Any], kind: str) -> Any:
    if "Params" in kind:
        from ..core.completions import Params

        fields: dict[str, Any] = {**value}
        if isinstance(fields.get("stop"), list):
            fields["stop"] = tuple(fields["stop"])
        if isinstance(fields.get("extra"), dict):
            fields["extra"] = tuple(sorted(fields["extra"].items()))
        return Params(**fields)
    if "Limits" in kind:
        from .sandbox.programs import Limits

        return Limits(**value)
    if "EnsembleModel" in kind:
        from ..budgets.calibrators import EnsembleModel

        return EnsembleModel.model_validate(value)
    if "Grouping" in kind:
        return _grouping(**value)
    return value


def _of_text(key: str, value: str, kind: str) -> Any:
    if "Grouping" in kind:
        return _grouping(value)
    if "Scorer" in kind and value.startswith(("http://", "https://")):
        from .http_prm import HttpPRM

        return HttpPRM(value)
    if "Callable" in kind or "Scorer" in kind:
        return _loaded(value, key)
    several = kind.startswith("tuple[str") or ("Sequence[str]" in kind and "str |" not in kind)
    return (value,) if several else value


def _grouping(name: str, **settings: Any) -> Any:
    from .grouping import Entailment, Lexical

    known: dict[str, type[Any]] = {"lexical": Lexical, "entailment": Entailment}
    if name not in known:
        raise CallerError(f"by={name!r}: expected one of {', '.join(known)}")
    return known[name](**settings)


def _loaded(address: str, key: str) -> Any:
    module, _, attribute = address.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # whatever a module of the user's own does when it is imported
        raise CallerError(f"{key}={address!r}: expected module:function: {type(error).__name__}: {error}") from error
