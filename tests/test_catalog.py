from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from satisfice.budgets.prices import Price
from satisfice.core.completions import Params, Usage
from satisfice.core.errors import BadSettings, SatisficeError, UnknownName, UnpricedModel
from satisfice.models import Catalog, ScriptedModel, Settings

local = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs the extra `local`")


def catalog(**rest: Any) -> Catalog:
    models = {
        "cheap": {"model": "openai/gpt-4o-mini", "params": {"temperature": 0.2, "max_tokens": 100, "top_k": 5}},
        "own": {
            "model": "hosted_vllm/mine",
            "api_base": "http://127.0.0.1:1/v1",
            "price": {"prompt": 1, "completion": 2, "cached": 0.5, "per_call": 0.001},
            "batch": 3,
        },
        "unpriced": {"model": "openai/never-heard-of"},
        "astray": {"model": "opnai/x"},
    }
    pools = {"fast": ["cheap", "own"], "all": ["fast", "openai/gpt-4o", "cheap", "all"]}
    return Catalog(Settings.model_validate({"models": models, "pools": pools, **rest}))


def test_pools_unroll_once() -> None:
    assert catalog().expand(["all", "own"]) == ("cheap", "own", "openai/gpt-4o")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("chaep", "cheap"),
        ("fats", "fast"),
        ("gpt-4o-mni", "gpt-4o-mini"),
        ("opnai/gpt-4o", "openai"),
        ("loca/smollm2", "local/smollm2"),
        pytest.param("local/smolm2", "local/smollm2", marks=local),
        ("astray", "openai"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        catalog().expand([name])
    assert caught.value.details["nearest"] == near


@local
def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadSettings, match=r"no file /no/such\.gguf"):
        catalog().expand(["local//no/such.gguf"])


def test_declared_and_listed_prices() -> None:
    own = catalog().entry("own")
    assert own.price == Price(1_000_000, 2_000_000, 500_000, per_call=1_000_000)
    assert (own.batch, own.provider_model) == (3, "hosted_vllm/mine")
    cheap = catalog().entry("cheap")
    batch = Price(75_000, 300_000, source="litellm")
    assert cheap.price == Price(150_000, 600_000, 75_000, source="litellm", batch=batch)
    assert (cheap.context, cheap.max_output) == (128_000, 16_384)
    assert catalog().entry("gpt-4o-mini").price == cheap.price
    assert catalog().entry("anthropic/claude-sonnet-4-5").price.prompt == 3_000_000


def test_long_prompts_cost_the_higher_tier() -> None:
    price = catalog().entry("gemini/gemini-2.5-pro").price
    assert price.cost(Usage(prompt=200_000)) == 250_000_000
    assert price.cost(Usage(prompt=200_001)) == 500_002_500


def test_an_unpriced_model_says_what_to_write() -> None:
    with pytest.raises(UnpricedModel) as caught:
        catalog().entry("unpriced")
    assert "[models.unpriced]\nmodel = 'openai/never-heard-of'\nprice = {" in str(caught.value)
    with pytest.raises(UnpricedModel, match="Did you mean 'openai/gpt-4o-mini'"):
        catalog().entry("openai/gpt-4o-mni")


def test_an_alias_fills_what_the_caller_left_open() -> None:
    entry = catalog().entry("cheap")
    filled = entry.apply(Params())
    assert filled == Params(temperature=0.2, max_tokens=100, extra=(("top_k", 5),))
    assert entry.apply(filled) == filled
    assert entry.apply(Params(temperature=0.0, max_tokens=7)).temperature == 0.0
    assert entry.apply(Params(max_tokens=7)).max_tokens == 7
    assert catalog().entry("gpt-4o-mini").apply(Params(max_tokens=10**6)).max_tokens == 16_384


def test_a_users_own_model() -> None:
    known, model = catalog(), ScriptedModel(["x"])
    known.register("mine", model, Price.per_million(1, 1), batch=4)
    assert known.expand(["mine"]) == ("mine",)
    assert known.model("mine") is model
    assert known.entry("mine").batch == 4


def test_models_are_made_once() -> None:
    known = catalog()
    assert known.model("cheap") is known.model("cheap")


def test_the_listing_never_raises() -> None:
    rows = {row.name: row for row in catalog().listing()}
    assert rows["cheap"].price is not None
    assert rows["unpriced"].price is None
    assert "no price is known" in rows["unpriced"].note
    assert rows["all"].model == "fast, openai/gpt-4o, cheap, all"
    assert rows["local/smollm2"].kind == "embedded"


@local
def test_the_embedded_model_has_a_nominal_price() -> None:
    entry = catalog().entry("local/smollm2")
    assert (entry.price.source, entry.batch, entry.context) == ("nominal", 8, 2048)


def test_a_pool_is_no_model() -> None:
    with pytest.raises(SatisficeError):
        catalog().entry("fast")


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = """
import sys, satisfice.models
heavy = {"litellm", "xllamacpp", "httpx", "pydantic_settings"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from satisfice.models import Catalog, Settings
known = Catalog(Settings())
known.expand(["openai/gpt-4o", "gpt-4o-mini"]), known.entry("openai/gpt-4o"), known.model("openai/gpt-4o")
assert not {"litellm", "xllamacpp"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)
