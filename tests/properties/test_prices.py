"""No usage within the bounds of a call costs more than its worst case, at any hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.hours import DAY, WEEK, Window
from satisfice.budgets.prices import OffPeak, Price, Tier
from satisfice.core.completions import Completion, Response, Usage
from satisfice.scheduler.nodes import Reply
from satisfice.scheduler.sharing import share

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
FIGURE = st.integers(0, 50_000)
MAYBE = st.none() | FIGURE
WINDOWS = st.builds(
    Window,
    st.integers(0, DAY - 1),
    st.integers(0, DAY - 1),
    st.lists(st.sampled_from(WEEK), min_size=1).map(tuple),
    st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York"]),
)


@st.composite
def plain(draw: st.DrawFn) -> Price:
    marks = sorted(draw(st.sets(st.integers(0, 60), max_size=3)))
    tiers = tuple(Tier(m, draw(FIGURE), draw(FIGURE), draw(MAYBE), draw(MAYBE), draw(MAYBE)) for m in marks)
    figures = {name: draw(MAYBE) for name in ("cached", "cache_write", "reasoning")}
    return Price(draw(FIGURE), draw(FIGURE), **figures, per_call=draw(st.integers(0, 99)), tiers=tiers)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    def hourly() -> Price:
        peaks = [
            OffPeak(tuple(draw(st.lists(WINDOWS, min_size=1, max_size=2))), draw(plain()))
            for _ in range(draw(st.integers(0, 2)))
        ]
        return replace(draw(plain()), off_peak=tuple(peaks))

    price = hourly()
    if draw(st.booleans()):
        price = replace(price, then=(MONDAY + timedelta(minutes=draw(st.integers(0, 7 * DAY))), hourly()))
    return price


USAGES = st.builds(
    Usage, st.integers(0, 80), st.integers(0, 40), st.integers(0, 90), st.integers(0, 50), st.integers(0, 90)
)
MOMENTS = st.integers(0, 8 * DAY * 60).map(lambda seconds: MONDAY + timedelta(seconds=seconds))


@given(prices(), USAGES, MOMENTS, st.integers(0, 200), st.integers(0, 9), st.integers(0, 9))
def test_no_call_costs_more_than_its_worst_case(
    price: Price, usage: Usage, when: datetime, minutes: int, more: int, longer: int
) -> None:
    prompt, completion = usage.prompt + more, usage.completion + longer
    until = when + timedelta(minutes=minutes)
    worst = price.worst(prompt, completion)
    assert price.cost(usage) <= worst
    during = price.during(when, until)
    assert during.cost(usage) <= during.worst(prompt, completion) <= worst
    for moment in (when, when + (until - when) / 2, until):
        assert price.at(moment).cost(usage) <= during.cost(usage)
    assert price.worst(prompt, completion + 1) >= worst
    assert price.worst(prompt + 1, completion) >= worst


@given(plain(), st.integers(0, 80), st.integers(0, 40))
def test_the_worst_case_is_no_higher_than_it_can_come_to(price: Price, prompt: int, completion: int) -> None:
    def parts(tokens: int) -> list[Usage]:
        kinds = (("cached", 0), ("cache_write", 0), ("", 0), ("cached", 1), ("cache_write", 1), ("", 1))
        return [
            replace(Usage(tokens, completion, reasoning=completion * thought), **({kind: tokens} if kind else {}))
            for kind, thought in kinds
        ]

    assert price.worst(prompt, completion) == max(price.cost(u) for n in range(prompt + 1) for u in parts(n))


@given(prices(), MOMENTS)
def test_the_price_at_a_moment_is_one_of_those_that_are_written(price: Price, when: datetime) -> None:
    row = price.then[1] if price.then and when >= price.then[0] else price
    open_now = [peak.price for peak in row.off_peak if any(w.holds(when) for w in peak.windows)]
    expected = open_now[0] if open_now else row
    found = price.at(when)
    assert [found.figures(n) for n in range(80)] == [expected.figures(n) for n in range(80)]
    assert found.per_call == expected.per_call
    assert found.version == row.version


@given(prices(), prices())
def test_versions_tell_figures_apart(one: Price, other: Price) -> None:
    same = replace(one, then=None) == replace(other, then=None)
    if same:
        assert one.version == other.version
    assert replace(one, prompt=one.prompt + 1).version != one.version
    assert replace(one, per_call=one.per_call + 1).version != one.version
    assert replace(one, batch=Price(1, 1)).version != one.version
    assert replace(one, then=None).version == one.version


@given(WINDOWS, WINDOWS, st.lists(MOMENTS, min_size=1, max_size=20))
def test_windows_that_are_open_at_once_overlap(one: Window, other: Window, moments: list[datetime]) -> None:
    if any(one.holds(m) and other.holds(m) for m in moments):
        assert one.overlaps(other)
        assert other.overlaps(one)


@given(st.lists(st.integers(0, DAY - 1), min_size=2, max_size=6, unique=True), MOMENTS)
def test_windows_end_to_end_fill_the_day_once(marks: list[int], when: datetime) -> None:
    marks = sorted(marks)
    windows = [Window(a, b) for a, b in pairwise([*marks, marks[0]])]
    assert sum(w.holds(when) for w in windows) == 1
    assert not any(a.overlaps(b) for a in windows for b in windows if a is not b)


@given(plain(), USAGES, st.lists(st.none() | st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 2))
def test_parts_of_a_call_add_up_to_its_price(
    price: Price, usage: Usage, tokens: list[int | None], missing: int
) -> None:
    usage = replace(usage, reasoning=min(usage.reasoning, usage.completion))
    response = Response(tuple(Completion("a", tokens=t) for t in tokens), usage)
    replies = [r for r in share(response, len(tokens) + missing, 0.1, price) if isinstance(r, Reply)]
    assert len(replies) == len(tokens)
    nanos = [r.nanos for r in replies if r.nanos is not None]
    assert sum(nanos) == price.cost(usage)
    assert min(nanos) >= 0
    used = [r.usage for r in replies if r.usage is not None]
    assert sum(u.completion for u in used) == usage.completion
    assert sum(u.reasoning for u in used) == usage.reasoning
    assert [(u.prompt, u.cached, u.cache_write) for u in used[1:]] == [(0, 0, 0)] * (len(tokens) - 1)


@pytest.mark.parametrize("minute", [0, 29, 30, 31])
def test_hours_that_wrap_midnight(minute: int) -> None:
    window = Window.parse("16:30-00:30")
    assert window.holds(MONDAY + timedelta(minutes=minute)) == (minute < 30)
    assert window.holds(MONDAY + timedelta(hours=16, minutes=minute)) == (minute >= 30)
