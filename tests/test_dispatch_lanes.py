from __future__ import annotations

import random
from datetime import UTC, datetime
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.models.ratelimits import asked_to_wait, used_up
from satisfice.scheduler.dispatch.breaker import Breaker
from satisfice.scheduler.dispatch.lanes import FRESH, LEAST, WINDOW, Lane, Pace, Slot


def drive(lane: Lane, wants: list[tuple[float, int, int | None]]) -> list[tuple[float, int]]:
    """Sends each call as soon as it may go, after the last; returns when each left and what it counted as."""
    now, sent = 0.0, []
    for gap, tokens, used in wants:
        now += gap
        now = max(now, lane.ready(tokens, now))
        slot = lane.take(tokens, now)
        lane.give(slot, used)
        sent.append((now, slot.tokens))
    return sent


CALLS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(1, 500), st.one_of(st.none(), st.integers(0, 600))), max_size=60
)


@given(CALLS, st.integers(1, 12), st.integers(100, 1500))
def test_no_window_of_a_minute_holds_more_than_the_limits(
    calls: list[tuple[float, int, int | None]], rpm: int, tpm: int
) -> None:
    sent = drive(Lane("m", rpm, tpm, None), calls)
    for at, _ in sent:
        window = [tokens for t, tokens in sent if at <= t < at + WINDOW]
        assert len(window) <= rpm
        assert sum(window) <= tpm


@given(CALLS, st.integers(1, 12))
def test_nobody_waits_longer_than_the_limit_needs(calls: list[tuple[float, int, int | None]], rpm: int) -> None:
    lane, now, times = Lane("m", rpm, None, None), 0.0, []
    for gap, tokens, _ in calls:
        now += gap
        at = lane.ready(tokens, now)
        if at > now:
            assert len([t for t in times if t > at - WINDOW - 1e-9]) >= rpm
        assert at <= now + WINDOW
        lane.give(lane.take(tokens, now := at), None)
        times.append(now)


@given(CALLS, st.integers(1, 6), st.integers(0, 12))
def test_the_bound_on_a_place_in_line_is_never_above_what_it_takes(
    calls: list[tuple[float, int, int | None]], rpm: int, ahead: int
) -> None:
    lane = Lane("m", rpm, None, None)
    now = drive(lane, calls)[-1][0] if calls else 0.0
    promised = lane.sooner_than(ahead, now)
    for _ in range(ahead + 1):
        now = lane.ready(1, now)
        lane.take(1, now)
    assert promised <= now + 1e-6


def test_tokens_that_were_not_used_are_given_back() -> None:
    lane = Lane("m", None, 1000, None)
    slot = lane.take(1000, 0.0)
    assert lane.ready(500, 1.0) == WINDOW
    lane.give(slot, 400)
    assert lane.ready(500, 1.0) == 1.0
    lane.give(slot, 0)  # a second time changes nothing
    assert lane.ready(601, 1.0) == WINDOW


def test_a_call_larger_than_the_limit_goes_alone() -> None:
    lane = Lane("m", None, 1000, None)
    slot = lane.take(5000, 0.0)
    assert slot.tokens == 1000
    lane.give(slot, -7)
    assert slot.tokens == 0


def test_calls_at_once_and_pauses() -> None:
    lane = Lane("m", None, None, 1)
    slot = lane.take(1, 0.0)
    assert lane.ready(1, 5.0) == inf
    lane.give(slot, None)
    lane.pause(3.0, 5.0)
    lane.pause(1.0, 5.0)  # a shorter one does not end it
    assert lane.ready(1, 6.0) == 8.0
    assert lane.ready(1, 9.0) == 9.0


def paced(pace: Pace, seconds: float, refuses: object) -> tuple[int, int]:
    """Sends as fast as the pace allows, 20 a second at the most: (answered, refused)."""
    now, took, refused = 0.0, 0, 0
    while now < seconds:
        now = max(now + 0.05, pace.ready(now))
        pace.sent(now)
        if refuses(now):  # type: ignore[operator]
            pace.refused(now, now)
            refused += 1
        else:
            pace.took(now)
            took += 1
    return took, refused


def test_the_pace_finds_a_limit_that_nobody_declared() -> None:
    """A provider that takes 5 a second, tried at 20: most of what it takes is used, and few calls are refused."""
    taken: list[float] = []

    def limited(now: float) -> bool:
        recent = [t for t in taken if t > now - 1]
        if len(recent) >= 5:
            return True
        taken.append(now)
        return False

    took, refused = paced(Pace(), 300.0, limited)
    assert took >= 0.8 * 5 * 300
    assert refused <= 0.6 * took  # of 20 tried a second 15 would be


