"""Drift at run time: an engine watches the scores of verifiers, and each run believes them as far as they still fit.

How far is fixed when a run begins and stored with it, so that a resumed run decides as it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..budgets.drift import Watch
from ..budgets.policy import Policy
from ..core.verdict import Judgement


class Watches:
    """One detector for each verifier whose usual scores the policy knows, over all requests of an engine."""

    def __init__(self, policy: Policy) -> None:
        known = ((name, verifier.drift) for name, verifier in policy.verifiers.items())
        self._watches: dict[str, Watch] = {name: drift.watch() for name, drift in known if drift is not None}

    def widen(self) -> dict[str, float]:
        """How far the calibration of each drifted verifier is drawn toward its base rate, above 0 to 1."""
        found = {name: round(watch.widen, 4) for name, watch in self._watches.items()}
        return {name: widen for name, widen in found.items() if widen}

    def learn(self, told: Iterable[Judgement]) -> None:
        """Takes in the scores of a run."""
        for judgement in told:
            name = judgement.verifier
            watch = self._watches.get(name) or self._watches.get(name.partition("#")[0])  # one of several alike
            if watch is not None and not judgement.verdict.exact:
                watch.feed(judgement.verdict.score)


def notes(widen: Mapping[str, float]) -> list[str]:
    """What to tell people of drifted verifiers."""
    return [
        f"the last scores of verifier {name!r} differ from those that its calibration was fitted on (drift {far:.0%}): "
        "its probabilities are drawn toward the base rate; fit the policy again on recent data"
        for name, far in widen.items()
    ]
