"""How large a workflow may be."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..steps import whole


@dataclass(frozen=True, slots=True)
class Caps:
    """Bounds on a workflow, checked when it is read. `chars` of its text, `nodes` steps in all, `depth` of steps in
    steps (calls followed), `rounds` of one loop, `branches` of one parallel step, `buys`: samples and strategies that a
    run can come to at the most; `moves`: steps of any kind that a run does at the most."""

    chars: int = 65_536
    nodes: int = 200
    depth: int = 12
    rounds: int = 32
    branches: int = 32
    buys: int = 512
    moves: int = 4_096

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        for field in fields(self):
            whole(f"Caps: {field.name}", getattr(self, field.name))


USUAL = Caps()
