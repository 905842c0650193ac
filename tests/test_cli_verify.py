"""`satisfice verify` and what it stands on: `verify()`, `Engine.verify`, the strategy `Verify`."""

from __future__ import annotations

import json
import sys

import anyio
import pytest

from satisfice import (
    BadBudget,
    BadQuery,
    Budget,
    CallerError,
    Candidate,
    Engine,
    Exact,
    Human,
    Judge,
    NoModelConfigured,
    Policy,
    Price,
    PTrue,
    ScriptedModel,
    Task,
    Verdict,
    Verify,
    verify,
)
from satisfice.budgets.calibrators import Calibration, Platt, ScoreModel
from satisfice.budgets.policy import VerifierPolicy
from satisfice.cli import main

PRICE = Price.per_million(1, 4)


@pytest.fixture
def cli(monkeypatch, tmp_path, capsysbinary):
    """Runs `satisfice verify ARGS` (or another command) in this process; replies (exit code, stdout, stderr)."""
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*args, command="verify"):
        monkeypatch.setattr(sys, "argv", ["satisfice", command, *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        assert "bug in satisfice" not in err
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def ask(cli, tmp_path):
    """`ask(task, candidate, *args)`: writes both files, replies (exit code, stdout, stderr)."""

    def run(task, candidate, *args):
        (tmp_path / "task.json").write_text(task if isinstance(task, str) else json.dumps(task))
        (tmp_path / "reply.txt").write_bytes(candidate if isinstance(candidate, bytes) else candidate.encode())
        return cli("--task", "task.json", "--candidate", "reply.txt", *args)

    return run


def engine(*replies, **options):
    made = Engine("m", journal=options.pop("journal", False), **options)
    made.register("m", ScriptedModel(list(replies)), PRICE)
    return made


def verified(made, *args, **options):
    async def work():
        async with made:
            return await made.verify(*args, **options)

    return anyio.run(work)


# -- from Python ------------------------------------------------------------------------------------------------------


def test_a_candidate_is_read_and_checked_for_nothing():
    solution = verify("17 + 25?", "It is **42**.", ["exact:reference=42", lambda x: x == 42], answer="number")
    assert [(j.verifier, j.verdict.score, j.verdict.p) for j in solution.verdicts] == [
        ("exact", 1.0, 1.0),
        ("<lambda>", 1.0, 1.0),
    ]
    assert (solution.answer, solution.stop_reason, solution.spend.calls) == ("42", "verified", 0)


@pytest.mark.parametrize(
    ("verifiers", "reason"),
    [
        (["exact:reference=42"], "verified"),
        (["exact:reference=42", "exact:reference=43"], "refuted"),
        (["exact:reference=42", lambda x: 0.7], "checked"),
        ([lambda x: 1 / 0], "checked"),
        ([lambda x: 0.7, "exact:reference=43"], "refuted"),
    ],
)
def test_the_reason_says_what_the_verdicts_come_to(verifiers, reason):
    assert verify("17 + 25?", "42", verifiers, answer="number").stop_reason == reason


def test_free_verifiers_come_first_and_paid_ones_are_billed():
    made = engine("4", "Score: 5")
    verifiers = [Judge(), "exact:reference=42"]
    solution = verified(made, "17 + 25?", "42", verifiers, budget=1.0, answer="number")
    assert [j.verifier for j in solution.verdicts] == ["exact", "judge"]
    judged = solution.verdicts[1].verdict
    assert judged.score == 0.75
    assert judged.spent.calls == 1
    assert solution.spend.nanos == judged.spent.nanos > 0


def test_a_policy_makes_scores_probabilities():
    known = VerifierPolicy(
        calibration=Calibration(pooled=Platt(slope=2.0, offset=-1.0)), model=ScoreModel.of(((1, 3), (3, 1)))
    )
    solution = verified(engine("4", policy=Policy(verifiers={"judge": known})), "q?", "42", Judge(), budget=1.0)
    verdict = solution.verdicts[0].verdict
    assert verdict.p == pytest.approx(known.p(0.75))
    assert not verdict.exact


def test_what_cannot_be_paid_is_unknown_and_stops_nothing_else():
    made = engine("4", "True")
    verifiers = [Judge(), PTrue(), Exact("42")]
    solution = verified(made, "q?", "42", verifiers, budget=Budget(calls=1))
    assert [(j.verifier, j.verdict.score) for j in solution.verdicts] == [
        ("exact", 1.0),
        ("judge", 0.75),
        ("p_true", None),
    ]
    assert solution.answer == "42"
    assert solution.stop_reason == "checked"


def test_models_and_budget_are_needed_where_a_model_is_asked(tmp_path):
    async def work():
        async with Engine(settings=_no_models(tmp_path), journal=False) as made:
            with pytest.raises(NoModelConfigured):
                await made.verify("q?", "42", Judge(), budget=1.0)
            assert (await made.verify("q?", "42", Exact("42"))).stop_reason == "verified"
        async with engine("4") as made:
            with pytest.raises(BadBudget):
                await made.verify("q?", "42", Judge())
            with pytest.raises(CallerError, match="at least one verifier"):
                await made.verify("q?", "42", [])
            with pytest.raises(CallerError, match="completion's text"):
                await made.verify("q?", 42, Exact("42"))

    anyio.run(work)


def _no_models(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    return str(tmp_path / "empty.toml")


def test_a_model_that_a_judge_names_is_allowed():
    made = engine("1")
    made.register("other", ScriptedModel(["5"]), PRICE)
    solution = verified(made, "q?", "42", [Judge(), Judge(model="other", name="second")], budget=1.0)
    assert [j.verdict.score for j in solution.verdicts] == [0.0, 1.0]


def test_other_candidates_are_there_to_compare_with():
    task = Task.of("q?", "number").knowing(tuple(Candidate(t, t, t) for t in ("42", "42", "7")))
    solution = verify(task, "42", "agreement")
    assert solution.verdicts[0].verdict.score == pytest.approx(2 / 3)


def test_a_verification_is_journaled_and_resumed_with_its_verifiers(tmp_path):
    async def work():
        async with engine("4", "2", journal=tmp_path / "runs.db") as made:
            first = await made.verify("q?", "42", [Human(), Judge()], budget=1.0)
            assert (first.status, first.spend.calls) == ("waiting", 1)  # a person is asked last
            again = await made.reply(first.run_id, "right", checks=[Human(), Judge()])
            assert [(j.verifier, j.verdict.score) for j in again.verdicts] == [("judge", 0.75), ("human", 1.0)]
            stored = await made.resume(first.run_id)
            assert stored.verdicts == again.verdicts

    anyio.run(work)


def test_a_deadline_keeps_the_candidate_and_what_was_said():
    class Slow:
        name, is_async, blocking = "slow", True, True

        def __call__(self, task, candidate):
            raise AssertionError("the async form is taken")

        async def acall(self, task, candidate):
            await anyio.sleep(60)
            return Verdict(1.0)

    solution = verify("q?", "42", [Exact("42"), Slow()], budget=Budget(calls=1, seconds=0.2))
    assert solution.answer == "42"
    assert solution.stop_reason == "budget_seconds"
    assert [j.verifier for j in solution.verdicts] == ["exact"]


def test_the_strategy_needs_a_candidate_and_a_verifier():
    with pytest.raises(BadQuery, match="candidate"):
        Verify()(Task.of("q?"))
    with pytest.raises(BadQuery, match="verifier"):
        Verify()(Task.of("q?").knowing((Candidate("x"),)))


def test_verify_works_inside_a_loop():
    async def work():
        return verify("q?", "42", "exact:reference=42")

    assert anyio.run(work).stop_reason == "verified"


# -- the command ------------------------------------------------------------------------------------------------------

SUM = {"query": "17 + 25?", "answer": "choice", "choices": ["41", "42"], "reference": "42"}


def test_exit_codes_and_table(ask):
    code, out, err = ask(SUM, "I say 42.")
    assert code == 0
    assert out.splitlines()[0].split() == ["verifier", "score", "P(right)", "exact", "cost", "evidence"]
    assert out.splitlines()[1].split()[:5] == ["choice", "1", "1.00", "yes", "free"]
    assert "every exact verdict passed" in err
    code, out, err = ask(SUM, "I say 41.")
    assert code == 1
    assert "an exact verdict failed" in err
    code, out, err = ask({"query": "q?"}, "x", "--verifier", "confidence")
    assert code == 5
    assert "unknown" in out


def test_json_output(ask):
    code, out, _ = ask(SUM, "41", "--json")
    data = json.loads(out)
    assert (code, data["passed"], data["answer"], data["stop_reason"]) == (1, False, "41", "refuted")
    assert data["verdicts"][0]["verifier"] == "choice"
    assert data["verdicts"][0]["spent"]["nanos"] == 0
    assert json.loads(ask({"query": "q?"}, "x", "--verifier", "confidence", "--json")[1])["passed"] is None


IMPLIED = [
    ({"query": "q?", "reference": "Paris"}, "paris!", ["exact"], 0),
    ({"query": "q?", "answer": "text", "reference": ["Rome", "Paris"]}, "Rome", ["exact"], 0),
    ({"query": "q?", "choices": ["A", "B"]}, "C", ["choice"], 1),
    ({"query": "q?", "answer": "json", "reference": {"a": [1]}}, '{"a": [1]}', ["exact"], 0),
    ({"query": "q?", "answer": "json", "reference": {"a": [1]}}, '{"a": [2]}', ["exact"], 1),
]


@pytest.mark.parametrize(("task", "reply", "names", "exit_code"), IMPLIED)
def test_the_task_implies_its_verifiers(ask, task, reply, names, exit_code):
    code, out, err = ask(task, reply, "--json")
    assert code == exit_code, err + out
    assert [v["verifier"] for v in json.loads(out)["verdicts"]] == names


def test_a_number_is_compared_as_mathematics(ask):
    pytest.importorskip("latex2sympy2_extended", reason="extra `math` is not installed")
    task = {"query": "half?", "answer": "number", "reference": 0.5}
    assert ask(task, "It is 1/2.")[0] == 0
    assert ask(task, "It is 0.6.")[0] == 1


def test_schema_and_tests(ask):
    pytest.importorskip("jsonschema", reason="extra `schema` is not installed")
    schema = {"type": "object", "required": ["x"]}
    assert ask({"query": "q?", "schema": schema}, '{"x": 1}')[0] == 0
    code, out, _ = ask({"query": "q?", "schema": schema}, '{"y": 1}')
    assert code == 1
    assert "x" in out


def test_code_is_run_by_its_tests(ask):
    from satisfice.verifiers.sandbox import isolation

    if isolation() is None:
        pytest.skip("no isolation here to run code in")
    task = {"query": "add one", "tests": "assert f(1) == 2\nassert f(2) == 3"}
    assert ask(task, "def f(x):\n    return x + 1\n")[0] == 0
    code, out, _ = ask(task, "def f(x):\n    return 2\n", "--json")
    assert code == 1
    assert json.loads(out)["verdicts"][0]["score"] == 0.5


def test_plain_text_is_a_query(ask, tmp_path, cli):
    (tmp_path / "query.txt").write_text("{{ what }} is it?\n")
    (tmp_path / "reply.txt").write_text("It is 42.")
    code, out, _ = cli("--task", "query.txt", "--candidate", "reply.txt", "--verifier", "exact:reference=it is 42")
    assert code == 0, out


def test_standard_input(cli, tmp_path, monkeypatch):
    import io

    (tmp_path / "task.json").write_text(json.dumps(SUM))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"42")))
    assert cli("--task", "task.json", "--candidate", "-")[0] == 0
    (tmp_path / "reply.txt").write_text("42")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(SUM).encode())))
    assert cli("--task", "-", "--candidate", "reply.txt")[0] == 0


