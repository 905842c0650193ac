"""Which questions of a bank a policy was not fitted on, by what its provenance says.

Policies carry a short hash of every question that they were fitted on, so that a bank that has grown, shrunk, been
merged or dealt to other folds is known again, question by question. Older ones have the hash of all together, which
tells of the very same questions only.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from .bank import Bank
from .fitting import WIDTH, question_hash, questions_hash

if TYPE_CHECKING:
    from ..budgets.policy import Policy


def seen_of(policy: Policy, bank: Bank) -> frozenset[str] | None:
    """The ids of the bank's questions that the policy was fitted on, by their texts. None where its provenance has no
    hashes of questions. One hash in four billion is another question's: then a new question is taken for an old one."""
    text = policy.provenance.get("questions_seen")
    if not isinstance(text, str):
        return None
    try:
        data = b64decode(text, validate=True)
    except (Error, ValueError):
        return None
    known = {data[at : at + WIDTH] for at in range(0, len(data), WIDTH)}
    return frozenset(one.id for one in bank.questions.values() if question_hash(one.text) in known)


def in_sample(policy: Policy, bank: Bank) -> bool:
    """Whether the policy was fitted on any question of the bank; where its provenance does not tell of each, whether on
    all of these very questions, or on a bank of the same name, unless on other folds of it."""
    seen = seen_of(policy, bank)
    if seen is not None:
        return bool(seen)
    facts = policy.provenance
    if facts.get("questions_hash") == questions_hash(bank):
        return True
    if bank.path is None or facts.get("bank") != bank.path.resolve().name:
        return False
    folds = {fold for fold in str(facts.get("folds", "")).split(",") if fold}
    return not folds or not folds.isdisjoint(map(str, bank.folds))


def unseen(policy: Policy, bank: Bank) -> Bank | None:
    """The bank without the questions that the policy was fitted on; None where it was fitted on all of them, or on
    none, as far as is known: then the bank is what it is."""
    seen = seen_of(policy, bank)
    if seen is None:
        folds = unseen_folds(policy, bank)
        return bank.select(folds=folds) if folds else None
    left = bank.questions.keys() - seen
    return _only(bank, left) if seen and left else None


def _only(bank: Bank, kept: Collection[str]) -> Bank:
    return replace(
        bank,
        questions={name: one for name, one in bank.questions.items() if name in kept},
        draws={place: row for place, row in bank.draws.items() if place[0] in kept},
        verdicts={place: said for place, said in bank.verdicts.items() if place[0] in kept},
        runs={place: found for place, found in bank.runs.items() if place[0] in kept},
    )


def unseen_folds(policy: Policy, bank: Bank) -> tuple[int, ...] | None:
    """The folds of `bank` of which the policy was fitted on no question. None where nothing on record says that it was
    fitted on any of this bank: all of it may be new to the policy, or not. Of a policy without hashes of questions:
    those beside the folds of its provenance, where these hold the very questions that it was fitted on."""
    ids = seen_of(policy, bank)
    if ids is not None:
        known = {bank.questions[name].fold for name in ids}
        return tuple(fold for fold in bank.folds if fold not in known) if ids else None
    said = str(policy.provenance.get("folds", ""))
    try:
        seen = [int(fold) for fold in said.split(",") if fold]
    except ValueError:
        return None
    if not seen or not set(seen) <= set(bank.folds):
        return None
    wanted = {name for name in str(policy.provenance.get("models", "")).split(",") if name}
    models = {model for model, _ in bank.arms}
    parts = [bank.select(folds=seen)]
    if wanted and wanted < models:
        parts.append(bank.select(folds=seen, models=wanted))
    if policy.provenance.get("questions_hash") not in {questions_hash(part) for part in parts}:
        return None
    return tuple(fold for fold in bank.folds if fold not in seen)
