"""Prices: from tokens to integer nano-dollars."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ..core.completions import Message, Usage
from ..core.errors import CallerError

PICO_PER_NANO = 1000
# What chat templates add: a default system prompt and the generation marker once, role and end marks per message.
TEMPLATE_TOKENS, MESSAGE_TOKENS = 64, 12


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices that hold once the prompt is longer than `above` tokens (pico-dollars per token)."""

    above: int
    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in pico-dollars (1e-12 USD) per token: a dollar per million tokens is 1,000,000.

    `cached` is the price of cached prompt tokens (None: as `prompt`), `per_call` nano-dollars for each call,
    `source` says where the figures come from and is recorded with the spend.
    """

    prompt: int
    completion: int
    cached: int | None = None
    per_call: int = 0
    tiers: tuple[Tier, ...] = ()
    source: str = "declared"

    def __post_init__(self) -> None:
        amounts = (self.prompt, self.completion, self.per_call, self.cached or 0)
        if not all(isinstance(x, int) and x >= 0 for x in amounts):
            raise CallerError("a Price holds whole pico-dollars per token: Price.per_million(...) takes USD")

    @classmethod
    def per_million(
        cls,
        prompt: float,
        completion: float,
        source: str = "declared",
        cached: float | None = None,
        per_call: int = 0,
    ) -> Price:
        """From dollars per million tokens, as price lists are written, rounded up to the pico-dollar (`per_call` is
        in nano-dollars)."""

        def pico(usd: float) -> int:
            return ceil(round(usd * 1e6, 6))

        return cls(pico(prompt), pico(completion), None if cached is None else pico(cached), per_call, source=source)

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of one call, rounded up."""
        prompt, completion = self._tier(usage.prompt)
        cached = min(usage.cached, usage.prompt)
        cached_price = prompt if self.cached is None else min(self.cached, prompt)
        pico = (usage.prompt - cached) * prompt + cached * cached_price + usage.completion * completion
        return -(-pico // PICO_PER_NANO) + self.per_call

    def _tier(self, prompt_tokens: int) -> tuple[int, int]:
        best = (self.prompt, self.completion)
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                best = (max(best[0], tier.prompt), max(best[1], tier.completion))
        return best


def prompt_bound(messages: tuple[Message, ...]) -> int:
    """The most tokens that the messages can become. A byte-level tokenizer makes at most one token of a byte, so
    the bytes plus what the template adds is an upper bound for every model, with no tokenizer at hand."""
    text = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in messages)
    return text + TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages)
