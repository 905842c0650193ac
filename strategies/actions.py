"""Reading a model's turn: the tool call that it asks for, or the answer that it gives.

Models ask for tools in many ways. Read are, after a line's "Action:", JSON, `tool(arguments)`, the paper's
`tool[argument]`, and a name with an "Action Input:" line; without it, a `<tool_call>`, a fenced or bare JSON call, and
a line that is nothing but a call of a tool that there is. Everything here is pure and total: whatever the text, it
gives a `Turn`, never an exception, because a model may write anything.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..core.answers.locate import fences, marked
from ..core.task import Contract
from ..core.tools import ToolSpec

LONGEST = 20_000  # characters of a turn that are read
MARKS = 8  # of calls in a turn that are looked at
PARSED = 4_000  # characters of a call that are parsed as Python

_I = re.IGNORECASE | re.MULTILINE
_ACTION = re.compile(r"^[ \t>*_#-]{0,8}action(?:[ \t]*\d{1,3})?[*_ \t]{0,4}:[*_]{0,4}[ \t]*", _I)
_INPUT = re.compile(
    r"^[ \t>*_]{0,8}(?:action[ \t]*)?(?:input|arguments|args)(?:[ \t]*\d{1,3})?[*_ \t]{0,4}:[*_]{0,4}", _I
)
_OBSERVED = re.compile(r"^[ \t>*_#]{0,8}observation(?:[ \t]*\d{1,3}|[ \t]+from\b[^\n:]{0,80})?[*_ \t]{0,4}:", _I)
_ANSWER = re.compile(r"^[ \t>*_#]{0,8}(?:final[ \t]+)?answer[*_ \t]{0,4}:", _I)
_TAGGED = re.compile(r"<tool_call>(.{0,20000}?)(?:</tool_call>|\Z)", re.DOTALL | re.IGNORECASE)
_NAME = re.compile(r"[`*\"']{0,3}([A-Za-z_](?:[\w.:/-]{0,126}\w)?)[`*\"']{0,3}[ \t]*")
_DONE = ("finish", "final_answer", "answer", "submit")  # the paper's last action, which is no tool

_TOOL_KEYS = ("tool", "name", "action", "tool_name", "function")
_ARGUMENT_KEYS = ("arguments", "args", "input", "parameters", "action_input", "tool_input")


@dataclass(frozen=True, slots=True)
class Action:
    """A tool call as the model asks for it. `problem`: why it cannot be made, for the model to read."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a reply comes to. `text` is the model's own part: what it makes up as the tool's answer is cut off. `final`
    is the text to read the answer from, None where it gives none."""

    text: str
    action: Action | None = None
    final: str | None = None


@dataclass(frozen=True, slots=True)
class Turns(Contract):
    """The contract of a turn: an answer where one is given, none where a tool is asked for, or nothing is said yet."""

    tools: tuple[ToolSpec, ...] = field(default=(), compare=False, repr=False)  # schemas have no hash

    @classmethod
    def of(cls, contract: Contract, tools: tuple[ToolSpec, ...]) -> Turns:
        return cls(contract.kind, contract.choices, contract.schema, contract.language, tools)

    def read(self, text: str) -> Any:
        """The answer that the turn gives, if it gives one."""
        final = turn_of(text, self.tools, self).final
        return None if final is None else Contract.read(self, final)

    def interim(self, text: str) -> bool:
        """A turn without an answer is a step, or a thought."""
        return True

    def loosely(self, text: str) -> Any:
        """An answer in a turn that marks none, for want of a better one. What is only a call holds none."""
        turn = turn_of(text, self.tools, self)
        return Contract.read(self, turn.text) if turn.action is None else None


def turn_of(text: str, tools: Sequence[ToolSpec], contract: Contract) -> Turn:
    """What the reply comes to: whichever of an action and an answer stands first."""
    own = _own(text[-LONGEST:])
    at, action = _action(own, tools)
    if action is not None and action.tool.lower() in _DONE and all(action.tool != spec.name for spec in tools):
        return Turn(own, None, f"{own[:at]}\nAnswer: {_told(action)}")
    answer = _ANSWER.search(own)
    if action is not None and (answer is None or at < answer.start()):
        return Turn(own, action)
    if contract.kind in ("json", "code"):
        given = answer is not None or bool(fences(own)) or own.lstrip()[:1] in ("{", "[")
    else:
        given = next(marked(own), None) is not None
    return Turn(own, None, own if given else None)


def _own(text: str) -> str:
    """The text up to where the model makes up what a tool says."""
    observed = _OBSERVED.search(text)
    own = text[: observed.start()].rstrip() if observed else text
    return own if own.strip() else text


def _action(text: str, tools: Sequence[ToolSpec]) -> tuple[int, Action | None]:
    """The first call in the text, and where it stands."""
    for match in islice(_ACTION.finditer(text), MARKS):
        if text.count("```", 0, match.start()) % 2 == 0 and (action := _spelled(text[match.end() :], tools)):
            return match.start(), action
    if (tagged := _TAGGED.search(text)) and (action := _of_json(tagged[1], tools)):
        return tagged.start(), action
    names = {spec.name for spec in tools}
    for _, body in fences(text)[:3]:
        if (action := _of_json(body, tools)) and action.tool in names:
            return text.find("```"), action
    at = len(text) - len(text.lstrip())
    if text[at : at + 1] == "{" and (action := _of_json(text, tools)) and action.tool in names:
        return at, action
    for match in re.finditer(r"^[ \t`]*([A-Za-z_][\w.:/-]{0,127})\(.*\)[ \t`]*$", text, re.MULTILINE):
        if match[1] in names and (action := _spelled(match[0].strip(" \t`"), tools)):
            return match.start(), action
    return -1, None


def _spelled(text: str, tools: Sequence[ToolSpec]) -> Action | None:
    """The call after an "Action:" mark."""
    text = text.lstrip()
    if text.startswith("```"):
        body = fences(text)
        text = body[0][1].strip() if body else text.strip("`\n ")
    text = text.lstrip("` ")
    if text[:1] == "{":
        return _of_json(text, tools)
    name = _NAME.match(text)
    if name is None:
        return None
    rest = text[name.end() :]
    if rest[:1] == "(":
        return _of_call(name[1], _inside(rest, "(", ")"), tools)
    if rest[:1] == "[":
        return _given(name[1], _inside(rest, "[", "]"), tools)
    if given := _INPUT.search(rest):
        return _given(name[1], rest[given.end() :].strip(), tools)
    line = rest.partition("\n")[0].lstrip(": ").strip()
    known = any(spec.name == name[1] for spec in tools)
    if known and rest.lstrip(": \t\n")[:1] == "{":
        return _given(name[1], rest.lstrip(": \t\n"), tools)
    return _given(name[1], line, tools) if known or not line else None


def _inside(text: str, opened: str, closed: str) -> str:
    """What stands between the first bracket and the one that closes it; where none does, the rest of the line."""
    depth, quote, escaped = 0, "", False
    for i, c in enumerate(text):
        if quote:
            if c == quote and not escaped:
                quote = ""
            escaped = c == "\\" and not escaped
        elif c in "\"'" and (i == 0 or not text[i - 1].isalnum()):  # not the apostrophe of "don't"
            quote = c
        elif c == opened:
            depth += 1
        elif c == closed:
            depth -= 1
            if depth == 0:
                return text[1:i]
    line = text[1:].partition("\n")[0]
    end = line.rfind(closed)
    return line if end < 0 else line[:end]


def _of_json(text: str, tools: Sequence[ToolSpec]) -> Action | None:
    """A call as a JSON object: its tool under one of the usual keys, its arguments under another or beside it."""
    data = _object(text)
    if data is None:
        return None
    key = next((k for k in _TOOL_KEYS if isinstance(data.get(k), str | dict)), None)
    if key is None:
        return None
    if isinstance(data[key], dict):  # {"function": {"name": ..., "arguments": ...}}
        data, key = data[key], "name"
        if not isinstance(data.get(key), str):
            return None
    tool = data[key].strip()
    if spelled := re.fullmatch(r"([\w.:/-]+)\((.*)\)", tool, re.DOTALL):
        return _of_call(spelled[1], spelled[2], tools)
    given = next((k for k in _ARGUMENT_KEYS if k in data and k != key), None)
    arguments = data[given] if given else {k: v for k, v in data.items() if k != key and k not in ("id", "type")}
    if isinstance(arguments, str):
        return _given(tool, arguments, tools)
    if isinstance(arguments, dict):
        return Action(tool, arguments)
    return _placed(tool, arguments if isinstance(arguments, list) else [arguments], {}, tools)


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object, or Python dict, with which the text begins."""
    text = text.strip()
    try:
        data = json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        data = _literal("{" + _inside(text, "{", "}") + "}") if text[:1] == "{" else None
    return data if isinstance(data, dict) and all(isinstance(k, str) for k in data) else None