@pytest.mark.parametrize(
    ("reply", "exit_code", "says"),
    [
        (b"", 1, "empty"),
        (b"   \n", 1, "empty"),
        (bytes(range(256)) * 4, 1, "not UTF-8"),
        (b"\xef\xbb\xbf42", 0, ""),
        (b"x" * 10_000_000, 1, ""),
        (b"\x00" * 1000, 1, ""),
        (b"[" * 100_000, 1, ""),
    ],
    ids=["empty", "blank", "binary", "bom", "10 MB", "NULs", "brackets"],
)
def test_odd_candidates_get_a_verdict(ask, reply, exit_code, says):
    code, out, err = ask(SUM, reply)
    assert code == exit_code, out + err
    assert says in err
    assert "choice" in out


BAD = [
    ({"query": "q?"}, (), "nothing to verify with"),
    ({"query": "q?"}, ("--verifier", "rgex:pattern=a"), "'regex'"),
    ({"query": "q?"}, ("--verifier", "judge"), "--budget"),
    ({"query": "q?", "refrence": "a"}, (), "'reference'"),
    ({"query": "q?", "answer": "numbr"}, (), "'number'"),
    ({"query": "q?", "choices": "AB"}, (), "choices"),
    ({"query": "q?", "schema": [1]}, (), "schema"),
    ({"query": "q?", "tests": " "}, (), "tests"),
    ({"query": "q?", "answer": "code", "reference": "x = 1"}, (), "tests"),
    ({"query": "q?", "reference": {"a": 1}}, (), "reference"),
    ({"query": "q?", "sources": []}, (), "source"),
    ({"question": "q?"}, (), "query"),
    ("{", (), "not JSON"),
    ("[1]", (), "query"),
    ('{"query": " ", "reference": "a"}', (), "empty"),
    ({"query": "q?", "reference": "a"}, ("--policy", "no.json"), "no.json"),
    ({"query": "q?", "reference": "a"}, ("--budget", "0"), "above 0"),
]


