"""Finding verifiers: by name, from an entry point, as module:attribute, and from one line of text."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from satisfice import (
    AllOf,
    CallerError,
    Candidate,
    Check,
    Exact,
    HttpPRM,
    Judge,
    MissingExtra,
    Params,
    Task,
    UnknownName,
    Verdict,
    Weighted,
    find_verifier,
)
from satisfice.core.verdict import name_of
from satisfice.verifiers import registry, verifier_of
from satisfice.verifiers.grouping import Entailment

TASK = Task.of("How many?", "number")


@dataclass(frozen=True)
class Ending:
    """Whether the text ends like this. And more."""

    end: str = "!"
    name: str = "ending"

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        return Verdict(float(candidate.text.endswith(self.end)))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's own, called like a verifier is."""
    (tmp_path / "code.py").write_text(
        "def even(x):\n    return x % 2 == 0\n"
        "class Long:\n    name = 'long'\n    def __init__(self, least=3):\n        self.least = least\n"
        "    def __call__(self, task, candidate):\n        from satisfice import Verdict\n"
        "        return Verdict(float(len(candidate.text) >= self.least))\n"
    )
    (tmp_path / "broken_checks.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "code", raising=False)
    yield
    sys.modules.pop("code", None)


def test_every_built_in_name_is_found_and_listed():
    rows = {row["name"]: row for row in registry.listing()}
    assert set(rows) >= set(registry.BUILT_IN)
    for name, row in rows.items():
        assert row["summary"], name
        assert set(row["needed"]) <= set(row["settings"])
    issue = "math choice exact regex schema code grounding judge process confidence similarity ensemble human"
    assert set(issue.split()) <= set(rows)
    assert rows["regex"]["needed"] == ["pattern"]


def test_settings_in_python_and_as_text_make_the_same():
    assert verifier_of("exact:reference=a,case=true") == find_verifier("exact", reference="a", case=True)
    judge = verifier_of('judge:criteria=["right, and short","kind"],scale=[0, 9],name=strict,params={"max_tokens": 4}')
    assert judge == Judge(
        criteria=("right, and short", "kind"), scale=(0, 9), name="strict", params=Params(max_tokens=4)
    )
    assert verifier_of("judge:criteria=clear").criteria == ("clear",)


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        (r"regex:pattern=^\d{1,3}$", r"^\d{1,3}$"),
        (r"regex:pattern=[a,b],full=true", "[a,b]"),
        ('regex:pattern="a,full=b"', "a,full=b"),
        ("regex:pattern=a:b=c", "a:b=c"),
        ("regex:pattern=42", "42"),
        ("regex:pattern=@@home", "@home"),
        ("regex: pattern=x", "x"),
    ],
)
def test_a_text_stays_as_it_is_written(spec, pattern):
    pytest.importorskip("re2", reason="extra `regex` is not installed")
    assert verifier_of(spec).pattern == pattern


def test_a_reference_that_looks_like_a_number_is_a_text():
    assert verifier_of("exact:reference=42").reference == ("42",)
    assert verifier_of('exact:reference=["42","forty-two"]').reference == ("42", "forty-two")


def test_files_are_read(tmp_path):
    (tmp_path / "source.txt").write_text("The moon is far.\n")
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object"}))
    assert verifier_of(f"grounding:sources=@{tmp_path}/source.txt").sources == (("source 1", "The moon is far."),)
    pytest.importorskip("jsonschema", reason="extra `schema` is not installed")
    assert verifier_of(f"schema:schema=@{tmp_path}/schema.json").schema == {"type": "object"}
    (tmp_path / "schema.json").write_text("{")
    with pytest.raises(CallerError, match="not JSON"):
        verifier_of(f"schema:schema=@{tmp_path}/schema.json")
    with pytest.raises(CallerError, match=r"no\.txt"):
        verifier_of("grounding:sources=@no.txt")


