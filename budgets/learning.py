"""Learning of arms from delayed feedback: how far each is from what its policy says, in logits.

What all arms share (other questions than the policy was fitted on are harder for every model) and what is each arm's
own are one Gaussian; a label moves it by a Laplace step of the logistic likelihood (MacKay 1992; as in the contextual
bandits of Chapelle & Li 2011, "An Empirical Evaluation of Thompson Sampling"). So an arm that was not asked lately is
not taken for better than those that were, only because questions have become harder. Labels that no longer fit sound an
alarm (CUSUM, Page 1954), which widens the arm's part again, so that it follows what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log, pi, sqrt
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SD = 1.0  # of an arm's own part before any feedback, where the policy does not know the arm
COMMON, OWN = 0.6, 0.25  # of what arms share, and of the own part of an arm that the policy knows: nine models of
# 2023-24, from half of ten exams to the other half (docs/measurements/learning.md)
WANDER = 0.001  # variance that each label adds to its arm: what is known of it ages
DRIFT = 0.0002  # and to what arms share
SLACK = 0.25  # standard deviations that residuals may be off for ever without an alarm
ALARM = 9.0  # standard deviations that they may add up to beyond that: by chance about once in 1,500 labels
MOST = 3.0  # standard deviations that one residual counts at the most: one odd label is no drift
STEPS = 20
SURE = 1e-6  # no prediction is nearer than this to 0 or 1


@dataclass(frozen=True, slots=True)
class Shift:
    """What is known of one arm: its logit is off by `mean`, give or take `sd`. `seen`: labels so far; `rise`, `fall`:
    how far they have lately been above and below what was expected (CUSUM, in standard deviations); `alarms`: how
    often that was too far."""

    mean: float = 0.0
    sd: float = SD
    seen: int = 0
    rise: float = 0.0
    fall: float = 0.0
    alarms: int = 0

    def expected(self, base: float, slope: float = 1.0) -> float:
        """P(right) where the policy's own logit is `base`, the shift's uncertainty averaged over (MacKay's
        approximation). `slope`: logits of the prediction per logit of the shift."""
        return squash((base + slope * self.mean) / sqrt(1 + pi / 8 * (slope * self.sd) ** 2))

    def watched(self, p: float, label: float) -> Shift:
        """After a label where `p` was expected; `alarms` has risen where that has been off for too long."""
        p = min(max(p, SURE), 1 - SURE)
        off = min(max((label - p) / sqrt(p * (1 - p)), -MOST), MOST)
        rise, fall = max(0.0, self.rise + off - SLACK), max(0.0, self.fall - off - SLACK)
        if max(rise, fall) > ALARM:
            return replace(self, seen=self.seen + 1, rise=0.0, fall=0.0, alarms=self.alarms + 1)
        return replace(self, seen=self.seen + 1, rise=rise, fall=fall)


@dataclass
class Joint:
    """What is known of all arms together. `sd`: of an arm's own part, and what an alarm widens it to; `priors`: of
    arms that are known better, by their keys; `common`: of the part that arms share (0: they share nothing). The same
    labels in the same order come to the same. Not for several threads at once."""

    sd: float = SD
    common: float = COMMON
    priors: Mapping[str, float] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)  # of each arm's own part; 0 is the common one
    _notes: dict[str, Shift] = field(default_factory=dict)  # counts and alarms only
    _mean: Any = None
    _cov: Any = None

    def learn(self, arm: str, base: float, label: float, slope: float = 1.0) -> None:
        """Takes in a label from 0 (wrong) to 1 (right) of a draw whose logit by the policy alone was `base`."""
        at = self._place(arm)
        cov = self._cov
        cov[at, at] = max(cov[at, at], min(self.sd**2, cov[at, at] + WANDER))
        cov[0, 0] = max(cov[0, 0], min(self.common**2, cov[0, 0] + DRIFT))
        note = self._notes[arm].watched(self.shift(arm).expected(base, slope), label)
        if note.alarms > self._notes[arm].alarms:
            cov[at, at] = max(cov[at, at], self.sd**2)
        self._notes[arm] = note
        old = self.shift(arm)
        mean, sd = _laplace(old.mean, old.sd, base, label, slope)
        reach = cov[0] + cov[at]  # of each part with this arm's shift
        self._mean += reach * ((mean - old.mean) / old.sd**2)
        cov -= (reach[:, None] * reach) * ((old.sd**2 - sd**2) / old.sd**4)

    def shift(self, arm: str) -> Shift:
        """What is known of one arm; of one without labels what is shared, and its prior."""
        at = self._places.get(arm)
        if at is None:
            mean, var = (0.0, self.common**2) if self._cov is None else (float(self._mean[0]), float(self._cov[0, 0]))
            return Shift(mean, sqrt(var + self._prior(arm) ** 2))
        mean, cov = float(self._mean[0] + self._mean[at]), self._cov
        return replace(self._notes[arm], mean=mean, sd=sqrt(cov[0, 0] + 2 * cov[0, at] + cov[at, at]))

    def means(self, arms: Iterable[str]) -> list[float]:
        """The mean shift of each arm, as `shift` has it."""
        if self._cov is None:
            return [0.0 for _ in arms]
        parts: list[float] = self._mean.tolist()
        return [parts[0] + parts[self._places[arm]] if arm in self._places else parts[0] for arm in arms]

    @property
    def arms(self) -> tuple[str, ...]:
        """Those that have labels."""
        return tuple(self._places)

    def drawn(self, seed: int, arms: Iterable[str] = ()) -> dict[str, float]:
        """Shifts that may be true, all together (Thompson 1933), of the arms with labels and of `arms`: the same for
        the same seed, on every machine."""
        import numpy as np

        names = list(dict.fromkeys((*self._places, *arms)))
        mean, cov = self._start() if self._cov is None else (self._mean, self._cov)
        size = len(self._places) + 1
        values, vectors = np.linalg.eigh(cov[:size, :size])
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # unlike others, it does not depend on signs
        luck = {name: Random(f"{seed}:{name}").gauss(0.0, 1.0) for name in ("", *names)}
        parts = mean[:size] + root @ np.array([luck[""], *(luck[name] for name in self._places)])
        own = {name: float(parts[at]) for name, at in self._places.items()}
        return {n: float(parts[0]) + own.get(n, luck[n] * self._prior(n) if n not in own else 0.0) for n in names}

    def _prior(self, arm: str) -> float:
        return self.priors.get(arm, self.sd)

    def _start(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        import numpy as np

        return np.zeros(1), np.full((1, 1), self.common**2)

    def _place(self, arm: str) -> int:
        """The place of an arm's own part; a new one is independent of all that is known."""
        import numpy as np

        if arm not in self._places:
            mean, cov = self._start() if self._cov is None else (self._mean, self._cov)
            self._places[arm] = len(mean)
            self._notes[arm] = Shift()
            self._mean = np.append(mean, 0.0)
            self._cov = np.pad(cov, (0, 1))
            self._cov[-1, -1] = self._prior(arm) ** 2
        return self._places[arm]


