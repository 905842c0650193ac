"""Agents: a user's own way to an answer, behind the protocol of a model, at a declared price for each call.

What an agent does inside is not seen here. A call is held at the declared price. An agent may report what it cost: at
or below the price it is billed as reported; above it, in full, and from then on the agent is priced at that.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from ..budgets.prices import Price
from ..core.amounts import nanos
from ..core.completions import Completion, Message, Request, Response, Usage
from ..core.errors import BadCompletion, BadQuery, BadSettings, CallerError, ModelUnavailable
from .cancelled import strayed
from .limits import Limits

if TYPE_CHECKING:
    from .agent_settings import AgentSettings
    from .catalog import Catalog

TIMEOUT = 120.0
MOST_USD = 1e6  # of one call: more is a slip of the pen, or a lie
LONGEST = 4 << 20  # characters of a reply

Ask = Callable[[Request], Awaitable[Any]]
OnDearer = Callable[[int], None]


class Agent:
    """`ask` makes a reply of a request: text, or {"text" or "answer": ..., "usd": what it cost}. `on_dearer` is told
    the nano-dollars of a call that cost more than any before, or than was declared (`price`, nano-dollars). Raises
    `CallerError`."""

    def __init__(self, name: str, ask: Ask, price: int, on_dearer: OnDearer | None = None) -> None:
        self.name = name
        self._ask, self._most, self._on_dearer = ask, price, on_dearer
        self._lock = Lock()

    async def complete(self, request: Request) -> Response:
        """One completion. Raises `BadQuery` where more are asked for, `BadCompletion` for a reply that is none,
        `ModelUnavailable` where a task of its own was cancelled, and what the agent raises."""
        if request.n != 1:
            raise BadQuery(f"agent {self.name!r} gives one answer at a time, not {request.n}")
        try:
            reply = await self._ask(request)
        except BaseException as error:
            if not strayed(error):
                raise
            broken = ModelUnavailable(f"agent {self.name!r} was cancelled from within")
            broken.sent = True
            raise broken from error
        text, cost = _read(self.name, reply)
        if cost is not None:
            self._note(cost)
        return Response((Completion(text),), Usage(), self.name, cost)

    def _note(self, cost: int) -> None:
        with self._lock:
            dearer, self._most = cost > self._most, max(cost, self._most)
        if dearer and self._on_dearer is not None:
            self._on_dearer(cost)


def register_agent(
    catalog: Catalog,
    name: str,
    agent: Callable[..., Any],
    *,
    usd: float,
    timeout: float = TIMEOUT,
    concurrency: int | None = None,
    retries: int = 0,
    messages: bool = False,
) -> None:
    """Makes an agent known as a model `name`, which requests and strategies can then use as any other.

    `agent`: an async callable (a plain one gets a thread) of the query as text, or, with `messages`, of the chat as a
    list of {"role", "content"}. It replies with text, or with {"text": ..., or "answer": ..., "usd": cost}. `usd`: the
    most that a call costs. `timeout`: seconds after which it is cancelled, and billed. `retries`: how often it may be
    asked again after a fault that may pass: none, since it may have done something. Raises `CallerError`.
    """
    if not callable(agent):
        raise CallerError(f"agent {name!r}: expected an async callable, not {type(agent).__name__}")
    _install(catalog, name, partial(_called, agent, messages), usd, timeout, concurrency, retries)


def install_agents(catalog: Catalog, agents: Mapping[str, AgentSettings]) -> None:
    """Makes the agents of the settings known, over HTTP. Raises `BadSettings`."""
    from .agents_http import HttpAgent

    for name, one in agents.items():
        call = HttpAgent(name, one.url, one.timeout, one.headers_env)
        try:
            _install(catalog, name, call, one.usd, one.timeout, one.concurrency, one.retries)
        except CallerError as error:
            raise BadSettings(f"[agents.{name}]: {error}") from error


def _install(
    catalog: Catalog, name: str, ask: Ask, usd: float, timeout: float, concurrency: int | None, retries: int
) -> None:
    if not isinstance(name, str) or not name or "/" in name or any(c.isspace() for c in name):
        raise CallerError(f"agent {name!r}: a name has no '/' and no space")
    price = _cost(usd)
    if price is None:
        raise CallerError(f"agent {name!r}: usd={usd!r}: expected what a call costs at the most, in dollars")
    if not (isinstance(timeout, int | float) and isfinite(timeout) and timeout > 0):
        raise CallerError(f"agent {name!r}: timeout={timeout!r}: expected seconds, above 0")
    for what, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise CallerError(f"agent {name!r}: {what}={value!r}: expected a whole number, {least} or more")
    dearer = partial(_reprice, catalog, name)
    catalog.register(name, Agent(name, ask, price, dearer), _price(price))
    limits = Limits(retries=retries, provider=name)
    catalog.revise(name, timeout=timeout, concurrency=concurrency, limits=limits, reports=True)


def _price(amount: int, source: str = "declared") -> Price:
    return Price(0, 0, per_call=amount, source=source)


def _reprice(catalog: Catalog, name: str, cost: int) -> None:
    """From now on the agent is held at what it really cost."""
    catalog.revise(name, price=_price(cost, "reported"))


async def _called(agent: Callable[..., Any], messages: bool, request: Request) -> Any:
    given: Any = chat_of(request.messages) if messages else text_of(request.messages)
    if iscoroutinefunction(agent) or iscoroutinefunction(getattr(agent, "__call__", None)):  # noqa: B004
        return await agent(given)
    value = await anyio.to_thread.run_sync(agent, given, abandon_on_cancel=True)
    return await value if isawaitable(value) else value


def text_of(messages: tuple[Message, ...]) -> str:
    """The chat as one text; with the speakers where there are several turns."""
    if any(m.role == "assistant" for m in messages):
        return "\n\n".join(f"{m.role}: {m.content}" for m in messages)
    return "\n\n".join(m.content for m in messages)


def chat_of(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _read(name: str, reply: Any) -> tuple[str, int | None]:
    """(text, nano-dollars as reported). Raises `BadCompletion`."""
    if isinstance(reply, str):
        return _checked(name, reply), None
    if not isinstance(reply, Mapping):
        raise BadCompletion(
            f"agent {name!r} replied with {type(reply).__name__}: expected text, or a mapping with text"
        )
    text, answer = reply.get("text"), reply.get("answer")
    if text is not None and not isinstance(text, str):
        raise BadCompletion(f"agent {name!r}: 'text' is {type(text).__name__}, not text")
    if text is None and answer is None:
        raise BadCompletion(f"agent {name!r}: the reply has neither 'text' nor 'answer': {sorted(map(str, reply))[:8]}")
    cost = _cost(reply["usd"]) if reply.get("usd") is not None else None
    if reply.get("usd") is not None and cost is None:
        raise BadCompletion(f"agent {name!r}: 'usd' is {reply['usd']!r:.40}: expected dollars, 0 or more")
    said = [text] if text is not None else []
    if answer is not None:
        said.append(f"Answer: {_plain(name, answer)}" if said else _plain(name, answer))
    return _checked(name, "\n\n".join(said)), cost


def _plain(name: str, answer: Any) -> str:
    if isinstance(answer, str):
        return answer
    try:
        return json.dumps(answer, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadCompletion(f"agent {name!r}: 'answer' is no JSON value: {error}") from error


def _checked(name: str, text: str) -> str:
    if len(text) > LONGEST:
        raise BadCompletion(f"agent {name!r}: a reply of {len(text):,} characters; at most {LONGEST:,} are taken")
    return text


def _cost(usd: Any) -> int | None:
    """Nano-dollars; None for what is no amount."""
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd <= MOST_USD:
        return None
    return nanos(usd)
