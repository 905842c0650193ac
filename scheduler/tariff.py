"""Tariff: what the models of one run charge, and how long and how dear a step is expected to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from ..budgets.lengths import Lengths
from ..budgets.policy import Policy
from ..budgets.prices import Price, prompt_bound
from ..core.amounts import NANO, Amounts
from ..core.completions import Params, Usage
from ..core.effects import Effect, Gather, Race, Sample, Score, Within
from ..core.errors import BadQuery, UnknownName
from ..models.catalog import Catalog

LATENCY, TOKENS_PER_SECOND = 0.5, 50.0  # of a model that was not heard yet
BYTES_PER_TOKEN = 4  # what English text comes to, for expectations only; holds use an upper bound
KEPT = 256  # quotes of samples
MOST_BYTES_PER_TOKEN = 16  # above this no real text goes: refused before it is sent


@dataclass(frozen=True, slots=True)
class Quote:
    """A step's worst case, which is held, and its expected dollars and seconds, which are weighed. Seconds are
    `measured`, or a guess that is good enough for the width of a wave but not to refuse a call."""

    worst: Amounts = Amounts()
    usd: float = 0.0
    seconds: float = 0.0
    measured: bool = True
    at_once: int = 0  # such steps that the provider performs at the same time; 0: no limit known

    def __add__(self, other: Quote) -> Quote:
        seconds, measured = max(self.seconds, other.seconds), self.measured and other.measured
        at_once = min(filter(None, (self.at_once, other.at_once)), default=0)
        return Quote(self.worst + other.worst, self.usd + other.usd, seconds, measured, at_once)


class Tariff(Protocol):
    """Prices calls. `name` resolves the model that a Sample means; `observe` learns from what came back (`cut`: it
    ran into its limit). `shrunk` is the same sample with a `max_tokens` that `room` (nano-dollars, tokens, calls) can
    hold; None where it may not be cut so far."""

    def name(self, sample: Sample) -> str: ...
    def quote(self, sample: Sample) -> Quote: ...
    def shrunk(self, sample: Sample, room: tuple[int, int, int]) -> Sample | None: ...
    def dearest(self, sample: Sample) -> float: ...
    def cost(self, sample: Sample, usage: Usage) -> int: ...
    def observe(self, sample: Sample, usage: Usage, seconds: float, cut: bool = False) -> None: ...


@dataclass(slots=True)
class Rate:
    """One model's price and bounds, and what is known of its replies: running means over this run, after a declared
    guess. `context` tokens, `batch` completions in a call, `timeout` seconds, `at_once` calls that are performed at the
    same time (0: no limit known); `apply` puts an alias's defaults in. `upper`: the learned upper quantile of the
    tokens of a reply, by its kind; `tight`: it is what calls are sent and held with."""

    price: Price
    name: str = ""
    context: int | None = None
    batch: int = 1
    timeout: float = 120.0
    apply: Callable[[Params], Params] | None = None
    guess: float | None = None  # mean completion tokens, from the policy
    upper: Mapping[str, int] = field(default_factory=dict)
    tight: bool = False
    at_once: int = 0
    rungs: tuple[str, ...] = ()  # who is asked, by the number of the attempt; empty: itself, as often as the run says
    fallback: bool = False  # it is only here to be fallen back on
    lengths: dict[str, Lengths] = field(default_factory=dict)  # of this run
    replies: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    current: Callable[[], Price] | None = None  # the price of now, of what may turn out dearer than declared
    _applied: tuple[Sample, Params] | None = None

    def params(self, sample: Sample) -> Params:
        """The parameters that are sent: the sample's, with the alias's defaults."""
        if self.apply is None and not self.tight:
            return sample.params
        if self._applied is None or self._applied[0] is not sample:
            params = self.apply(sample.params) if self.apply is not None else sample.params
            upper = self.upper.get(kind_of(sample), params.max_tokens) if self.tight else params.max_tokens
            upper = max(upper, sample.params.least_tokens or 1)
            if upper < params.max_tokens:
                params = replace(params, max_tokens=upper, least_tokens=None)
            self._applied = (sample, params)
        return self._applied[1]

    def least(self, sample: Sample) -> int | None:
        """The smallest `max_tokens` that the sample may be cut to: what it allows itself, else the length that its kind
        of reply hardly ever passes."""
        own = sample.params.least_tokens
        return own if own is not None else self.upper.get(kind_of(sample))

    def learn(self, sample: Sample, tokens: int, cut: bool) -> None:
        """A reply's length. One that was cut short would have been longer."""
        cut = cut or tokens >= self.params(sample).max_tokens
        seen = self.lengths.setdefault(kind_of(sample), Lengths())
        seen.add(max(tokens, sample.params.max_tokens) if cut else tokens)

    def completion(self, most: int) -> float:
        """Expected completion tokens of one reply. The guess weighs as much as one reply, so that one odd reply does
        not decide."""
        guess = min(float(most), self.guess if self.guess is not None else most / 2)
        return (guess + self.tokens) / (1 + self.replies)


