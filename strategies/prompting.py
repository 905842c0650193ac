"""From a task to the messages that ask for its answer: packaged templates, overridable by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import templates
from ..core.completions import Message
from ..core.effects import Sample
from ..core.task import Task
from ..core.verdict import wanted

if TYPE_CHECKING:
    from ..core.completions import Params


def asking(task: Task, template: str | None = None) -> tuple[Message, ...]:
    """The task's messages, the last user message wrapped in the template (default: the one of its answer kind).
    Raises `BadSettings` for a template that Jinja cannot read."""
    contract = task.contract
    name = template or contract.kind
    text = templates.render(
        __package__ or "",
        name,
        task.prompts.get(name),
        query=task.query,
        choices=contract.choices,
        schema=contract.schema,
        language=contract.language,
    )
    last = max((i for i, m in enumerate(task.messages) if m.role == "user"), default=None)
    if last is None:
        return (*task.messages, Message("user", text))
    return (*task.messages[:last], Message("user", text), *task.messages[last + 1 :])


def draw(task: Task, model: str | None, params: Params) -> Sample:
    """The effect that draws one candidate, asked for as the task's checks want it."""
    return Sample(asking(task), task, model, wanted(task.checks, params))


def packaged(name: str) -> str:
    """The source of a packaged template. Raises `BadSettings` for a name that has none."""
    return templates.packaged(__package__ or "", name)
