"""Cautions: what is amiss with a bank, or with a policy on it, before anybody believes a figure. Each is one sentence
that says what is wrong and what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..budgets.policy import Policy
from .bank import Bank
from .banking.facts import mixed_prices
from .fitting import questions_hash
from .unseen import seen_of, unseen_folds

FEW = 50  # questions, below which the smallest visible effect is told
Z = 2.8  # standard errors of an effect that is found 80 times in 100 at 95% (Bloom 1995)


def cautions(
    bank: Bank, policies: Mapping[str, Policy], verifiers: Collection[str] = (), whole: Bank | None = None
) -> tuple[str, ...]:
    """All that hold of this bank under these policies, those that matter most first. `whole`: the bank of which this is
    a part."""
    hashes = {questions_hash(one) for one in (bank, whole or bank)} if any(map(_learnt, policies.values())) else set()
    return (
        *(text for name, policy in policies.items() for text in _of_policy(bank, whole or bank, name, policy, hashes)),
        *_of_bank(bank),
        *mixed_prices(bank),
        *_of_verifiers(bank, verifiers),
    )


def _learnt(policy: Policy) -> bool:
    return "questions_hash" in policy.provenance


def _of_policy(bank: Bank, whole: Bank, name: str, policy: Policy, hashes: Collection[str]) -> Iterator[str]:
    facts = policy.provenance
    if (new := unseen_folds(policy, whole)) is not None and set(bank.folds) <= set(new):
        return
    source, known = str(facts.get("bank", "")), seen_of(policy, bank)
    if known and len(known) < len(bank.questions):
        yield (
            f"IN SAMPLE: policy {name!r} was fitted on {len(known)} of these {len(bank.questions)} questions, so that "
            "its figures flatter it: --policy fit judges each fold by a policy that was fitted on the others"
        )
    elif known or facts.get("questions_hash") in hashes:
        yield (
            f"IN SAMPLE: policy {name!r} was fitted on these very questions, so that its figures flatter it: "
            "--policy fit judges each fold by a policy that was fitted on the others, --unseen leaves them out"
        )
    elif known is None and source and bank.path is not None and source == bank.path.name and _shared(facts, bank):
        yield (
            f"IN SAMPLE: policy {name!r} was fitted on a bank called {source!r}, as this one is, so that its figures "
            "may flatter it: --policy fit judges each fold by a policy that was fitted on the others"
        )
    here = {"datasets": {q.dataset for q in bank.questions.values()}, "models": {m for m, _ in bank.arms}}
    for what, held in here.items():
        there = {one.strip() for one in str(facts.get(what, "")).split(",") if one.strip()}
        if there and not held & there:
            yield f"policy {name!r} was fitted on the {what} {_some(there)}, and this bank holds {_some(held)}"
        elif there and held - there:
            yield f"policy {name!r} was not fitted on the {what} {_some(held - there)} that this bank holds"


def _shared(facts: Mapping[str, Any], bank: Bank) -> bool:
    """Whether the policy was fitted on folds that this part of the bank has, too, as far as is known."""
    folds = str(facts.get("folds", ""))
    return not folds or bool(set(folds.split(",")) & set(map(str, bank.folds)))


def _of_bank(bank: Bank) -> Iterator[str]:
    if len(bank.questions) < FEW:
        count = max(1, len(bank.questions))
        # of a paired difference where one question in five changes: the variance of one is .2 at the most
        effect = 100 * Z * (0.2 / count) ** 0.5
        yield (
            f"{count} questions: a difference below about {effect:.0f} points of accuracy cannot be told from none "
            "(paired, 1 question in 5 changing); record more"
        )
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (_, model, arm), row in bank.draws.items():
        sizes[model, arm].append(len(row))
    single = [f"{model} ({arm})" for (model, arm), counts in sorted(sizes.items()) if max(counts) == 1]
    if single:
        yield f"one sample per question of {_some(single)}: voting and stopping early cannot be judged on these"


def _of_verifiers(bank: Bank, asked: Collection[str]) -> Iterator[str]:
    for name in asked:
        said = {scores[name].score for scores in bank.verdicts.values() if name in scores}
        if len(said) == 1:
            yield f"verifier {name!r} gave every draw the same score ({next(iter(said))}): it can tell nothing"


def _some(names: Collection[str]) -> str:
    every = sorted(names)
    return ", ".join(every[:4]) + (f" and {len(every) - 4} more" if len(every) > 4 else "")
