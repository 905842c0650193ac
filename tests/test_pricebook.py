from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from satisfice.budgets.prices import Price, Tier
from satisfice.cli import cli
from satisfice.core.completions import Usage
from satisfice.core.errors import BadSettings, CallerError, UnpricedModel
from satisfice.models import Catalog, Settings, load_settings
from satisfice.models.pricebook import PriceBook

ROW = '[[price]]\nmodel = "openai/gpt-4o-mini"\nprompt = 0.15\ncompletion = 0.6\n'
WHOLE = """
[[price]]
model = "openai/gpt-4o-mini"
from = 2026-01-01
until = 2026-07-01
prompt = 0.15
completion = 0.60
cached = 0.075
cache_write = 0.1875
reasoning = 0.70
per_call = 0.001
tiers = [{above = 200_000, prompt = 0.30, completion = 1.20, cached = 0.15}]
batch = {prompt = 0.075, completion = 0.30}
off_peak = [{hours = ["16:30-00:30"], days = [1, 2, 3, 4, 5], prompt = 0.1, completion = 0.4}]

[[price]]
model = "gpt-4o-mini"
from = "2026-07-01"
prompt = 9
completion = 18
"""
JUNE = datetime(2026, 6, 10, 12, tzinfo=UTC)  # a Wednesday
JULY = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "PRICES", "DEFAULT"):
        monkeypatch.delenv(f"SATISFICE_{name}", raising=False)


def write(text: str | bytes, name: str = "prices.toml") -> Path:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return Path(name)


def book(text: str, name: str = "prices.toml") -> PriceBook:
    return PriceBook([write(text, name)])


def test_the_whole_shape() -> None:
    price = book(WHOLE).price("gpt-4o-mini", JUNE)
    assert price is not None
    assert price.figures() == (150_000, 600_000, 75_000, 187_500, 700_000)
    assert price.tiers == (Tier(200_000, 300_000, 1_200_000, 150_000),)
    assert price.batch == Price(75_000, 300_000, source="file")
    assert price.per_call == 1_000_000
    assert price.at(JUNE.replace(hour=17)).cost(Usage(1000, 1000)) == 100_000 + 400_000 + 1_000_000
    assert price.at(JUNE).cost(Usage(1000, 1000)) == 150_000 + 600_000 + 1_000_000
    assert price.version.startswith("file:")


def test_json_says_the_same() -> None:
    rows = [
        {
            "model": "openai/gpt-4o-mini",
            "from": "2026-01-01",
            "until": "2026-07-01",
            "prompt": 0.15,
            "completion": 0.6,
            "cached": 0.075,
            "cache_write": 0.1875,
            "reasoning": 0.7,
            "per_call": 0.001,
            "tiers": [{"above": 200000, "prompt": 0.3, "completion": 1.2, "cached": 0.15}],
            "batch": {"prompt": 0.075, "completion": 0.3},
            "off_peak": [{"hours": "16:30-00:30", "days": [1, 2, 3, 4, 5], "prompt": 0.1, "completion": 0.4}],
        }
    ]
    made = book(json.dumps({"price": rows}), "prices.json").price("gpt-4o-mini", JUNE)
    assert made == book(WHOLE).price("gpt-4o-mini", JUNE)


def test_figures_are_exact_decimals() -> None:
    price = book(ROW.replace("0.15", "0.1000000000000000055511151231257827")).price("gpt-4o-mini")
    assert price is not None
    assert price.prompt == 100_001  # rounded up, not the float 0.1


def test_rows_by_date_and_litellms_list_around_them() -> None:
    made = book(WHOLE)
    before = made.price("openai/gpt-4o-mini", datetime(2025, 6, 1, tzinfo=UTC))
    assert before is not None
    assert before.source == "litellm"
    assert made.price("gpt-4o-mini", JULY) == Price(9_000_000, 18_000_000, source="file")
    last = made.price("gpt-4o-mini", JULY - timedelta(seconds=1))
    assert last is not None
    assert last.then == (JULY, Price(9_000_000, 18_000_000, source="file"))
    assert last.version == made.price("gpt-4o-mini", JUNE).version  # type: ignore[union-attr]
    assert last.worst(1000, 0) == 9_000_000 + 1_000_000  # held at what the night may bring
    assert made.price("gpt-4o-mini", JULY - timedelta(seconds=2)) is last
    quoted = made.quoted("gpt-4o-mini", JUNE)
    assert quoted is not None
    assert (quoted.origin, quoted.until) == ("prices.toml, row 1", JULY)


