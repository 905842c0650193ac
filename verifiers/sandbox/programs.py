"""What runs in the sandbox and what became of it: plain data, so that it crosses processes and journals as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "error", "timeout", "cpu", "memory", "output", "killed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. `seconds` of wall time, `cpu_seconds` of CPU, `memory_mb` of address space for each
    process, `processes` at once, `file_mb` for each file and for the scratch folder as a whole, `output_kb` each of
    stdout and stderr (more is cut and ends the program)."""

    seconds: float = 10.0
    cpu_seconds: float = 5.0
    memory_mb: int = 512
    processes: int = 8
    file_mb: int = 16
    output_kb: int = 256


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program. `source` is run as `__main__`, in an empty scratch folder that also holds `files` (relative
    names to text), with `stdin` as its standard input and the interpreter's standard library only."""

    source: str
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program. `status` is "ok" for exit code 0, "error" for another one, else the limit that it
    met ("killed": by a signal that none of our limits sends). `exit` is the exit code, None where it was killed.
    `stdout` and `stderr` are UTF-8 with what cannot be decoded replaced. `seconds` of wall time the program had,
    `overhead` further seconds that starting and stopping it took. `isolation` names what contained it."""

    status: Status
    exit: int | None
    stdout: str
    stderr: str
    seconds: float
    overhead: float = 0.0
    isolation: str = ""
