"""The sandbox as a tool: what the engine calls for `CallTool("sandbox", ...)`, JSON in and JSON out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from threading import Event
from typing import Any

from ...core.errors import CallerError, SatisficeError, ToolError
from .programs import Limits, Program, Ran


def perform(
    programs: Sequence[Mapping[str, Any]],
    limits: Mapping[str, Any] | None = None,
    converse: bool = False,
    unsafe: bool = False,
    stop: Event | None = None,
) -> dict[str, Any]:
    """Runs programs, one after the other, or with `converse` two of them joined by pipes. Blocks, until `stop` is set.

    A program is `{"source": ..., "stdin": "", "files": {}}`, `limits` are the fields of `Limits`. The reply is
    `{"ran": [...]}` with the fields of `Ran`, one for each program. Raises `CallerError` for arguments that make no
    sense, `SandboxUnavailable` where there is nothing to contain them, `ToolError` where running them fails.
    """
    jobs, most = [_program(p) for p in programs], _limits(limits or {})
    if converse and len(jobs) != 2:
        raise CallerError(f"two programs converse, not {len(jobs)}")
    from . import converse as join
    from . import run

    try:
        done: list[Ran] = []
        if converse:
            done += join(jobs[0], jobs[1], most, unsafe=unsafe, stop=stop)
        else:
            done += [run(job, most, unsafe=unsafe, stop=stop) for job in jobs]
    except SatisficeError:
        raise
    except Exception as error:
        raise ToolError(f"the sandbox failed: {type(error).__name__}: {error}") from error
    return {"ran": [asdict(ran) for ran in done]}


def _program(given: Mapping[str, Any]) -> Program:
    try:
        return Program(**given)
    except TypeError as error:
        raise CallerError(f"no program: {error}") from None


def _limits(given: Mapping[str, Any]) -> Limits:
    known = {field.name for field in fields(Limits)}
    if unknown := sorted(given.keys() - known):
        raise CallerError(f"unknown limits {', '.join(unknown)}: known are {', '.join(sorted(known))}")
    return Limits(**given)
