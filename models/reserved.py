"""Provider parameters that a caller may not pass on as they please."""

from __future__ import annotations

from collections.abc import Iterable

# Ours to set: one of these would change who is called, who pays, how often, or what a call can cost at the most. The
# hold is reckoned from messages, max_tokens and the price list; what is not in those cannot be held.
RESERVED = frozenset(
    {
        *("model", "messages", "n", "seed", "stream", "stream_options", "timeout", "num_retries", "max_retries"),
        *("fallbacks", "mock_response", "api_key", "api_base", "base_url"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "best_of"),
        *("service_tier", "tools", "functions", "response_format", "web_search_options", "thinking"),
    }
)


def reserved(names: Iterable[str]) -> list[str]:
    """Those of `names` that are ours."""
    return sorted(RESERVED.intersection(names))
