"""What a bank or a policy says of strategies is data: it names them, and runs nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from satisfice import Engine
from satisfice.budgets.policy import Policy
from satisfice.budgets.prices import Price
from satisfice.core.errors import SatisficeError
from satisfice.experiments.bank import Bank, RecordedRun
from satisfice.experiments.evaluation import evaluate
from satisfice.models.scripted import ScriptedModel
from satisfice.strategies.registry import find_recorded, recorded_strategy, strategy_of


def bad_texts(place: Path) -> list[str]:
    """Strategy texts each of which would make the file, or read one, if it were believed."""
    run = f'{{"@":"subprocess:Popen","args":["touch","{place}"]}}'
    two = '[{"strategy":"single_shot","model":"a"},{"strategy":"single_shot","model":"b"}]'
    flow = '{"steps":[{"do":"sample"}]}'
    return [
        f"experts:arms={two},gate={run}",
        f"fusion:members=[{run}]",
        f'auto:arms=["{place.stem}:Evil"]',
        f"{place.stem}:Evil",
        "subprocess:Popen",
        f"workflow:source=@{place}",
        f"workflow:source={flow},trusted=true",
        f'fusion:members=["workflow:source=@{place}"]',
        "satisfice.core.answers.locate:re.compile",
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("which", range(9))
async def test_no_text_imports_or_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    place = tmp_path / "made"
    text = bad_texts(place)[which]
    (tmp_path / "made.py").write_text(f"open({str(place)!r}, 'w').close()\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SatisficeError):
        recorded_strategy(text)
    async with Engine("m", policy=Policy(strategy=text), journal=False) as engine:
        engine.register("m", ScriptedModel(["2"]), Price.per_million(1, 2))
        with pytest.raises(SatisficeError):
            await engine.solve("How much is 1 + 1?", budget=1.0)
    assert not place.exists()


def test_a_bank_with_such_a_text_is_evaluated_without_it(tmp_path: Path) -> None:
    place, bank = tmp_path / "made", Bank.open("strategies")
    text, question = bad_texts(place)[0], next(iter(bank.questions))
    run = RecordedRun(text, 0, 1, "a", None, None, False, "done", 0, 0, None, ())
    report = evaluate(replace(bank, runs={(question, text): (run,)}), resamples=1)
    assert text not in {row.name for row in report.rows}
    assert not place.exists()


@pytest.mark.parametrize(
    "text",
    [
        "single_shot",
        'self_consistency:samples=5,model=m,params={"temperature":0.3}',
        'fusion:members=["single_shot","self_consistency:samples=3"]',
        'cascade:stages=["single_shot:model=a","single_shot:model=b"]',
        'workflow:source={"steps":[{"do":"sample"}]}',
    ],
)
def test_honest_texts_mean_what_they_mean_to_people(text: str) -> None:
    assert recorded_strategy(text) == strategy_of(text)


def test_our_own_classes_may_be_named() -> None:
    assert find_recorded("satisfice.strategies.single_shot:SingleShot") == strategy_of("single_shot")