def test_verifiers_of_verifiers():
    both = verifier_of('all_of:checks=["exact:reference=a","judge:name=j,scale=[0,9]"],name=both')
    assert both == AllOf(Exact("a"), Judge(scale=(0, 9), name="j"), name="both")
    assert verifier_of('weighted:checks={"judge": 1, "exact:reference=a": 3}') == Weighted(
        [(Judge(), 1), (Exact("a"), 3)]
    )
    assert find_verifier("any_of", checks=[Exact("a"), "exact:reference=b"]).checks == (Exact("a"), Exact("b"))
    panel = verifier_of('panel:judges=["judge:model=x","judge:model=y"],combine=min')
    assert [judge.model for judge in panel.judges] == ["x", "y"]
    assert verifier_of("process:scorer=http://127.0.0.1:9/score").scorer == HttpPRM("http://127.0.0.1:9/score")
    assert verifier_of("similarity:by=entailment").by == Entailment()
    with pytest.raises(CallerError, match="lexical"):
        verifier_of("similarity:by=meaning")


def test_an_ensemble_takes_its_model_from_a_file(tmp_path):
    from satisfice.budgets.calibrators import EnsembleModel

    fields = {"base_rate": 0.4, "parts": [], "dropped": []}
    try:
        EnsembleModel.model_validate(fields)
    except ValueError:
        (tmp_path / "model.json").write_text(json.dumps(fields))
        with pytest.raises(CallerError, match="ensemble"):
            verifier_of(f'ensemble:parts=["judge"],model=@{tmp_path}/model.json')
    else:
        (tmp_path / "model.json").write_text(json.dumps(fields))
        with pytest.raises(CallerError, match="judge"):
            verifier_of(f'ensemble:parts=["judge"],model=@{tmp_path}/model.json')


def test_a_users_own_module_hides_no_name_and_is_not_hidden(mine):
    check = verifier_of("code:even")
    assert isinstance(check, Check)
    assert check(TASK, Candidate("4", "4", "4")).passed
    assert name_of(check) == "even"
    assert verifier_of("code:Long:least=5").least == 5
    assert verifier_of("code:tests=assert f(1) == 2").tests == "assert f(1) == 2"


def test_an_entry_point_is_found(monkeypatch):
    point = EntryPoint("ending", f"{__name__}:Ending", registry.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Ending)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    assert verifier_of("ending:end=?") == Ending("?")
    assert find_verifier("ending") == Ending()
    row = next(row for row in registry.listing() if row["name"] == "ending")
    assert (row["summary"], list(row["settings"])) == ("Whether the text ends like this", ["end", "name"])


BAD = [
    ("rgex:pattern=1", UnknownName, "'regex'"),
    ("judg", UnknownName, "'judge'"),
    ("regex:patern=1", CallerError, "Did you mean 'pattern'"),
    ("regex", CallerError, "needs pattern"),
    ("regex:", CallerError, "needs pattern"),
    ("regex:^4$", CallerError, "key=value"),
    ("exact:reference=a,reference=b", CallerError, "twice"),
    ("judge:scale=5", CallerError, "scale"),
    ("judge:scale=[5,1]", CallerError, "scale"),
    ('judge:params={"max_token": 3}', CallerError, "max_token"),
    ("code", CallerError, "tests="),
    ('code:tests=x,limits={"second": 3}', CallerError, "second"),
    ("panel:judges=5", CallerError, "panel"),
    ('all_of:checks=["nothing"]', UnknownName, "nothing"),
    ("nowhere:f", UnknownName, "nowhere"),
    ("json:nothing_there", UnknownName, "nothing_there"),
    ("json:__doc__", UnknownName, "cannot be called"),
    ("broken_checks:f", UnknownName, "SyntaxError"),
    ("", UnknownName, "regex"),
    (":", UnknownName, ""),
]


@pytest.mark.parametrize(("spec", "kind", "says"), BAD, ids=[b[0] for b in BAD])
def test_bad_specs_say_what_is_wrong(spec, kind, says, mine):
    with pytest.raises(kind) as caught:
        verifier_of(spec)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 600
    json.dumps(caught.value.to_dict())


def test_a_function_takes_no_settings(mine):
    with pytest.raises(CallerError, match="no settings"):
        verifier_of("code:even:least=3")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(MissingExtra, match="regex"):
        find_verifier("regex", pattern="a")