@pytest.mark.parametrize(("task", "args", "says"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_calls_say_what_is_wrong(ask, task, args, says):
    code, out, err = ask(task, "42", *args)
    assert (code, out) == (2, ""), err
    assert says in err.splitlines()[-1]
    assert json.loads(ask(task, "42", *args, "--json")[1])["error"]["message"]


def test_missing_files_and_both_from_stdin(cli, tmp_path):
    (tmp_path / "t.txt").write_text("q?")
    for args in (("t.txt", "no.txt"), ("no.txt", "t.txt"), ("t.txt", "."), ("-", "-")):
        code, _, err = cli("--task", args[0], "--candidate", args[1], "--verifier", "exact:reference=a")
        assert code == 2, args
        assert "cannot" in err


def test_a_person_is_waited_for_and_answered(ask, cli):
    code, out, err = ask({"query": "q?"}, "42", "--verifier", "human", "--json")
    data = json.loads(out)
    assert (code, data["status"]) == (5, "waiting")
    assert "Is this answer right?" in data["question"]
    code, _, err = cli("answer", data["run_id"], "wrong", "--check", "exact:reference=42", command="runs")
    assert code == 2
    assert "'exact' where it used 'human'" in err
    assert "answer " + data["run_id"] in cli("show", data["run_id"], command="runs")[1]
    code, out, err = cli("answer", data["run_id"], "wrong", command="runs")  # its verifier is on record
    assert code == 1, err
    assert "an exact verdict failed" in err
    assert "human" in out


def test_what_is_meant_by_a_value_without_its_setting(cli):
    for spec in ("regex:^199", "regex:abc"):
        code, _, err = cli("q?", "--calls", "1", "--check", spec, command="solve")
        assert code == 2
        assert "Did you mean regex:pattern=" + spec[6:] in err


def test_solve_takes_verifiers_by_name(cli):
    code, _, err = cli("q?", "--calls", "1", "--check", "regex:patern=a", command="solve")
    assert code == 2
    assert "'pattern'" in err


def test_help_and_listing(cli):
    text = cli("--help")[1]
    assert "satisfice verify --task" in text
    assert "Exit code" in text
    rows = json.loads(cli("--json", command="verifiers")[1])
    assert {"regex", "judge", "code"} <= {row["name"] for row in rows}
    assert "pattern*" in cli(command="verifiers")[1]