def test_two_nodes_with_the_same_figures_have_the_same_version() -> None:
    one, other = book(ROW, "a.toml"), book(ROW.replace("0.6", "0.60"), "b.toml")
    third = book(ROW.replace("0.6", "0.61"), "c.toml")
    versions = [b.price("gpt-4o-mini").version for b in (one, other, third)]  # type: ignore[union-attr]
    assert versions[0] == versions[1] != versions[2]


def test_an_unknown_model_has_no_price() -> None:
    assert book(ROW).price("openai/never-heard-of") is None
    assert book(ROW).quoted("openai/never-heard-of") is None
    with pytest.raises(CallerError, match="zone"):
        book(WHOLE).price("gpt-4o-mini", datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt = 1", "no prices in it"),
        ("[price]\nmodel = 'x'", "no prices in it"),
        ("x = ", "not TOML"),
        (ROW + "[other]\n", "other: unknown key"),
        (ROW + "promt = 1\n", r"row 1 .*: promt: unknown key, did you mean 'prompt'"),
        (ROW.replace('model = "openai/gpt-4o-mini"', "model = 5"), "row 1: model: missing"),
        (ROW.replace('"openai/gpt-4o-mini"', '" "'), "row 1.*: model: missing"),
        (ROW.replace("prompt = 0.15\n", ""), "row 1 .*: prompt: missing"),
        (ROW.replace("0.15", "-0.15"), "row 1 .*: prompt: -0.15: expected 0 or more"),
        (ROW.replace("0.15", "nan"), "row 1 .*: prompt: NaN"),
        (ROW.replace("0.15", "inf"), "row 1 .*: prompt: Infinity"),
        (ROW.replace("0.15", "1e999999"), "row 1 .*: prompt: .*less than a thousand dollars"),
        (ROW.replace("0.15", "1e99999999999999999999"), "not TOML"),
        (ROW.replace("0.15", "true"), "row 1 .*: prompt: expected a number of USD, not bool"),
        (ROW.replace("0.15", "'0.15'"), "row 1 .*: prompt: expected a number of USD, not str"),
        (ROW + "per_call = 1e9\n", "row 1 .*: per_call: .*1000 at the most"),
        (ROW + "per_call = -1\n", "row 1 .*: per_call: -1: expected 0 or more"),
        (ROW + "from = 2026-13-01\n", "not TOML"),
        (ROW + "from = '2026-02-30'\n", "row 1 .*: from: expected a day"),
        (ROW + "from = 2026-01-01T10:00:00Z\n", "row 1 .*: from: expected a day"),
        (ROW + "until = 5\n", "row 1 .*: until: expected a day"),
        (ROW + "from = 2026-02-01\nuntil = 2026-02-01\n", "row 1 .*: until: 2026-02-01 is not after from"),
        (ROW + "tiers = {above = 5}\n", "row 1 .*: tiers: expected a list"),
        (ROW + "tiers = []\n", "row 1 .*: tiers: expected a list"),
        (ROW + "tiers = [{prompt = 1, completion = 1}]\n", r"row 1 .*: tiers\[0\].above: expected a whole number"),
        (ROW + "tiers = [{above = 5, prompt = 1}]\n", r"row 1 .*: tiers\[0\].completion: missing"),
        (
            ROW + "tiers = [{above = 5, prompt = 1, completion = 1}, {above = 5, prompt = 1, completion = 1}]\n",
            r"row 1 .*: tiers\[1\].above: expected more than",
        ),
        (ROW + "batch = 5\n", "row 1 .*: batch: expected a table"),
        (ROW + "batch = {prompt = 1}\n", "row 1 .*: batch.completion: missing"),
        (ROW + "batch = {prompt = 1, completion = 1, off_peak = []}\n", "row 1 .*: batch.off_peak: unknown key"),
        (ROW + "off_peak = [{prompt = 1, completion = 1}]\n", r"row 1 .*: off_peak\[0\].hours: expected a list"),
        (
            ROW + "off_peak = [{hours = '9-17', prompt = 1, completion = 1}]\n",
            r"row 1 .*: off_peak\[0\].hours: '9-17': expected hours as",
        ),
        (
            ROW + "off_peak = [{hours = '09:00-17:00', days = [0], prompt = 1, completion = 1}]\n",
            r"row 1 .*: off_peak\[0\].days: days=\[0\]",
        ),
        (
            ROW + "off_peak = [{hours = '09:00-17:00', days = ['mon'], prompt = 1, completion = 1}]\n",
            r"row 1 .*: off_peak\[0\].days: expected ISO weekdays",
        ),
        (
            ROW + "off_peak = [{hours = '09:00-17:00', zone = 'Mars', prompt = 1, completion = 1}]\n",
            r"row 1 .*: off_peak\[0\].zone: zone='Mars'",
        ),
        (
            ROW + "off_peak = [{hours = ['22:00-02:00', '01:00-03:00'], prompt = 1, completion = 1}]\n",
            r"row 1 .*: off_peak\[0\].hours: 01:00-03:00 UTC overlaps 22:00-02:00 UTC",
        ),
        (ROW + ROW, "row 2: from, until: .*in prices.toml, row 1 at the same time"),
        (ROW + "until = 2026-03-01\n" + ROW + "from = 2026-02-28\n", "row 2: from, until: .*row 1"),
        (ROW + ROW.replace("openai/", ""), "row 2: from, until: .*row 1"),  # one model, under two names
    ],
)
def test_bad_rows_say_file_row_and_key(text: str, says: str) -> None:
    with pytest.raises(BadSettings, match=says) as caught:
        book(text)
    assert str(caught.value).startswith("prices.toml")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("prices.json", '{"price": [', "not JSON"),
        ("prices.json", '{"price": [{"model": "x", "prompt": NaN, "completion": 1}]}', "row 1 .*prompt: NaN"),
        ("prices.json", '{"price": [{"model": "x", "prompt": 1, "prompt": 2}]}', "'prompt' stands twice"),
        ("prices.json", "[]", "no prices in it"),
        ("prices.json", "[" * 100_000, "not JSON"),
        ("prices.yaml", "price: []", "ends in .toml or .json"),
        ("prices.toml", b"\xff", "not UTF-8"),
    ],
)
def test_bad_files(name: str, text: str | bytes, says: str) -> None:
    with pytest.raises(BadSettings, match=says):
        PriceBook([write(text, name)])


