"""The process that does the mathematics. One JSON request a line on stdin, one JSON reply a line on stdout.

It is killed from outside at the time limit. From inside: limits on memory, CPU and file size, and an audit hook that
refuses files to write, processes, sockets and the running of text, whatever a parser would do with a candidate.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

MEMORY = 1 << 30
_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod",
    "os.kill", "os.putenv", "os.link", "os.symlink", "subprocess.", "socket.", "ctypes.", "shutil.", "pty.",
)  # fmt: skip


def serve() -> None:
    """Answers until stdin ends."""
    from .shapes import Unreadable

    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # what a library prints is no reply
    os.dup2(null, 2)
    from . import satisfying
    from .compare import read, same, within

    _warm()
    _lock()
    out.write('{"ready": true}\n')
    out.flush()
    for line in sys.stdin:
        reply: dict[str, Any]
        try:
            request = json.loads(line)
            _cpu(request["seconds"])
            if request["do"] == "read":
                read(request["a"])
                reply = {"truth": True}
            elif request["do"] == "satisfy":
                reply = satisfying.check(request["equations"], request["names"], request["a"], request["count"])
            else:
                a = _reference(request["a"], read)
                b = read(request["b"])
                tolerance = request.get("tolerance")
                truth = same(a, b) if tolerance is None else within(a, b, tolerance)
                reply = {"truth": None if truth is None else bool(truth)}  # sympy has its own True
        except Unreadable as error:
            reply = {"unreadable": str(error)[:200]}
        except MemoryError:
            out.write('{"failed": "it needs too much memory"}\n')
            out.flush()
            return  # what is left of the heap is not to be relied on
        except BaseException as error:  # RecursionError, and whatever sympy raises
            reply = {"failed": type(error).__name__}
        out.write(json.dumps(reply) + "\n")
        out.flush()


def _reference(text: str, read: Any) -> Any:
    from .shapes import Unreadable

    try:
        return read(text)
    except Unreadable as error:
        raise ValueError(f"reference: {error}") from None


def _warm() -> None:
    """One of each, so that no candidate pays for lazy imports; files are closed to it afterwards."""
    import sympy

    from .compare import read, same

    for a, b in (
        ("x^2-1", "(x-1)(x+1)"), (r"\frac{1}{2}", "0.5"), (r"\sqrt{2}", "2^{1/2}"), (r"\int_0^1 x dx", "1/2"),
        (r"\sum_{n=1}^{3} n", "6"), (r"|x|", r"\sqrt{x^2}"), (r"\sin^2 x + \cos^2 x", "1"), (r"\log_2 8", "3"),
        (r"\lim_{x \to 0} \frac{\sin x}{x}", "1"), ("5!", "120"), (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    ):  # fmt: skip
        same(read(a), read(b))
    sympy.solve(sympy.Symbol("x") ** 2 - 2)


def _lock() -> None:
    """From here on nothing is written, run or reached, and memory is bounded."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # no such limits here: the time limit and the audit hook remain
    _refuse()


def _refuse() -> None:
    import sympy
    from sympy.parsing import sympy_parser

    def refuse(text: Any = "", *_: Any, **__: Any) -> Any:
        if isinstance(text, str) and re.fullmatch(r"[0-9]{1,30}(?:/[1-9][0-9]{0,29})?", text):
            return sympy.Rational(text)  # sympy's own constants
        raise ValueError(f"text is not evaluated here: {text!r:.40}")

    # sympify() of a text comes through here, and would eval it.
    for name in ("parse_expr", "eval_expr", "stringify_expr"):
        setattr(sympy_parser, name, refuse)
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError("no files are written here")
        if not str(arguments[0]).startswith(tuple(path for path in sys.path if path)):
            raise PermissionError("no such files are read here")
    elif event == "compile" and arguments[0] is not None:
        # A module's source is named after its file; sympy's polynomials write their own monomial arithmetic.
        source = arguments[0] if isinstance(arguments[0], bytes) else str(arguments[0]).encode("utf-8", "replace")
        if not os.path.isabs(str(arguments[1] or "")) and not source.startswith(b"def monomial_"):
            raise PermissionError("text is not run here")
    elif event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is not allowed here")


def _cpu(seconds: float) -> None:
    """The CPU that this request may use: a second line, should the parent be gone."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        total = int(used.ru_utime + used.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (total, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (ImportError, ValueError, OSError):
        pass
