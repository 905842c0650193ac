"""An ensemble of the verifiers that a bank has recorded (`verifiers.Ensemble` asks them and applies it)."""

from __future__ import annotations

from collections.abc import Collection
from math import nan

from ..core.errors import CallerError, UnknownName
from ..verifiers.calibration import FittedEnsemble, fit_ensemble
from .bank import Bank


def ensemble_of(
    bank: Bank,
    names: Collection[str] | None = None,
    *,
    labelled: bool = True,
    base_rate: float | None = None,
    seed: int = 0,
) -> FittedEnsemble:
    """One calibrated probability from the recorded verifiers `names` (None: all). With labels their weights are
    learnt against what was right (Weaver, Saad-Falcon et al. 2025); without (`labelled=False`) from how they agree
    (Dawid & Skene 1979), at `base_rate` where the share of right candidates is known. `held_out` goes by the bank's
    draws that have a verdict, in their order. Raises `UnknownName`, and `CallerError` where nothing was recorded."""
    chosen = tuple(names if names is not None else bank.verifiers)
    for name in chosen:
        if name not in bank.verifiers:
            raise UnknownName.of("recorded verifier", name, bank.verifiers)
    if not chosen:
        raise CallerError("the bank has no verdicts: nothing to make an ensemble of")
    scores, labels, questions = [], [], []
    for group, row in bank.draws.items():
        for draw in row:
            said = bank.verdicts.get((*group, draw.sample_index), {})
            known = [said[name].score if name in said else None for name in chosen]
            if any(score is not None for score in known):
                scores.append([nan if score is None else score for score in known])
                labels.append(draw.correct)
                questions.append(group[0])
    return fit_ensemble(scores, labels if labelled else None, questions, chosen, base_rate, seed)
