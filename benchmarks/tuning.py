"""What tuning is worth on questions that it did not see, beside what else one could have done; and how often it claims
an improvement where there is none.

    python benchmarks/tuning.py bank experiments/banks/verifiers
    python benchmarks/tuning.py file PATH/mcqa_temperature_10samples.parquet --model gpt-35-turbo
    python benchmarks/tuning.py file PATH/selfreflection_mcqa_9models.parquet --arm baseline
    python benchmarks/tuning.py null PATH/mcqa_temperature_10samples.parquet --model gpt-35-turbo --seeds 20

`bank` takes a bank's folder (or its name), `file` a table of recorded samples, of which `comprehensive` is left out, as
it overlaps the others. `null`: every question gets draws of all questions and conditions at random, with answers that
tell nothing, so that nothing beats one draw.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import numpy as np

from satisfice.budgets.policy import Policy
from satisfice.core.errors import UnknownName
from satisfice.experiments import Bank, clustered, import_file, tune
from satisfice.experiments.tuning.choices import Choice, Space
from satisfice.experiments.tuning.nested import HIGH, LOW, PARTS, TRIALS, _groups
from satisfice.experiments.tuning.playing import Player, comparable, points
from satisfice.experiments.tuning.searching import places, search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bank", "file", "null"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--arm", action="append")
    parser.add_argument("--verifier", action="append", default=[])
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--questions", type=int, help="of a null bank (default: all)")
    given = parser.parse_args()
    bank = Bank.open(given.path) if given.what == "bank" else imported(given.path)
    bank = bank.select(models=given.model, arms=given.arm)
    if given.what == "null":
        null(bank, given)
    else:
        held_out(bank, given)


def imported(path: Path) -> Bank:
    folder = Path(tempfile.mkdtemp()) / "bank"
    try:
        return import_file(path, folder, drop_datasets=("comprehensive",))
    except UnknownName:
        return import_file(path, folder)


def held_out(bank: Bank, given: Any) -> None:
    """The tuned procedure, part by part, and on the same questions what else there was."""
    began, busy = perf_counter(), process_time()
    space = Space.of(bank, None, given.verifier)
    seen = comparable(bank, space)
    worths = points(LOW * max(space.costs), HIGH * max(space.costs))
    player, declared = Player(seen, space, worths), Player(seen, space, worths)
    declared._fitted = lambda choice, train: Policy()  # type: ignore[method-assign]
    rows: dict[str, list[Any]] = {"tuned": [], "single_shot": [], "declared": []}
    fixed = [
        Choice("self_consistency", (space.arms[i],), (("samples", n),))
        for i in space.voting
        for n in range(2, space.sizes[i] + 1)
    ]
    every: list[Any] = []
    chosen = []
    for group in _groups(seen.folds, PARTS):
        others = [fold for fold in seen.folds if fold not in group]
        at = places(space, player, group)
        found = search(player, others, trials=given.trials)
        chosen.append(found.choice.label)
        rows["tuned"].append(player.gains(found.choice, others, at))
        rows["single_shot"].append(player.gains(found.baseline, others, at))
        votes = [Choice("self_consistency", (space.arms[i],), (("most", space.sizes[i]),)) for i in space.voting]
        best = max(votes, key=lambda c: _mean(declared, c, others, seen), default=found.baseline)
        rows["declared"].append(declared.gains(best, others, at))
        each = [player.gains(c, others, at) for c in (*space.shots(), *fixed)]
        every.append(np.stack(each, axis=0))
    table = {name: 100 * np.concatenate(parts).mean(axis=1) for name, parts in rows.items()}
    hindsight = 100 * np.concatenate(every, axis=1).mean(axis=2).T  # (questions, single shots and fixed votes)
    print(f"{len(space.questions)} questions, {len(space.arms)} arms, worths {', '.join(f'{w:.3g}' for w in worths)}")
    for text in dict.fromkeys(chosen):
        print(f"  chosen in {chosen.count(text)} of {len(chosen)} parts: {text}")
    print(f"net of single_shot: {_said(clustered(table['single_shot']))}")
    for name in ("single_shot", "declared"):
        print(f"tuned less {name}: {_said(clustered(table['tuned'] - table[name]))}")
    both = np.concatenate([table["tuned"][:, None], hindsight], axis=1)
    print(f"tuned less the best single shot or fixed vote in hindsight: {_said(clustered(both, statistic=_less_best))}")
    for i, worth in enumerate(worths):
        gap = 100 * (np.concatenate(rows["tuned"]) - np.concatenate(rows["single_shot"]))[:, i]
        print(f"  at worth {worth:.3g}: {_said(clustered(gap))}")
    print(f"{perf_counter() - began:.1f} s ({process_time() - busy:.1f} s of one core)")


def _mean(player: Player, choice: Choice, folds: Sequence[int], bank: Bank) -> float:
    return float(player.gains(choice, folds, places(player.space, player, folds)).mean())


def _less_best(means: Any) -> Any:
    return means[:, 0] - means[:, 1:].max(axis=1)


def _said(gain: Any) -> str:
    return f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] points"


def null(bank: Bank, given: Any) -> None:
    """How often tuning claims an improvement on banks on which there is none."""
    claims, lows, busy = 0, [], process_time()
    for seed in range(given.seeds):
        tuned = tune(shuffled(bank, seed, given.questions), trials=given.trials, seed=seed)
        claims += tuned.claimed
        gain = tuned.improvement
        assert gain is not None
        lows.append(gain.low)
        chosen = [part.choice == part.baseline for part in tuned.parts]
        print(
            f"seed {seed}: {_said(gain)}, {sum(chosen)} of {len(chosen)} parts chose single_shot: {tuned.why}",
            flush=True,
        )
    print(
        f"{claims} claims in {given.seeds} banks without anything to gain ({process_time() - busy:.0f} s of one core)"
    )


def shuffled(bank: Bank, seed: int, most: int | None) -> Bank:
    """The same draws, dealt to the questions anew, each with one of four letters that tells nothing of whether it is
    right: neither agreement nor a second draw after a blank can be worth anything."""
    dice = Random(seed)
    names = sorted(bank.questions)
    kept = set(dice.sample(names, min(most or len(names), len(names))))
    groups = {group: row for group, row in bank.draws.items() if group[0] in kept}
    pool = [draw for row in groups.values() for draw in row]
    dice.shuffle(pool)
    dealt = iter(pool)
    draws = {}
    for group, row in groups.items():
        mine = [next(dealt) for _ in row]
        named = [replace(d, sample_index=i, key=(key := dice.choice("abcd")), answer=key) for i, d in enumerate(mine)]
        draws[group] = tuple(named)
    return Bank({name: q for name, q in bank.questions.items() if name in kept}, draws)


if __name__ == "__main__":
    main()
