"""The trial of a canary: what its requests and production's are worth, and the end of it where it is worse."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any

from ...budgets.registry.betting import Race
from ...budgets.registry.registry import Registry
from ...budgets.registry.trials import Outcome, outcomes, put_outcome
from ...budgets.registry.versions import Standing
from ...core.amounts import NANO

ALPHA = 0.05  # the chance that a canary that is not worse is ever stopped


class Trial:
    """Takes in outcomes, for one channel. Safe from many threads; every method may raise `StoreError`."""

    def __init__(self, registry: Registry, alpha: float = ALPHA) -> None:
        self.registry, self.alpha = registry, alpha
        self._lock = threading.Lock()
        self._race, self._trial, self._last = Race(), 0, 0

    def race(self, standing: Standing) -> Race:
        """All outcomes of the trial so far, in the order in which they came."""
        with self._lock:
            if standing.trial != self._trial:
                self._race, self._trial, self._last = Race(), standing.trial, 0
            for number, one in outcomes(self.registry, standing, self._last):
                self._race.add(one.arm == "canary", one.value, one.key)
                self._last = number
            return self._race

    def tell(self, standing: Standing, outcome: Outcome) -> bool:
        """Keeps an outcome, and takes the canary back where all of them together say that it is worse: whether this
        did."""
        if not put_outcome(self.registry, standing, outcome):
            return False
        race = self.race(standing)
        if not race.worse(self.alpha):
            return False
        mean, low, high = race.gain(self.alpha)
        evidence = {
            "alpha": self.alpha,
            "e_value": min(race.peak, 1e300),
            "difference": {"estimate": mean, "low": low, "high": high},
            "outcomes": {"canary": race.canaries, "production": race.productions},
        }
        why = (
            f"worse than production on live requests: net utility {mean:+.3f} of what is at stake, e = {race.peak:.3g}"
        )
        return self.registry.stop(standing, why=why, evidence=evidence)


def version_in(policy_name: str) -> str:
    """The registry's id in the name of a policy that served a run, "" where there is none."""
    found = re.search(r"@(p-[0-9a-f]{12})( \((production|canary|shadow)\))?$", policy_name)
    return found[1] if found else ""


def arm_of(policy_name: str, created: str, standing: Standing) -> str:
    """Which side of the trial a run was on, by the name of the policy that it was begun with: "canary", "production",
    or "" for neither. `created` is when it began: what began before the trial is not part of it."""
    if not standing.trial or created < standing.since:
        return ""
    version = version_in(policy_name)
    if version == standing.canary:
        return "canary"
    return "production" if version == (standing.production or "") else ""


def utility(budget: Mapping[str, Any], worth: float | None, right: float, answered: bool, nanos: int) -> float:
    """What a request came to, from 0 (a wrong answer for all the money that it might cost) to 1 (right for nothing):
    worth of a right answer, less the cost of a wrong one, less dollars. `worth`: of a right answer, where the budget
    does not say. Dollars count up to the cap, and up to the worth: measured by a cap far above it, right and wrong
    would hardly differ. Without any worth only right and wrong count."""
    value = budget.get("worth") if budget.get("worth") is not None else worth
    if value is None or not 0 < value < float("inf"):
        return min(1.0, max(0.0, right))
    wrong = float(budget.get("wrong") or 0.0)
    cap = min(float(budget.get("usd") or value), value)
    net = right * value - (1 - right) * wrong * answered - min(nanos / NANO, cap)
    return min(1.0, max(0.0, (net + wrong + cap) / (value + wrong + cap)))


def name_in(policy_json: str) -> str:
    """The name of a policy as a run has stored it."""
    try:
        return str(json.loads(policy_json).get("name", "")) if policy_json else ""
    except (ValueError, AttributeError):
        return ""