def test_refusals_that_slowing_down_does_not_help_do_not_stop_everything() -> None:
    dice = random.Random(1)
    took, _ = paced(Pace(), 300.0, lambda now: dice.random() < 0.3)
    assert took >= 0.4 * 0.7 * 20 * 300


def test_a_provider_that_takes_nothing_is_asked_rarely() -> None:
    took, refused = paced(Pace(), 300.0, lambda now: True)
    assert (took, refused) <= (0, 20 * FRESH)
    assert LEAST > 0


def test_calls_that_left_before_a_cut_do_not_cut_again() -> None:
    pace = Pace()
    for at in range(FRESH):
        pace.sent(at / 10)
        pace.refused(0.5, 1.5)
    rate = pace.rate
    for _ in range(20):
        pace.refused(0.9, 1.6)
    assert pace.rate == rate < inf
    for _ in range(100):
        pace.took(2.0)
    assert pace.rate == inf


def test_a_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker(3, 10.0)
    for at in range(3):
        assert breaker.refuses(at) is None
        breaker.sent()
        breaker.failed(at, at + 0.5)
    assert breaker.refuses(3.0) == 12.5
    assert breaker.refuses(12.5) is None
    breaker.sent()
    assert breaker.refuses(12.6) is not None  # one probe at a time
    breaker.failed(12.5, 13.0)
    assert breaker.refuses(30.0) == 33.0  # twice as long
    assert breaker.refuses(33.0) is None
    breaker.sent()
    breaker.gave_up()  # cancelled: somebody else may try
    assert breaker.refuses(33.5) is None
    breaker.sent()
    breaker.worked()
    assert breaker.refuses(33.6) is None
    breaker.sent()
    assert breaker.refuses(33.7) is None


def test_calls_that_fail_together_are_one_failure() -> None:
    breaker = Breaker(3, 10.0)
    for _ in range(50):
        breaker.failed(0.0, 1.0)
    assert breaker.refuses(1.0) is None
    assert Breaker(0, 1.0).failures == 0
    never = Breaker(0, 10.0)
    for at in range(50):
        never.failed(at, at)
    assert never.refuses(51.0) is None


def test_only_the_probe_ends_the_probing() -> None:
    breaker = Breaker(1, 10.0)
    assert not breaker.sent()
    breaker.failed(0.0, 1.0)
    assert breaker.sent()
    breaker.gave_up(probe=False)  # one that had left before
    assert breaker.refuses(12.0) is not None
    breaker.failed(0.5, 12.0, probe=False)
    assert breaker.opened_until == 11.0
    assert not breaker.sent()
    breaker.gave_up(probe=True)
    assert breaker.refuses(12.0) is None


def test_a_breaker_opens_where_most_calls_fail_though_none_in_a_row() -> None:
    breaker, at = Breaker(8, 10.0), 0.0
    for k in range(60):
        at += 1.0
        if breaker.refuses(at):
            break
        if k % 5 == 4:
            breaker.worked()
        else:
            breaker.failed(at, at + 0.5)
    assert breaker.refuses(at) is not None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"llm_provider-retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:30 GMT"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0.5s"}, 360.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "250ms"}, 0.25),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-22T12:00:05Z"}, 5),
        ({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "60s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1795348830"}, 30.0),
        ({"retry-after": "Mon, 01 Jan 99999999999 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        (None, 0.0),
        (7, 0.0),
    ],
)
def test_what_headers_ask_for(headers: object, seconds: float) -> None:
    now = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    assert asked_to_wait(headers, now) == pytest.approx(seconds)  # type: ignore[arg-type]


def test_a_reply_that_uses_the_limit_up_asks_for_a_pause() -> None:
    assert used_up({"llm_provider-x-ratelimit-remaining-requests": 0, "x-ratelimit-reset-requests": "2s"}) == 2.0
    assert used_up({"retry-after": "5"}) == 0.0


def test_a_slot_is_given_back_once() -> None:
    lane = Lane("m", 5, None, 2)
    slot = lane.take(1, 0.0)
    lane.give(slot, None)
    lane.give(slot, None)
    assert lane.active == 0
    assert isinstance(slot, Slot)