def _laplace(mean: float, sd: float, base: float, label: float, slope: float) -> tuple[float, float]:
    """The mode of the posterior by Newton's steps, and the standard deviation of its curvature there."""
    precision, x = 1 / (sd * sd), mean
    for _ in range(STEPS):
        p = squash(base + slope * x)
        curve = precision + slope * slope * p * (1 - p)
        step = ((mean - x) * precision + slope * (label - p)) / curve
        x += min(max(step, -1.0), 1.0)  # far out the likelihood is flat, and a whole step would overshoot
        if abs(step) < 1e-9:
            break
    p = squash(base + slope * x)
    return x, 1 / sqrt(precision + slope * slope * p * (1 - p))


def squash(logit: float) -> float:
    """The logistic function."""
    return 1 / (1 + exp(-logit)) if logit >= 0 else 1 - 1 / (1 + exp(logit))


def logit(p: float) -> float:
    """Its inverse, finite for every p from 0 to 1."""
    p = min(max(p, SURE), 1 - SURE)
    return log(p / (1 - p))


def given_up(nets: Sequence[float], chosen: int) -> float:
    """How much value the choice is short of the best, by nets as they are believed; 0 is what stopping brings."""
    return max(0.0, max(nets, default=0.0)) - (nets[chosen] if chosen < len(nets) else 0.0)


def believed(net: float, p: float, drawn: float, mean: float, slope: float = 1.0, wrong: float = 0.0) -> float:
    """The net value of one more candidate at the believed shift, where `net` and its P(right) `p` were reckoned at a
    `drawn` one. Exact for the first candidate, whose P(right) is its value; for later ones it overstates the
    difference."""
    at_mean = squash(logit(p) + slope * (mean - drawn))
    return net - (1 + wrong) * (p - at_mean)


@dataclass(frozen=True, slots=True)
class Score:
    """How well predictions did. `brier`: mean squared error; `log_loss` in nats; `predicted` and `came`: their mean
    and the share that came true. `bins`: (predicted, came, n) of equal parts by prediction: well calibrated where both
    are alike."""

    n: int
    brier: float
    log_loss: float
    predicted: float
    came: float
    bins: tuple[tuple[float, float, int], ...] = ()


def scored(pairs: Iterable[tuple[float, float]], bins: int = 5) -> Score | None:
    """The score of (predicted, what came) pairs; None where there are none."""
    rows = sorted((min(max(p, SURE), 1 - SURE), y) for p, y in pairs)
    n = len(rows)
    if not n:
        return None
    brier = sum((p - y) ** 2 for p, y in rows) / n
    loss = -sum(y * log(p) + (1 - y) * log(1 - p) for p, y in rows) / n
    count = max(1, min(bins, n // 5))
    parts = [rows[n * i // count : n * (i + 1) // count] for i in range(count)]
    means = tuple((*_means(part), len(part)) for part in parts)
    return Score(n, brier, loss, *_means(rows), means)


def _means(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(p for p, _ in rows) / len(rows), sum(y for _, y in rows) / len(rows)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much value may be given up to exploration: `share` of the dollars spent. `spent` and `regret` in
    nano-dollars."""

    share: float = 0.0
    spent: int = 0
    regret: int = 0

    @property
    def left(self) -> int:
        """Nano-dollars; below 0 where the last exploring request gave up more than was left."""
        return int(self.share * self.spent) - self.regret
