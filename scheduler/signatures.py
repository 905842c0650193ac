"""What a callable takes, as JSON Schema, and arguments from JSON made into what it takes.

Pydantic does both, from the annotations. A parameter without one takes anything.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticUndefined

from ..core.errors import CallerError, ToolError

_P = inspect.Parameter


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a callable. `fields`: from the model's field to the parameter that it stands for."""

    model: type[BaseModel]
    fields: Mapping[str, inspect.Parameter]

    @classmethod
    def of(cls, fn: Callable[..., Any], name: str) -> Signature:
        """Raises `CallerError` for what has no signature, or annotations that cannot be resolved or mean nothing."""
        hint = "wrap it in a function whose parameters are typed as JSON can carry them"
        try:
            parameters = inspect.signature(fn, eval_str=True).parameters.values()
        except Exception as error:  # eval_str runs the annotations: whatever they raise
            raise CallerError(f"tool {name!r}: its signature cannot be read ({error}): {hint}") from error
        # Fields have names of their own: a parameter may be called `json`, `copy` or `_x`, which no field may.
        fields = {f"p{i}": p for i, p in enumerate(parameters) if p.kind not in (_P.VAR_POSITIONAL, _P.VAR_KEYWORD)}
        more = any(p.kind is _P.VAR_KEYWORD for p in parameters)
        config = ConfigDict(extra="allow" if more else "forbid", arbitrary_types_allowed=True)
        try:
            made: dict[str, Any] = {field: (_kind(p), _default(p)) for field, p in fields.items()}
            return cls(create_model("Arguments", __config__=config, **made), fields)
        except (PydanticUserError, TypeError, NameError) as error:
            raise CallerError(f"tool {name!r}: pydantic cannot take its parameters: {error}. {hint}") from error

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON Schema of the arguments, an object. Raises `CallerError` where a type has none."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a default that JSON cannot hold is left out, which is right
                made = self.model.model_json_schema()
        except PydanticUserError as error:
            raise CallerError(f"tool {name!r}: no JSON Schema for its parameters: {error}") from error
        made.pop("title", None)
        for one in made.get("properties", {}).values():
            one.pop("title", None)
        return made

    def bind(self, arguments: Mapping[str, Any], name: str) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as the callable takes them, by place and by name. Raises `ToolError` for wrong ones."""
        try:
            bound = self.model.model_validate(arguments)
        except ValidationError as error:
            raise ToolError(f"tool {name!r}: bad arguments: {_told(error)}") from error
        by_place, by_name = [], dict(bound.model_extra or {})
        for field, parameter in self.fields.items():
            if parameter.kind is _P.POSITIONAL_ONLY:
                by_place.append(getattr(bound, field))
            elif field in bound.model_fields_set:
                by_name[parameter.name] = getattr(bound, field)
        return by_place, by_name


def _kind(parameter: inspect.Parameter) -> Any:
    return Any if parameter.annotation is _P.empty else parameter.annotation


def _default(parameter: inspect.Parameter) -> Any:
    default = PydanticUndefined if parameter.default is _P.empty else parameter.default
    return Field(default=default, alias=parameter.name)


def _told(error: ValidationError) -> str:
    """What is wrong, in a line, without the links and inputs of pydantic's own text."""
    said = []
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:8]:
        place = ".".join(map(str, one["loc"]))
        said.append(f"{place}: {one['msg']}" if place else one["msg"])
    return "; ".join(said)
