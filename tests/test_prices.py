from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from satisfice.budgets.hours import Window
from satisfice.budgets.prices import OffPeak, Price, Tier, pico
from satisfice.core.completions import Usage
from satisfice.core.errors import CallerError
from satisfice.models import pricelist
from satisfice.models.lite import _usage

NOON = datetime(2026, 6, 3, 12, tzinfo=UTC)  # a Wednesday
NIGHT = NOON.replace(hour=23)
FULL = Price(
    1000,
    4000,
    cached=100,
    cache_write=1250,
    reasoning=5000,
    per_call=7,
    tiers=(Tier(100, 2000, 6000, cached=200),),
    off_peak=(OffPeak((Window.parse("22:00-06:00"),), Price(500, 2000)),),
)


def test_every_kind_of_token_at_its_own_price() -> None:
    day = FULL.at(NOON)
    assert day.cost(Usage(100, 10, cached=40, reasoning=4, cache_write=20)) == 40 + 4 + 25 + 24 + 20 + 7
    # Above the tier all change; what the tier leaves out follows its own prompt and completion.
    assert day.cost(Usage(101, 10, cached=41, reasoning=4, cache_write=20)) == 80 + 9 + 40 + 60 + 7
    assert FULL.at(NIGHT).cost(Usage(200, 10, cached=40)) == 100 + 20


def test_a_cost_is_rounded_up_once() -> None:
    assert Price(1, 1).cost(Usage(1, 1)) == 1
    assert Price(999, 1).cost(Usage(1, 1)) == 1
    assert Price(1000, 1).cost(Usage(1, 1)) == 2
    assert Price(0, 0).cost(Usage(10**9, 10**9)) == 0


def test_the_worst_case_counts_reasoning_cache_and_hours() -> None:
    assert FULL.worst(100, 10) == 125 + 50 + 7
    assert FULL.worst(101, 10) == 202 + 60 + 7
    assert FULL.at(NIGHT).worst(101, 10) == 51 + 20
    dearer_below = Price(5000, 1, tiers=(Tier(100, 1000, 1),))
    assert dearer_below.worst(120, 0) == 500  # a prompt of 100 costs more than one of 120


def test_without_a_time_a_price_is_the_dearest() -> None:
    assert FULL.cost(Usage(50, 5)) == FULL.at(NOON).cost(Usage(50, 5))
    surcharge = replace(FULL, off_peak=(OffPeak((Window.parse("08:00-09:00"),), Price(9000, 9000)),))
    assert surcharge.cost(Usage(50, 5)) == 450 + 45 + 7
    assert surcharge.worst(50, 5) == 450 + 45 + 7


def test_a_call_that_spans_a_change_is_billed_the_dearer() -> None:
    since = NOON.replace(hour=21, minute=59, second=30)
    assert FULL.during(since, since + timedelta(seconds=29)).cost(Usage(10)) == 10 + 7
    assert FULL.during(since, since + timedelta(seconds=40)).cost(Usage(10)) == 10 + 7
    assert FULL.during(since + timedelta(seconds=40), since).cost(Usage(10)) == 10 + 7  # a clock that went back
    assert FULL.during(since + timedelta(seconds=30), since + timedelta(hours=1)).cost(Usage(10)) == 5
    assert FULL.during(since, since).version == FULL.version


def test_a_price_that_is_announced() -> None:
    later = Price(3000, 3000)
    price = replace(Price(1000, 1000), then=(NIGHT, later))
    assert price.version == Price(1000, 1000).version
    before, after = NIGHT - timedelta(seconds=1), NIGHT
    assert (price.at(before).cost(Usage(1)), price.at(after).cost(Usage(1))) == (1, 3)
    assert price.at(after).version == later.version
    assert price.during(before, after).cost(Usage(1)) == 3
    assert price.during(before, after).version == f"{price.version}|{later.version}"
    assert price.worst(1, 0) == 3


def test_the_version_is_of_the_figures_alone() -> None:
    assert Price(1, 2).version == Price(1, 2, cached=1, cache_write=1, reasoning=2).version == "declared:4a8de59ea6"
    assert Price(1, 2, source="litellm").version == "litellm:4a8de59ea6"
    variants = [
        replace(FULL, reasoning=4999),
        replace(FULL, tiers=(Tier(101, 2000, 6000, cached=200),)),
        replace(FULL, off_peak=(OffPeak((Window.parse("22:00-06:01"),), Price(500, 2000)),)),
        replace(FULL, off_peak=(OffPeak((Window.parse("22:00-06:00", (1,)),), Price(500, 2000)),)),
        replace(FULL, batch=Price(1, 1)),
    ]
    assert len({price.version for price in [FULL, *variants]}) == 6


