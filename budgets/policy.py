"""Policy: versioned, serialisable parameters of stopping and calibration. `experiments.fit(bank)` makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.belief import Priors
from ..core.errors import BadSettings
from .priors import DEFAULT_PRIORS

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Kind = tuple[Share, Share, Share]


class Policy(BaseModel):
    """What `solve` assumes of the world. `worth` in dollars is what a right answer is worth where the budget does
    not say. `tokens` are mean completion tokens per model. `provenance` tells what it was fitted on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = "declared"
    worth: float | None = Field(default=None, gt=0)
    voting: Annotated[tuple[Kind, ...], Field(min_length=1)] = DEFAULT_PRIORS.voting
    success: tuple[Positive, Positive] = DEFAULT_PRIORS.success
    fitted: bool = False
    tokens: dict[str, float] = {}
    provenance: dict[str, str | int | float] = {}

    def priors(self) -> Priors:
        return Priors(self.voting, self.success, self.fitted)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Reads a policy file. Raises `BadSettings`, naming the file and what is wrong."""
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise BadSettings(f"cannot read policy {path}: {error.strerror}", file=str(path)) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise BadSettings(f"policy {path}: {where}: {first['msg']}", file=str(path)) from error

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