def test_a_file_that_is_not_there_and_rows_in_two_files() -> None:
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        PriceBook(["nowhere.toml"])
    with pytest.raises(BadSettings, match=r"b.toml, row 1: .*a.toml, row 1"):
        PriceBook([write(ROW, "a.toml"), write(ROW, "b.toml")])


# -- settings and catalog ---------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("conf").mkdir()
    write('prices = "prices.toml"\n', "conf/satisfice.toml")
    assert load_settings("conf/satisfice.toml").prices == (Path("conf/prices.toml"),)
    write('prices = ["a.toml", "/b.json"]\n', "conf/satisfice.toml")
    assert load_settings("conf/satisfice.toml").prices == (Path("conf/a.toml"), Path("/b.json"))
    monkeypatch.setenv("SATISFICE_PRICES", "here.toml:there.json")
    assert load_settings("conf/satisfice.toml").prices == (Path("here.toml"), Path("there.json"))
    monkeypatch.delenv("SATISFICE_PRICES")
    write("prices = 5\n", "conf/satisfice.toml")
    with pytest.raises(BadSettings, match="prices"):
        load_settings("conf/satisfice.toml")


def catalog(clock: Any = None, **models: Any) -> Catalog:
    settings = Settings.model_validate({"models": models, "prices": [str(write(WHOLE))]})
    return Catalog(settings, clock or (lambda: JUNE))


