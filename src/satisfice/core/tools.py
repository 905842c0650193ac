"""What a plan knows of a tool: its name, what it takes, and the rules under which it may be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from .errors import CallerError

ToolPolicy = Literal["allow", "ask", "forbid"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool as plans see it. `parameters` is the JSON Schema of its arguments (an object). `policy`: "allow", "ask"
    (a person approves each call) or "forbid". `idempotent`: a second call with the same arguments does no harm.
    `seconds` is its timeout, `calls` how often a run may call it (None: as often as it likes), `chars` how much of its
    output a plan is shown."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    policy: ToolPolicy = "allow"
    idempotent: bool = False
    seconds: float | None = 30.0
    calls: int | None = None
    chars: int = 8_000

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if self.policy not in ("allow", "ask", "forbid"):
            raise CallerError(f"tool {self.name!r}: policy={self.policy!r}, expected 'allow', 'ask' or 'forbid'")
        if self.chars < 1 or (self.seconds is not None and not self.seconds > 0) or (self.calls or 0) < 0:
            raise CallerError(f"tool {self.name!r}: seconds and chars are above 0, calls 0 or more")
