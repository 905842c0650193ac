"""Agents behind an HTTP address: a POST of {"query", "messages"}, a reply as of any agent, as JSON or plain text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..core.completions import Request
from ..core.errors import BadCompletion, MissingKey, ModelError, ModelRefused, ModelTimeout, ModelUnavailable

MOST_BYTES = 4 << 20  # of a reply


class HttpAgent:
    """Asks the agent at `url`. `headers_env`: headers and the names of the variables that hold them. Speaks asyncio and
    trio. Redirects are not followed: a key for one address is not sent to another."""

    def __init__(self, name: str, url: str, timeout: float, headers_env: Mapping[str, str]) -> None:
        self.name, self.url = name, url
        self._timeout, self._headers_env = timeout, dict(headers_env)

    async def __call__(self, request: Request) -> Any:
        """The reply: text, or a mapping. Raises `MissingKey`, `ModelUnavailable`, `ModelTimeout`, `ModelRefused`,
        `BadCompletion`."""
        import httpx

        from .agents import chat_of, text_of

        headers = self._headers()
        body = {"query": text_of(request.messages), "messages": chat_of(request.messages)}
        data = json.dumps(body).encode()
        try:
            async with (
                httpx.AsyncClient(timeout=self._timeout, follow_redirects=False) as client,
                client.stream(
                    "POST", self.url, content=data, headers={**headers, "content-type": "application/json"}
                ) as response,
            ):
                content = await self._content(response)
        except httpx.HTTPError as error:
            raise self._mapped(httpx, error) from error
        if response.status_code != 200:
            raise self._refused(response.status_code, response.headers, content)
        return self._reply(response.headers.get("content-type", ""), content)

    def _headers(self) -> dict[str, str]:
        missing = [variable for variable in self._headers_env.values() if not os.environ.get(variable)]
        if missing:
            text = f"agent {self.name!r} needs a key: set {' and '.join(missing)} in the environment"
            raise MissingKey(text, variables=missing)
        return {header: os.environ[variable] for header, variable in self._headers_env.items()}

    async def _content(self, response: Any) -> bytes:
        parts, size = [], 0
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise BadCompletion(f"agent {self.name!r}: a reply of more than {MOST_BYTES:,} bytes")
        return b"".join(parts)

    def _mapped(self, httpx: Any, error: Exception) -> ModelError:
        """What was not sent is not billed; what may have been is."""
        said = f"agent {self.name!r}: {type(error).__name__}"
        if isinstance(error, httpx.TimeoutException):
            late = ModelTimeout(f"{said} (timeout {self._timeout:g} s)")
            late.sent = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            return late
        if isinstance(error, httpx.TransportError):
            down = ModelUnavailable(f"{said}: {_line(str(error))}")
            down.sent = not isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol)
            return down
        return BadCompletion(f"{said}: {_line(str(error))}")

    def _refused(self, status: int, headers: Mapping[str, str], content: bytes) -> ModelError:
        text = f"agent {self.name!r}: HTTP {status}: {_line(content[:600].decode('utf-8', 'replace'))}"
        if status in (429, 503):
            return ModelUnavailable(text, **_retry_after(headers))
        if status in (401, 403):
            names = list(self._headers_env.values())
            return MissingKey(f"{text} (looked in {' and '.join(names) or 'no variable'})", variables=names)
        if status >= 500:
            down = ModelUnavailable(text)
            down.sent = True  # it was at work, and may have cost something
            return down
        return ModelRefused(text) if status >= 300 else BadCompletion(text)

    def _reply(self, kind: str, content: bytes) -> Any:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise BadCompletion(f"agent {self.name!r}: the reply is not UTF-8 (byte {error.start})") from error
        if "json" not in kind:
            return text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadCompletion(f"agent {self.name!r}: the reply is not JSON: {error}") from error


def _retry_after(headers: Mapping[str, str]) -> dict[str, float]:
    try:
        return {"retry_after": max(0.0, float(headers["retry-after"]))}
    except (KeyError, ValueError):
        return {}


def _line(text: str) -> str:
    return " ".join(text.split())[:300] or "nothing said"
