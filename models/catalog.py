"""From names to models: aliases and pools of the settings, models by their own names, and a user's own objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..budgets.prices import Price
from ..core.amounts import nanos
from ..core.completions import Model, Params
from ..core.errors import BadSettings, MissingExtra, SatisficeError, UnknownName, UnpricedModel
from . import local, pricelist
from .limits import UNLIMITED, Limits
from .pricebook import PriceBook

if TYPE_CHECKING:
    from .settings import ModelSettings, PriceSettings, Settings

LOCAL = "local/"
EMBEDDED = "local/smollm2"
# What the user's own machine costs is not known here. Nominal, so that spending on it is weighed at all; declare
# another price in the settings.
LOCAL_PRICE = Price.per_million(0.01, 0.04, source="nominal")
TIMEOUT = 120.0
# Those that bill the prompt once for n completions; with the others n is dropped or the prompt billed n times.
_BATCHES = {"openai": 8, "azure": 8, "hosted_vllm": 8}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a model before it is called. `context` and `max_output` are tokens, `batch` the most
    completions in one call, `timeout` seconds, `concurrency` the most calls at once (None: no limit of its own).
    `reports`: its replies say what they cost, so that its price may rise while it is used."""

    name: str
    provider_model: str
    price: Price
    context: int | None = None
    max_output: int | None = None
    batch: int = 1
    timeout: float = TIMEOUT
    params: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None
    limits: Limits = UNLIMITED
    reports: bool = False

    def apply(self, params: Params) -> Params:
        """`params` with this alias's defaults where the caller set none, and `max_tokens` no larger than the alias
        and the model allow. To be called before the hold is reckoned; a second time changes nothing."""
        own = dict(self.params)
        most = min(m for m in (params.max_tokens, own.pop("max_tokens", None), self.max_output) if m is not None)
        filled = {name: own.pop(name, None) for name in ("temperature", "top_p", "stop", "effort")}
        unset = {name: value for name, value in filled.items() if value is not None and not getattr(params, name)}
        if params.temperature is not None:  # zero is a choice
            unset.pop("temperature", None)
        extra = tuple(sorted({**own, **dict(params.extra)}.items()))
        return replace(params, max_tokens=most, extra=extra, **unset)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `satisfice models`. `kind` is alias, pool, object or embedded; `note` says what is amiss."""

    name: str
    kind: str
    model: str
    price: Price | None = None
    note: str = ""


class Catalog:
    """The models that a process can name. Safe from many threads; each model is made once. `clock` tells the time,
    with a zone: prices have dates. Raises `BadSettings` for a price file that cannot be read."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.settings = settings
        self.book = PriceBook(settings.prices)
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._models: dict[str, Model] = {}
        self._own: set[str] = set()
        self._lock = Lock()
        if settings.agents:
            from .agents import install_agents

            install_agents(self, settings.agents)

    def register(self, name: str, model: Model, price: Price, batch: int = 1, context: int | None = None) -> None:
        """Make a user's own object known as `name`; an alias of that name is hidden by it, but for its rates,
        fallbacks and hedges."""
        with self._lock:
            self._own.add(name)
            self._models[name] = model
            self._entries[name] = Entry(name, name, price, context=context, batch=batch)
            if alias := self.settings.models.get(name):
                limited = replace(self._entries[name], concurrency=alias.concurrency, limits=_limits(name, alias))
                self._entries[name] = limited

    def revise(self, name: str, **known: Any) -> None:
        """What is known of a registered object from now on: fields of its `Entry`."""
        with self._lock:
            self._entries[name] = replace(self._entries[name], **known)

    def expand(self, names: Sequence[str]) -> tuple[str, ...]:
        """Pools unrolled (also pools of pools), aliases kept, each name once, in order. Raises UnknownName."""
        found: dict[str, None] = {}
        opened: set[str] = set()

        def open_up(name: str) -> None:
            if name in self.settings.pools and name not in self._own:
                if name not in opened:
                    opened.add(name)
                    for member in self.settings.pools[name]:
                        open_up(member)
                return
            self._check(name)
            found[name] = None

        for name in [names] if isinstance(names, str) else names:
            open_up(name)
        if not found:
            raise BadSettings(
                f"{', '.join(map(repr, names))}: the pool comes to no model (pools that hold each other?)"
            )
        return tuple(found)

    def entry(self, name: str) -> Entry:
        """What is known of `name` (an alias, a model or a registered object; a pool is none of these), at the price of
        this day. Raises UnknownName, UnpricedModel, MissingExtra."""
        known = self._entries.get(name)
        if known is None:
            self._check(name)
            made = self._describe(name, self.settings.models.get(name))
            with self._lock:
                return self._entries.setdefault(name, made)
        if name in self._own or not self.book.dated(known.provider_model):
            return known
        alias = self.settings.models.get(name)
        price = self._price(name, known.provider_model, alias)
        if price is not known.price and price != known.price:
            with self._lock:
                known = self._entries[name] = replace(known, price=price)
        return known

    def _price(self, name: str, model: str, alias: ModelSettings | None) -> Price:
        """Declared for the alias, else in a price file, else on litellm's list. Raises UnpricedModel."""
        if alias and alias.price:
            return _declared(alias.price)
        ours = model.startswith(LOCAL)
        # litellm's list is long, and knows no model of ours.
        price = self.book.price(model, self._clock()) if self.book.files or not ours else None
        if price is None and ours:
            price = LOCAL_PRICE
        if price is None:
            raise _unpriced(name, model, alias is not None)
        return price

    def model(self, name: str) -> Model:
        """The model behind `name`, made at the first call. Raises as `entry` does."""
        entry = self.entry(name)
        with self._lock:
            if name not in self._models:
                self._models[name] = self._make(entry, self.settings.models.get(name))
            return self._models[name]

    def listing(self) -> list[Row]:
        """Every configured name with its price; never raises for what is misconfigured, but notes it."""
        rows = [self._row(name, "object", name) for name in sorted(self._own)]
        rows += [self._row(name, "alias", s.model) for name, s in self.settings.models.items() if name not in self._own]
        rows += [Row(name, "pool", ", ".join(members)) for name, members in self.settings.pools.items()]
        return [*rows, self._row(EMBEDDED, "embedded", "SmolLM2-135M-Instruct")]

    def _row(self, name: str, kind: str, model: str) -> Row:
        try:
            return Row(name, kind, model, self.entry(name).price)
        except MissingExtra as error:
            return Row(name, kind, model, LOCAL_PRICE, f"not installed: {error}")
        except SatisficeError as error:
            return Row(name, kind, model, None, str(error).splitlines()[0])

    def _check(self, name: str) -> None:
        """Raises unless `name` can be resolved; without importing litellm."""
        if name in self._own:
            return
        alias = self.settings.models.get(name)
        target = alias.model if alias else name
        if target.startswith(LOCAL):
            local.locate(target)
        elif "/" in target:
            provider = target.split("/", 1)[0]
            if provider not in pricelist.providers():
                # "loca/smollm2" is nearer to a name of ours than to any provider.
                ours = get_close_matches(name, self._ours(), n=1, cutoff=0.8)
                if ours and not alias:
                    raise UnknownName.of("model", name, self._ours())
                raise UnknownName.of("provider", provider, {*pricelist.providers(), "local"})
        elif pricelist.look_up(target) is None:
            known = self._ours()
            if not get_close_matches(target, known, n=1):
                known.update(get_close_matches(target, pricelist.names(), n=1))
            raise UnknownName.of("model", target, known)

    def _ours(self) -> set[str]:
        return {*self.settings.models, *self.settings.pools, *self._own, EMBEDDED}

    def _describe(self, name: str, alias: ModelSettings | None) -> Entry:
        model = alias.model if alias else name
        price = self._price(name, model, alias)
        params = alias.params.model_dump(exclude_none=True) if alias else {}
        batch, context, concurrency = (alias.batch, alias.context, alias.concurrency) if alias else (None, None, None)
        timeout = alias.timeout if alias else TIMEOUT
        limits = _limits(model, alias)
        if model.startswith(LOCAL):
            slots = concurrency or local.SLOTS
            context = context or local.CONTEXT
            batch = min(batch or slots, slots)
            return Entry(name, model, price, context, context, batch, timeout, params, slots, limits)
        listed = pricelist.look_up(model) or pricelist.Listed(None, None, None)
        # Of a server at an address of one's own it is not known whether it honours n: there it has to be declared.
        own = alias is not None and alias.api_base is not None
        batch = batch or (1 if own else _BATCHES.get(model.split("/", 1)[0], 1))
        context = context or listed.context
        return Entry(name, model, price, context, listed.max_output, batch, timeout, params, concurrency, limits)

    def _make(self, entry: Entry, alias: ModelSettings | None) -> Model:
        if entry.provider_model.startswith(LOCAL):
            return local.LocalModel(
                entry.provider_model, slots=entry.concurrency or local.SLOTS, context=entry.context or local.CONTEXT
            )
        from .lite import LiteModel

        return LiteModel(
            entry.provider_model,
            api_base=alias.api_base if alias else None,
            api_key_env=alias.api_key_env if alias else None,
            timeout=entry.timeout,
        )


def _limits(model: str, alias: ModelSettings | None) -> Limits:
    provider = model.split("/", 1)[0] if "/" in model else ""
    if alias is None:
        return Limits(provider=provider)
    told = (alias.rpm, alias.tpm, alias.queue_seconds, alias.retries, alias.fallbacks, alias.hedge_after)
    return Limits(*told, alias.provider or provider)


def _declared(price: PriceSettings) -> Price:
    figures = price.model_dump(exclude={"per_call"})
    return Price.per_million(**figures, per_call=nanos(price.per_call))


def _unpriced(name: str, model: str, is_alias: bool) -> UnpricedModel:
    alias = name if is_alias else "mine"
    near = get_close_matches(model, [*pricelist.names(), *(f"openai/{n}" for n in pricelist.names())], n=1, cutoff=0.8)
    hint = f" Did you mean {near[0]!r}?" if near and near[0] != model else ""
    return UnpricedModel(
        f"no price is known for {model!r}, and a model without one is not called.{hint} To declare it, in"
        f" satisfice.toml (USD per million tokens):\n\n[models.{alias}]\nmodel = {model!r}\n"
        "price = {prompt = 0.00, completion = 0.00}\n",
        model=model,
    )
