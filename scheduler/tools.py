"""Tools: the user's, and the one that is always there, the sandbox.

A tool is a plain typed callable, or a `Tool` that says under which rules it may be called. The rules hold here, in the
driver, whatever a plan does: forbidden tools are not called, those that need a person's word not without it, none more
often, longer or at greater length than it may.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from inspect import getdoc, isawaitable, iscoroutinefunction
from threading import Event
from typing import Any, TypeAlias

import anyio

from ..core.effects import CallTool
from ..core.errors import CallerError, ToolError, UnknownName
from ..core.tools import ToolPolicy, ToolSpec
from ..verifiers.prompting import shortened
from .codec import storable
from .signatures import Signature
from .threads import in_thread

SANDBOX = "sandbox"
_NAME = re.compile(r"[A-Za-z_][\w.:/-]{0,127}")
_FAULTS = (Exception, SystemExit)  # what a tool may raise without it being ours to hear


@dataclass(frozen=True, slots=True)
class Tool:
    """A callable, sync or async, and the rules for calling it: what `ToolSpec` says of each. `description`: what a
    model is told (default: the first paragraph of its docstring). `parameters`: the JSON Schema of its arguments, which
    then reach it as they are; without one, it comes from the signature, and arguments are checked and converted by it.
    """

    fn: Callable[..., Any]
    policy: ToolPolicy = "allow"
    seconds: float | None = 30.0
    calls: int | None = None
    chars: int = 8_000
    idempotent: bool = False
    description: str | None = None
    parameters: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if not callable(self.fn):
            raise CallerError(f"a tool is a callable, not {type(self.fn).__name__}")


Tools: TypeAlias = "Mapping[str, Callable[..., Any] | Tool] | Iterable[Callable[..., Any] | Tool]"


@dataclass(frozen=True, slots=True)
class Ready:
    """A tool that can be called: what plans see of it, and how its arguments are made."""

    tool: Tool
    spec: ToolSpec
    signature: Signature | None = None

    def bound(self, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        """The call. Raises `ToolError` for arguments that do not fit."""
        if self.signature is None:
            return partial(self.tool.fn, **arguments)
        by_place, by_name = self.signature.bind(arguments, self.spec.name)
        return partial(self.tool.fn, *by_place, **by_name)


def toolbox(tools: Any) -> dict[str, Ready]:
    """Tools by name; several without names go by those of their functions. Raises `CallerError`, early, for what cannot
    be called by name."""
    if tools is None:
        return {}
    if isinstance(tools, str) or not isinstance(tools, Mapping | Iterable):
        raise CallerError(f"tools: expected callables by name, or several of them, not {type(tools).__name__}")
    named = tools.items() if isinstance(tools, Mapping) else [(_called(tool), tool) for tool in tools]
    found: dict[str, Ready] = {}
    for name, tool in named:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise CallerError(f"tool {name!r}: a name is a letter, then letters, digits and . : / - _")
        if name in found:
            raise CallerError(f"two tools are called {name!r}: pass them by name, tools={{'...': ...}}")
        found[name] = _ready(name, tool if isinstance(tool, Tool) else Tool(tool))
    return found


def specs_of(tools: Mapping[str, Ready]) -> tuple[ToolSpec, ...]:
    """What plans see of them."""
    return tuple(ready.spec for name, ready in tools.items() if name != SANDBOX)


def check_again(stored: Iterable[ToolSpec], tools: Mapping[str, Ready]) -> None:
    """Raises `CallerError` where a stored run's tools are not there."""
    if missing := [spec.name for spec in stored if spec.name not in tools]:
        raise CallerError(
            f"this run may call the tools {', '.join(missing)}, which this engine does not have: open it with "
            "Engine(tools={...}), or satisfice runs ... --tool module:function",
            tools=missing,
        )


def tool_of(text: str) -> tuple[str, Tool]:
    """The name and tool that `module:function[,key=value,...]` stands for. Raises `UnknownName` and `CallerError`."""
    from ..strategies.storing import loaded
    from ..verifiers.settings import parsed

    address, _, rest = text.partition(",")
    kinds = {f.name: str(f.type) for f in fields(Tool) if f.name != "fn"}
    settings = parsed(rest, address, kinds) if rest else {}
    if unknown := settings.keys() - kinds:
        raise UnknownName.of("setting of a tool", min(unknown), kinds)
    made = loaded(address)
    tool = replace(made, **settings) if isinstance(made, Tool) else Tool(made, **settings)
    return address.rpartition(":")[2], tool


def _called(tool: Any) -> Any:
    fn = tool.fn if isinstance(tool, Tool) else tool
    return getattr(fn, "__name__", None) or type(fn).__name__


def _ready(name: str, tool: Tool) -> Ready:
    if name == SANDBOX:  # in the place of ours, whose calls bring limits of their own
        return Ready(tool, ToolSpec(name, seconds=None, chars=1 << 62))
    signature = Signature.of(tool.fn, name) if tool.parameters is None else None
    schema = signature.schema(name) if signature is not None else dict(tool.parameters or {})
    said = tool.description if tool.description is not None else _documented(tool.fn)
    spec = ToolSpec(name, said, schema, tool.policy, tool.idempotent, tool.seconds, tool.calls, tool.chars)
    return Ready(tool, spec, signature)