def test_weekdays_are_read_on_the_zones_calendar() -> None:
    window = Window.parse("00:00-24:00", (6,), "Asia/Shanghai")
    friday = datetime(2026, 6, 5, 15, 59, tzinfo=UTC)
    assert not window.holds(friday)
    assert window.holds(friday + timedelta(minutes=1))
    assert str(window) == "00:00-00:00 UTC Sat in Asia/Shanghai"


@pytest.mark.parametrize("hours", ["", "9-17", "09:00", "09:60-10:00", "24:00-01:00", "00:00-24:30", "a:00-b:00", 5])
def test_hours_that_are_none(hours: Any) -> None:
    with pytest.raises(CallerError, match="HH:MM-HH:MM"):
        Window.parse(hours)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Price(-1, 1),
        lambda: Price(1, 1.5),  # type: ignore[arg-type]
        lambda: Price(1, 1, reasoning=-1),
        lambda: Price(10**16, 1),
        lambda: Price(1, 1, tiers=(Tier(5, 1, 1), Tier(5, 2, 2))),
        lambda: Price(1, 1, tiers=(Tier(5, -1, 1),)),
        lambda: Price(1, 1, batch=FULL),
        lambda: Price(1, 1, then=(datetime(2026, 1, 1), Price(1, 1))),
        lambda: Price.per_million(float("nan"), 1),
        lambda: Price.per_million(-1, 1),
        lambda: FULL.at(datetime(2026, 1, 1)),
        lambda: Window(0, 1, ()),
        lambda: Window(0, 1, (8,)),
        lambda: Window(0, 1, zone="Mars/Olympus"),
        lambda: Window(0, 1440),
    ],
)
def test_what_is_no_price(make: Any) -> None:
    with pytest.raises(CallerError):
        make()


def test_decimals_are_exact_and_floats_lose_their_noise() -> None:
    assert pico(Decimal("0.1")) == pico(0.1) == 100_000
    assert pico(0.15000999999999998) == 150_010
    assert pico(Decimal("0.00000000000000000001")) == 1  # rounded up, never to nothing


# -- litellm's list ---------------------------------------------------------------------------------------------------


def listed(model: str) -> Price:
    found = pricelist.look_up(model)
    assert found is not None
    assert found.price is not None
    return found.price


def test_a_tiered_model() -> None:
    price = listed("gemini/gemini-2.5-pro")
    assert price.figures(200_000) == (1_250_000, 10_000_000, 125_000, 1_250_000, 10_000_000)
    assert price.figures(200_001) == (2_500_000, 15_000_000, 250_000, 2_500_000, 15_000_000)
    assert price.cost(Usage(200_001, 1000, cached=100_000)) == 250_002_500 + 25_000_000 + 15_000_000
    assert price.worst(300_000, 1000) == 750_000_000 + 15_000_000
    assert price.batch is not None
    assert price.batch.figures()[:2] == (625_000, 5_000_000)


def test_tiers_in_a_table() -> None:
    price = listed("dashscope/qwen3-coder-plus")
    assert [tier.above for tier in price.tiers] == [32_000, 128_000, 256_000]
    assert price.cost(Usage(32_000, 10)) == 32_000_000 + 50_000
    assert price.cost(Usage(32_001, 10, cached=1)) == 57_600_000 + 180 + 90_000


def test_a_threshold_that_belongs_to_the_tier_above_it() -> None:
    line = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "input_cost_per_token_above_200k_tokens": 3e-6,
        "litellm_provider": "xai",
    }
    price = pricelist._price(line)
    assert price is not None
    assert (price.figures(199_999)[0], price.figures(200_000)[0]) == (1_000_000, 3_000_000)
    assert price.figures(200_000)[1] == 2_000_000


def test_a_cached_model() -> None:
    price = listed("anthropic/claude-sonnet-4-5")
    assert price.cost(Usage(1000, 10, cached=600, cache_write=300)) == 300_000 + 180_000 + 1_125_000 + 150_000
    assert price.worst(1000, 10) == 3_750_000 + 150_000


