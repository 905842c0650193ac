"""What ordinary programs get, what strange input does, and what is refused."""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading

import pytest

from satisfice import SandboxUnavailable
from satisfice.core.errors import CallerError
from satisfice.verifiers import sandbox
from satisfice.verifiers.sandbox import Limits, Program, converse, isolation, launch, run, seccomp, supervise
from satisfice.verifiers.sandbox.seccomp import CLONE, CLONE3, DENIED, SOCKETPAIR, compiled

trying = sys.modules["satisfice.verifiers.sandbox.isolation"]
LIMITS = Limits(seconds=20, cpu_seconds=10, memory_mb=256)


def test_a_program_gets_its_input_its_files_and_the_standard_library():
    source = (
        "import asyncio, decimal, hashlib, json, lzma, multiprocessing, sqlite3, ssl, sys, zoneinfo\n"
        "from folder import helper\n"
        "async def later():\n    await asyncio.sleep(0)\n    return helper.answer\n"
        "print(__name__, sys.stdin.read(), asyncio.run(later()), open('data.txt').read())\n"
        "with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2]))\n"
        "print('é', file=sys.stderr)"
    )
    files = {"folder/__init__.py": "", "folder/helper.py": "answer = 42", "data.txt": "ü"}
    ran = run(Program(source, stdin="in ∀", files=files), LIMITS)
    assert (ran.status, ran.exit) == ("ok", 0), ran.stderr
    assert (ran.stdout, ran.stderr) == ("__main__ in ∀ 42 ü\n[1, 2]\n", "é\n")
    assert ran.isolation == "bubblewrap"
    assert ran.seconds > 0
    assert ran.overhead >= 0


def test_a_traceback_shows_the_programs_lines_only():
    ran = run(Program("def f(x):\n    return 1 / x\nf(0)"), LIMITS)
    assert (ran.status, ran.exit) == ("error", 1)
    assert "return 1 / x" in ran.stderr
    assert "ZeroDivisionError" in ran.stderr
    assert ran.stderr.count("File ") == 2


def test_the_order_of_sets_is_the_same_in_every_run():
    source = Program("print({str(n) for n in range(50)})")
    assert len({run(source, LIMITS).stdout for _ in range(3)}) == 1


STRANGE = {
    "empty": ("", "ok"),
    "NUL": ("print(1)\0", "error"),
    "a lone surrogate": ("x = '\ud800'", "error"),
    "an escaped surrogate on stdout": ("print('\\ud800')", "error"),
    "not Python": ("Sure! Here is the code:", "error"),
    "deeply nested": ("(" * 5000 + ")" * 5000, None),
    "10 MB": (("# " + "x" * 97 + "\n") * 100_000 + "print(1)", "ok"),
    "10 MB in one line": ("x = '" + "y" * 10_000_000 + "'\nprint(len(x))", "ok"),
    "carriage returns": ("x = 1\r\nprint(x)\rprint(2)", "ok"),
    "a mark at its start": ("\ufeffprint(1)", None),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_source(name):
    source, status = STRANGE[name]
    ran = run(Program(source), LIMITS)
    assert ran.status == status if status else ran.status in ("ok", "error", "memory", "cpu", "killed"), ran


def test_bytes_that_are_no_text_are_replaced():
    ran = run(Program("import os\nos.write(1, bytes(range(256)))\nos.write(2, b'\\xff')"), LIMITS)
    assert ran.status == "ok"
    assert ran.stdout.startswith("\0\1\2")
    assert ran.stdout.endswith("\ufffd")
    assert ran.stderr == "\ufffd"


def test_strange_input():
    ran = run(Program("import sys; print(len(sys.stdin.read()))", stdin="\0\ud800" + "x" * 10**7), LIMITS)
    assert (ran.status, ran.stdout) == ("ok", f"{10**7 + 2}\n")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a/", "a\0b"])
def test_file_names_stay_in_the_folder(name):
    with pytest.raises(CallerError, match="relative"):
        run(Program("", files={name: ""}))


@pytest.mark.parametrize(
    "files", [{"a": "", "a/b": ""}, {"x" * 300: ""}, {"\ud800": ""}, {str(n): "x" for n in range(2000)}]
)
def test_files_that_cannot_be_made_are_the_callers_fault(files):
    with pytest.raises(CallerError, match="cannot be made"):
        run(Program("", files=files), Limits(file_mb=1))


@pytest.mark.parametrize(
    "limits",
    [Limits(seconds=0), Limits(seconds=float("nan")), Limits(memory_mb=1), Limits(processes=-1), Limits(output_kb=0)],
)
def test_limits_that_make_no_sense(limits):
    with pytest.raises(CallerError):
        run(Program(""), limits)


def test_too_large_files():
    with pytest.raises(CallerError, match="its limit is 1 MB"):
        run(Program("", files={"x": "x" * (2 << 20)}), Limits(file_mb=1))


def test_converse_speaks_both_ways_and_ends_close_the_pipes():
    first = "import os\nos.write(4, b'ping')\nprint(os.read(3, 100), os.read(3, 100))"
    second = "import os\nos.write(4, os.read(3, 100)[::-1])"
    one, two = converse(Program(first), Program(second), LIMITS)
    assert one.stdout == "b'gnip' b''\n"
    assert (one.status, two.status, one.isolation) == ("ok", "ok", "bubblewrap")


def test_converse_where_the_partner_ends_first():
    first = (
        "import os\nassert os.read(3, 1) == b''\ntry:\n    while True: os.write(4, b'x')\n"
        "except BrokenPipeError: print('gone')"
    )
    one, two = converse(Program(first), Program("1 / 0"), LIMITS)
    assert (one.status, one.stdout, two.status) == ("ok", "gone\n", "error")


def test_unsafe_says_so_and_still_has_limits():
    ran = run(Program("while True: pass"), Limits(seconds=20, cpu_seconds=1), unsafe=True)
    assert (ran.status, ran.isolation) == ("cpu", "unsafe")
    ran = run(Program("import time; time.sleep(99)"), Limits(seconds=0.3), unsafe=True)
    assert ran.status == "timeout"
    one, two = converse(
        Program("import os; os.write(4, b'x')"), Program("import os; print(os.read(3, 9))"), unsafe=True
    )
    assert (one.status, two.stdout) == ("ok", "b'x'\n")


def test_unsafe_that_closes_its_output_is_still_watched():
    ran = run(Program("import os, time\nos.close(1); os.close(2); time.sleep(99)"), Limits(seconds=0.5), unsafe=True)
    assert ran.status == "timeout"


def test_unsafe_leaves_no_folder():
    ran = run(Program("import os; print(os.getcwd()); open('x', 'w').close()"), unsafe=True)
    assert ran.status == "ok"
    assert not os.path.exists(ran.stdout.strip())


def test_threads_may_run_programs_at_once():
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(run(Program(f"print({n})"), LIMITS).stdout))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [f"{n}\n" for n in range(6)]


