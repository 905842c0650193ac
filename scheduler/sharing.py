"""One provider call for several Samples: whose completion is whose, and who is billed what."""

from __future__ import annotations

from dataclasses import replace

from ..budgets.prices import Price
from ..core.completions import Completion, Response, Usage
from ..core.errors import BadCompletion, ModelUnavailable
from .nodes import Reply


def share(response: Response, n: int, seconds: float, price: Price) -> list[Reply | Exception]:
    """One reply for each of `n` calls that went out together. The first is billed the prompt; completion tokens go
    by choice where they are known, else in equal parts. The parts add up to what `price`, the one in force during the
    call, charges for the whole call (its prompt sets the tier for all), or to what the reply itself says that it cost.
    Fewer choices than asked for fail the rest, unbilled, to be tried again."""
    choices = response.completions[:n]
    if not choices:
        return [BadCompletion("the provider returned no completion")] * n
    replies: list[Reply | Exception] = []
    usage = response.usage
    if response.nanos is not None:
        replies += _reported(response.nanos, usage or Usage(), choices, seconds)
    elif usage is None:
        replies += [Reply(choice, usage, seconds) for choice in choices]
    elif len(choices) == 1:
        replies.append(Reply(choices[0], usage, seconds, price.cost(usage), price=price.version))
    else:
        parts = [_part(usage, choices, i) for i in range(len(choices))]
        whole = price.cost(usage)
        prompt = min(whole, price.cost(replace(usage, completion=0, reasoning=0)))
        nanos = [(whole - prompt) * part.completion // max(1, usage.completion) for part in parts]
        nanos[0] = whole - sum(nanos[1:])
        replies += [
            Reply(c, part, seconds, nano, price=price.version)
            for c, part, nano in zip(choices, parts, nanos, strict=True)
        ]
    return replies + [_missing(n, len(choices)) for _ in range(n - len(choices))]


def _reported(nanos: int, usage: Usage, choices: tuple[Completion, ...], seconds: float) -> list[Reply]:
    """What the call cost by its own word, in equal parts; the first is billed the rest."""
    parts = [usage] if len(choices) == 1 else [_part(usage, choices, i) for i in range(len(choices))]
    shares = [nanos // len(choices)] * len(choices)
    shares[0] = nanos - sum(shares[1:])
    return [
        Reply(choice, part, seconds, share, price="reported")
        for choice, part, share in zip(choices, parts, shares, strict=True)
    ]


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
    thought = [usage.reasoning * part // max(1, usage.completion) for part in parts]
    thought[0] += usage.reasoning - sum(thought)
    return replace(usage, completion=parts[0], reasoning=thought[0]) if i == 0 else Usage(0, parts[i], 0, thought[i])