def test_fireworks_bills_cached_tokens_at_half_where_nothing_is_listed() -> None:
    line = {"input_cost_per_token": 9e-7, "output_cost_per_token": 9e-7, "litellm_provider": "fireworks_ai"}
    price = pricelist._price(line)
    assert price is not None
    assert price.cost(Usage(10, 0, cached=10)) == 4500


def test_a_reasoning_model() -> None:
    price = listed("dashscope/qwen-plus-2025-07-28")
    assert price.cost(Usage(1000, 100, reasoning=80)) == 400_000 + 24_000 + 320_000
    assert price.worst(1000, 100) == 400_000 + 400_000
    assert listed("o3").cost(Usage(1000, 100, reasoning=80)) == 2_000_000 + 800_000  # reasoning is completion there


def test_off_peak_hours() -> None:
    price = listed("deepseek/deepseek-v4-flash")
    monday = datetime(2026, 6, 1, 2, tzinfo=UTC)
    assert price.at(monday).cost(Usage(1000, 1000)) == 300_000 + 1_200_000
    assert price.at(monday.replace(hour=10)).cost(Usage(1000, 1000, cached=500)) == 75_000 + 1_500 + 600_000
    assert price.at(monday + timedelta(days=5)).cost(Usage(1000)) == 150_000
    assert price.cost(Usage(1000)) == 300_000


def test_off_peak_in_a_list_that_cannot_be_read_is_the_full_price() -> None:
    line = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "off_peak_pricing": {"input_cost_per_token": 1e-7, "hours_utc": ["nonsense", None], "windows": []},
    }
    price = pricelist._price(line)
    assert price is not None
    assert price.off_peak == ()


def test_what_no_bound_can_hold_has_no_price() -> None:
    found = pricelist.look_up("perplexity/sonar-deep-research")
    assert found is not None
    assert found.price is None


def test_the_whole_list_can_be_read() -> None:
    priced = [p for name in pricelist.names() if (line := pricelist.look_up(name)) and (p := line.price)]
    assert len(priced) > 1000
    assert all(price.worst(500_000, 1000) >= price.cost(Usage(500_000, 1000)) for price in priced)


# -- what providers report --------------------------------------------------------------------------------------------


def told(prompt: int, completion: int, total: int = 0, **rest: Any) -> Any:
    details = {
        "prompt_tokens_details": SimpleNamespace(**rest.pop("read", {})),
        "completion_tokens_details": SimpleNamespace(**rest.pop("thought", {})),
    }
    return SimpleNamespace(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=total or prompt + completion, **details, **rest
    )


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (told(10, 5), Usage(10, 5)),
        (told(10, 5, read={"cached_tokens": 4}, thought={"reasoning_tokens": 3}), Usage(10, 5, 4, 3)),
        (told(10, 5, read={"cached_tokens": None, "cache_write_tokens": 6}), Usage(10, 5, 0, 0, 6)),
        # Told twice, in the details and beside them: counted once.
        (
            told(10, 5, read={"cached_tokens": 4, "cache_creation_tokens": 6}, cache_creation_input_tokens=6),
            Usage(10, 5, 4, 0, 6),
        ),
        (told(10, 5, cache_read_input_tokens=4, cache_creation_input_tokens=3), Usage(10, 5, 4, 0, 3)),
        (told(10, 5, prompt_cache_hit_tokens=4), Usage(10, 5, 4)),
        # Reasoning and cached tokens that a server counts beside the rest.
        (told(10, 5, 35, thought={"reasoning_tokens": 20}), Usage(10, 25, 0, 20)),
        (told(10, 5, thought={"reasoning_tokens": 20}), Usage(10, 25, 0, 20)),
        (told(10, 5, 15, cache_read_input_tokens=90, cache_creation_input_tokens=7), Usage(107, 5, 90, 0, 7)),
        (told(100, 5, 195, cache_read_input_tokens=90), Usage(190, 5, 90)),
        # A total that is more than its parts: the rest was generated, and is billed.
        (told(10, 5, 40), Usage(10, 30)),
        (told(10, 5, 12), Usage(10, 5)),
    ],
)
def test_usage_is_counted_once_and_nothing_is_left_out(said: Any, usage: Usage) -> None:
    assert _usage(said) == usage


def test_usage_below_zero_is_malformed() -> None:
    with pytest.raises(ValueError, match="-4"):
        _usage(told(10, 5, read={"cached_tokens": -4}))
    assert _usage(None) is None
    assert _usage(told(0, 0)) is None