@dataclass(slots=True)
class PriceList:
    """The tariff of live runs: the models that the request allows, the first one the default."""

    rates: dict[str, Rate]
    _default: Rate | None = field(default=None, repr=False)
    _quoted: dict[int, tuple[Sample, int, Price, Quote]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, rate in self.rates.items():
            rate.name = name
        self._default = next(iter(self.rates.values()), None)

    def name(self, sample: Sample) -> str:
        """The model's name. Raises `UnknownName` for one that the request does not allow."""
        return self.rate(sample).name

    def rate(self, sample: Sample) -> Rate:
        """Raises as `name` does."""
        rate = self._default if sample.model is None else self.rates.get(sample.model)
        if rate is None:
            raise UnknownName.of("model", sample.model or "", self.rates)
        if rate.current is not None:
            rate.price = rate.current()
        return rate

    def rungs(self, sample: Sample) -> tuple[str, ...]:
        """The models that the sample goes to, by the number of the attempt; empty where nobody said."""
        return self.rate(sample).rungs

    def quote(self, sample: Sample) -> Quote:
        """Raises `BadQuery` for a prompt that no tokenizer can fit into the context."""
        rate = self.rate(sample)
        known = self._quoted.get(id(sample))
        if known and known[0] is sample and known[1] == rate.replies and known[2] is rate.price:
            return known[3]
        bound, most = self._bounds(rate, sample)
        worst = Amounts(rate.price.worst(bound, most), bound + most, 1)
        heard = rate.replies > 0
        seconds = rate.seconds / rate.replies if heard else LATENCY + rate.completion(most) / TOKENS_PER_SECOND
        quote = Quote(worst, _expected(rate, bound, most), seconds, heard, rate.at_once)
        if len(self._quoted) >= KEPT:
            self._quoted.clear()
        self._quoted[id(sample)] = (sample, rate.replies, rate.price, quote)
        return quote

    def shrunk(self, sample: Sample, room: tuple[int, int, int]) -> Sample | None:
        """The sample with the largest `max_tokens` that fits, found by bisection: prices have tiers."""
        rate = self.rate(sample)
        least = rate.least(sample)
        bound, most = self._bounds(rate, sample)
        nanos, tokens, calls = room

        def fits(completion: int) -> bool:
            return bound + completion <= tokens and rate.price.worst(bound, completion) <= nanos

        if least is None or least >= most or calls < 1 or not fits(least):
            return None
        low, high = least, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return replace(sample, params=replace(sample.params, max_tokens=low, least_tokens=None))

    def dearest(self, sample: Sample) -> float:
        """Expected dollars of this call at the dearest allowed model."""
        named = [rate for rate in self.rates.values() if not rate.fallback]
        return max(_expected(rate, *self._bounds(rate, sample)) for rate in named)

    @staticmethod
    def _bounds(rate: Rate, sample: Sample) -> tuple[int, int]:
        bound, most = prompt_bound(sample.messages), rate.params(sample).max_tokens
        if rate.context is not None:
            if bound > rate.context * MOST_BYTES_PER_TOKEN:
                raise BadQuery(
                    f"the query has {bound:,} bytes, and {rate.name} takes {rate.context:,} tokens: shorten it or "
                    "use a model with a longer context",
                    bytes=bound,
                    context=rate.context,
                )
            bound = min(bound, rate.context)
        return bound, most

    def cost(self, sample: Sample, usage: Usage) -> int:
        return self.rate(sample).price.cost(usage)

    def observe(self, sample: Sample, usage: Usage, seconds: float, cut: bool = False) -> None:
        rate = self.rate(sample)
        rate.replies += 1
        rate.tokens += usage.completion
        rate.learn(sample, usage.completion, cut)
        rate.seconds += seconds


def _expected(rate: Rate, bound: int, most: int) -> float:
    usage = Usage(max(1, bound // BYTES_PER_TOKEN), round(rate.completion(most)))
    return rate.price.cost(usage) / NANO


def kind_of(sample: Sample) -> str:
    """Answers and thoughts are of different lengths."""
    return "thought" if sample.task is None else "answer"


def price_list(
    catalog: Catalog,
    names: Sequence[str],
    guesses: Mapping[str, float],
    lengths: Mapping[str, Mapping[str, int]] | None = None,
    tight: bool = False,
) -> PriceList:
    """The tariff of a request that allows these models, and of those that they fall back on. `lengths`: learned
    upper quantiles by model and kind of reply;
    `tight`: calls are held at them. Raises as `Catalog.entry` does."""
    rates = {}
    own = {name: _asked_after(catalog, name) for name in names}
    further = dict.fromkeys(other for others in own.values() for other in others)
    for name in dict.fromkeys((*names, *further)):
        entry = catalog.entry(name)
        apply = entry.apply if entry.params or entry.max_output else None
        rate = Rate(entry.price, name, entry.context, entry.batch, entry.timeout, apply, guesses.get(name))
        rate.upper, rate.tight, rate.at_once = (lengths or {}).get(name, {}), tight, entry.concurrency or 0
        if entry.reports:  # an agent's, whatever was declared: one that is said to be free may not be
            rate.current = partial(_price_of, catalog, name)
        rate.fallback = name not in own
        tried = [(each, catalog.entry(each).limits.retries) for each in (name, *own.get(name, ()))]
        rate.rungs = tuple(each for each, retries in tried for _ in range(retries + 1))
        rates[name] = rate
    return PriceList(rates)


def _price_of(catalog: Catalog, name: str) -> Price:
    return catalog.entry(name).price


def _asked_after(catalog: Catalog, name: str) -> tuple[str, ...]:
    """The fallbacks of a model, pools unrolled, without itself."""
    fallbacks = catalog.entry(name).limits.fallbacks
    return tuple(other for other in catalog.expand(fallbacks) if other != name) if fallbacks else ()


@dataclass(slots=True)
class Habits:
    """How long replies have been, by model: (replies, completion tokens), over all requests of an engine; and their
    lengths by model and kind."""

    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    lengths: dict[tuple[str, str], Lengths] = field(default_factory=dict)

    def learn(self, tariff: PriceList) -> None:
        for name, rate in tariff.rates.items():
            replies, tokens = self.seen.get(name, (0, 0.0))
            self.seen[name] = (replies + rate.replies, tokens + rate.tokens)
            for kind, seen in rate.lengths.items():
                known = self.lengths.setdefault((name, kind), Lengths())
                known += seen

    def guesses(self, names: Sequence[str], policy: Policy) -> dict[str, float]:
        """Mean completion tokens that are expected of each model: what was seen, else what the policy says."""
        guesses = {name: policy.tokens[name] for name in names if name in policy.tokens}
        seen = ((name, *self.seen.get(name, (0, 0.0))) for name in names)
        return guesses | {name: tokens / replies for name, replies, tokens in seen if replies}

    def upper(self, names: Sequence[str], policy: Policy, quantile: float) -> dict[str, dict[str, int]]:
        """The upper quantile of each kind of reply of each model: as seen, else as the policy says."""
        found = {name: dict(policy.lengths.get(name, {})) for name in names}
        for (name, kind), lengths in self.lengths.items():
            upper = lengths.upper(quantile)
            if name not in found:
                continue
            if upper is not None:
                found[name][kind] = upper
            elif lengths.longest > found[name].get(kind, lengths.longest):
                del found[name][kind]  # the policy has seen shorter ones only
        return {name: kinds for name, kinds in found.items() if kinds}


def quote_step(tariff: Tariff, step: tuple[Effect[Any], ...]) -> Quote:
    """What the effects of one step come to. A check costs what it `needs`; a strategy within, likewise."""
    return quote_samples(tariff, samples_of(step))


def quote_samples(tariff: Tariff, samples: Sequence[Sample]) -> Quote:
    """What these completions come to."""
    return sum(map(tariff.quote, samples[1:]), tariff.quote(samples[0])) if samples else Quote()


def samples_of(step: tuple[Effect[Any], ...]) -> tuple[Sample, ...]:
    """All completions that a step may ask for, however deep."""
    found: list[Sample] = []
    for effect in step:
        if isinstance(effect, Sample):
            found.append(effect)
        else:
            found += samples_of(effect.branches if isinstance(effect, Gather | Race) else needed(effect))
    return tuple(found)


def needed(effect: Effect[Any]) -> tuple[Effect[Any], ...]:
    """What the verifier or strategy of an effect says that it needs. One that cannot say needs nothing: its own call
    will show why."""
    if isinstance(effect, Score):
        needs = getattr(effect.verifier, "needs", None)
    else:
        needs = getattr(effect.strategy, "needs", None) if isinstance(effect, Within) else None
    try:
        return tuple(needs(effect.task)) if needs is not None and isinstance(effect, Score | Within) else ()
    except Exception:
        return ()


def first_sample(step: tuple[Effect[Any], ...]) -> Sample | None:
    """The first completion that a step asks for, however deep."""
    for effect in step:
        if isinstance(effect, Sample):
            return effect
        inner = effect.branches if isinstance(effect, Gather | Race) else needed(effect)
        if found := first_sample(inner):
            return found
    return None
