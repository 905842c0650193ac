"""Hostile programs. Each must be contained, which is judged from outside: by what the host sees and what `run` says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from satisfice.verifiers.sandbox import Limits, Program, converse, run

LIMITS = Limits(seconds=8, cpu_seconds=4, memory_mb=256, processes=6, file_mb=4, output_kb=64)
SHORT = Limits(seconds=0.7, cpu_seconds=4, memory_mb=256, processes=6, file_mb=4, output_kb=64)
STDLIB = f"/py/lib/python{sys.version_info.major}.{sys.version_info.minor}"

# `attempt` says what became of one way out; `call` is a system call by number; `named` lets the host find us.
PRELUDE = """
import ctypes, os, platform, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def attempt(name, work):
    try:
        got = work()
    except BaseException as error:
        print("refused", name, type(error).__name__, error)
    else:
        print("ESCAPED", name, repr(got)[:300])
    sys.stdout.flush()

def checked(got):
    if got == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got

def call(x86, arm, *arguments):
    number = x86 if platform.machine() == "x86_64" else arm
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *arguments))

def read(path):
    with open(path, "rb") as file:
        return file.read(200)

def write(path, mode="ab"):
    with open(path, mode) as file:
        return file.write(b"overwritten")

def named(mark):
    libc.prctl(15, mark.encode(), 0, 0, 0)
"""


def attack(source: str, limits: Limits = LIMITS, **parts):
    return run(Program(PRELUDE + source, **parts), limits)


def assert_refused(ran, count: int = 1):
    lines = ran.stdout.splitlines()
    assert [line for line in lines if line.startswith("ESCAPED")] == []
    assert len([line for line in lines if line.startswith("refused")]) >= count, (ran.status, ran.stdout, ran.stderr)


# HOME, HERE and STDLIB are replaced by a path each.
REFUSED = {
    # files of the host
    "passwd": """
attempt("", lambda: read("/etc/passwd"))
""",
    "shadow": """
attempt("", lambda: read("/etc/shadow"))
""",
    "home": """
attempt("", lambda: os.listdir(HOME))
attempt("", lambda: os.listdir("/home"))
""",
    "the repository": """
attempt("", lambda: read(HERE))
""",
    "our process in /proc": """
for n in ("self", "1", str(os.getppid())):
    for what in ("environ", "mem", "maps", "root/etc/passwd", "fd"):
        attempt(what, lambda: read(f"/proc/{n}/{what}"))
""",
    "kernel settings": """
attempt("", lambda: write("/proc/sys/kernel/core_pattern", "wb"))
attempt("", lambda: os.listdir("/sys"))
""",
    "devices": """
for n in ("mem", "kmsg", "tty", "ptmx", "vda", "sda", "fuse", "kvm"):
    attempt(n, lambda: open(f"/dev/{n}", "rb"))
""",
    "making a device": """
attempt("", lambda: os.mknod("disk", 0o60666, os.makedev(8, 0)))
""",
    "writing outside": """
for folder in ("/", "/py", "/py/bin", "/lib", "/dev", "/usr"):
    attempt(folder, lambda: write(folder + "/x"))
""",
    "writing into the stdlib": """
attempt("", lambda: write(STDLIB + "/os.py"))
attempt("", lambda: write(STDLIB + "/site-packages/x.pth"))
attempt("", lambda: os.chmod(STDLIB + "/os.py", 0o777))
attempt("", lambda: os.rename(STDLIB + "/os.py", "/tmp/os.py"))
attempt("", lambda: os.unlink(STDLIB + "/re"))
""",
    "replacing the interpreter": """
attempt("", lambda: write("/py/bin/python"))
attempt("", lambda: write("/lib/libc.so.6"))
""",
    "symlinks": """
for to in ("/etc", "/proc/1/root/etc", "/tmp/../etc", "../../../../etc"):
    os.symlink(to, "link")
    attempt(to, lambda: read("link/passwd"))
    attempt(to, lambda: write("link/x"))
    os.unlink("link")
""",
    "hard links": """
attempt("", lambda: os.link(STDLIB + "/os.py", "os.py"))
attempt("", lambda: os.link("/dev/zero", "zero"))
""",
    "leaving by ..": """
