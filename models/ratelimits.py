"""What providers say about their own limits in the headers of a reply: how long to wait, and how they write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
EPOCH = 1e9  # seconds: from here on a number is a time of day, not a wait
_PREFIX = "llm_provider-"  # what litellm puts before a header that it passes on


def asked_to_wait(headers: Mapping[str, Any] | None, now: datetime | None = None) -> float:
    """Seconds that a refusal asks to wait: Retry-After (seconds, or a date), retry-after-ms, else the latest reset of a
    limit that is used up. 0 where it says nothing."""
    told = _plain(headers)
    if "retry-after-ms" in told and (wait := _number(told["retry-after-ms"])) is not None:
        return wait / 1000
    if "retry-after" in told:
        wait = _seconds(told["retry-after"], now or datetime.now(UTC))
        if wait is not None:
            return wait
    return used_up(headers, now)


def used_up(headers: Mapping[str, Any] | None, now: datetime | None = None) -> float:
    """Seconds until the next call may leave, of a reply that says that its limits are used up: x-ratelimit-remaining-
    requests (tokens) is 0, and x-ratelimit-reset-requests says when that ends; likewise anthropic-ratelimit-*."""
    told, waits = _plain(headers), [0.0]
    for kind in ("requests", "tokens"):
        for left, reset in (
            (f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}"),
            (f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset"),
        ):
            if _number(told.get(left)) == 0 and reset in told:
                waits.append(_seconds(told[reset], now or datetime.now(UTC)) or 0.0)
    return max(waits)


def _plain(headers: Mapping[str, Any] | None) -> dict[str, str]:
    try:
        return {str(k).lower().removeprefix(_PREFIX): str(v).strip() for k, v in dict(headers or {}).items()}
    except (TypeError, ValueError):
        return {}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def _seconds(text: str, now: datetime) -> float | None:
    """ "3", "1.5s", "6m0s", "250ms", an HTTP date, an ISO time, or seconds since 1970."""
    number = _number(text)
    if number is not None:
        return number if number < EPOCH else max(0.0, number - now.timestamp())
    parts = _PARTS.findall(text.replace(" ", ""))
    if parts and "".join(a + b for a, b in parts) == text.replace(" ", ""):
        return sum(float(a) * _SECONDS[b] for a, b in parts)
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(text)
        except (TypeError, ValueError, OverflowError):
            continue
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0.0, (at - now).total_seconds())
    return None
