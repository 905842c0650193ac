"""The schema of workflows. Loads pydantic: import it inside functions.

A document has `steps`, done one after another, and under `define` named lists of steps that `call` does. Every step
says what it does under `do`. A step with `as: NAME` binds its text, which later prompts hold as `$NAME`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator

RESERVED = frozenset({"query", "best", "answers", "evidence"})


def _several(value: Any) -> Any:
    """One step may stand where a list of steps is expected."""
    return [value] if isinstance(value, dict) else value


Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}$")]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Steps: TypeAlias = "Annotated[tuple[Step, ...], BeforeValidator(_several), Field(min_length=1)]"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sampling(_Strict):
    """Sampling parameters of one step, as in `Params`."""

    temperature: float | None = Field(None, ge=0)
    max_tokens: Count | None = None
    top_p: float | None = Field(None, gt=0, le=1)
    stop: tuple[str, ...] = ()
    effort: str | None = None


class Condition(_Strict):
    """Holds if all that is given does. `passed`: the checks take the best answer for right; `answered`: there is an
    answer; `agreement`, `p`, `votes`: the best answer has at least this share of the votes, P(right), number of votes;
    `says`: the text of this name contains these words, in whatever case; `any`: one of these holds; `not`."""

    passed: bool | None = None
    answered: bool | None = None
    agreement: Share | None = None
    p: Share | None = None
    votes: Count | None = None
    says: dict[Name, Annotated[str, StringConstraints(min_length=1)]] | None = None
    any: tuple[Condition, ...] | None = Field(None, min_length=1)
    negated: Condition | None = Field(None, alias="not")

    @model_validator(mode="after")
    def _something(self) -> Condition:
        if not self.model_fields_set:
            raise ValueError("a condition says at least one of passed, answered, agreement, p, votes, says, any, not")
        return self


class _Step(_Strict):
    name_: Name | None = Field(None, alias="as")

    @model_validator(mode="after")
    def _free(self) -> Any:
        if self.name_ in RESERVED:
            raise ValueError(f"{self.name_!r} is taken: choose another name for `as`")
        return self


class Sample(_Step):
    """Asks a model. `candidate: false` makes it a thought, which is no answer. Without a prompt: the question."""

    do: Literal["sample"]
    prompt: str = ""
    role: str = ""
    model: str | None = None
    params: Sampling | None = None
    candidate: bool = True


class Strategy(_Step):
    """Runs a registered strategy within a share of what is left. With `ask` it answers that prompt as a question of its
    own, whose answer is none of this question's."""

    do: Literal["strategy"]
    name: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    ask: str = ""
    share: float = Field(1.0, gt=0, le=1)
    seconds: Positive | None = None


class Sequence(_Step):
    """Steps one after another."""

    do: Literal["sequence"]
    steps: Steps


class Parallel(_Step):
    """Steps at once. `at_least` of them must come to something. What a branch of several steps binds stays in it, but
    for its own `as`."""

    do: Literal["parallel"]
    branches: Steps
    at_least: Count = 1

    @model_validator(mode="after")
    def _enough(self) -> Parallel:
        if self.at_least > len(self.branches):
            raise ValueError(f"at_least is {self.at_least}, but there are {len(self.branches)} branches")
        return self


class Vote(_Step):
    """Makes the answer that most agree on the best one: of the candidates with these names, or of all."""

    do: Literal["vote"]
    of: tuple[Name, ...] = ()


class Verify(_Step):
    """Asks the task's checks that cost something, about these candidates or the best answer. Those that cost nothing
    are made of each new answer by themselves."""

    do: Literal["verify"]
    of: tuple[Name, ...] = ()


class If(_Step):
    """One of two ways on."""

    do: Literal["if"]
    when: Condition
    then: Steps
    otherwise: Steps = Field((), alias="else")


class Loop(_Step):
    """Steps again and again, `most` rounds at the most, until the condition holds before a round."""

    do: Literal["loop"]
    most: Count
    until: Condition | None = None
    steps: Steps


class Within(_Step):
    """Steps inside a share of what is left of the budget, or inside so many seconds."""

    do: Literal["within"]
    share: float = Field(1.0, gt=0, le=1)
    seconds: Positive | None = None
    steps: Steps


class Call(_Step):
    """Does the steps that `define` names."""

    do: Literal["call"]
    workflow: Name


Step: TypeAlias = Annotated[
    Sample | Strategy | Sequence | Parallel | Vote | Verify | If | Loop | Within | Call, Field(discriminator="do")
]


class Document(_Strict):
    """A workflow. `committed`: every step is bought as written, whether it is worth its price or not: it runs as it was
    measured."""

    name: str = ""
    note: str = ""
    committed: bool = False
    steps: Steps
    define: dict[Name, Steps] = Field(default_factory=dict)


for _model in (Condition, Sequence, Parallel, If, Loop, Within, Document):
    _model.model_rebuild()
