"""Policy: versioned, serialisable parameters of stopping and calibration. `experiments.fit(bank)` makes one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..core.belief import Chain, Channel, Ladder, Priors, Rounds
from ..core.errors import BadSettings
from .allocation_policy import AllocationPolicy
from .calibrators import Calibration, Drift, Rates, ScoreModel, Selected
from .priors import DEFAULT_PRIORS
from .voting_stops import read

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Kind = tuple[Share, Share, Share]
FORMAT = 1
SUM = 0.01  # rows of chances are rounded
Others = Annotated[int, Field(ge=0, le=2)]
VotingKind = tuple[Share, Share, Others, Share, Share]


def newer_than_this(data: str | bytes, unknown: bool) -> str:
    """Whether the JSON of a policy was made by a newer satisfice, in words; "" where nothing says so. `unknown`: it has
    fields that are not known here."""
    from importlib.metadata import version

    try:
        found = json.loads(data)
        form, maker = found.get("format", FORMAT), str((found.get("provenance") or {}).get("made_by", ""))
    except (ValueError, AttributeError):
        return ""
    if isinstance(form, int) and form > FORMAT:
        return f"it was made by a newer satisfice (format {form}; this one knows {FORMAT}): update satisfice"
    here = version("satisfice") if unknown and maker else ""
    numbers = [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (maker, here)]
    if here and numbers[0] > numbers[1]:
        return f"it was made by a newer satisfice ({maker}; this one is {here}): update satisfice"
    return ""


class VerifierPolicy(BaseModel):
    """What a bank taught of one verifier: how its score becomes P(right), what it will say of right and of wrong
    candidates (`model`), how much of that is news beside the votes (`trust`) and how much is left of it between answers
    to the same question (`within`: much of what a score tells is which questions are easy), what became of states in
    which both were weighed (`settled`), the correction of a winner of many by its score alone (`selected`), error
    rates, drift of its scores, and what one verdict cost on average (`usd`). `questions` and `verdicts` are how many
    there were."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calibration: Calibration
    model: ScoreModel
    selected: Selected = Selected()
    trust: Share = 1.0
    within: Share = 1.0
    settled: Selected = Selected()
    rates: Rates | None = None
    drift: Drift | None = None
    usd: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    questions: int = 0
    verdicts: int = 0
    provenance: dict[str, str | int | float] = {}

    def p(self, score: float, kind: str = "", widen: float = 0.0) -> float:
        """P(right) of a candidate with this raw score, drawn toward the base rate by `widen` (0 to 1)."""
        return (1 - widen) * self.calibration(score, kind) + widen * self.model.base_rate

    def channel(self) -> Channel:
        """The same for planning: what is expected of verdicts to come is what they tell within a question."""
        base = self.model.base_rate
        odds = (1 - base) / base
        if self.trust:
            # Tempering shifts the base rate at which a verdict says nothing: verdicts are read as they were planned.
            _, yes, no = self._tempered(self.trust)
            odds *= (base / (1 - base) * no / yes) ** (1 / self.trust)
        levels, _, _ = self._tempered(min(self.trust, self.within))
        return Channel(levels, 1 / (1 + odds), self.trust, self.settled)

    def _tempered(self, trust: float) -> tuple[tuple[tuple[float, float], ...], float, float]:
        """(P(level | right), P(level | wrong)) where so much of the evidence counts, and the masses of either."""
        base, found = self.model.base_rate, []
        for p, right, wrong in self.model.levels:
            ratio = (p / (1 - p) * (1 - base) / base) ** trust
            new = base * ratio / (base * ratio + 1 - base)
            found.append(((right + wrong) * new, (right + wrong) * (1 - new)))
        yes, no = (sum(column) for column in zip(*found, strict=True))
        return tuple((a / yes, b / no) for a, b in found), yes, no


class LadderPolicy(BaseModel):
    """What a bank taught of a chain of models, cheap first (`core.belief.Ladder` says what the figures are).
    `questions`: on how many all of them were recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cuts: tuple[Share, ...]
    right: tuple[tuple[tuple[Share, ...], ...], ...]
    follows: tuple[tuple[tuple[Share, Share], ...], ...]
    alone: Annotated[tuple[Share, ...], Field(min_length=2)]
    costs: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]
    questions: int = 0

    @model_validator(mode="after")
    def _fits(self) -> LadderPolicy:
        stages, levels = len(self.alone), len(self.cuts) + 1
        if list(self.cuts) != sorted(set(self.cuts)):
            raise ValueError("cuts must rise")
        if not len(self.costs) == stages == len(self.right) == len(self.follows) + 1:
            raise ValueError("expected a cost and a table for each stage, and what follows each but the last")
        for i, (rows, then) in enumerate(zip(self.right, (*self.follows, ()), strict=True)):
            if len(rows) != levels or any(len(row) != stages - i for row in rows) or len(then) != stages - i - 1:
                raise ValueError(f"the tables of stage {i} do not fit {levels} levels and {stages} stages")
        return self

    def ladder(self) -> Ladder:
        return Ladder(self.cuts, self.right, self.follows, self.alone, self.costs)


class ChainPolicy(BaseModel):
    """What recorded draws under a verifier taught (`core.belief.Chain` says what the figures are). `questions`: how
    many there were, each with as many draws as `right` has rows, less one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cuts: tuple[Share, ...]
    right: Annotated[tuple[tuple[Share, ...], ...], Field(min_length=2)]
    moves: tuple[tuple[tuple[Share, ...], ...], ...]
    blank: Annotated[float, Field(ge=0, lt=1)] = 0.0
    by_score: bool = False
    kept: Annotated[float, Field(gt=0, le=1)] = 1.0
    questions: int = 0

    @model_validator(mode="after")
    def _fits(self) -> ChainPolicy:
        levels = len(self.cuts) + 1
        if list(self.cuts) != sorted(set(self.cuts)):
            raise ValueError("cuts must rise")
        if any(len(row) != levels for row in self.right) or len(self.moves) != len(self.right) - 1:
            raise ValueError(f"the tables do not fit {levels} levels")
        for table in self.moves:
            if len(table) != levels or any(len(row) != levels or abs(sum(row) - 1) > SUM for row in table):
                raise ValueError(f"expected {levels} chances of {levels} levels, each row with the sum 1")
        return self

    def chain(self) -> Chain:
        return Chain(self.cuts, self.right, self.moves, self.blank, self.by_score, self.kept)


