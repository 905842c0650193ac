"""A process reward model behind HTTP, as a scorer of `Process`.

Request, a POST with a JSON body: `REQUEST`. Reply, status 200 with a JSON body: `REPLY`, one score a step, in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import CallerError, MissingKey, ModelError, ModelTimeout, ModelUnavailable

if TYPE_CHECKING:
    import httpx

REQUEST = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "steps": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["query", "steps"],
}
REPLY = {
    "type": "object",
    "properties": {"scores": {"type": "array", "items": {"type": ["number", "null"], "minimum": 0, "maximum": 1}}},
    "required": ["scores"],
}
MOST_BYTES = 1_000_000  # of a reply


@dataclass(frozen=True, slots=True)
class HttpPRM:
    """Asks a PRM server for the scores of all steps: `Process(HttpPRM("http://127.0.0.1:9000/score"))`.

    `seconds` bound the whole exchange. `key_env` names the environment variable that holds a bearer token. Redirects
    are not followed, and proxies of the environment not used. It is no model of the run: what it charges is not billed.
    """

    url: str
    seconds: float = 30.0
    key_env: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise CallerError(f"url={self.url!r}: expected http:// or https://")
        if not 0 < self.seconds < float("inf"):
            raise CallerError(f"seconds={self.seconds!r}: expected a finite number above 0")

    def __call__(self, query: str, steps: Sequence[str]) -> list[float | None]:
        """The scores, where no event loop is at hand (replay, scripts). Raises as `acall`."""
        import anyio

        return anyio.run(self.acall, query, steps)

    async def acall(self, query: str, steps: Sequence[str]) -> list[float | None]:
        """One score a step. Raises `ModelTimeout`, `ModelUnavailable`, `MissingKey`, `ModelError`."""
        import anyio
        import httpx

        body = json.dumps({"query": query, "steps": list(steps)}).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"} | self._credentials()
        try:
            with anyio.fail_after(self.seconds):
                async with (
                    httpx.AsyncClient(timeout=None, trust_env=False) as client,
                    client.stream("POST", self.url, content=body, headers=headers) as reply,
                ):
                    return _read(await _received(reply, self.url), self.url)
        except TimeoutError:
            raise ModelTimeout(f"{self.url}: no reply in {self.seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelUnavailable(f"{self.url}: {type(error).__name__}: {error}") from error

    def _credentials(self) -> dict[str, str]:
        if self.key_env is None:
            return {}
        if not (key := os.environ.get(self.key_env)):
            raise MissingKey(f"{self.url}: the environment variable {self.key_env} is not set")
        return {"Authorization": f"Bearer {key}"}


async def _received(reply: httpx.Response, url: str) -> bytes:
    if reply.status_code != 200:
        raise ModelError(f"{url}: status {reply.status_code}, expected 200")
    body = bytearray()
    async for part in reply.aiter_raw():  # as sent: a compressed reply could be of any size
        body += part
        if len(body) > MOST_BYTES:
            raise ModelError(f"{url}: the reply has more than {MOST_BYTES:,} bytes")
    return bytes(body)


def _read(body: bytes, url: str) -> list[float | None]:
    try:
        data: Any = json.loads(body)
        scores = data["scores"]
        if not isinstance(scores, list) or any(
            isinstance(s, bool) or not isinstance(s, int | float | None) for s in scores
        ):
            raise TypeError("scores are numbers or null")
        return [None if s is None else float(s) for s in scores]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ModelError(
            f"{url}: expected {{'scores': [numbers from 0 to 1]}}: {type(error).__name__}: {error}"
        ) from None
