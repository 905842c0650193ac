"""From a task to the messages that ask for its answer: packaged templates, overridable by name."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core import templates
from ..core.completions import Message
from ..core.effects import Sample
from ..core.task import Contract, Task
from ..core.verdict import wanted

if TYPE_CHECKING:
    from ..core.completions import Params


def asking(task: Task, template: str | None = None) -> tuple[Message, ...]:
    """The task's messages, the last user message wrapped in the template (default: the one of its answer kind).
    Raises `BadSettings` for a template that Jinja cannot read."""
    return _placed(task, _asked(task, template))


def speaking(task: Task, template: str, /, **values: Any) -> tuple[Message, ...]:
    """The task's messages with the last user message replaced by a strategy's own template, filled with `query` (what
    is asked), `asked` (the same with the form that an answer has to take) and `values`. Raises as `asking` does."""
    values = {"query": task.query, "asked": _asked(task, None), **values}
    text = templates.render(__package__ or "", template, task.prompts.get(template), **values)
    return _placed(task, text)


def draw(task: Task, model: str | None, params: Params) -> Sample:
    """The effect that draws one candidate, asked for as the task's checks want it."""
    return Sample(asking(task), task, model, wanted(task.checks, params))


def answering(task: Task, template: str, model: str | None, params: Params, /, **values: Any) -> Sample:
    """The effect that asks for a candidate with a strategy's own template."""
    return Sample(speaking(task, template, **values), task, model, wanted(task.checks, params))


def thinking(task: Task, template: str, model: str | None, params: Params, /, **values: Any) -> Sample:
    """The effect that asks for a thought (a plan, a critique, a grade): its reply is no candidate."""
    return Sample(speaking(task, template, **values), None, model, params)


def packaged(name: str) -> str:
    """The source of a packaged template. Raises `BadSettings` for a name that has none."""
    return templates.packaged(__package__ or "", name)


def _asked(task: Task, template: str | None) -> str:
    contract = task.contract
    name = template or contract.kind
    override, query = task.prompts.get(name), task.query
    if contract.schema is None:
        return _formed(name, override, query, contract)
    return _form(name, override, query, contract)


def _form(name: str, override: str | None, query: str, contract: Contract) -> str:
    return templates.render(
        __package__ or "",
        name,
        override,
        query=query,
        choices=contract.choices,
        schema=contract.schema,
        language=contract.language,
    )


# A search asks the same question at every node. A schema is a mapping, which no cache can key.
_formed = lru_cache(maxsize=1024)(_form)


def _placed(task: Task, text: str) -> tuple[Message, ...]:
    last = max((i for i, m in enumerate(task.messages) if m.role == "user"), default=None)
    if last is None:
        return (*task.messages, Message("user", text))
    return (*task.messages[:last], Message("user", text), *task.messages[last + 1 :])
