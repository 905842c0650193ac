"""Runs inside the sandbox and stands alone: the interpreter gets this file as text, before there is anything hostile.

It starts, waits for one job on a socket, prepares it (files, limits, descriptors), says "ready", closes the socket, and
then becomes the program. Nothing that it holds afterwards is secret, and nothing that the program does to it matters:
how the program ended is judged from outside.

Arguments: the socket's descriptor, the scratch folder, the user id to become ("" for none), the highest descriptor that
was inherited.
The job is marshalled data in a file: source, files, limits. With it come a file for standard input and, for two that
converse, two pipe ends, which become descriptors 3 and 4.
"""

# Few imports: a cold start pays for each (json and traceback take as long as the interpreter).
import _socket
import fcntl
import marshal
import os
import resource
import select
import sys

NAME = "program.py"
IDLE = 0.02  # seconds without a job, after which time is spent on what most programs import
AHEAD = ("typing", "ast", "random", "signal", "enum", "copy", "contextlib", "collections", "math", "traceback")
FIRST_FREE = 16  # descriptors below are the program's


def main() -> None:
    given, scratch, user = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    control = _socket.socket(fileno=fcntl.fcntl(given, fcntl.F_DUPFD, FIRST_FREE))  # it may stand on the program's 3
    os.close(given)
    if user:
        os.setgroups([])
        os.setresgid(int(user), int(user), int(user))
        os.setresuid(int(user), int(user), int(user))
    os.environ.clear()
    os.chdir(scratch)
    control.send(b"up")
    if not select.select([control], [], [], IDLE)[0]:
        for name in AHEAD:
            __import__(name)
    files = receive(control)
    with open(files[0], "rb") as file:
        job = marshal.loads(file.read())
    try:
        prepare(job, scratch)
    except (OSError, ValueError) as error:
        control.send(str(error).encode(errors="replace")[:500])
        os._exit(1)
    for number, target in zip(files[1:], (0, 3, 4), strict=False):
        os.dup2(number, target)
    limit(job["limits"])
    folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    control.sendmsg([b"ready"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, folder.to_bytes(4, sys.byteorder))])
    control.close()
    os.closerange(5 if len(files) > 2 else 3, int(sys.argv[4]) + 64)
    become(job["source"], scratch)


def receive(control: _socket.socket) -> list[int]:
    """The descriptors of the job, above those that the program will have. Ends where the host has gone."""
    data, ancillary, *_ = control.recvmsg(16, _socket.CMSG_SPACE(4 * 4))
    if not data:
        os._exit(0)
    raw = ancillary[0][2]
    numbers = [int.from_bytes(raw[i : i + 4], sys.byteorder) for i in range(0, len(raw), 4)]
    return [fcntl.fcntl(n, fcntl.F_DUPFD, FIRST_FREE) for n in numbers]


def prepare(job: dict, scratch: str) -> None:  # type: ignore[type-arg]
    for name, text in job["files"].items():
        path = os.path.join(scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text.encode("utf-8", "replace"))


def limit(limits: dict[str, int]) -> None:
    """Soft and hard at once, so that the program cannot raise them; a second more CPU for who ignores SIGXCPU."""
    for name, most in limits.items():
        number = getattr(resource, name, None)
        if number is not None:
            soft, hard = most, most + (name == "RLIMIT_CPU")
            allowed = resource.getrlimit(number)[1]
            if allowed != resource.RLIM_INFINITY:
                soft, hard = min(soft, allowed), min(hard, allowed)
            resource.setrlimit(number, (soft, hard))


class Lines:
    """Shows tracebacks the program's lines, as the loader of a module does (linecache asks it)."""

    def __init__(self, source: str) -> None:
        self.source = source

    def get_source(self, name: str) -> str:
        return self.source


def become(source: str, scratch: str) -> None:
    module = type(sys)("__main__")
    module.__loader__ = Lines(source)  # type: ignore[assignment]
    sys.modules["__main__"] = module
    sys.argv, sys.path = ["program"], [scratch, *sys.path]
    # Made anew: the old one has cached what it knows of /dev/null.
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.excepthook = report
    exec(compile(source, NAME, "exec"), module.__dict__)


def report(kind, error, trace) -> None:  # type: ignore[no-untyped-def]
    """The traceback without our own frames."""
    import traceback

    while trace is not None and trace.tb_frame.f_code.co_filename != NAME:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


main()
