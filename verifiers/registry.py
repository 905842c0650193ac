"""Finding a verifier: by name, by entry point, as `module:attribute`, or from one line of text with its settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from inspect import Parameter, signature
from typing import Any

from ..core.errors import CallerError, SatisficeError, UnknownName
from ..core.verdict import Verifier
from .check import as_verifier
from .settings import assembled, parsed

# name -> where it is; loaded when it is named
BUILT_IN = {
    "agreement": "confidence:Agreement",
    "all_of": "registry:all_of",
    "any_of": "registry:any_of",
    "choice": "choice:Choice",
    "code": "code:Code",
    "confidence": "confidence:Confidence",
    "ensemble": "ensemble:Ensemble",
    "equation": "math_:Equation",
    "exact": "exact:Exact",
    "generated_tests": "code_generated:GeneratedTests",
    "grounding": "grounding:Grounding",
    "human": "human:Human",
    "judge": "judge:Judge",
    "math": "math_:Math",
    "p_true": "judge:PTrue",
    "pairwise": "pairwise:Pairwise",
    "panel": "judge:Panel",
    "process": "process:Process",
    "regex": "regex:Regex",
    "schema": "schema:Schema",
    "similarity": "similarity:Similarity",
    "weighted": "registry:weighted",
}
GROUP = "satisfice.verifiers"
_ADDRESS = re.compile(r"[A-Za-z_][\w.]*")


def find_verifier(name: str, /, **settings: Any) -> Verifier:
    """The verifier called `name` (built in, from an entry point of group `satisfice.verifiers`, or
    `module:attribute`), made with `settings`. What takes other verifiers (`all_of`, `panel`, ...) takes their specs as
    text too. Raises `UnknownName`, `CallerError` for a setting that is missing, unknown or bad, and `MissingExtra`."""
    made, builds = _found(name)
    return _make(made, name, settings, builds)


def verifier_of(spec: str) -> Verifier:
    """The verifier that one line names: `NAME[:key=value,...]` or `module:attribute[:key=value,...]`.

    Values are JSON where the setting is not a text, else text as it stands. `@file` is the content of a file (parsed
    if it is called .json), `@@` a literal @. A text that holds `,word=` has to be quoted: `pattern="a,b=c"`.
    Raises as `find_verifier` does.
    """
    name, rest = _split(spec)
    made, builds = _found(name)
    if rest and not re.match(r"\s*\w+\s*=", rest) and (meant := _meant(name, rest)):
        raise CallerError(f"{spec[:80]!r}: expected settings as key=value.{meant}")
    kinds = {key: parameter.annotation for key, parameter in _settings(made, builds).items()}
    return _make(made, name, parsed(rest, name, kinds), builds)


def names() -> tuple[str, ...]:
    """Every name that can be given, sorted."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def listing() -> list[dict[str, Any]]:
    """Name, summary, settings and the settings that are `needed` of every verifier that can be named."""
    rows = []
    for name in names():
        made, builds = _found(name)
        summary = re.split(r"(?<!et al)\. ", " ".join((made.__doc__ or "").split()))[0].rstrip(".")
        known = _settings(made, builds)
        needed = [key for key, p in known.items() if p.default is Parameter.empty]
        settings = {key: str(p.annotation) for key, p in known.items()}
        rows.append({"name": name, "summary": summary, "settings": settings, "needed": needed})
    return rows


# -- combinations, as they are written on one line --------------------------------------------------------------------


def all_of(checks: Iterable[Any], name: str = "") -> Verifier:
    """Every one of `checks` must hold (the lowest score; an exact failure decides). Each is a spec or a verifier."""
    from .constraint import AllOf

    return AllOf(*checks, name=name)


def any_of(checks: Iterable[Any], name: str = "") -> Verifier:
    """One of `checks` is enough (the highest score; an exact pass decides). Each is a spec or a verifier."""
    from .constraint import AnyOf

    return AnyOf(*checks, name=name)


def weighted(checks: Mapping[Any, float] | Iterable[tuple[Any, float]], name: str = "") -> Verifier:
    """The mean score of `checks` by weight: {spec: weight}, or (spec or verifier, weight) pairs."""
    from .constraint import Weighted

    return Weighted(checks, name=name)


