"""Off-policy estimates against what is known to be true."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from satisfice.core.errors import CallerError
from satisfice.experiments.off_policy import Logged, off_policy, read_logs, with_means

CHANCES = {"small": 0.7, "large": 0.2, "other": 0.1}
REWARD = {"small": 0.3, "large": 0.8, "other": 0.5}
TARGET = {"small": 0.2, "large": 0.8}
TRUTH = sum(p * REWARD[a] for a, p in TARGET.items())


def logs_of(questions: int, seed: int, each: int = 1, **more: object) -> list[Logged]:
    """Each question has a difficulty, which all its decisions share; mean rewards are those of REWARD."""
    dice, rows = Random(seed), []
    for i in range(questions):
        shift = dice.choice((-0.15, 0.15))
        for _ in range(each):
            action = dice.choices(list(CHANCES), list(CHANCES.values()))[0]
            right = float(dice.random() < REWARD[action] + shift)
            rows.append(Logged(f"q{i}", action, right, CHANCES, TARGET, fold=i % 5, **more))  # type: ignore[arg-type]
    return rows


@pytest.mark.parametrize("name", ["ips", "snips", "direct", "doubly_robust"])
def test_estimates_are_near_the_truth_and_their_intervals_hold_it(name: str) -> None:
    found = [getattr(off_policy(with_means(logs_of(300, seed))), name) for seed in range(60)]
    mean = sum(i.estimate for i in found) / len(found)
    assert mean == pytest.approx(TRUTH, abs=0.05 if name == "direct" else 0.015)  # its means are drawn to one another
    held = sum(i.low <= TRUTH <= i.high for i in found)
    if name != "direct":  # whose bias no bootstrap sees
        assert held >= 51  # of 60; 57 on the mean, and below 51 once in 200 times


def test_doubly_robust_is_right_where_the_prediction_is_wrong_and_direct_is_not() -> None:
    wrong = dict.fromkeys(CHANCES, 0.1)
    found = off_policy(logs_of(4000, 1, predicted=wrong))
    assert found.direct is not None
    assert found.direct.estimate == pytest.approx(0.1)
    assert found.doubly_robust is not None
    assert found.doubly_robust.low < TRUTH < found.doubly_robust.high


def test_a_good_prediction_narrows_the_interval() -> None:
    logs = logs_of(600, 2)
    plain, known = off_policy(logs), off_policy(with_means(logs))
    assert known.doubly_robust is not None
    width = known.doubly_robust.high - known.doubly_robust.low
    assert width < 0.8 * (plain.ips.high - plain.ips.low)


def test_the_same_policy_is_the_mean_reward() -> None:
    logs = [Logged(row.question, row.action, row.reward, CHANCES, CHANCES) for row in logs_of(50, 3)]
    found = off_policy(logs)
    assert found.ips == found.logged
    assert found.effective == pytest.approx(50)


def test_decisions_on_one_question_are_one_cluster() -> None:
    once = off_policy(logs_of(200, 4))
    copied = off_policy([row for row in logs_of(200, 4) for _ in range(5)])
    assert copied.decisions == 5 * once.decisions
    assert copied.ips.high - copied.ips.low == pytest.approx(once.ips.high - once.ips.low)


def test_what_was_never_tried_is_said() -> None:
    chances = {"small": 1.0}
    rows = [Logged(f"q{i}", "small", 1.0, chances, {"small": 0.5, "large": 0.5}) for i in range(40)]
    found = off_policy(rows)
    assert found.unsupported == 0.5
    assert any("50.0% of what the target does was never tried" in text for text in found.notes)
    with pytest.raises(CallerError, match="never does what was logged"):
        off_policy([Logged("q", "small", 1.0, chances, {"large": 1.0})])


def test_what_was_never_tried_is_said_where_only_propensities_are_on_record() -> None:
    half = {"small": 0.5, "large": 0.5}
    rows = [Logged(f"q{i}", "small", 1.0, {"small": 0.5}, half) for i in range(40)]
    found = off_policy(rows)
    assert found.unsupported == 0.5
    assert any("50.0% of what the target does was never tried" in text for text in found.notes)
    tried = off_policy([*rows, Logged("r", "large", 0.0, {"large": 0.5}, half)])
    assert tried.unsupported == 0.0


def test_few_effective_decisions_and_clipping() -> None:
    rows = [Logged(f"q{i}", "a", 1.0, {"a": 0.01 if i == 0 else 1.0}, {"a": 1.0}) for i in range(100)]
    found = off_policy(rows)
    assert found.largest == pytest.approx(100)
    assert found.effective < 5
    assert any("not to be trusted" in text for text in found.notes)
    assert off_policy(rows, clip=1.0).effective == pytest.approx(100)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"propensity": 0.0}, "no chance on record"),
        ({"reward": float("nan")}, "finite"),
        ({"target": {"a": 0.4}}, "sum 0.4"),
        ({"propensity": 1.5}, "chances from 0 to 1"),
        ({"question": None, "drop": "action"}, "no 'action'"),
    ],
)
def test_bad_rows_name_their_line(tmp_path: Path, row: dict[str, object], said: str) -> None:
    good = {"question": "q", "action": "a", "propensity": 0.5, "reward": 1, "target": "a"}
    bad = {**good, **row}
    bad.pop(str(bad.pop("drop", "")), None)
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps(good) + "\n\n" + json.dumps(bad) + "\n")
    with pytest.raises(CallerError, match=r"line 3: .*") as caught:
        read_logs(file)
    assert said in str(caught.value)


def test_no_logs_bad_clip_and_one_fold() -> None:
    with pytest.raises(CallerError, match="no logged decision"):
        off_policy([])
    with pytest.raises(CallerError, match="clip"):
        off_policy(logs_of(3, 0), clip=0.0)
    with pytest.raises(CallerError, match="two folds"):
        with_means([row for row in logs_of(20, 0) if row.fold == 0])


def test_command(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from satisfice.cli import cli

    file = tmp_path / "log.jsonl"
    rows = [
        {
            "question": r.question,
            "action": r.action,
            "logging": CHANCES,
            "reward": r.reward,
            "target": TARGET,
            "fold": r.fold,
        }
        for r in logs_of(200, 5)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = CliRunner().invoke(cli, ["off-policy", str(file), "--predict", "--json"], catch_exceptions=False)
    data = json.loads(told.stdout)
    assert data["decisions"] == 200
    assert data["doubly_robust"]["low"] < TRUTH < data["doubly_robust"]["high"]
    shown = CliRunner().invoke(cli, ["off-policy", str(file)], catch_exceptions=False)
    assert "snips" in shown.stdout
    assert "doubly robust" not in shown.stdout
