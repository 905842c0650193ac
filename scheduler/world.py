"""What a live run can reach, and who watches it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..budgets.prices import Price
from ..core.completions import Model
from ..core.effects import Ask
from ..core.errors import BadCompletion
from .accounting import Account
from .dispatch.desk import Desk
from .events import Event
from .journal import Row
from .nodes import Reply
from .sharing import share
from .tariff import PriceList
from .tools import Ready

logger = logging.getLogger("satisfice")

OnEvent = Callable[[Event], None]
OnAsk = Callable[[Ask], str | Awaitable[str]]


class Store(Protocol):
    """What the driver needs of a journal."""

    async def commit(self, rows: list[Row]) -> None: ...
    def post(self, rows: list[Row]) -> None: ...
    async def remember(self, scope: str, topic: str, value_json: str, rows: list[Row] = ...) -> None: ...
    async def recall(self, scope: str, topic: str) -> list[str]: ...


@dataclass(slots=True)
class World:
    """What a run can reach: models by name, tools, memory, people."""

    model: Callable[[str], Model]
    tariff: PriceList
    tools: Mapping[str, Ready] = field(default_factory=dict)
    store: Store | None = None
    memory: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    scopes: Mapping[str, str] = field(default_factory=dict)
    on_ask: OnAsk | None = None
    on_event: OnEvent | None = None
    desk: Desk | None = None  # where its calls wait for their turns; None: they leave at once
    account: Account | None = None  # what the run is charged to, beside its own purse


def emit(on_event: OnEvent, event: Event) -> None:
    """Tells an observer."""
    try:
        on_event(event)
    except Exception:  # its fault must not cost the run
        logger.exception("on_event raised")


def shared(response: Any, n: int, seconds: float, price: Price) -> list[Reply | Exception]:
    """`share`, of whatever a user's model returned."""
    try:
        if all(isinstance(c.text, str) for c in response.completions):
            return share(response, n, seconds, price)
    except (AttributeError, TypeError):
        pass
    return [BadCompletion(f"the model returned no Response of texts: {response!r:.80}")] * n
