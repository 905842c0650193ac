"""Every error that satisfice raises, one tree. Whose fault it is decides the branch.

SatisficeError
|- CallerError             the request is wrong: fix the call
|  |- BadQuery               empty, not text, larger than the model's context
|  |- BadBudget              negative, NaN, zero
|  |- BadSettings            satisfice.toml cannot be read
|  |- UnknownName            no such model, strategy, run ... (names the nearest)
|  |- NoModelConfigured      nobody said which model
|  |- MissingExtra           an optional dependency is not installed
|  |- SandboxUnavailable     nothing here can contain a program, and `unsafe` was not asked for
|  |- JournalMismatch        the run to resume was made by another plan, prompt or policy
|  `- PromotionRefused       a policy has not been shown to be better (says the figures, and how much more it takes)
|- BudgetError             the money is not there
|  |- BudgetTooSmall         not even one call fits (says what one costs)
|  |- UnpricedModel          no price known: refused, not guessed
|  |- QueueFull              too many requests wait already (says how many)
|  `- TooLate                it cannot be served by its deadline (says when it could be)
|- ModelError              the provider failed
|  |- ModelUnavailable       down, overloaded, rate limited (worth retrying)
|  |  |- ModelBusy              no turn within the longest wait: not sent
|  |  |- CircuitOpen            it failed too often just now (says when it is tried again)
|  |  `- ModelKilled            switched off by a person
|  |- ModelTimeout           no reply in time (worth retrying, billed)
|  |- MissingKey             no credentials (names the variable)
|  |- ModelRefused           the provider rejects this request
|  `- BadCompletion          an empty or malformed reply (billed)
|- Killed                  a person has stopped it: global, a tenant, a key, a strategy (names the run)
|- GatherFailed            too few branches survived
|- ToolError               a tool raised, or is not known
|- NoAnswer                the run ended and has nothing to show
|- NobodyToAsk             a person is needed and the journal is off
|- TraceMiss               a bank cannot answer this request (replay only)
`- StoreError              journal, ledger or bank cannot be read or written
   |- RunIsActive            another process is running this run
   |- LedgerConflict         the ledger has it otherwise: settled already, another amount, another parent
   `- RegistryConflict       the policy registry has changed since this was decided
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class SatisficeError(Exception):
    """Base of all. `code` is a stable word for machines; `details` are JSON-ready facts."""

    code = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = details

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-ready data."""
        return {"code": self.code, "message": str(self), **self.details}


class CallerError(SatisficeError):
    code = "caller"


class BadQuery(CallerError):
    code = "bad_query"


class BadBudget(CallerError):
    code = "bad_budget"


class BadSettings(CallerError):
    code = "bad_settings"


class UnknownName(CallerError):
    """A name that nobody registered."""

    code = "unknown_name"

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """The error for `name`, with the nearest of `known` suggested."""
        names = sorted(known)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listing = f" Known: {', '.join(names[:40])}{' ...' if len(names) > 40 else ''}." if names else ""
        return cls(f"unknown {kind} {name!r}.{hint}{listing}", kind=kind, name=name, nearest=near[0] if near else None)


class NoModelConfigured(CallerError):
    code = "no_model_configured"


class MissingExtra(CallerError):
    code = "missing_extra"

    @classmethod
    def of(cls, extra: str, purpose: str) -> MissingExtra:
        return cls(f"{purpose} needs an optional part: pip install 'satisfice[{extra}]'", extra=extra)


class SandboxUnavailable(CallerError):
    code = "sandbox_unavailable"

    @classmethod
    def of(cls, why: str) -> SandboxUnavailable:
        return cls(
            f"no sandbox to run code in: {why}. Install one (Linux: pip install 'satisfice[sandbox]'), or ask for "
            "unsafe=True to run the code without isolation, at your own risk",
            extra="sandbox",
            why=why,
        )


class JournalMismatch(CallerError):
    code = "journal_mismatch"


class PromotionRefused(CallerError):
    """A policy has not been shown to be better. `details`: the evidence, as `Evidence.to_dict` has it."""

    code = "promotion_refused"


class BudgetError(SatisficeError):
    code = "budget"


class BudgetTooSmall(BudgetError):
    code = "budget_too_small"


class UnpricedModel(BudgetError):
    code = "unpriced_model"


class QueueFull(BudgetError):
    """As many requests wait as may."""

    code = "queue_full"


class TooLate(BudgetError):
    """A request that cannot be served by its deadline. `details["earliest"]`: in how many seconds it could be; None:
    nobody knows."""

    code = "too_late"


class ModelError(SatisficeError):
    """The provider failed. `transient` says whether the same call may work a moment later,
    `sent` whether the provider may bill for it (then the hold is posted, not voided), `skip` that this model is of
    no use for now, so that the next fallback is asked at once."""

    code = "model"
    transient = False
    sent = True
    skip = False


class ModelUnavailable(ModelError):
    code = "model_unavailable"
    transient = True
    sent = False


class ModelBusy(ModelUnavailable):
    code = "model_busy"
    transient, skip = False, True


class CircuitOpen(ModelUnavailable):
    code = "model_circuit_open"
    transient, skip = False, True


class ModelKilled(ModelUnavailable):
    code = "model_killed"
    transient, skip = False, True


class ModelTimeout(ModelError):
    code = "model_timeout"
    transient = True


class MissingKey(ModelError):
    code = "missing_key"
    sent = False


class ModelRefused(ModelError):
    code = "model_refused"
    sent = False


class BadCompletion(ModelError):
    code = "bad_completion"


class Killed(SatisficeError):
    """A kill switch is on. `details`: level, name, reason, by, at, and run where one was under way."""

    code = "killed"


class GatherFailed(SatisficeError):
    code = "gather_failed"

    def __init__(self, message: str, errors: tuple[Exception, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class ToolError(SatisficeError):
    code = "tool"


class NoAnswer(SatisficeError):
    """The run ended without an answer. `__cause__` holds the fault, if there was one."""

    code = "no_answer"


class NobodyToAsk(SatisficeError):
    code = "nobody_to_ask"


class TraceMiss(SatisficeError):
    code = "trace_miss"


class StoreError(SatisficeError):
    code = "store"


class RunIsActive(StoreError):
    code = "run_is_active"


class LedgerConflict(StoreError):
    code = "ledger_conflict"


class RegistryConflict(StoreError):
    code = "registry_conflict"
