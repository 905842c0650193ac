"""Parts of a run that a kill switch does not let start: they fail as a plan that fails at once does, on record too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.effects import Effect
from ..core.errors import Killed
from ..core.plans import Answer, Plan


def failing(error: Killed) -> Plan[Answer]:
    """A plan that raises it in the place of its first step, so that the plan around it goes on without this part."""
    nothing: tuple[Effect[Any], ...] = ()
    yield from nothing
    raise error


def stopped_before(carved: Mapping[str, Any]) -> Killed | None:
    """The switch that kept a part from starting when the run came by first: a resumed one finds the same, whatever the
    switches say by now."""
    facts = dict(carved.get("killed", {}))
    facts.pop("code", None)
    return Killed(facts.pop("message"), **facts) if facts else None
