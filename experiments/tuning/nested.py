"""Tune: from a bank to a policy that says how to think, or to the finding that one draw is as good as anything.

Nested cross-fitting by question (Stone 1974; Varma & Simon 2006): the questions' folds are put into a few parts; for
each part a whole search, with everything it fits, runs on the others, and what it chose is judged on that part. So the
improvement that is reported is that of choices which never saw the questions, and not the best value of the search,
which the winner's curse inflates. Unless its lower bound is above 0 the result is the best single shot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from ...budgets.policy import Policy
from ...core.errors import CallerError
from ..bank import Bank
from ..banking.splitting import clusters
from ..fitting import facts_of, fit
from ..intervals import Interval, clustered
from .choices import Choice, Space
from .parts import Judged, Part, held_out
from .playing import Player, comparable, points
from .searching import Found, optuna, search

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

LOW, HIGH = 20.0, 2000.0  # worths that are averaged over where nobody says: mean calls of the dearest arm
PARTS, TRIALS = 4, 40
POWER = 1.959964 + 0.841621  # normal quantiles: 5% two-sided, 80% power
Told = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found. `policy` is ready for use: its `strategy` is `chosen`, or the `baseline` where nothing is
    `claimed`. Improvements are over the best single shot, in points: hundredths of a right answer per question, net of
    what was spent; `improvement` with its 95% interval (bootstrap by question) is of choices on questions that they
    were not made on, `at_worths` the same at each worth (dollars). `smallest` is the smallest improvement that this
    bank could show four times in five; `best` is what the search on all questions liked best, claimed or not, and
    `best_value` its value there, which is inflated. `why` says the verdict in words, `check` which verifier requests
    have to bring."""

    policy: Policy
    chosen: str
    baseline: str
    claimed: bool
    why: str
    improvement: Interval | None
    smallest: float | None
    at_worths: Mapping[float, Interval]
    parts: tuple[Judged, ...]
    best: str
    best_value: float
    baseline_value: float
    questions: int
    trials: int
    check: str = ""
    effect: float | None = None
    needed: int | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the policy."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "policy"}
        data["improvement"] = self.improvement.to_dict() if self.improvement else None
        data["at_worths"] = [{"worth": worth, **gain.to_dict()} for worth, gain in self.at_worths.items()]
        data["parts"] = [{name: getattr(p, name) for name in Judged.__dataclass_fields__} for p in self.parts]
        data["notes"] = list(self.notes)
        return data


def tune(
    bank: Bank,
    *,
    worth: float | tuple[float, float] | None = None,
    strategies: Collection[str] | None = None,
    verifiers: Collection[str] = (),
    trials: int = TRIALS,
    parts: int = PARTS,
    effect: float | None = None,
    jobs: int = 1,
    seed: int = 0,
    progress: Told | None = None,
) -> Tuned:
    """Searches the ways of answering that `bank` can replay (`choices.FAMILIES`, or those of `strategies`) for the one
    with the highest net utility, and judges it on questions that were not searched on.

    `worth`: dollars that a right answer is worth, or their range, over which net utility is averaged log-uniformly
    (None: 20 to 2000 mean calls of the dearest arm). `verifiers`: recorded ones that requests will bring as their
    checks; without any, best-of-n is not searched, since a policy cannot make a check. `trials` of each search;
    `parts` into which the questions are put, by fold. `effect`: an improvement in points that would matter; the result
    then says how many questions could show it. `jobs`: processes that search the parts at once. `progress(done, total,
    best so far)` counts trials. The same bank and seed give the same result. An interrupt (Ctrl-C) keeps what was found
    so far, and claims only what was judged.

    Raises `CallerError` for a bad worth or a bank of one fold, without costs, or with one question in two folds;
    `UnknownName`; `MissingExtra` without Optuna.
    """
    optuna()
    _check(trials, parts, effect)
    space = Space.of(bank, strategies, verifiers)
    seen = comparable(bank, space)
    if len(seen.folds) < 2:
        raise CallerError("tuning holds questions out, and this bank's are all in one fold: split it (bank split)")
    seen.check_split()
    worths = points(*_range(worth, max(space.costs)))
    player, groups = Player(seen, space, worths, seed), _groups(seen.folds, parts)
    count = _Count(progress, (len(groups) + 1) * max(trials, sum(1 for _ in space.starts())))
    with held_out(player, groups, trials, seed, jobs, count.part) as rest:
        found = search(player, seen.folds, trials=trials, seed=seed, told=count.one)
        judged, interrupted = ([], True) if found.interrupted else rest()
    evidence = _Evidence.of(judged, player)
    result = _verdict(player, found, evidence, interrupted, effect)
    return _told(result, bank, space, worths, trials, parts, seed, worth)


