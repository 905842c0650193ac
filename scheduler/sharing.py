"""One provider call for several Samples: whose completion is whose, and who is billed what."""

from __future__ import annotations

from ..core.completions import Completion, Response, Usage
from ..core.errors import BadCompletion
from .nodes import Reply


def share(response: Response, n: int, seconds: float) -> list[Reply | Exception]:
    """One reply for each of `n` calls that went out together. The first is billed the prompt; completion tokens go
    by choice where they are known, else in equal parts. Fewer choices than asked for fail the rest, unbilled."""
    choices = response.completions[:n]
    if not choices:
        return [BadCompletion("the provider returned no completion")] * n
    replies: list[Reply | Exception] = []
    usage = response.usage
    for i, choice in enumerate(choices):
        part = usage if usage is None or len(choices) == 1 else _part(usage, choices, i)
        replies.append(Reply(choice, part, seconds))
    missing = BadCompletion(f"asked for {n} completions, got {len(choices)}")
    missing.sent = False
    return replies + [missing] * (n - len(choices))


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
