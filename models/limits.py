"""What a model's calls are sent under: rates, waits, retries, fallbacks, hedges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

QUEUE_SECONDS = 60.0  # that a call waits for its turn
RETRIES = 2  # of one model, after its first attempt


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one model: requests and tokens per minute (None: no limit of its own), seconds that a call may wait for its
    turn, tries after the first, models that are asked after it, seconds (or "p95" of its own replies) after which a
    second equal call is sent, and the provider whose limits it shares."""

    rpm: int | None = None
    tpm: int | None = None
    queue_seconds: float = QUEUE_SECONDS
    retries: int = RETRIES
    fallbacks: tuple[str, ...] = ()
    hedge_after: float | Literal["p95"] | None = None
    provider: str = ""


UNLIMITED = Limits()
