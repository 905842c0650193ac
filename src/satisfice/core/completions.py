"""What is sent to a language model and what comes back: the vocabulary of `models/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, Protocol, TypeAlias

from .errors import CallerError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends a completion, with finish "cut", once the mean log-probability of its last `window` tokens is below `least`
    (DeepConf's group confidence, Fu et al. 2025, on the drawn tokens' own log-probabilities)."""

    least: float
    window: int = 64

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if not self.least <= 0 or self.window < 1:
            raise CallerError(
                f"Cut({self.least!r}, {self.window!r}): expected a log-probability and a window of 1 or more"
            )


@dataclass(frozen=True, slots=True)
class Params:
    """Sampling parameters. `None` leaves the provider's default, but for `max_tokens`: a call without an upper
    bound on its output cannot be held, so there always is one.

    `effort` is the reasoning effort ("low", "medium", "high") where the model has one. `extra` are further
    provider parameters as sorted (name, value) pairs, values JSON-ready and hashable. `logprobs` asks for the
    log-probability of each token, `top_logprobs` (1 to 20) for that of its likeliest alternatives too. `cut` ends a
    completion that loses its confidence, where tokens and log-probabilities stream; elsewhere it does nothing.
    `least_tokens` allows a smaller `max_tokens`, down to this, where the budget cannot hold more.
    """

    temperature: float | None = None
    max_tokens: int = 512
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    effort: str | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    cut: Cut | None = None
    extra: tuple[tuple[str, Any], ...] = ()
    # Not in the repr, which identifies a request: it asks for the same thing.
    least_tokens: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises `CallerError` for what no model can take."""
        if self.temperature is not None and not (isfinite(self.temperature) and self.temperature >= 0):
            raise CallerError(f"temperature={self.temperature!r}: expected a finite number, 0 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise CallerError(f"top_p={self.top_p!r}: expected a number above 0, 1 at the most")
        if self.max_tokens < 1:
            raise CallerError(f"max_tokens={self.max_tokens!r}: expected 1 or more")
        if self.least_tokens is not None and not 1 <= self.least_tokens <= self.max_tokens:
            raise CallerError(f"least_tokens={self.least_tokens!r}: expected 1 to max_tokens ({self.max_tokens})")
        if not 0 <= self.top_logprobs <= 20:
            raise CallerError(f"top_logprobs={self.top_logprobs!r}: expected 0 to 20")


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `n` completions of the same messages. `seed` is passed on where the provider takes one."""

    messages: tuple[Message, ...]
    params: Params = Params()
    n: int = 1
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as the provider reported them. `cached` (read from the provider's cache) and `cache_write`
    (written to it) are parts of `prompt`, `reasoning` is part of `completion`. Where `n` > 1, `completion` is the sum
    over all choices."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0


def logprob(value: Any) -> float:
    """A provider's log-probability as it is kept: four digits, and never an infinity, which JSON cannot hold."""
    return round(min(0.0, max(-100.0, float(value))), 4)  # in this order NaN becomes -100


Alternatives: TypeAlias = tuple[tuple[tuple[str, float], ...], ...]
"""For each token of a completion its likeliest alternatives, as (token, natural-log probability)."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One choice. `logprobs` are the natural-log probabilities of its tokens, `alternatives` those of what could have
    stood there, where asked for and available; `tokens` its completion tokens where they are known per choice."""

    text: str
    finish: str = "stop"
    tokens: int | None = None
    logprobs: tuple[float, ...] | None = None
    alternatives: Alternatives | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """`request.n` completions and what they used. `usage` is None where the provider did not say: the call is
    then billed at its hold. `model` is the name that the provider reports, `nanos` what the call cost in nano-dollars,
    where it says so: that is billed instead of what the price list makes of the tokens. `pause`: seconds that its
    rate-limit headers ask all callers to wait before the next call."""

    completions: tuple[Completion, ...]
    usage: Usage | None
    model: str = ""
    nanos: int | None = None
    pause: float = 0.0


class Model(Protocol):
    """Anything that completes. Raises `ModelError` (its subclasses say whose fault, whether a retry may help and
    whether the call may be billed). Must be cancellable, and safe to call from many tasks at once."""

    async def complete(self, request: Request) -> Response: ...