def _literal(text: str) -> Any:
    try:
        return _ready(ast.literal_eval(text[:PARSED]))
    except Exception:  # SyntaxError, ValueError, MemoryError, RecursionError: whatever a text may do to the parser
        return None


def _ready(value: Any) -> Any:
    """The value if JSON can hold it, else its text."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _given(tool: str, text: str, tools: Sequence[ToolSpec]) -> Action:
    """A call with its arguments as one text: a JSON object of them, or the first of them."""
    text = text.strip()
    if text.startswith("```") and (blocks := fences(text)):
        text = blocks[0][1].strip()
    if text[:1] == "{" and (data := _object(text)) is not None:
        return Action(tool, data)
    if not text:
        return Action(tool)
    if re.fullmatch(r"\w+[ \t]*=[ \t]*[^=].*", text, re.DOTALL):
        return _of_call(tool, text, tools)
    quoted = _literal(text) if text[:1] in "\"'" else None
    return _placed(tool, [quoted if isinstance(quoted, str) else text.strip("`")], {}, tools)


def _of_call(tool: str, inside: str, tools: Sequence[ToolSpec]) -> Action:
    """A call as Python writes it. What is no literal is taken as its text: `calculator(12 * 13)`."""
    source = f"f({inside})"
    try:
        call = ast.parse(source[:PARSED].strip(), mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError(inside)
        by_place = [_argument(one, source) for one in call.args]
        by_name = {one.arg: _argument(one.value, source) for one in call.keywords if one.arg}
    except Exception:  # no Python: one text
        text = inside.strip()
        if text[:1] == "{" and (data := _object(text)) is not None:
            return Action(tool, data)
        return _placed(tool, [text.strip("\"'`")] if text else [], {}, tools)
    if len(by_place) == 1 and not by_name and isinstance(by_place[0], dict) and _takes(tool, by_place[0], tools):
        return Action(tool, by_place[0])
    return _placed(tool, by_place, by_name, tools)


def _argument(node: ast.expr, source: str) -> Any:
    try:
        return _ready(ast.literal_eval(node))
    except ValueError:
        return ast.get_source_segment(source, node) or ""


def _takes(tool: str, arguments: Mapping[str, Any], tools: Sequence[ToolSpec]) -> bool:
    spec = next((spec for spec in tools if spec.name == tool), None)
    return spec is not None and bool(arguments) and arguments.keys() <= properties_of(spec).keys()


def properties_of(spec: ToolSpec) -> Mapping[str, Any]:
    """The schemas of a tool's arguments by name. Schemas of other people's tools may hold anything, null too."""
    properties = spec.parameters.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _placed(tool: str, by_place: list[Any], by_name: Mapping[str, Any], tools: Sequence[ToolSpec]) -> Action:
    """Arguments by place get the names of the tool's parameters, in their order."""
    spec = next((spec for spec in tools if spec.name == tool), None)
    if spec is None:
        return Action(tool, dict(by_name) or ({"input": by_place[0]} if by_place else {}))
    names = [name for name in properties_of(spec) if name not in by_name]
    if len(by_place) > len(names):
        takes = ", ".join(properties_of(spec)) or "no arguments"
        return Action(tool, dict(by_name), f"{tool} takes {takes}: {len(by_place)} more were given without a name")
    return Action(tool, dict(by_name) | dict(zip(names, by_place, strict=False)))


def _told(action: Action) -> str:
    """What the last action says: its only argument, or all of them."""
    values = [value for value in action.arguments.values() if not isinstance(value, dict | list)]
    return str(values[0]) if len(values) == 1 else json.dumps(dict(action.arguments))
