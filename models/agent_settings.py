"""`[agents.NAME]` and `[learning]` of satisfice.toml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class AgentSettings(BaseModel):
    """An agent behind an HTTP address. `usd`: the most that a call costs. `timeout` in seconds. `headers_env`: headers,
    and the NAMES of the variables that hold them. `concurrency`: the most calls at once. `retries`: how often it may be
    asked again after a fault that may pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]")]
    usd: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    headers_env: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], Variable] = {}
    concurrency: Annotated[int, Field(ge=1)] | None = None
    retries: Annotated[int, Field(ge=0, le=20)] = 0


class LearningSettings(BaseModel):
    """Learning from feedback. `explore`: the share of the dollars spent that may be given up, as predicted, to learn
    which arm is better (0: never). `sd`: by how many logits an arm that the policy does not know may be off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    explore: Annotated[float, Field(ge=0, le=1)] = 0.0
    sd: Annotated[float, Field(gt=0, le=5)] = 1.0