os.chdir("/")
attempt("", lambda: read("../../../../../etc/passwd"))
attempt("", lambda: os.stat("/..").st_ino == os.stat("/").st_ino and 1 / 0)
""",
    "file handles": """
b = ctypes.create_string_buffer(256)
attempt("", lambda: call(303, 264, -100, b"/tmp", b, b, 0))
attempt("", lambda: call(304, 265, -100, b, 0))
""",
    "shells and tools": """
attempt("", lambda: os.execv("/bin/sh", ["sh"]))
attempt("", lambda: os.execv("/usr/bin/env", ["env"]))
""",
    # the network, every kind of it
    "TCP": """
attempt("", lambda: socket.create_connection(("127.0.0.1", 22), 2))
attempt("", lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
""",
    "UDP": """
attempt("", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53)))
""",
    "unix socket": """
attempt("", lambda: socket.socket(socket.AF_UNIX).bind("/tmp/s"))
attempt("", lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket"))
""",
    "abstract unix socket": """
attempt("", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(b"\\0name"))
""",
    "raw socket": """
attempt("", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("", lambda: socket.socket(17, socket.SOCK_RAW, 3))
""",
    "netlink": """
attempt("", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
""",
    "vsock and others": """
for family in (40, 38, 29, 31, 16, 44):
    attempt(family, lambda: socket.socket(family, 1))
""",
    "bind on a pair": """
a, b = socket.socketpair()
attempt("", lambda: a.bind(b"\\0x"))
attempt("", lambda: b.listen())
attempt("", lambda: socket.socketpair(socket.AF_INET))
""",
    "DNS": """
attempt("", lambda: socket.getaddrinfo("example.com", 80))
attempt("", lambda: socket.gethostbyname("localhost"))
""",
    # other processes
    "memory of others": """
b = ctypes.create_string_buffer(64)
for pid in (os.getppid(), 1):
    attempt("read", lambda: call(310, 270, pid, b, 1, b, 1, 0))
    attempt("write", lambda: call(311, 271, pid, b, 1, b, 1, 0))
    attempt("", lambda: call(438, 438, pid, 0, 0))
""",
    "ptrace": """
for request in (0, 16, 0x4206):
    attempt(request, lambda: call(101, 117, request, os.getppid(), 0, 0))
""",
    # namespaces, mounts, privileges
    "mount": """
attempt("", lambda: checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)))
attempt("", lambda: checked(libc.mount(b"/", b"/tmp", None, 4096, None)))
attempt("", lambda: checked(libc.umount2(b"/py", 2)))
attempt("", lambda: call(155, 41, b"/tmp", b"/tmp"))
attempt("", lambda: call(428, 428, -100, b"/", 1))
attempt("", lambda: call(430, 430, b"tmpfs", 0))
""",
    "chroot": """
attempt("", lambda: os.chroot("/tmp"))
""",
    "new namespaces": """
for kind in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000):
    attempt(hex(kind), lambda: checked(libc.unshare(kind)))
    attempt(hex(kind), lambda: call(56, 220, kind | 17, 0, 0, 0, 0))
attempt("clone3", lambda: call(435, 435, b"\\0" * 88, 88))
attempt("setns", lambda: call(308, 268, 0, 0))
""",
    "becoming root": """
for work in (os.setuid, os.setgid, os.seteuid):
    attempt("", lambda: work(0))
attempt("", lambda: os.setgroups([0]))
attempt("", lambda: checked(libc.capset(b"\\x22\\x05\\x08\\x20" + b"\\0" * 4, b"\\xff" * 24)))
""",
    "raising the limits": """
import resource as r
for kind in (r.RLIMIT_CPU, r.RLIMIT_AS, r.RLIMIT_NPROC, r.RLIMIT_FSIZE, r.RLIMIT_NOFILE, r.RLIMIT_CORE):
    attempt(kind, lambda: r.setrlimit(kind, (r.RLIM_INFINITY, r.RLIM_INFINITY)))
