"""Prompt templates: packaged Jinja files (`<package>/prompts/<name>.j2`), each of which a caller may override.

What is filled in is a value, never part of a template's source: text that looks like template syntax stays text.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .errors import BadSettings

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def render(package: str, name: str, override: str | None, /, **values: Any) -> str:
    """The template `name` of `package`, or the `override` in its place, filled in. Raises `BadSettings` for a template
    that Jinja cannot read or fill in."""
    from jinja2 import TemplateError

    template = _template(package, name, override)
    try:
        return template.render(**values)
    except TemplateError as error:
        raise BadSettings(f"prompt template {name!r}: {error}", template=name) from error


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    # autoescape is for HTML; prompts are plain text
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


@lru_cache(maxsize=256)
def _template(package: str, name: str, override: str | None) -> Template:
    from jinja2 import TemplateError

    try:
        return _environment().from_string(override if override is not None else packaged(package, name))
    except TemplateError as error:
        raise BadSettings(f"prompt template {name!r}: {error}", template=name) from error


def packaged(package: str, name: str) -> str:
    """The source of a packaged template. Raises `BadSettings` for a name that has none."""
    source = files(package).joinpath("prompts", f"{name}.j2")
    if not source.is_file():
        raise BadSettings(f"no prompt template is called {name!r}", template=name)
    return source.read_text(encoding="utf-8")