def _check(trials: int, parts: int, effect: float | None) -> None:
    if trials < 1:
        raise CallerError(f"trials={trials}: expected 1 or more")
    if parts < 2:
        raise CallerError(f"parts={parts}: expected 2 or more")
    if effect is not None and not effect > 0:
        raise CallerError(f"effect={effect}: expected points above 0")


def _range(worth: float | tuple[float, float] | None, call: float) -> tuple[float, float]:
    if worth is None:
        if not call > 0:
            raise CallerError(
                "every draw of this bank cost nothing: say what a right answer is worth, --worth LOW:HIGH"
            )
        return LOW * call, HIGH * call
    return worth if isinstance(worth, tuple) else (worth, worth)


def _groups(folds: Sequence[int], parts: int) -> list[list[int]]:
    count = min(parts, len(folds))
    return [list(folds[i::count]) for i in range(count)]


@dataclass(slots=True)
class _Count:
    progress: Told | None
    total: int
    done: int = 0
    best: str = ""

    def one(self, _: int, best: str, value: float) -> None:
        self.best = f"{best} ({100 * value:.1f} points)"
        self.part()

    def part(self, *_: Any) -> None:
        """A trial of a search that is only there to judge: what is best there is of no interest."""
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total, self.best)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All parts together, in points. `error`: the standard error of the best rival's difference from the baseline.
    Questions that belong together (one passage, near-duplicates) are drawn together in intervals and errors."""

    parts: tuple[Judged, ...] = ()
    improvement: Interval | None = None
    at_worths: Mapping[float, Interval] = field(default_factory=dict)
    error: float = 0.0
    questions: int = 0

    @classmethod
    def of(cls, parts: Sequence[Part], player: Player) -> _Evidence:
        import numpy as np

        if not parts:
            return cls()
        kin = clusters([player.bank.questions[name] for name in player.space.questions])
        _, of, size = np.unique([kin[i] for p in parts for i in p.at], return_inverse=True, return_counts=True)

        def together(values: Floats) -> Floats:
            found: Floats = 100 * np.bincount(of.ravel(), values) / size
            return found

        gaps, rivals = (np.concatenate([getattr(p, name) for p in parts]) for name in ("gaps", "rivals"))
        rival = together(rivals.mean(axis=1))
        off = size * (rival - float(size @ rival) / float(size.sum()))
        return cls(
            tuple(p.told for p in parts),
            clustered(together(gaps.mean(axis=1)), weights=size),
            {worth: clustered(together(gaps[:, i]), weights=size) for i, worth in enumerate(player.worths)},
            float((off @ off) ** 0.5 / size.sum()),
            int(size.sum()),
        )

    @property
    def smallest(self) -> float | None:
        """The improvement that so many questions show four times in five."""
        return POWER * self.error or None

    def needed(self, effect: float | None) -> int | None:
        """Questions that could show an effect of so many points four times in five."""
        return int(self.questions * (POWER * self.error / effect) ** 2) + 1 if self.error and effect else None


def _verdict(player: Player, found: Found, evidence: _Evidence, interrupted: bool, effect: float | None) -> Tuned:
    gain = evidence.improvement
    different = found.choice != found.baseline
    claimed = gain is not None and gain.low > 0 and different
    chosen = found.choice if claimed else found.baseline
    return Tuned(
        policy=_policy(player, chosen),
        chosen=chosen.text,
        baseline=found.baseline.text,
        claimed=claimed,
        why=_why(found, evidence, claimed, interrupted),
        improvement=gain,
        smallest=evidence.smallest,
        at_worths=evidence.at_worths,
        parts=evidence.parts,
        best=found.choice.label,
        best_value=round(100 * (found.values[found.choice] - found.values[found.baseline]), 4),
        baseline_value=round(100 * found.values[found.baseline], 4),
        questions=len(player.space.questions),
        trials=len(found.values) + found.lost,
        check=chosen.verifier,
        effect=effect,
        needed=evidence.needed(effect),
        interrupted=interrupted,
        notes=player.space.notes,
    )


def _why(found: Found, evidence: _Evidence, claimed: bool, interrupted: bool) -> str:
    gain, stopped = evidence.improvement, "interrupted: " if interrupted else ""
    if gain is None:
        return (
            f"{stopped}use single_shot: nothing was judged on held-out questions yet; the best so far on the questions "
            f"searched on was {found.choice.label}"
        )
    said = f"{gain.estimate:+.2f} points [{gain.low:+.2f}, {gain.high:+.2f}] on {evidence.questions} held-out questions"
    if claimed:
        return f"{stopped}better than single_shot by {said}"
    could = (
        f"; the smallest improvement that this bank could show is {evidence.smallest:.2f}" if evidence.smallest else ""
    )
    if found.choice == found.baseline:
        return f"{stopped}use single_shot: nothing that was tried is worth more than it costs ({said}){could}"
    return f"{stopped}use single_shot: no improvement is shown, {said}{could}"


def _policy(player: Player, chosen: Choice) -> Policy:
    """What all folds teach, just as the choice was played by it, with its text and the held-out losses."""
    played = player.policy(chosen, player.bank.folds)
    told = fit(player.bank, parts=("losses",), stops=False)
    return played.model_copy(update={"provenance": told.provenance, "strategy": chosen.text, "name": "tuned"})


def _told(
    result: Tuned, bank: Bank, space: Space, worths: Sequence[float], trials: int, parts: int, seed: int, worth: Any
) -> Tuned:
    """The result, its policy's provenance saying how it came about."""
    from dataclasses import replace

    facts: dict[str, str | int | float] = {
        **result.policy.provenance,
        **facts_of(bank),
        "questions": len(space.questions),
        "bank_hash": content_hash(bank),
        "tuned": "claimed" if result.claimed else "single_shot",
        "why": result.why,
        "baseline": result.baseline,
        "objective": f"net utility in right answers, mean over worths of {', '.join(f'${w:.3g}' for w in worths)}",
        "space": ", ".join(f"{name}" for name in space.possible()) + f" on {len(space.arms)} recorded arms",
        "trials": trials,
        "parts": parts,
        "seed": seed,
    }
    if result.improvement is not None:
        gain = result.improvement
        facts |= {
            "improvement": round(gain.estimate, 4),
            "improvement_low": round(gain.low, 4),
            "improvement_high": round(gain.high, 4),
            "chosen_by_parts": "; ".join(f"{c} x{n}" for c, n in Counter(p.choice for p in result.parts).items()),
        }
    if result.smallest is not None:
        facts["smallest_improvement"] = round(result.smallest, 4)
    facts |= {what: said for what, said in (("check", result.check), ("prompt", space.prompt)) if said}
    if result.interrupted:
        facts["interrupted"] = 1
    update: dict[str, Any] = {"provenance": facts}
    if isinstance(worth, int | float):
        update["worth"] = float(worth)
    elif worth is not None:
        update["worth"] = (worth[0] * worth[1]) ** 0.5
    return replace(result, policy=result.policy.model_copy(update=update))


def content_hash(bank: Bank) -> str:
    """SHA-256 over questions, draws and verdicts: the same for the same recordings, however they are stored."""
    digest = sha256()
    for name in sorted(bank.questions):
        digest.update(f"{name}\x1f{bank.questions[name].text}\x1e".encode())
    for group, row in sorted(bank.draws.items()):
        digest.update(repr((group, [(d.sample_index, d.key, d.correct, d.nanos) for d in row])).encode())
    for place, said in sorted(bank.verdicts.items()):
        digest.update(repr((place, sorted((name, one.score, one.nanos) for name, one in said.items()))).encode())
    return digest.hexdigest()
