"""From a task to the messages that ask for its answer: packaged templates, overridable by name.

The query is a value, never part of a template's source: text that looks like template syntax stays text.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ..core.completions import Message
from ..core.effects import Sample
from ..core.errors import BadSettings
from ..core.task import Task

if TYPE_CHECKING:
    from jinja2 import Environment, Template

    from ..core.completions import Params


def asking(task: Task, template: str | None = None) -> tuple[Message, ...]:
    """The task's messages, the last user message wrapped in the template (default: the one of its answer kind).
    Raises `BadSettings` for a template that Jinja cannot read."""
    contract = task.contract
    text = _template(template or contract.kind, task.prompts.get(template or contract.kind)).render(
        query=task.query, choices=contract.choices, schema=contract.schema, language=contract.language
    )
    last = max((i for i, m in enumerate(task.messages) if m.role == "user"), default=None)
    if last is None:
        return (*task.messages, Message("user", text))
    return (*task.messages[:last], Message("user", text), *task.messages[last + 1 :])


def draw(task: Task, model: str | None, params: Params) -> Sample:
    """The effect that draws one candidate."""
    return Sample(asking(task), task, model, params)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    # autoescape is for HTML; prompts are plain text
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


@lru_cache(maxsize=256)
def _template(name: str, override: str | None) -> Template:
    from jinja2 import TemplateError

    try:
        return _environment().from_string(override if override is not None else packaged(name))
    except TemplateError as error:
        raise BadSettings(f"prompt template {name!r}: {error}", template=name) from error


def packaged(name: str) -> str:
    """The source of a packaged template. Raises `BadSettings` for a name that has none."""
    source = files(__package__).joinpath("prompts", f"{name}.j2")
    if not source.is_file():
        raise BadSettings(f"no prompt template is called {name!r}", template=name)
    return source.read_text(encoding="utf-8")
