"""Workflow: a strategy written as data, so that people can read and diff it, and search can write it (the idea of
AFlow, Zhang et al. 2024, 2410.10762, and ADAS, Hu et al. 2024, 2408.08435)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.completions import Params
from ..core.effects import Effect
from ..core.errors import CallerError
from ..core.plans import Answer, Plan
from ..core.task import Task
from .steps import names, parameters
from .workflows.caps import USUAL, Caps

if TYPE_CHECKING:
    from .workflows.schema import Document


@dataclass(frozen=True, slots=True)
class Workflow:
    """Runs a workflow: JSON or YAML text, or its data (see docs/workflows.md). Kept as compact JSON in `source`.

    Its answer is what its last answering step said, unless checks say otherwise. `models`: those that it may name
    (empty: those that it does name); `model` and `params`: for steps without their own. `committed` (here, or in the
    document): every step is bought, whether it is worth its price or not. `trusted`: its `strategy` steps may name what
    has to be imported. Raises `CallerError` that names the place for whatever is wrong with it.
    """

    source: str
    model: str | None = None
    models: tuple[str, ...] = ()
    params: Params = Params(temperature=0.7)
    committed: bool = False
    trusted: bool = False
    caps: Caps = USUAL
    name: ClassVar[str] = "workflow"
    pays: ClassVar[str] = "where you know the steps that a kind of question takes better than any ready strategy does"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        from .workflows.auditing import audit, vet
        from .workflows.reading import canonical, checked, document

        models: Any = self.models
        object.__setattr__(self, "models", tuple(models) if isinstance(models, list) else models)
        names("workflow: models", self.models)
        parameters("workflow: params", self.params)
        if not isinstance(self.caps, Caps):
            raise CallerError(f"workflow: caps={self.caps!r:.60}, expected Caps(...)")
        source: Any = self.source
        if isinstance(source, str):
            found = document(source, self.caps)
        elif isinstance(source, Mapping | list | tuple):
            found = checked(json.loads(_dumped(source)), self.caps)
        else:
            raise CallerError(f"workflow: expected its text or data as `source`, got {type(source).__name__}")
        vetted = vet(found, self.trusted, tuple(self.models) or None)
        audit(found, self.caps, vetted.costs)
        object.__setattr__(self, "source", canonical(found))
        object.__setattr__(self, "committed", bool(self.committed or found.committed))
        object.__setattr__(self, "models", tuple(self.models) or vetted.models)

    @classmethod
    def of(cls, data: Mapping[str, Any] | list[Any] | str, **settings: Any) -> Workflow:
        """The workflow of a mapping, of a list of steps, or of a text. Raises `CallerError`."""
        return cls(data, **settings)  # type: ignore[arg-type]

    @staticmethod
    def schema() -> dict[str, Any]:
        """The JSON Schema of the language."""
        from .workflows.schema import Document

        return Document.model_json_schema(by_alias=True)

    @property
    def document(self) -> Document:
        """The steps, as checked data."""
        from .workflows.reading import document

        return document(self.source, self.caps)

    @property
    def buys(self) -> int:
        """Samples and strategies that a run comes to at the most."""
        return _buys(self.source, self.caps)

    def to_dict(self) -> dict[str, Any]:
        """The workflow as JSON data, defaults left out."""
        found: dict[str, Any] = json.loads(self.source)
        return found

    def to_yaml(self) -> str:
        """The workflow as YAML for people; equal workflows give equal texts."""
        from .workflows.reading import to_yaml

        return to_yaml(self.document)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        from .workflows.running import Runner

        return Runner(self, task).ahead(self.document.steps)

    def __call__(self, task: Task) -> Plan[Answer]:
        from .workflows.running import Runner

        answer = yield from Runner(self, task).perform(self.document.steps)
        return answer


@lru_cache(maxsize=256)
def _buys(source: str, caps: Caps) -> int:
    """Every run of a workflow asks for it."""
    from .workflows.auditing import audit
    from .workflows.reading import document

    return audit(document(source, caps), caps).buys


def _dumped(data: Any) -> str:
    try:
        return json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerError(f"workflow: not JSON data: {error}") from error