# -- inside -----------------------------------------------------------------------------------------------------------


def _split(spec: str) -> tuple[str, str]:
    """The name and the settings of a spec. What begins as a registered name is one, unless a plain attribute follows:
    `math:isqrt` is a function of a module."""
    head, _, rest = spec.strip().partition(":")
    attribute, _, settings = rest.partition(":")
    if "=" in attribute or (_known(head) and not _ADDRESS.fullmatch(attribute)):
        return head, rest
    return (f"{head}:{attribute}" if attribute else head), settings


def _known(name: str) -> bool:
    return name in BUILT_IN or any(point.name == name for point in entry_points(group=GROUP))


def _found(name: str) -> tuple[Any, bool]:
    """What stands behind a name, and whether it has to be called to make the verifier."""
    if name in BUILT_IN:
        home, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(f".{home}", __package__), attribute), True
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _builds(point.load())
    module, colon, attribute = name.partition(":")
    if not colon:
        near = _nearest(name, names())
        hint = f" Did you mean {near!r}?" if near else ""
        text = f"unknown verifier {name!r}.{hint} Known: {', '.join(names())}, or module:attribute"
        raise UnknownName(text, kind="verifier", name=name, nearest=near)
    try:
        return _builds(getattr(import_module(module), attribute))
    except Exception as error:  # whatever a module of the user's own does when it is imported
        meant = _meant(module, attribute)
        text = f"cannot load {name!r}: {type(error).__name__}: {error}.{meant} Expected module:function, or one of the"
        raise UnknownName(f"{text} verifiers: {', '.join(names())}", kind="verifier", name=name) from error


def _meant(name: str, value: str) -> str:
    """A hint for `regex:^4`: the one setting that the value can be of."""
    if name not in BUILT_IN:
        return ""
    known = _settings(*_found(name))
    needed = [key for key, p in known.items() if p.default is Parameter.empty]
    return f" Did you mean {name}:{needed[0]}={value[:60]}?" if len(needed) == 1 else ""


def _builds(made: Any) -> tuple[Any, bool]:
    """A class whose instances can be called makes verifiers; any other callable is one."""
    if isinstance(made, type):
        return made, any("__call__" in vars(base) for base in made.__mro__)
    if not callable(made):
        raise TypeError(f"it is {type(made).__name__}, which cannot be called")
    return made, False


def _settings(made: Any, builds: bool) -> dict[str, Parameter]:
    """What it can be made with, by name; empty where nobody can tell."""
    try:
        found = signature(made if builds else type(made)).parameters if builds or is_dataclass(made) else {}
    except (TypeError, ValueError):
        return {}
    return {k: p for k, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def _make(made: Any, name: str, settings: Mapping[str, Any], builds: bool) -> Verifier:
    if not builds:
        if not settings:
            return as_verifier(made)
        if not is_dataclass(made):
            raise CallerError(f"{name} is a function, which takes no settings: {', '.join(settings)}")
    maker: Callable[..., Any] = made if builds else lambda **changed: replace(made, **changed)
    known = _settings(made, builds)
    for key in settings:
        if known and key not in known:
            near = _nearest(key, known)
            hint = f" Did you mean {near!r}?" if near else ""
            text = f"verifier {name!r} has no setting {key!r}.{hint} Its settings: {', '.join(known)}"
            raise CallerError(text, setting=key, nearest=near)
    missing = [key for key, p in known.items() if p.default is Parameter.empty and key not in settings]
    if builds and missing:
        needed = ",".join(f"{key}=..." for key in missing)
        raise CallerError(f"verifier {name!r} needs {', '.join(missing)}: {name}:{needed}", missing=missing)
    try:
        kinds = {key: str(p.annotation) for key, p in known.items()}
        return as_verifier(maker(**assembled(settings, kinds, verifier_of)))
    except SatisficeError:
        raise
    except Exception as error:  # of the wrong type altogether
        said = " ".join(str(error).split())[:300]
        raise CallerError(f"verifier {name!r}: {type(error).__name__}: {said}") from error


def _nearest(name: str, known: Iterable[str]) -> str | None:
    nearest: str | None = UnknownName.of("", name, known).details["nearest"]
    return nearest
