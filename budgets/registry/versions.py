"""What a registry holds: versions, the log of what was done with them, and how a channel stands by it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...core.errors import CallerError, StoreError

if TYPE_CHECKING:
    from ..policy import Policy

Stage = Literal["draft", "shadow", "canary", "production", "retired"]
STAGES: tuple[str, ...] = get_args(Stage)
MAIN = "main"  # the channel of those who name none
GENESIS = "0" * 64
ENTRY_FIELDS = ("n", "at", "by", "what", "channel", "version", "stage", "share", "why", "override", "evidence")


def canonical(data: Any) -> str:
    """JSON in one spelling: keys sorted, no spaces, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def as_stored(data: Any, what: str) -> Any:
    """Data as it comes back from the file: keys are texts, tuples are lists. What is hashed is this, as a key that is a
    number is sorted elsewhere than its text. Raises `CallerError` for what is no JSON, as NaN is, or no UTF-8."""
    try:
        plain = json.loads(json.dumps(data, allow_nan=False))
        canonical(plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerError(f"{what} cannot be kept in a policy registry: {error}") from error
    return plain


def content_of(policy: Policy) -> str:
    """The canonical JSON of a policy. Raises `CallerError` where it has none."""
    return canonical(as_stored(policy.model_dump(mode="json"), f"policy {policy.name!r:.60}"))


def hash_of(policy: Policy) -> str:
    """The content hash of a policy: SHA-256 of its canonical JSON, in hex. Raises `CallerError` where it has none."""
    return sha256(content_of(policy).encode()).hexdigest()


def id_of(content: str) -> str:
    """The id of the version with this content hash."""
    return f"p-{content[:12]}"


@dataclass(frozen=True, slots=True)
class Version:
    """A policy as it was added, for ever: `hash` is of its canonical JSON, `id` begins like it. `parents`: ids of the
    versions that it was made from. `bank`: the hash of the questions that it was fitted on, "" where its provenance
    does not say. `metrics`: what was measured of it when it was added. `created` is UTC, ISO 8601."""

    id: str
    hash: str
    name: str
    created: str
    by: str
    parents: tuple[str, ...] = ()
    bank: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    text: str = field(default="", repr=False, compare=False)  # canonical JSON of the policy

    @property
    def policy(self) -> Policy:
        """The policy. Raises `StoreError` where what is stored is not what was added, or no policy for this satisfice
        (`Policy.parse` says why)."""
        from ..policy import Policy

        if sha256(self.text.encode()).hexdigest() != self.hash:
            raise StoreError(f"policy {self.id}: what is stored is not what was added: its hash differs", id=self.id)
        return Policy.parse(self.text, self.id)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the policy itself."""
        plain = {name: getattr(self, name) for name in ("id", "name", "hash", "created", "by", "bank")}
        return {**plain, "parents": list(self.parents), "metrics": dict(self.metrics)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log: who did what, when and why. `what`: "add", "promote", "rollback", "retire" or "stop" (a
    canary that stopped itself). `stage`: where `version` went ("" as version of a rollback: to no policy of the
    registry). `hash` is of this row and of `previous`, the hash of the row before, so that a row that was changed,
    taken out or put in between shows."""

    n: int
    at: str
    by: str
    what: str
    channel: str
    version: str
    stage: str
    share: float | None = None
    why: str = ""
    override: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
    previous: str = GENESIS
    hash: str = ""

    def sealed(self, previous: str) -> Entry:
        """The row with its place in the chain."""
        row = replace(self, previous=previous, hash="")
        return replace(row, hash=row.digest())

    def digest(self) -> str:
        """What `hash` has to be."""
        row = {name: getattr(self, name) for name in ENTRY_FIELDS}
        return sha256((self.previous + canonical({**row, "evidence": dict(self.evidence)})).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        row = {name: getattr(self, name) for name in ENTRY_FIELDS}
        return {**row, "evidence": dict(self.evidence), "hash": self.hash}


def broken(entries: Iterable[Entry]) -> str:
    """What is wrong with a chain of rows, in words; "" where nothing is. Rows cut off at the end are not seen by it:
    keep the last hash elsewhere, and compare."""
    previous, expected = GENESIS, 1
    for entry in entries:
        if entry.n != expected:
            return f"row {expected} is missing"
        try:
            same = entry.previous == previous and entry.digest() == entry.hash
        except (TypeError, ValueError):  # bytes, say, where a text was
            same = False
        if not same:
            return f"row {entry.n} is not as it was written, or a row before it was taken away"
        previous, expected = entry.hash, expected + 1
    return ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a channel stands. Versions by stage (None: no policy of the registry); `share` is the canary's part of
    requests. `before`: what was in production earlier, newest last, to roll back to. `stages`: the stage of every
    version that has had one here. `trial`: the row with which the comparison of this canary with this production
    began, `since` its time; `n`: the last row that changed anything here."""

    channel: str = MAIN
    production: str | None = None
    canary: str | None = None
    share: float = 0.0
    shadow: str | None = None
    before: tuple[str | None, ...] = ()
    stages: Mapping[str, str] = field(default_factory=dict)
    trial: int = 0
    since: str = ""
    n: int = 0

    def stage_of(self, version: str) -> str:
        """The stage of a version in this channel."""
        return self.stages.get(version, "draft")

    def after(self, entry: Entry) -> Standing:
        """How it stands after this row."""
        if entry.channel != self.channel or entry.what == "add":
            return self
        stages, one = dict(self.stages), entry.version
        production, before = self.production, self.before
        if entry.what == "rollback":
            if production is not None:
                stages[production] = "retired"
            production, before = before[-1] if before else None, before[:-1]
        elif entry.stage == "production" and production != one:
            if production is not None:
                stages[production] = "retired"
            production, before = one, (*before, production)
        canary = None if self.canary == one else self.canary
        shadow = None if self.shadow == one else self.shadow
        canary, shadow = (
            one if entry.stage == stage else now for stage, now in (("canary", canary), ("shadow", shadow))
        )
        if one:
            stages[one] = entry.stage
        share = (entry.share or 0.0) if entry.stage == "canary" else self.share if canary else 0.0
        moved = (canary, production) != (self.canary, self.production)
        trial = entry.n if moved and canary else self.trial if canary else 0
        since = entry.at if trial == entry.n else self.since if trial else ""
        return Standing(self.channel, production, canary, share, shadow, before, stages, trial, since, entry.n)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        plain = {name: getattr(self, name) for name in ("channel", "production", "canary", "share", "shadow", "n")}
        return {**plain, "before": list(self.before), "stages": dict(self.stages)}


def standing_of(entries: Iterable[Entry], channel: str = MAIN) -> Standing:
    """How a channel stands after these rows."""
    standing = Standing(channel)
    for entry in entries:
        standing = standing.after(entry)
    return standing
