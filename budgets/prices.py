"""Prices: from tokens to integer nano-dollars."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import ceil
from typing import TypeAlias

from ..core.completions import Message, Usage
from ..core.errors import CallerError
from .hours import Window

PICO_PER_NANO = 1000
# What chat templates add: a default system prompt and the generation marker once, role and end marks per message.
TEMPLATE_TOKENS, MESSAGE_TOKENS = 64, 12
MOST_PICO = 10**15  # a thousand dollars for a token: no price, but a slip of the pen
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)

Figures: TypeAlias = tuple[int, int, int, int, int]
"""Pico-dollars per token of prompt, completion, cached prompt, prompt written to the cache, and reasoning."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices that hold, for every token of the call, once the prompt is longer than `above` tokens (pico-dollars per
    token). `cached` and `cache_write` None: as `prompt`; `reasoning` None: as `completion`."""

    above: int
    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class OffPeak:
    """`price` holds while one of `windows` is open, in place of everything that holds otherwise, tiers too."""

    windows: tuple[Window, ...]
    price: Price


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in pico-dollars (1e-12 USD) per token: a dollar per million tokens is 1,000,000.

    `cached` is the price of prompt tokens read from the provider's cache and `cache_write` of those written to it
    (None: as `prompt`), `reasoning` that of hidden reasoning (None: as `completion`), `per_call` nano-dollars for each
    call. `tiers` rise by `above`; the last one that a prompt passes holds. `batch` is what the provider's batch mode
    charges, `off_peak` what certain hours do (the first that is open). `then` is a price that takes over at a moment:
    it counts where a time is given, and for what the call may cost at most. `source` says where the figures come
    from. Raises `CallerError`.
    """

    prompt: int
    completion: int
    cached: int | None = None
    per_call: int = 0
    tiers: tuple[Tier, ...] = ()
    source: str = "declared"
    cache_write: int | None = None
    reasoning: int | None = None
    batch: Price | None = None
    off_peak: tuple[OffPeak, ...] = ()
    then: tuple[datetime, Price] | None = None
    _version: str = field(default="", init=False, repr=False, compare=False)
    _dearest: Price | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        amounts = [self.prompt, self.completion, self.per_call, self.cached, self.cache_write, self.reasoning]
        for tier in self.tiers:
            amounts += [tier.above, tier.prompt, tier.completion, tier.cached, tier.cache_write, tier.reasoning]
        for amount in amounts:
            if not (amount is None or (isinstance(amount, int) and 0 <= amount <= MOST_PICO)):
                raise CallerError("a Price holds whole pico-dollars per token: Price.per_million(...) takes USD")
        marks = [tier.above for tier in self.tiers]
        if marks != sorted(set(marks)):
            raise CallerError(f"tiers above {marks} tokens: expected each once, in rising order")
        inner = [peak.price for peak in self.off_peak] + ([self.batch] if self.batch else [])
        if any(price.batch or price.off_peak or price.then for price in inner):
            raise CallerError("a batch or off-peak price has tiers, but no batch, off_peak or then of its own")
        if self.then is not None and (self.then[0].tzinfo is None or self.then[1].then):
            raise CallerError("`then` is a moment with a time zone, and a price without a `then` of its own")

    @classmethod
    def per_million(
        cls,
        prompt: float | Decimal,
        completion: float | Decimal,
        source: str = "declared",
        cached: float | Decimal | None = None,
        per_call: int = 0,
        cache_write: float | Decimal | None = None,
        reasoning: float | Decimal | None = None,
    ) -> Price:
        """From dollars per million tokens, as price lists are written, rounded up to the pico-dollar (`per_call` is
        in nano-dollars). Raises `CallerError`."""
        rest = (None if usd is None else pico(usd) for usd in (cached, cache_write, reasoning))
        read, written, thought = rest
        return cls(
            pico(prompt), pico(completion), read, per_call, source=source, cache_write=written, reasoning=thought
        )

    @property
    def version(self) -> str:
        """The source and a hash of all the figures ("litellm:3fa94c01be"): the same on every node that has the same
        figures, and another once any of them differs. A price at a moment has the version of the price it is of."""
        if not self._version:
            from hashlib import sha256

            text = json.dumps(_canonical(self), separators=(",", ":"))
            object.__setattr__(self, "_version", f"{self.source}:{sha256(text.encode()).hexdigest()[:10]}")
        return self._version

    def at(self, when: datetime) -> Price:
        """The price in force at `when`. Raises `CallerError` for a time without a zone."""
        return self.during(when, when)

    def during(self, since: datetime, until: datetime) -> Price:
        """The dearest, figure by figure, of the prices in force from `since` to `until`: providers do not say which
        moment of a call they bill it at. Of two prices `version` names both. Raises as `at` does."""
        if not self.off_peak and self.then is None:
            return self
        if since.tzinfo is None or until.tzinfo is None:
            raise CallerError("a time without a zone: give one in UTC, as datetime.now(UTC)")
        since, until = sorted((since.astimezone(UTC), until.astimezone(UTC)))
        if self.then is None:
            return _merged(self._versions(since, until))
        change, later = self.then
        now = self._versions(since, min(until, change)) if since < change else []
        return _merged(now + (later._versions(max(since, change), until) if until >= change else []))

    @property
    def dearest(self) -> Price:
        """The dearest, figure by figure, of all the prices that can apply at any time; itself where time does not
        matter."""
        if not self.off_peak and self.then is None:
            return self
        if self._dearest is None:
            later = self.then[1]._plain() if self.then else []
            made = _merged([*self._plain(), *later])
            object.__setattr__(made, "_version", self.version)
            object.__setattr__(self, "_dearest", made)
        return self._dearest or self

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of one call, rounded up once. Where the hour matters, the dearest: `at(when).cost(usage)` is
        what a moment charges."""
        price = self.dearest
        prompt, completion, cached, cache_write, reasoning = price.figures(usage.prompt)
        read = min(usage.cached, usage.prompt)
        written = min(usage.cache_write, usage.prompt - read)
        thought = min(usage.reasoning, usage.completion)
        pico = (usage.prompt - read - written) * prompt + read * cached + written * cache_write
        pico += (usage.completion - thought) * completion + thought * reasoning
        return -(-pico // PICO_PER_NANO) + price.per_call

    def worst(self, prompt_bound: int, max_completion: int) -> int:
        """The most nano-dollars that a call of at most so many tokens can cost, at any tier that its prompt can
        reach, at any hour, read from a cache, written to one, or all reasoning."""
        price = self.dearest
        marks = [tier.above for tier in price.tiers if tier.above < prompt_bound]
        most = 0
        for tokens in (*marks, prompt_bound):  # each tier's longest prompt
            prompt, completion, cached, cache_write, reasoning = price.figures(tokens)
            most = max(most, tokens * max(prompt, cached, cache_write) + max_completion * max(completion, reasoning))
        return -(-most // PICO_PER_NANO) + price.per_call

    def figures(self, prompt_tokens: int = 0) -> Figures:
        """What each kind of token costs in a call with a prompt of this length."""
        best: Price | Tier = self
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                best = tier
        cached = best.prompt if best.cached is None else best.cached
        written = best.prompt if best.cache_write is None else best.cache_write
        thought = best.completion if best.reasoning is None else best.reasoning
        return best.prompt, best.completion, cached, written, thought

    def _plain(self) -> list[Price]:
        """Every price that some hour can bring."""
        return [self._bare(self), *(self._bare(peak.price) for peak in self.off_peak)]

    def _bare(self, price: Price) -> Price:
        made = replace(price, off_peak=(), then=None, batch=price.batch or self.batch, source=self.source)
        object.__setattr__(made, "_version", self.version)
        return made

    def _versions(self, since: datetime, until: datetime) -> list[Price]:
        if not self.off_peak:
            return [self._bare(self)]
        if until - since > _DAY:
            return self._plain()
        found: list[Price] = []
        moment = since.replace(second=0, microsecond=0)
        while moment <= until:  # windows open and close on the minute
            open_now = (peak.price for peak in self.off_peak if any(w.holds(moment) for w in peak.windows))
            price = next(open_now, self)
            if not any(price is one for one in found):
                found.append(price)
            moment += _MINUTE
        return [self._bare(price) for price in found]


def pico(usd_per_million: float | Decimal) -> int:
    """USD per million tokens as pico-dollars per token, rounded up; a float's noise (1.5000999999999998) is dropped.
    Raises `CallerError`."""
    try:
        usd = Decimal(str(usd_per_million))
    except InvalidOperation:
        raise CallerError(f"{usd_per_million!r} is no price in USD per million tokens") from None
    if not usd.is_finite() or usd < 0 or usd > MOST_PICO // 10**6:
        raise CallerError(f"{usd_per_million!r}: a price is 0 or more, and less than a thousand dollars a token")
    return ceil(usd * 10**6 if isinstance(usd_per_million, Decimal) else round(usd * 10**6, 6))


def _merged(prices: list[Price]) -> Price:
    if len(prices) == 1:
        return prices[0]
    marks = sorted({tier.above for price in prices for tier in price.tiers})
    base = _highest(price.figures() for price in prices)
    tiers = (Tier(above, *_highest(price.figures(above + 1) for price in prices)) for above in marks)
    made = Price(
        *base[:3],
        per_call=max(price.per_call for price in prices),
        tiers=tuple(tiers),
        source=prices[0].source,
        cache_write=base[3],
        reasoning=base[4],
        batch=prices[0].batch,
    )
    object.__setattr__(made, "_version", "|".join(dict.fromkeys(price.version for price in prices)))
    return made


def _highest(figures: Iterable[Figures]) -> Figures:
    prompt, completion, cached, written, thought = (max(column) for column in zip(*figures, strict=True))
    return prompt, completion, cached, written, thought


def _canonical(price: Price | None) -> object:
    """The figures as JSON, unset ones as what they stand for. `then` is another price, with a version of its own."""
    if price is None:
        return None
    tiers = [[tier.above, *price.figures(tier.above + 1)] for tier in price.tiers]
    hours = [
        [[[w.start, w.end, w.days, w.zone] for w in peak.windows], _canonical(peak.price)] for peak in price.off_peak
    ]
    return [price.figures(), price.per_call, tiers, _canonical(price.batch), hours]


def prompt_bound(messages: tuple[Message, ...]) -> int:
    """The most tokens that the messages can become. A byte-level tokenizer makes at most one token of a byte, so
    the bytes plus what the template adds is an upper bound for every model, with no tokenizer at hand."""
    text = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in messages)
    return text + TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages)
