"""Calling tools from a plan: policies, people's approval, budgets, and what the model is shown of the result.

Whatever a tool says is other people's text. It stands between two lines that do not occur in it, and its lines that
look like the model's own protocol are marked as quotations: it can neither end its quotation nor speak as the model.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from ..core.effects import Ask, CallTool
from ..core.errors import BadQuery, ToolError
from ..core.plans import Plan
from ..core.task import Task
from ..core.tools import ToolSpec
from ..verifiers.prompting import quoted
from .actions import Action, properties_of

YES, NO = "yes", "no"
_PROTOCOL = re.compile(
    r"\W{0,8}(?:final\s+)?(?:thought|action|action\s+input|observation|answer|finish)\b", re.IGNORECASE
)
_PLAIN = re.compile(r"[-+.,:%/ \deE]{1,80}|true|false|null")  # says nothing that a model could take for an order


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of an action. `text` is shown as it is where `plain`, else between two lines `fence`. `again`: the
    same call was made before."""

    text: str
    failed: bool = False
    plain: bool = True
    fence: str = ""
    again: bool = False


@dataclass(slots=True)
class Toolbelt:
    """The tools of a task, what of their budgets is used, and which calls a person has refused."""

    specs: Mapping[str, ToolSpec]
    shown: int
    used: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    made: list[CallTool] = field(default_factory=list)

    @classmethod
    def of(cls, task: Task, shown: int) -> Toolbelt:
        """`shown`: most characters of a result that the model sees. Raises `BadQuery` where nothing may be called."""
        specs = {spec.name: spec for spec in task.tools}
        if not specs:
            raise BadQuery(
                "react needs tools: pass tools={'name': function, ...} to Engine or solve (typed callables, Tool(...) "
                "with a policy, or mcp_tools), or --tool module:function; without tools, use self_consistency"
            )
        if all(spec.policy == "forbid" for spec in specs.values()):
            raise BadQuery("react needs a tool that may be called: every one that there is is forbidden")
        return cls(specs, shown)

    @property
    def usable(self) -> list[ToolSpec]:
        """Those that may still be called."""
        return [spec for spec in self.specs.values() if spec.policy != "forbid" and self.left(spec) != 0]

    def left(self, spec: ToolSpec) -> int | None:
        """How often it may still be called; None: as often as it takes."""
        return None if spec.calls is None else max(0, spec.calls - self.used[spec.name])

    def use(self, action: Action) -> Plan[Observation]:
        """Calls the tool, if it may be called, and says what came of it."""
        spec = self.specs.get(action.tool)
        why = self._against(spec, action)
        if spec is None or why:
            return Observation(why, failed=True)
        call = CallTool(spec.name, tuple(action.arguments.items()), spec.idempotent)
        if spec.policy == "ask":
            allowed = yield from self._approved(call)
            if not allowed:
                return Observation("A person did not allow this call. Go on without it.", failed=True)
            call = replace(call, approved=True)
        again = call in self.made
        self.made.append(call)
        self.used[spec.name] += 1
        try:
            value = yield from call
        except ToolError as error:
            return replace(self._told(str(error), spec, failed=True), again=again)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return replace(self._told(text, spec), again=again)

    def _against(self, spec: ToolSpec | None, action: Action) -> str:
        """Why the call is not made, in our own words; "" where it may be."""
        if spec is None:
            names = [spec.name for spec in self.usable]
            near = get_close_matches(action.tool, names, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            return f"There is no tool of that name.{hint} The tools are: {', '.join(names) or 'none any more'}."
        if spec.policy == "forbid":
            return f"The tool {spec.name} is forbidden. Go on without it."
        if self.left(spec) == 0:
            return f"The tool {spec.name} has been called as often as it may be ({spec.calls}). Go on without it."
        return action.problem or wrong(spec, action.arguments)

    def _approved(self, call: CallTool) -> Plan[bool]:
        question = f"Call the tool {call.tool!r} with {visible(dict(call.arguments))}?"
        if question in self.refused:
            return False
        try:
            reply = yield from Ask(question, (YES, NO))
        except ToolError:  # whoever was asked could not say
            reply = NO
        if str(reply).strip().lower() == YES:
            return True
        self.refused.add(question)
        return False

    def _told(self, text: str, spec: ToolSpec, *, failed: bool = False) -> Observation:
        text = text.strip() or "(nothing)"
        if _PLAIN.fullmatch(text):
            return Observation(text, failed)
        shown = quoted(text, min(self.shown, spec.chars), inert=_PROTOCOL)
        return Observation(shown.text, failed, False, shown.fence)


def wrong(spec: ToolSpec, arguments: Mapping[str, Any]) -> str:
    """What is plainly wrong with the arguments' names, before anybody is asked or called; "" where nothing is."""
    properties, required = properties_of(spec), required_of(spec)
    lacking = [name for name in required if name not in arguments]
    extra = [] if spec.parameters.get("additionalProperties", True) else [n for n in arguments if n not in properties]
    if not lacking and not extra:
        return ""
    said = [f"without {', '.join(lacking)}"] * bool(lacking) + [f"with {len(extra)} that it does not take"] * bool(
        extra
    )
    return f"The call of {spec.name} is {' and '.join(said)}. It is written {usage(spec)}."


def required_of(spec: ToolSpec) -> list[str]:
    """The arguments that a call must have."""
    found = spec.parameters.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list | tuple) else []


def usage(spec: ToolSpec) -> str:
    """The call of a tool as a model is to write it: `search(query: string, most: integer = 5)`."""
    required = set(required_of(spec))
    said = []
    for name, kind in properties_of(spec).items():
        told = f"{name}: {_kind(kind)}"
        default = kind.get("default") if isinstance(kind, Mapping) else None
        said.append(
            told if name in required else f"{told} = {json.dumps(default)}" if default is not None else f"{told}?"
        )
    return f"{spec.name}({', '.join(said)})"


def _kind(schema: Any) -> str:
    """A JSON Schema type in a word or two."""
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(options := schema.get("enum"), list):
        return " | ".join(json.dumps(one) for one in options[:20])
    if isinstance(options := schema.get("anyOf"), list):
        return " | ".join(dict.fromkeys(map(_kind, options)))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {_kind(schema.get('items'))}"
    return " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def described(specs: list[ToolSpec]) -> list[dict[str, str]]:
    """Tools for a prompt: how each is called, what it does, and what its arguments mean."""
    rows = []
    for spec in specs:
        notes = [
            f"{name}: {kind['description']}"
            for name, kind in properties_of(spec).items()
            if isinstance(kind, Mapping) and kind.get("description")
        ]
        about = " ".join((spec.description + (f" ({'; '.join(notes)})" if notes else "")).split())
        rows.append({"usage": usage(spec), "about": quoted(about, 1_000).text, "name": spec.name})
    return rows


def visible(value: Any) -> str:
    """JSON for a person to judge: whatever does not print (control and direction marks) is spelled out."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def example(specs: list[ToolSpec]) -> str:
    """A call of the first tool, as a model is to write it."""
    if not specs:
        return "name(argument)"
    properties = properties_of(specs[0])
    required = required_of(specs[0]) or list(properties)[:1]
    said = [f"{name}={_SAMPLES.get(_kind(properties.get(name)), '...')}" for name in required]
    return f"{specs[0].name}({', '.join(said)})"


_SAMPLES = {"string": '"..."', "integer": "<integer>", "number": "<number>", "boolean": "true"}