def test_declared_for_an_alias_goes_before_the_file_and_the_file_before_the_list() -> None:
    own = {"model": "openai/gpt-4o-mini", "price": {"prompt": 1, "completion": 2, "cache_write": 3, "reasoning": 4}}
    known = catalog(own=own, plain={"model": "openai/gpt-4o-mini"})
    assert known.entry("own").price == Price(1_000_000, 2_000_000, cache_write=3_000_000, reasoning=4_000_000)
    assert known.entry("plain").price.source == "file"
    assert known.entry("openai/gpt-4o").price.source == "litellm"


def test_a_price_changes_at_midnight_without_a_restart() -> None:
    now = [JULY - timedelta(days=3)]
    known = catalog(lambda: now[0], plain={"model": "openai/gpt-4o-mini"})
    model = known.model("plain")
    first = known.entry("plain")
    assert first is known.entry("plain")
    assert first.price.prompt == 150_000
    now[0] = JULY - timedelta(hours=1)
    evening = known.entry("plain").price
    assert (evening.prompt, evening.version) == (150_000, first.price.version)
    assert evening.then is not None
    now[0] = JULY
    assert known.entry("plain").price.prompt == 9_000_000
    assert known.model("plain") is model


def test_a_price_that_runs_out_is_no_price() -> None:
    row = '[[price]]\nmodel = "hosted_vllm/mine"\nuntil = 2026-07-01\nprompt = 1\ncompletion = 1\n'
    now = [JUNE]
    known = Catalog(Settings.model_validate({"prices": [str(write(row))]}), lambda: now[0])
    assert known.entry("hosted_vllm/mine").price.prompt == 1_000_000
    now[0] = JULY
    with pytest.raises(UnpricedModel):
        known.entry("hosted_vllm/mine")


# -- the command ------------------------------------------------------------------------------------------------------


def told(*args: str) -> Any:
    result = CliRunner().invoke(cli, ["prices", *args, "--json"], catch_exceptions=False)
    return json.loads(result.output)


def test_the_command_shows_every_figure() -> None:
    write(WHOLE)
    write('prices = "prices.toml"\n[models.cheap]\nmodel = "openai/gpt-4o-mini"\n', "satisfice.toml")
    (row,) = told("cheap", "--at", "2026-06-10T17:00Z")
    assert (row["model"], row["source"]) == ("openai/gpt-4o-mini", "prices.toml, row 1")
    assert (row["from"], row["until"]) == ("2026-01-01", "2026-07-01")
    assert row["usd_per_million"]["cache_write"] == 0.1875
    assert row["tiers"][0]["above"] == 200_000
    assert row["in_force"]["usd_per_million"]["prompt"] == 0.1
    assert row["off_peak"][0]["hours"] == ["16:30-00:30 UTC Mon Tue Wed Thu Fri"]
    later, other = told("cheap", "gemini/gemini-2.5-pro", "--at", "2026-07-01")
    assert later["usd_per_million"]["prompt"] == 9
    assert later["version"] != row["version"]
    assert other["source"] == "litellm"


def test_the_command_for_people() -> None:
    write(WHOLE)
    write('prices = "prices.toml"\n', "satisfice.toml")
    shown = CliRunner().invoke(cli, ["prices", "gpt-4o-mini", "--at", "2026-06-30T17:00Z"], catch_exceptions=False)
    assert "usual, prompts above 200,000" in shown.output
    assert "off-peak (now): 16:30-00:30 UTC Mon Tue Wed Thu Fri" in shown.output
    assert "from prices.toml, row 1, from 2026-01-01, until 2026-07-01" in shown.output
    assert "from 2026-07-01: file:" in shown.output
    assert CliRunner().invoke(cli, ["prices", "gpt-4o-mini", "--at", "soon"]).exit_code == 2