def _documented(fn: Any) -> str:
    text = getdoc(fn.func if isinstance(fn, partial) else fn) or ""
    return " ".join(text.partition("\n\n")[0].split())


# -- calling ----------------------------------------------------------------------------------------------------------


async def call_tool(effect: CallTool, tools: Mapping[str, Ready], nth: int = 1) -> Any:
    """What the tool replies, as JSON can hold it. `nth`: which call of this tool in its run. Raises `ToolError`.

    An async function is awaited, and cancelled when its time is up; a plain one runs in a thread of its own, which is
    given up then. What runs in the sandbox is killed when its call is cancelled."""
    ready = tools.get(effect.tool)
    if ready is None and effect.tool == SANDBOX:
        return await _sandbox(dict(effect.arguments))
    call, spec = permitted(effect, tools, nth)
    try:
        with anyio.move_on_after(spec.seconds) as scope:
            value = await call() if _is_async(call.func) else await in_thread(call)
            if isawaitable(value):
                value = await value
    except _FAULTS as error:
        raise failed(spec, error) from error
    if scope.cancelled_caught:
        raise ToolError(f"tool {spec.name!r}: no result within {spec.seconds:g} s")
    return shown(value, spec.chars)


def call_here(effect: CallTool, tools: Mapping[str, Ready], nth: int = 1) -> Any:
    """`call_tool` for a driver in virtual time: plain functions only, and no time is up. Raises `ToolError`."""
    if not tools or (effect.tool == SANDBOX and SANDBOX not in tools):
        return sandboxed(effect)
    call, spec = permitted(effect, tools, nth)
    if _is_async(call.func):
        raise ToolError(f"tool {spec.name!r}: an async tool needs the live driver")
    try:
        value = call()
    except _FAULTS as error:
        raise failed(spec, error) from error
    return shown(value, spec.chars)


def permitted(effect: CallTool, tools: Mapping[str, Ready], nth: int) -> tuple[partial[Any], ToolSpec]:
    """The call, if it may be made. Raises `ToolError`."""
    ready = tools.get(effect.tool)
    if ready is None:
        raise ToolError(str(UnknownName.of("tool", effect.tool, tools)))
    spec = ready.spec
    if spec.policy == "forbid":
        raise ToolError(f"tool {spec.name!r} is forbidden")
    if spec.policy == "ask" and not effect.approved:
        raise ToolError(f"tool {spec.name!r} needs a person's approval, which this call does not have")
    if spec.calls is not None and nth > spec.calls:
        raise ToolError(f"tool {spec.name!r} may be called {spec.calls} times in a run, and has been")
    call = ready.bound(dict(effect.arguments))
    assert isinstance(call, partial)
    return call, spec


def failed(spec: ToolSpec, error: BaseException) -> ToolError:
    """What a tool raised, as a plan sees it: at no greater length than a result."""
    if isinstance(error, ToolError):
        return error
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:  # its text may be a bug of its own
        said = type(error).__name__
    return ToolError(f"tool {spec.name!r}: {storable(shortened(said, spec.chars)[0])}")


def shown(value: Any, chars: int) -> Any:
    """The result as JSON can hold it; as text, its head and tail, where it is longer than `chars` characters."""
    if isinstance(value, str):
        return storable(shortened(value, chars)[0])
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _spelled(value, chars)
    return value if len(text) <= chars else storable(shortened(_readable(value, text), chars)[0])


def _readable(value: Any, text: str) -> str:
    return json.dumps(value, ensure_ascii=False) if "\\u" in text else text


def _spelled(value: Any, chars: int) -> Any:
    """What JSON cannot hold: dates, sets, dataclasses, models and the like in their JSON form, all else as its repr."""
    from pydantic_core import to_json

    try:
        text = to_json(value, fallback=repr, bytes_mode="utf8", inf_nan_mode="constants").decode()
        made = json.loads(text)
    except Exception:  # bytes that are no text, a circle, a repr that raises
        try:
            made = repr(value)
        except Exception as error:
            raise ToolError(f"a result of type {type(value).__name__} that has no text: {error!r:.200}") from error
    if isinstance(made, str):
        return storable(shortened(made, chars)[0])
    return made if len(text) <= chars else storable(shortened(text, chars)[0])


def _is_async(fn: Any) -> bool:
    return iscoroutinefunction(fn) or iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


# -- the sandbox ------------------------------------------------------------------------------------------------------


async def _sandbox(arguments: dict[str, Any]) -> Any:
    stop = Event()
    try:
        return await in_thread(partial(_perform, **arguments, stop=stop))
    except Exception as error:
        raise ToolError(f"tool {SANDBOX!r}: {type(error).__name__}: {error}") from error
    finally:
        stop.set()


def sandboxed(effect: CallTool) -> Any:
    """The same for a driver without a world: only the sandbox, whose results need nothing but their arguments.
    Raises `ToolError`."""
    if effect.tool != SANDBOX:
        raise ToolError(f"tool {effect.tool!r}: no tools but the sandbox in replay or simulation")
    try:
        return _perform(**dict(effect.arguments))
    except Exception as error:
        raise ToolError(f"tool {effect.tool!r}: {type(error).__name__}: {error}") from error


def _perform(**arguments: Any) -> Any:
    from ..verifiers.sandbox.tool import perform

    return perform(**arguments)
