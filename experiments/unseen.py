"""Which questions of a bank a policy was not fitted on, by what its provenance says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bank import Bank
from .fitting import questions_hash

if TYPE_CHECKING:
    from ..budgets.policy import Policy


def unseen_folds(policy: Policy, bank: Bank) -> tuple[int, ...] | None:
    """The folds of `bank` that the policy was not fitted on: those beside the folds of its provenance, where these hold
    the very questions that it was fitted on. None where nothing on record says that it was fitted on this bank: all of
    it may be new to the policy, or not."""
    said = str(policy.provenance.get("folds", ""))
    try:
        seen = [int(fold) for fold in said.split(",") if fold]
    except ValueError:
        return None
    if not seen or not set(seen) <= set(bank.folds):
        return None
    wanted = {name for name in str(policy.provenance.get("models", "")).split(",") if name}
    known = {model for model, _ in bank.arms}
    parts = [bank.select(folds=seen)]
    if wanted and wanted < known:
        parts.append(bank.select(folds=seen, models=wanted))
    if policy.provenance.get("questions_hash") not in {questions_hash(part) for part in parts}:
        return None
    return tuple(fold for fold in bank.folds if fold not in seen)
