"""A user's own strategy: the example of docs/strategies.md, from an entry point, held against the contract."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from satisfice import CallerError, Engine, Price, ScriptedModel, UnknownName, solve
from satisfice.core.plans import Strategy
from satisfice.strategies.registry import BUILT_IN, find, listing, strategy_of
from satisfice.testing.strategy import StrategyContract

DOCS = Path(__file__).parents[1] / "docs" / "strategies.md"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An installed package that holds the page's example, and a broken one beside it."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    code = next(text for kind, text in blocks if kind == "python" and "class Warmer" in text)
    line = next(text for kind, text in blocks if kind == "toml").splitlines()[1].replace('"', "")
    (tmp_path / "my_package.py").write_text(code)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[satisfice.strategies]\n{line}\nbroken = no_such_module:Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield import_module("my_package")
    sys.modules.pop("my_package", None)


def test_the_page_names_every_strategy() -> None:
    page = DOCS.read_text()
    assert [name for name in BUILT_IN if f"| `{name}` |" not in page] == []


def test_the_example_is_short() -> None:
    code = re.search(r"@dataclass.*?```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    assert len(code[0].splitlines()) <= 21


def test_it_is_found_and_solves_by_name(plugin: ModuleType) -> None:
    assert find("warmer", tries=2) == plugin.Warmer(tries=2)
    assert strategy_of("warmer:tries=3") == plugin.Warmer(tries=3)
    rows = {row["name"]: row for row in listing()}
    assert rows["warmer"]["settings"]["tries"] == "int"
    assert "no_such_module" in rows["broken"]["summary"]
    with pytest.raises(CallerError, match="tries"):
        strategy_of("warmer:nonsense=3")
    with pytest.raises(UnknownName, match="warmer"):
        find("warmest")


@pytest.mark.anyio
async def test_it_answers_through_the_engine(plugin: ModuleType) -> None:
    async with Engine("m", journal=False) as engine:
        engine.register("m", ScriptedModel(["Answer: 3", "Answer: 4"]), Price.per_million(1, 1))
        solution = await engine.solve("2 + 2?", budget=1, answer="number", checks=[lambda n: n == 4], strategy="warmer")
    assert (solution.answer, solution.stop_reason, solution.spend.calls) == ("4", "verified", 2)


class TestWarmer(StrategyContract):
    @pytest.fixture
    def strategy(self, plugin: ModuleType) -> Strategy:
        made: Strategy = plugin.Warmer()
        return made


def test_a_strategy_that_is_none_is_refused() -> None:
    with pytest.raises(CallerError, match="plan"):
        solve("2 + 2?", budget=1, models="local/smollm2", strategy=lambda task: 3, journal=False)  # type: ignore[arg-type, return-value]