attempt("", lambda: os.nice(-5))
attempt("", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
""",
    # parts of the kernel that it has no business with
    "risky kernel interfaces": """
b = ctypes.create_string_buffer(256)
risky = ((425, 425), (321, 280), (298, 241), (323, 282), (250, 219), (248, 217), (317, 277), (135, 92))
administration = ((300, 262), (246, 104), (175, 105), (169, 142), (103, 116), (440, 440), (312, 272))
for numbers in risky + administration:
    attempt(numbers, lambda: call(*numbers, 1, b, b, 0, 0))
""",
    "memory that no limit counts": """
attempt("", lambda: os.memfd_create("x"))
attempt("", lambda: call(29, 194, 0, 1 << 30, 0o1600))
attempt("", lambda: call(68, 186, 0, 0o1600))
attempt("", lambda: call(240, 180, b"q", 0o102, 0o600, 0))
attempt("", lambda: os.setxattr("/tmp", "user.x", b"x"))
""",
    "the clock and the name": """
attempt("", lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
attempt("", lambda: socket.sethostname("x"))
""",
    "users": """
import pwd
attempt("", lambda: pwd.getpwuid(0))
attempt("", os.getlogin)
""",
    # us
    "our frames": """
import gc
f, seen = sys._getframe(), []
while f:
    seen += list(f.f_locals.values())
    f = f.f_back
import _socket
found = [o for o in seen + gc.get_objects() if isinstance(o, _socket.socket)]
assert found
for one in found:
    attempt("", lambda: one.send(b"ready"))
    attempt("", lambda: one.recv(10))
""",
    "every descriptor": """
for n in range(3, 4096):
    try:
        os.write(n, b'ready')
        print('ESCAPED', n)
    except OSError as error:
        last = error
attempt("", lambda: 1 / 0 if last else 0)
attempt("", lambda: os.open("/dev/stdout", os.O_WRONLY))
""",
}


def refused(name: str) -> str:
    paths = {"HOME": os.path.expanduser("~"), "HERE": str(Path(__file__).resolve()), "STDLIB": STDLIB}
    source = REFUSED[name]
    for word, path in paths.items():
        source = source.replace(word, repr(path))
    return source


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    source = refused(name)
    ran = attack(source)
    assert_refused(ran, max(1, source.count("attempt(")))
    assert (ran.status, ran.exit, ran.isolation) == ("ok", 0, "bubblewrap")


def test_a_file_that_anybody_may_read_and_write_is_out_of_reach(canary):
    source = f'attempt("", lambda: read({str(canary)!r}))\nattempt("", lambda: write({str(canary)!r}, "wb"))'
    ran = attack(source)
    assert_refused(ran, 2)
    assert "SECRET" not in ran.stdout


def test_the_attacks_work_where_nothing_contains_them(canary):
    """The programs above can escape: these do, without isolation."""
    source = PRELUDE + (
        f'attempt("", lambda: read({str(canary)!r}))\nattempt("", lambda: socket.socket(socket.AF_UNIX))\n'
        'attempt("", lambda: os.listdir("/proc/self/fd"))\nattempt("", lambda: os.memfd_create("x"))\n'
        'attempt("", lambda: read("/etc/passwd"))'
    )
    ran = run(Program(source), LIMITS, unsafe=True)
    assert ran.isolation == "unsafe"
    assert ran.stdout.count("ESCAPED") == 5
    assert "SECRET" in ran.stdout


def test_nothing_tells_who_runs_it(monkeypatch):
    monkeypatch.setenv("API_KEY", "SECRET-KEY")
    ran = attack(
        "print(dict(os.environ), os.uname().nodename, os.getcwd(), sys.path, sys.prefix, sys.argv, os.listdir('.'))\n"
        "for folder, _, names in os.walk('/'):\n"
        "    if 'python3' not in folder and 'zoneinfo' not in folder: print(folder, names)\n"
    )
    assert ran.stdout.startswith("{} sandbox /tmp ")
    for word in (
        "SECRET-KEY",
        os.path.expanduser("~"),
        str(Path(__file__).parents[2]),
        sys.base_prefix + "/lib/python",
    ):
        assert word not in ran.stdout.replace("/usr/share", "")


def test_only_its_own_descriptors_are_open():
    show = "import os\nfor n in range(4096):\n    try: os.fstat(n); print(n)\n    except OSError: pass"
    assert run(Program(show), LIMITS).stdout.split() == ["0", "1", "2"]
    for ran in converse(Program(show), Program(show), LIMITS):
        assert ran.stdout.split() == ["0", "1", "2", "3", "4"]


def test_many_open_files_of_the_host_are_not_inherited(canary):
    opened = [os.dup(os.open(canary, os.O_RDWR)) for _ in range(300)]
    try:
        for number in opened:
            os.set_inheritable(number, True)
        ran = run(
            Program(
                "import os\nprint([n for n in range(3, 5000) if os.path.exists(f'/dev/fd/{n}')])\n"
                "for n in range(3, 5000):\n    try: os.write(n, b'x'); print('ESCAPED')\n    except OSError: pass"
            ),
            LIMITS,
        )
    finally:
        for number in opened:
            os.close(number)
    assert (ran.status, ran.stdout) == ("ok", "[]\n")


def test_setuid_files_give_nothing():
    ran = attack(
        'import shutil, subprocess\nfound = []\nfor folder, _, names in os.walk("/"):\n    for name in names:\n'
        "        mode = os.lstat(os.path.join(folder, name)).st_mode\n"
        "        if mode & 0o6000: found.append(name)\nprint(found)\n"
        'shutil.copy("/py/bin/python", "python")\nos.chmod("python", 0o6755)\n'
        'print(subprocess.run(["./python", "-S", "-c", "import os; print(os.getresuid())"], capture_output=True,'
        ' text=True, env={"PYTHONHOME": "/py"}).stdout)',
        Limits(file_mb=64),  # the interpreter may be one large file
    )
    assert ran.stdout.splitlines()[:2] == ["[]", "(65534, 65534, 65534)"], ran


# What has to be ended: (program, status, limits)
ENDED = {
    "endless loop": ("while True: pass", "cpu", Limits(seconds=8, cpu_seconds=1)),
    "endless loop that ignores SIGXCPU": (
        "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass",
        "cpu",
        Limits(seconds=8, cpu_seconds=1),
    ),
    "sleep": ("time.sleep(1000)", "timeout", SHORT),
    "ignoring SIGTERM": ("signal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(9)", "timeout", SHORT),
    "stopping itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout", SHORT),
    "closed output": ("os.close(1); os.close(2); os.close(0); time.sleep(1000)", "timeout", SHORT),
    "endless stdout": ('while True: print("x" * 1000)', "output", LIMITS),
    "endless stderr": ('while True: print("x" * 1000, file=sys.stderr)', "output", LIMITS),
    "both in turn": ('while True: os.write(1, b"x"); os.write(2, b"y")', "output", LIMITS),
    "endless output without line ends": ('while True: os.write(1, b"x" * 65536)', "output", LIMITS),
    "memory bomb": ("a = []\nwhile True: a.append(bytearray(1 << 20))", "memory", LIMITS),
    "one huge object": ("x = 'x' * (1 << 40)", "memory", LIMITS),
    "mapped memory": ("import mmap\na = [mmap.mmap(-1, 1 << 24) for _ in range(9999)]", "error", LIMITS),
    "many files": ("n = 0\nwhile True:\n    os.mkdir(str(n))\n    n += 1", "memory", LIMITS),
    "fork bomb": ("while True:\n    try: os.fork()\n    except OSError: pass", "timeout", SHORT),
    "fork bomb of sessions": (
        "while True:\n    try:\n        if os.fork() == 0: os.setsid()\n    except OSError: pass",
        "timeout",
        SHORT,
    ),
    "recursion": ("def f(): f()\nf()", "error", LIMITS),
    "C stack": (
        "sys.setrecursionlimit(10**8)\nx = []\nfor _ in range(2 * 10**5): x = [x]\nclass A:\n"
        "    def __repr__(self): return repr(self)\nprint(len(repr(x)))",
        None,
        LIMITS,
    ),
    "segmentation fault": ("ctypes.string_at(0)", "killed", LIMITS),
    "abort": ("os.abort()", "killed", LIMITS),
    "killing itself": ("os.kill(os.getpid(), 9)", "killed", LIMITS),
    "another architecture's calls": (
        "import mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(m))\nctypes.CFUNCTYPE(ctypes.c_int)(address)()",
        "killed",
        LIMITS,
    ),
    "x32 calls": ("call(0x40000000 + 39, 0x40000000 + 39)", None, LIMITS),
}


@pytest.mark.parametrize("name", ENDED)
def test_ended(name, mark, host):
    source, status, limits = ENDED[name]
    ran = attack(f"named({mark!r})\n{source}", limits)
    assert ran.status == status if status else ran.status in ("killed", "error", "memory"), ran
    assert ran.status != "ok"
    assert len(ran.stdout) <= 64 * 1024
    assert len(ran.stderr) <= 64 * 1024
    assert ran.seconds < limits.seconds + 5
    assert host.eventually(lambda: not host.named(mark))


# What hits a limit and goes on: each prints what stopped it.
STOPPED = {
    "huge file": ("with open('x', 'wb') as f:\n    while True: f.write(b'x' * 65536)", "File too large"),
    "sparse file": ("os.truncate(os.open('x', os.O_CREAT | os.O_RDWR), 1 << 40)", "File too large"),
    "full folder": (
        "for n in range(99):\n    with open(str(n), 'wb') as f: f.write(b'x' * (1 << 20))",
        "No space left",
    ),
    "shared memory folder": (
        "for n in range(99):\n    with open(f'/dev/shm/{n}', 'wb') as f: f.write(b'x' * (1 << 20))",
        "No space left",
    ),
    "descriptors": ("a = [os.dup(0) for _ in range(10**6)]", "Too many open files"),
    "pipes": ("a = [os.pipe() for _ in range(10**6)]", "Too many open files"),
    "threads": (
        "import threading\nfor _ in range(999): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "can't start new thread",
    ),
    "processes": (
        "for _ in range(999):\n    if os.fork() == 0:\n        time.sleep(30)\n        os._exit(0)",
        "Resource temporarily unavailable",
    ),
    "zombies": (
        "for _ in range(9999):\n    if os.fork() == 0: os._exit(0)",
        "Resource temporarily unavailable",
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_stopped(name, mark, host):
    source, why = STOPPED[name]
    body = "\n".join("    " + line for line in source.splitlines())
    ran = attack(
        f"named({mark!r})\ntry:\n{body}\n"
        "except (OSError, RuntimeError) as e:\n    print(e, flush=True)\n    os._exit(0)"
    )
    assert why in ran.stdout, ran
    assert ran.status == "ok"
    assert host.eventually(lambda: not host.named(mark))


def test_memory_of_many_children_is_held_for_each():
    ran = attack(
        "pids = []\nfor _ in range(4):\n    pid = os.fork()\n    if pid == 0:\n        try: x = bytearray(1 << 29)\n"
        "        except MemoryError: os._exit(7)\n        os._exit(0)\n    pids.append(pid)\n"
        "print([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids])"
    )
    assert ran.stdout == "[7, 7, 7, 7]\n"


def test_a_daemon_does_not_survive(mark, host):
    ran = attack(
        f"named({mark!r})\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        for n in range(64):\n            try: os.close(n)\n            except OSError: pass\n"
        "        signal.signal(1, signal.SIG_IGN)\n        time.sleep(1000)\n    os._exit(0)\nprint(os.wait())"
    )
    assert (ran.status, ran.exit) == ("ok", 0)
    assert host.eventually(lambda: not host.named(mark))


def test_signals_reach_neither_us_nor_its_guard(host):
    ran = attack(
        "for pid in (os.getppid(), 1, -1, 0 - os.getppid() or -1):\n    for number in (9, 15, 19):\n"
        "        try: os.kill(pid, number)\n        except OSError: pass\n"
        f"for pid in ({os.getpid()}, {os.getppid()}):\n    try: os.kill(pid, 9)\n    except OSError: pass\n"
        "print('still here')"
    )
    assert (ran.status, ran.stdout) == ("ok", "still here\n")


# Forged results: what it prints and returns is on record as what it printed and returned.
FORGED = {
    "_exit(0)": ("os._exit(0)", "ok", 0, ""),
    "_exit(1)": ("print('all passed', flush=True)\nos._exit(1)", "error", 1, "all passed\n"),
    "exit with a text": ('sys.exit(\'{"status": "ok"}\')', "error", 1, ""),
    "exit with a signal's code": ("os._exit(137)", "killed", None, ""),
    "a verdict": (
        'print(\'{"status": "ok", "exit": 0}\')\nraise SystemExit(3)',
        "error",
        3,
        '{"status": "ok", "exit": 0}\n',
    ),
    "exit hooks": ("import atexit\natexit.register(os._exit, 0)\nraise ValueError", "ok", 0, ""),
    "a replaced excepthook": ("sys.excepthook = lambda *a: print('fine')\n1 / 0", "error", 1, "fine\n"),
    "a memory error": ("print('MemoryError', file=sys.stderr)\nsys.exit(1)", "memory", 1, ""),
    "nothing": ("", "ok", 0, ""),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged(name):
    source, status, code, stdout = FORGED[name]
    ran = attack(source)
    assert (ran.status, ran.exit, ran.stdout) == (status, code, stdout)
    assert ran.isolation == "bubblewrap"


def test_swapping_links_moves_nothing_on_the_host(canary):
    """A race between a name's check and its use is only won against somebody who uses the name: we never do."""
    ran = attack(
        f"import threading\ntarget, until = {str(canary)!r}, time.monotonic() + 0.3\n"
        "def swap():\n    while time.monotonic() < until:\n        for to in (target, 'file'):\n"
        "            os.symlink(to, 'new'); os.replace('new', 'name')\n"
        "threading.Thread(target=swap).start()\nwrites = 0\nwhile time.monotonic() < until:\n"
        "    try: write('name', 'wb'); writes += 1\n    except OSError: pass\nprint(writes)",
        files={"name": "mine"},
    )
    assert ran.status == "ok", ran  # the canary is looked at when the fixture ends


def test_two_sandboxes_see_nothing_of_each_other(mark):
    first = PRELUDE + (
        f"named({mark!r})\nwrite('/tmp/secret')\nos.write(4, b'%d' % os.getpid())\n"
        "print(os.read(3, 10), os.listdir('/tmp'))"
    )
    second = PRELUDE + (
        "pid = int(os.read(3, 20))\nattempt('', lambda: read('/tmp/secret'))\nwrite('/tmp/mine')\n"
        "def exists(n):\n    try: os.kill(n, 0)\n    except ProcessLookupError: return False\n"
        "    except PermissionError: pass\n    return True\n"
        "print([n for n in range(2, 3000) if n != os.getpid() and exists(n)], os.listdir('/tmp'))\nos.write(4, b'done')"
    )
    one, two = converse(Program(first), Program(second), LIMITS)
    assert (one.status, one.stdout) == ("ok", "b'done' ['secret']\n")
    assert_refused(two)
    assert two.stdout.splitlines()[1] == "[] ['mine']"


def test_a_hostile_partner_reaches_only_its_ends_of_the_pipes():
    """It floods, closes and forges; the trusted side keeps its own result and its own end."""
    trusted = (
        "import os\nos.write(4, b'go')\ngot = 0\nwhile piece := os.read(3, 65536):\n    got += len(piece)\n"
        "print('judged', got)"
    )
    hostile = (
        PRELUDE + "os.read(3, 10)\nfor _ in range(64): os.write(4, b'x' * 65536)\nos.close(3); os.close(4)\nos._exit(0)"
    )
    one, two = converse(Program(trusted), Program(hostile), LIMITS)
    assert (one.status, one.stdout) == ("ok", f"judged {64 * 65536}\n")
    assert two.status == "ok"


def test_a_partner_that_hangs_is_ended_and_the_other_goes_on():
    trusted = "import os\nprint('end' if os.read(3, 1) == b'' else 'talk')"
    one, two = converse(Program(trusted), Program("while True: pass"), LIMITS, second_limits=SHORT)
    assert (one.status, one.stdout) == ("ok", "end\n")
    assert two.status == "timeout"