# -- where nothing contains it


@pytest.fixture
def untried(monkeypatch):
    monkeypatch.setattr(trying, "_found", None)


def test_without_isolation_it_refuses(monkeypatch, untried):
    monkeypatch.setattr(trying, "installed", list)
    monkeypatch.setattr(trying, "supported", lambda: "bubblewrap is not installed")
    assert isolation() is None
    with pytest.raises(SandboxUnavailable, match=r"satisfice\[sandbox\].*unsafe=True") as caught:
        run(Program(""))
    assert caught.value.to_dict()["code"] == "sandbox_unavailable"
    with pytest.raises(SandboxUnavailable):
        converse(Program(""), Program(""))
    assert run(Program("print(1)"), unsafe=True).stdout == "1\n"


def test_a_bubblewrap_that_does_not_start_is_no_isolation(monkeypatch, untried):
    monkeypatch.setattr(trying, "installed", lambda: ["/bin/false", "/does/not/exist"])
    assert isolation() is None
    assert "does not start" in trying.found()[1]


def test_a_bubblewrap_that_contains_nothing_is_found_out(monkeypatch, untried, tmp_path):
    """The self-test is an attempt to escape, not a look at a version."""
    fake = tmp_path / "bwrap"
    fake.write_text(
        f"#!{sys.executable}\nimport os, sys\nrest = sys.argv[sys.argv.index('--') + 2 :]\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *rest])\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(launch, "SCRATCH", str(tmp_path))
    monkeypatch.setattr(supervise, "MOST_FILES", 1 << 60)  # a disk of the host holds many
    weakness = trying.weakness(launch.Bubblewrap(str(fake)))
    for found in ("reads a file of the host", "reads /etc/passwd", "opens an internet socket"):
        assert found in weakness


def test_where_no_filter_is_known_there_is_no_isolation(monkeypatch, untried):
    monkeypatch.setattr(launch, "compiled", lambda: None)
    assert isolation() is None
    assert "filter" in trying.found()[1]


# -- the filter, run by a small machine of our own


def verdict(program: bytes, arch: int, number: int, argument: int = 0) -> int:
    data = struct.pack("<IIQQ", number, arch, 0, argument)
    steps = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        code, true, false, constant = steps[at]
        at += 1
        if code == seccomp.RETURN:
            return constant
        if code == seccomp.LOAD:
            accumulator = struct.unpack_from("<I", data, constant)[0]
            continue
        met = {
            seccomp.EQUAL: accumulator == constant,
            seccomp.ABOVE: accumulator >= constant,
            seccomp.ANY_BIT: bool(accumulator & constant),
        }[code]
        at += true if met else false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter(machine):
    program = compiled(machine)
    arch, column = seccomp.ARCHES[machine]
    other = next(a for a, _ in seccomp.ARCHES.values() if a != arch)
    denied = seccomp.ERRNO | errno.EPERM
    for numbers in DENIED.values():
        if numbers[column] >= 0:
            assert verdict(program, arch, numbers[column]) == denied
    assert verdict(program, arch, CLONE3[column]) == seccomp.ERRNO | errno.ENOSYS
    assert verdict(program, arch, CLONE[column], 0x10000000) == denied
    assert verdict(program, arch, CLONE[column], 0x01200011) == seccomp.ALLOW  # an ordinary fork
    assert verdict(program, arch, CLONE[column], 0x003D0F00) == seccomp.ALLOW  # a thread
    assert verdict(program, arch, SOCKETPAIR[column], 1) == seccomp.ALLOW
    assert verdict(program, arch, SOCKETPAIR[column], 2) == denied
    assert verdict(program, other, 0) == seccomp.KILL
    assert verdict(program, arch, {"x86_64": 0, "aarch64": 63}[machine]) == seccomp.ALLOW  # read
    if machine == "x86_64":
        assert verdict(program, arch, 0x40000000) == seccomp.KILL
    assert len(program) // 8 < 4096  # the kernel's longest


def test_an_unknown_machine_has_no_filter():
    assert compiled("riscv64") is None


def test_public_names():
    assert {"run", "converse", "isolation", "Program", "Limits", "Ran"} <= set(sandbox.__all__)
