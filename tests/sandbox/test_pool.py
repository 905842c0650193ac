"""Interpreters kept ready: used once, replaced, and gone with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from satisfice.core.errors import SandboxUnavailable
from satisfice.verifiers.sandbox import Limits, Program, run
from satisfice.verifiers.sandbox.isolation import found
from satisfice.verifiers.sandbox.pool import Pool
from satisfice.verifiers.sandbox.running import pool

LIMITS = Limits(seconds=30, cpu_seconds=10)
NAMED = "import ctypes, time\nctypes.CDLL(None).prctl(15, {mark!r}.encode(), 0, 0, 0)\n"


def gone(pids, host):
    return host.eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def full(ready: Pool):
    return len(ready.waiting()) >= 2


@pytest.fixture
def own():
    """A pool of two that nobody else uses."""
    way, _ = found()
    ready = Pool(way.start, spare=2)
    yield ready
    ready.close()


def test_each_is_used_once_and_replaced(host):
    run(Program(""), LIMITS)
    assert host.eventually(lambda: full(pool()))
    waiting = {worker.process.pid for worker in pool().waiting()}
    first = run(Program("open('left', 'w').write('x')\nimport builtins\nbuiltins.left = 1"), LIMITS)
    second = run(Program("import os, builtins\nprint(os.listdir('.'), hasattr(builtins, 'left'))"), LIMITS)
    assert first.status == "ok"
    assert second.stdout == "[] False\n"
    assert host.eventually(lambda: full(pool()))
    now = {worker.process.pid for worker in pool().waiting()}
    used = waiting - now
    assert used
    assert gone(used, host)


def test_closing_leaves_no_process(own, host):
    worker = own.take(16)
    assert host.eventually(lambda: full(own))
    pids = [w.process.pid for w in own.waiting()]
    own.close()
    worker.close()
    assert gone([*pids, worker.process.pid], host)
    with pytest.raises(OSError, match="closed"):
        own.take(16)


def test_one_that_died_while_it_waited_is_not_given_out(own, host):
    own.take(16).close()
    assert host.eventually(lambda: full(own))
    for worker in own.waiting():
        os.kill(worker.process.pid, signal.SIGKILL)
        assert host.eventually(lambda worker=worker: worker.process.poll() is not None)
    worker = own.take(16)
    assert worker.process.poll() is None
    worker.close()


def test_only_the_last_sizes_are_kept(own, host):
    for size in (16, 8, 4):
        own.take(size).close()
    assert host.eventually(lambda: len(own.waiting()) == 4)
    assert sorted(own._waiting) == [4, 8]


def test_a_start_that_fails_is_told_and_tried_again(own):
    start, fails = own._start, [OSError("no more descriptors")]

    def flaky(size):
        if fails:
            raise fails.pop()
        return start(size)

    own._start = flaky
    with pytest.raises(OSError, match="descriptors"):
        own.take(16)
    own.take(16).close()


def test_a_worker_that_dies_before_its_job_is_replaced(monkeypatch):
    """The kernel may kill a waiting interpreter at any moment: one more is tried, then it is an error."""
    from satisfice.verifiers.sandbox import running

    taken, take = [], pool().take

    def dying(size, stop=None):
        worker = take(size, stop)
        if len(taken) < deaths:
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.stdout.read()  # until it is gone
        taken.append(worker)
        return worker

    monkeypatch.setattr(running.pool(), "take", dying)
    deaths = 1
    assert run(Program("print(1)"), LIMITS).stdout == "1\n"
    taken.clear()
    deaths = 2
    with pytest.raises(SandboxUnavailable, match="did not start"):
        run(Program("print(1)"), LIMITS)


@pytest.mark.parametrize("unsafe", [False, True])
def test_stop_kills_it(mark, host, unsafe):
    stop, results = threading.Event(), []
    source = NAMED.format(mark=mark) + "print('here', flush=True)\ntime.sleep(1000)"
    thread = threading.Thread(
        target=lambda: results.append(run(Program(source), Limits(seconds=500), stop=stop, unsafe=unsafe))
    )
    thread.start()
    assert host.eventually(lambda: host.named(mark))
    stop.set()
    thread.join(60)
    assert results[0].status == "killed"
    assert results[0].exit is None
    assert host.eventually(lambda: not host.named(mark))


def test_stop_that_is_set_already(mark, host):
    stop = threading.Event()
    stop.set()
    assert run(Program(NAMED.format(mark=mark) + "time.sleep(1000)"), stop=stop).status == "killed"
    assert host.eventually(lambda: not host.named(mark))


HOST = """
import os, signal, sys, threading, time
from satisfice.verifiers.sandbox import Limits, Program, run
from satisfice.verifiers.sandbox.running import pool
def main():
    run(Program("print(1)"))
    while len(pool().waiting()) < 2:
        time.sleep(0.01)
    print(*[w.process.pid for w in pool().waiting()], flush=True)
"""


def hosted(work: str) -> subprocess.Popen[str]:
    code = HOST + "".join(f"    {line}\n" for line in work.splitlines()) + "main()\n"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_nothing_is_left_when_the_process_ends(host):
    process = hosted("pass")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert len(out.split()) >= 2
    assert gone(out.split(), host)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_the_process_is_killed(mark, host, number):
    sleeper = NAMED.format(mark=mark) + "time.sleep(1000)"
    process = hosted(f"run(Program({sleeper!r}), Limits(seconds=900))")
    assert process.stdout is not None
    pids = process.stdout.readline().split()
    assert host.eventually(lambda: host.named(mark))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(pids) >= 2
    assert gone(pids, host)
    assert host.eventually(lambda: not host.named(mark))


def test_a_forked_child_has_a_pool_of_its_own():
    process = hosted(
        "held = [w.process.pid for w in pool().waiting()]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    good = run(Program('print(2)')).stdout == '2\\n'\n"
        "    mine = [w.process.pid for w in pool().waiting()]\n"
        "    pool().close()\n"
        "    os._exit(0 if good and not set(mine) & set(held) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert all(w.process.poll() is None for w in pool().waiting())\n"
        "assert run(Program('print(3)')).stdout == '3\\n'"
    )
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_forked_child_that_holds_our_pipes_does_not_hang_us():
    """Its copies of the write ends are open for ever: our end is the guard's, not the pipes'."""
    process = hosted(
        "import satisfice.verifiers.sandbox.supervise as s\ns.GRACE = 0.5\n"
        "worker = pool().waiting()[0]\n"
        "keep = os.dup(os.open(f'/proc/{worker.process.pid}/fd/1', os.O_WRONLY))\n"
        "print([run(Program('print(3)'), Limits(seconds=30)).stdout for _ in range(6)], flush=True)"
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == str(["3\n"] * 6)
