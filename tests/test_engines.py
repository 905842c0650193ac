"""Engines: whoever works, the same outcomes in the same order; workers may be killed, errors keep their type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satisfice import Engine, Price
from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.core.completions import Params
from satisfice.core.errors import CallerError, MissingExtra, UnknownName
from satisfice.experiments import Bank, Draw, Question, evaluate
from satisfice.experiments.engines import cluster, spread
from satisfice.experiments.engines.many import solve_many_on
from satisfice.experiments.measuring import Job, jobs_of, measure
from satisfice.experiments.replaying import BankTariff
from satisfice.models.scripted import ScriptedModel
from satisfice.strategies import SelfConsistency, SingleShot


def job_of(count: int = 40) -> Job:
    """Votes over questions of mixed difficulty, judged fold by fold."""
    questions, rows = {}, {}
    for i in range(count):
        keys = ["abcde"[(i * 7 + j * j * (i % 5)) % (1 + i % 5)] for j in range(6)]
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "a", "text", (), i % 2)
        rows[f"q{i}", "m", "x"] = tuple(Draw(j, k, k, k == "a", 1, j, 999 + i) for j, k in enumerate(keys))
    bank = Bank(questions, rows)
    tariff = BankTariff(bank, {"m": "x"})
    policies, tariffs = dict.fromkeys(bank.folds, Policy()), dict.fromkeys(bank.folds, tariff)
    budget = Budget(calls=6, worth=1e-4)
    return Job(bank, {"m": "x"}, SelfConsistency(), tuple(questions), budget, policies, tariffs, resamples=3)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A real cluster of two worker processes."""
    with cluster.connected(2) as started:
        yield started


def test_processes_give_what_is_measured_here() -> None:
    job, told = job_of(), []
    whole = list(spread(jobs_of(job, 7)))
    assert whole == [measure(chunk) for chunk in jobs_of(job, 7)]
    apart = list(spread(jobs_of(job, 7), "processes", 2, progress=told.append))
    assert repr(apart) == repr(whole)  # to the last digit of every figure
    assert sorted(len(chunk.questions) for chunk in told) == [5, 7, 7, 7, 7, 7]


def test_ray_gives_what_is_measured_here(ray: Any) -> None:
    job, told, slices = job_of(), [], {}  # type: ignore[var-annotated]
    whole = list(spread(jobs_of(job, 7)))
    apart = list(spread(jobs_of(job, 7, slices), "ray", 2, progress=told.append))
    assert repr(apart) == repr(whole)
    assert len(told) == len(slices) == 6


def test_a_report_is_the_same_to_the_last_digit_whoever_works(ray: Any) -> None:
    bank = job_of().bank
    ways = {"vote": SelfConsistency(), "by confidence": SelfConsistency(weights="confidence", samples=3)}
    local = evaluate(bank, ways, worth=[1e-5, 1e-4], resamples=2)
    for engine in ("processes", "ray"):
        report = evaluate(bank, ways, worth=[1e-5, 1e-4], resamples=2, engine=engine, workers=2)
        assert report == local
        assert [row.each for row in report.rows] == [row.each for row in local.rows]
        assert json.dumps(report.to_dict(each=True)) == json.dumps(local.to_dict(each=True))


def test_a_killed_ray_worker_is_survived(ray: Any, tmp_path: Path) -> None:
    mark = tmp_path / "killed"

    def deadly(chunk: Any) -> Any:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(chunk)

    job = job_of()
    assert repr(list(spread(jobs_of(job, 10), "ray", 2, work=deadly))) == repr(list(spread(jobs_of(job, 10))))
    assert mark.exists()


def test_a_batch_on_ray_survives_a_kill_and_pays_nothing_twice(ray: Any, tmp_path: Path) -> None:
    def make() -> Engine:
        def reply(request: Any, index: int) -> str:
            number = request.messages[-1].content.split("What is ")[1].split(" ")[0]
            mark = tmp_path / "killed"
            if number == "2" and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (tmp_path / "calls").open("a") as file:
                file.write(f"{number}\n")
            return f"The answer is {number}"

        engine = Engine("scripted", journal=tmp_path / "journal.sqlite")
        engine.register("scripted", ScriptedModel(reply), Price.per_million(100, 100))
        return engine

    batch = solve_many_on(
        [f"What is {n} + 0?" for n in range(8)],
        budget=2.0,
        engine="ray",
        shards=1,
        make=make,
        answer="number",
        concurrency=1,
        strategy=SingleShot(params=Params(temperature=0.0, max_tokens=8)),
    )
    assert [s.answer if s else None for s in batch.solutions] == [str(n) for n in range(8)]
    assert (tmp_path / "killed").exists()
    asked = (tmp_path / "calls").read_text().split()
    assert sorted(asked) == sorted(set(asked)) == [str(n) for n in range(8)]


def test_errors_keep_their_type(ray: Any) -> None:
    def refusing(number: int) -> int:
        if number == 3:
            raise UnknownName.of("model", "gpt-9", ["gpt-4"])
        return number

    for engine in ("local", "ray"):
        came = spread(range(9), engine, 2, work=refusing)
        assert [next(came) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(UnknownName, match="gpt-9"):
            next(came)
    with pytest.raises(UnknownName, match="engine"):
        spread([], "dask")
    with pytest.raises(CallerError, match="workers"):
        spread([], "processes", 0)


def test_ray_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[ray\]"):
        next(spread([1], "ray", work=abs))


def test_what_does_not_pickle_is_refused_with_what_to_do() -> None:
    with pytest.raises(CallerError, match="in a module"):
        next(spread([lambda: 1], "processes", work=abs))


SCRIPT = """
import os, signal, sys, time
from satisfice.core.errors import CallerError, UnknownName
from satisfice.experiments.engines import spread

def work(number):
    mark = sys.argv[2]
    if sys.argv[1] == "kill" and number == 4 and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "always":
        os._exit(1)
    if sys.argv[1] == "raise" and number == 4:
        raise UnknownName.of("model", "gpt-9", ["gpt-4"])
    if sys.argv[1] == "hang":
        print(os.getpid(), flush=True)
        time.sleep(600)
    return number

if __name__ == "__main__":
    try:
        print(list(spread(range(9), "processes", 2, work=work)))
    except CallerError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [("kill", str(list(range(9)))), ("raise", "UnknownName"), ("always", "ended 3 times without a word")],
)
def test_processes_survive_a_kill_and_pass_errors_on(how: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), how, str(tmp_path / "mark")], capture_output=True, text=True
    )
    assert said in done.stdout, done.stderr
    assert done.returncode == 0


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), "hang", "-"]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert caller.stdout is not None
    workers = [int(caller.stdout.readline()) for _ in range(2)]
    caller.send_signal(signal.SIGINT)
    assert caller.wait(60) != 0
    until = time.monotonic() + 30
    while any(map(_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_alive, workers))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