class RoundPolicy(BaseModel):
    """What recorded runs taught of a strategy's rounds (`core.belief.Rounds` says what the figures are). `questions`:
    how many there were, `seen`: rounds of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    curve: Annotated[tuple[tuple[Share, Share], ...], Field(min_length=1)]
    fade: Share = 1.0
    questions: int = 0
    seen: int = 0

    def rounds(self) -> Rounds:
        return Rounds(self.curve, self.fade)


class Policy(BaseModel):
    """What `solve` assumes of the world. `worth` in dollars is what a right answer is worth where the budget does
    not say. `tokens` are mean completion tokens per model, `lengths` the 99% quantile of them by model and kind of
    reply ("answer", "thought"), `verifiers` what is known of verifiers by name,
    `cascades` of chains of models ("cheap>dear"), `rounds` of the rounds of strategies. `chances` are (theta, weight)
    rows that stand in for `success` where they were fitted, `chains` what draws under verifiers did, by their names.
    `kinds` is the prior of the votes in full (empty: that of `voting`), `stops` tables of when to stop that were made
    for it. `allocation`: what is known of several arms on the same questions. `strategy`: how requests
    think that name no strategy ("" : the allocator), as `solve --strategy` takes it. `provenance` tells what it was
    fitted on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = "declared"
    worth: float | None = Field(default=None, gt=0)
    voting: Annotated[tuple[Kind, ...], Field(min_length=1)] = DEFAULT_PRIORS.voting
    success: tuple[Positive, Positive] = DEFAULT_PRIORS.success
    fitted: bool = False
    tokens: dict[str, float] = {}
    lengths: dict[str, dict[str, Annotated[int, Field(gt=0)]]] = {}
    verifiers: dict[str, VerifierPolicy] = {}
    cascades: dict[str, LadderPolicy] = {}
    provenance: dict[str, str | int | float] = {}
    chances: tuple[tuple[Share, Share], ...] = ()
    rounds: dict[str, RoundPolicy] = {}
    kinds: tuple[VotingKind, ...] = ()
    stops: str = Field(default="", repr=False)
    chains: dict[str, ChainPolicy] = {}
    allocation: AllocationPolicy | None = None
    strategy: str = ""

    def priors(self) -> Priors:
        """What a run believes beforehand: the same object each time, by which tables made from it are kept."""
        return self.made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Policy:
        """A copy, which believes what its own fields say."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("made", None)
        return copied

    @cached_property
    def made(self) -> Priors:
        """See `priors`."""
        channels = {name: verifier.channel() for name, verifier in self.verifiers.items()}
        ladders = {chain: cascade.ladder() for chain, cascade in self.cascades.items()}
        rounds = {strategy: known.rounds() for strategy, known in self.rounds.items()}
        # A prior of one's own over (theta, phi) alone is not overruled by what is declared of the rest.
        kinds = self.kinds or (DEFAULT_PRIORS.kinds if self.voting == DEFAULT_PRIORS.voting else ())
        return Priors(
            self.voting,
            self.success,
            self.fitted,
            channels,
            ladders,
            self.chances,
            rounds,
            kinds,
            self.stops if self.kinds else "",
            {names: known.chain() for names, known in self.chains.items()},
            allocation=self.allocation.world() if self.allocation is not None else None,
        )

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Reads a policy file. Raises `BadSettings`, naming the file and what is wrong."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise BadSettings(f"cannot read policy {path}: {error.strerror}", file=str(path)) from error
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: str | bytes, path: str | Path) -> Policy:
        """A policy from its JSON; `path` says whose it is. Raises `BadSettings`, also for what a newer satisfice
        made."""
        try:
            policy = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            newer = newer_than_this(data, any(fault["type"] == "extra_forbidden" for fault in error.errors()))
            raise BadSettings(f"policy {path}: {newer or where + ': ' + first['msg']}", file=str(path)) from error
        if "format" not in policy.model_fields_set:
            text = 'it has no "format": expected a file that `satisfice fit`, `calibrate` or Policy.save wrote'
            raise BadSettings(f"policy {path}: {text}", file=str(path))
        if policy.stops:
            try:
                read(policy.stops)
            except BadSettings as error:
                raise BadSettings(f"policy {path}: {error}", file=str(path)) from error
        return policy

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
