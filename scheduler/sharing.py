"""One provider call for several Samples: whose completion is whose, and who is billed what."""

from __future__ import annotations

from ..budgets.prices import Price
from ..core.completions import Completion, Response, Usage
from ..core.errors import BadCompletion, ModelUnavailable
from .nodes import Reply


def share(response: Response, n: int, seconds: float, price: Price) -> list[Reply | Exception]:
    """One reply for each of `n` calls that went out together. The first is billed the prompt; completion tokens go
    by choice where they are known, else in equal parts. The parts add up to the price of the whole call: its prompt
    sets the tier for all. Fewer choices than asked for fail the rest, unbilled, to be tried again."""
    choices = response.completions[:n]
    if not choices:
        return [BadCompletion("the provider returned no completion")] * n
    replies: list[Reply | Exception] = []
    usage = response.usage
    if usage is None or len(choices) == 1:
        replies += [Reply(choice, usage, seconds) for choice in choices]
    else:
        parts = [_part(usage, choices, i) for i in range(len(choices))]
        bare = price.cost(Usage(usage.prompt))
        nanos = [max(0, price.cost(Usage(usage.prompt, part.completion)) - bare) for part in parts]
        nanos[0] = max(0, price.cost(usage) - sum(nanos[1:]))
        replies += [Reply(c, part, seconds, nano) for c, part, nano in zip(choices, parts, nanos, strict=True)]
    return replies + [_missing(n, len(choices)) for _ in range(n - len(choices))]


def _missing(asked: int, got: int) -> Exception:
    error = ModelUnavailable(f"asked for {asked} completions, got {got}")
    error.sent = False
    return error


def _part(usage: Usage, choices: tuple[Completion, ...], i: int) -> Usage:
    counts = [c.tokens for c in choices]
    known = [t for t in counts if t is not None]
    if len(known) == len(counts) and sum(known) <= usage.completion:
        parts = known
    else:
        parts = [usage.completion // len(choices)] * len(choices)
    parts[0] += usage.completion - sum(parts)
    prompt = (usage.prompt, usage.cached) if i == 0 else (0, 0)
    return Usage(prompt[0], parts[i], prompt[1], usage.reasoning if i == 0 else 0)
