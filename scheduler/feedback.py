"""`Engine.feedback`: what came of an answer, told at any time after its run, by any process that has the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..budgets.ledger.accounts import ROOT
from ..core.errors import BadSettings, CallerError
from .journal import Given, Row, RunRecord
from .paths import decode

if TYPE_CHECKING:
    from .engine import Engine

LONGEST = 10_000  # characters of a note


@dataclass(frozen=True, slots=True)
class Observation:
    """What the word on an answer says of one arm: `label` (0 wrong to 1 right) of its first draw, which was predicted
    to be right with probability `p` when the arm's shift was taken to be `shift` (logits)."""

    arm: str
    p: float
    shift: float
    label: float


@dataclass(frozen=True, slots=True)
class Feedback:
    """What stands on record of one run. `confidence` is what the run claimed. `new` is False where the same had been
    said before; `revised` where this replaced another word."""

    run_id: str
    correct: float
    by: str
    note: str
    created: str
    confidence: float | None
    arms: tuple[Observation, ...]
    new: bool = True
    revised: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        arms = [{"arm": o.arm, "p": o.p, "shift": o.shift, "label": o.label} for o in self.arms]
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "arms"}
        return {**plain, "arms": arms}


async def feedback(
    self: Engine,
    run_id: str,
    correct: bool | float,
    *,
    by: str = "",
    note: str = "",
    account: str | None = None,
    revise: bool = False,
) -> Feedback:
    """Tells whether the answer of a run was right: True, False, or how far from 0 to 1. At any time, from any process
    that has the journal. It is kept with the run, once: the same again changes nothing, another word is refused unless
    it is to `revise`, and then both stay on record. What the engine predicts of its arms learns from it.

    `run_id` may be the beginning of an id. `by`, `note`: for the record. `account`: the account that the run must have
    been charged to, or one above it (None: the engine's own, where it has one other than the root).

    Raises `UnknownName` for a run that is not on record, `CallerError` for one of another account, one that still runs
    or waits, one that has no answer, and for a word that contradicts an earlier one.
    """
    value = _value(correct)
    _check_text("by", by)
    _check_text("note", note)
    journal = self.journal
    record = await journal.find(run_id)
    spec = json.loads(record.spec)
    _check_account(self, record, spec.get("account") or self.settings.account, account or _own(self))
    result = _answered(record)
    _, rows = await journal.load(record.id)
    arms = observations(result, rows, value, spec.get("shifts") or {})
    given = Given(
        record.id,
        value,
        by,
        note,
        datetime.now(UTC).isoformat(timespec="milliseconds"),
        spec.get("account") or "",
        mark_of(spec.get("policy", "")),
        record.strategy,
        result.get("confidence"),
        json.dumps([[o.arm, o.p, o.shift, o.label] for o in arms]),
    )
    stands, new = await journal.give(given, revise=revise)
    learner = getattr(self, "learner", None)
    if learner is not None and new:
        await learner.refresh(journal, now=True)
    if new:
        from .serving.after import judged

        await judged(self.serving, record, value)
    return told(stands, new)


def told(given: Given, new: bool = False) -> Feedback:
    """A stored word as it is told."""
    return Feedback(
        given.run,
        given.correct,
        given.by,
        given.note,
        given.created,
        given.confidence,
        observed(given),
        new,
        given.revises is not None,
    )


def observed(given: Given) -> tuple[Observation, ...]:
    """What a stored word says of arms."""
    return tuple(Observation(str(a), float(p), float(s), float(y)) for a, p, s, y in json.loads(given.observed))


def mark_of(policy: str) -> str:
    """A short mark of a policy (its JSON): what was learnt beside one is not known beside another."""
    return sha256(policy.encode()).hexdigest()[:12] if policy else ""


def observations(
    result: Mapping[str, Any], rows: Sequence[Row], correct: float, shifts: Mapping[str, float]
) -> tuple[Observation, ...]:
    """What is known of each arm's first draw. One that gave the answer was as right as the answer was. Where the answer
    was wholly right, those that said something else were wrong; where it was not, nothing is known of them. What could
    not be read says nothing."""
    key = _key(result)
    came = _came(rows)
    found: dict[str, Observation] = {}
    for decision in result.get("decisions", ()):
        arm = decision["alternatives"][decision["index"]] if decision["size"] else None
        if arm is None or arm.get("p") is None or arm["name"] in found:
            continue
        *frame, step, _ = decode(decision["path"])
        said = came.get((*frame, step + 1))
        if said is None or key is None:
            continue
        label = correct if said == key else 0.0 if correct == 1.0 else None
        if label is not None:
            name = arm["name"]
            found[name] = Observation(name, arm["p"], round(float(shifts.get(name, 0.0)), 6), label)
    return tuple(found.values())


def _key(result: Mapping[str, Any]) -> str | None:
    """The key of the answer that was given: answers are compared by it."""
    answer = result.get("answer")
    return next((c["key"] for c in result.get("candidates", ()) if c["answer"] == answer and c["key"]), None)


def _came(rows: Sequence[Row]) -> dict[tuple[int, ...], str]:
    """The key of the first readable answer that each step of a plan brought, by the step's place."""
    found: dict[tuple[int, ...], str] = {}
    for row in sorted(rows, key=lambda r: (r.path, r.attempt)):
        if row.kind != "reply" or row.effect not in ("sample", "within"):
            continue
        facts = json.loads(row.payload)
        candidate = (facts.get("outcome") or {}).get("candidate") if row.effect == "within" else facts
        if candidate and candidate.get("key") is not None:
            found.setdefault(decode(row.path)[:-1], candidate["key"])
    return found


def _value(correct: Any) -> float:
    if isinstance(correct, bool):
        return float(correct)
    if isinstance(correct, int | float) and isfinite(correct) and 0 <= correct <= 1:
        return float(correct)
    raise CallerError(f"correct={correct!r}: expected True, False, or a number from 0 (wrong) to 1 (right)")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str) or len(text) > LONGEST:
        raise CallerError(f"{name}: expected a text of at most {LONGEST:,} characters")


def _own(engine: Engine) -> str | None:
    """The account that the engine acts for; None for one that acts for all."""
    own = engine.accounts.named(None)
    return None if own == ROOT else own


def _check_account(engine: Engine, record: RunRecord, charged: str, account: str | None) -> None:
    """Raises `CallerError` for a run of another account; those below an account are its own."""
    from ..models.accounts import accounts_of

    parents = {one.name: one.parent for one in accounts_of(engine.settings)}
    line: list[str] = []
    at: str | None = charged
    while at is not None and at not in line:
        line.append(at)
        at = parents.get(at)
    if account is not None and account not in (*line, ROOT):
        raise CallerError(
            f"run {record.id} is not of account {account!r}: feedback is taken from the account that paid for it",
            run=record.id,
            account=account,
        )


def _answered(record: RunRecord) -> dict[str, Any]:
    """The result of a run that gave an answer. Raises `CallerError`."""
    if record.status in ("running", "waiting"):
        what = "waits for a person" if record.status == "waiting" else "has not ended"
        how = f"satisfice runs {'answer' if record.status == 'waiting' else 'resume'} {record.id}"
        raise CallerError(f"run {record.id} {what}: there is no answer to judge yet ({how})", run=record.id)
    result: dict[str, Any] = json.loads(record.result) if record.result else {}
    if result.get("answer") is None:
        raise CallerError(
            f"run {record.id} gave no answer ({record.status}): nothing can be right or wrong", run=record.id
        )
    if not isinstance(result.get("decisions", []), list):
        raise BadSettings(f"the result of run {record.id} cannot be read")
    return result
