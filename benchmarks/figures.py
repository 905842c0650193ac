"""Makes the documented figures of stopping, the ledger, allocation and dispatch again, one command for each.

    python benchmarks/figures.py                                    # which there are, and how long they take
    python benchmarks/figures.py stopping-0.7 --data FOLDER         # makes one, and holds it against its page
    python benchmarks/figures.py --all --data FOLDER --logs out     # all of them: some hours

FOLDER holds the recorded runs that the pages name (mcqa_temperature_10samples.parquet and so on). What each prints is
shown as it comes; after it the figures that its page states stand beside those that came, with "same" where they
agree within what the page rounds to. Figures of speed are shown, and never held against anything: machines differ.
Exit code: 0 where all figures agree, 1 where one does not or a command failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
MCQA, NINE = "mcqa_temperature_10samples.parquet", "selfreflection_mcqa_9models.parquet"
ROUTE, ZERO = "routellm_gsm8k_mmlu.parquet", "zeroeval_many_models.parquet"
GAME, STEPS = "game24_gpt4_io_cot_tot.parquet", "game24_tot_steps.jsonl.gz"
TRIALS = "hotpotqa_reflexion_trials.parquet"
NUMBER = r"\s*([-+]?[0-9]*\.?[0-9]+)"


@dataclass(frozen=True, slots=True)
class Stated:
    """A figure of a page: `after` is what stands before it in the output (a pattern), `value` what the page says."""

    what: str
    after: str
    value: float
    within: float = 0.011


@dataclass(frozen=True, slots=True)
class Figure:
    """A command of this folder that makes figures of `page`; "@" before an argument: a file in the data's folder."""

    command: str
    page: str
    minutes: float
    stated: tuple[Stated, ...] = ()

    def argv(self, data: Path | None) -> list[str]:
        """Raises `ClickException` for a file that is not there."""
        script, *rest = self.command.split()
        found = [sys.executable, str(HERE / script)]
        for word in rest:
            if not word.startswith("@"):
                found.append(word)
                continue
            if data is None or not (data / word[1:]).is_file():
                raise click.ClickException(f"{word[1:]} is needed: --data names the folder that holds it")
            found.append(str(data / word[1:]))
        return found


def _of_stopping(regret: float, over: float) -> tuple[Stated, ...]:
    return (
        Stated("mean regret, points", r"regret, mean over the costs:", regret),
        Stated("over the best single rule, points", r"against the best single rule \([^)]*\):", over),
    )


FIGURES: dict[str, Figure] = {
    # budgets
    "stopping-0.7": Figure(f"stopping.py replay @{MCQA} --temperature 0.7", "stopping", 2, _of_stopping(-0.10, 1.80)),
    "stopping-1.0": Figure(f"stopping.py replay @{MCQA} --temperature 1", "stopping", 2, _of_stopping(-0.18, 2.59)),
    "stopping-gpt4": Figure(
        f"stopping.py replay @{MCQA} --model gpt-4 --keep comprehensive --temperature 0.7",
        "stopping",
        2,
        (Stated("mean regret, points", r"regret, mean over the costs:", 0.82),),
    ),
    "stopping-learned": Figure(
        "stopping_learned.py",
        "stopping",
        2,
        tuple(Stated(f"regret, {w}", rf"\| {w} \|", v) for w, v in (("choice", 0.03), ("open", 0.10), ("mixed", 0.05))),
    ),
    "stopping-started": Figure(f"stopping.py started @{MCQA} --temperature 0.7", "stopping", 2),
    "stopping-speed": Figure(f"stopping_speed.py warm @{MCQA}", "stopping", 1),
    "checks": Figure(
        f"folding.py check @{GAME}",
        "stopping-other",
        1,
        (
            Stated("IO, Beta: mean regret", r"mean over the grid, Beta:", 0.79),
            Stated("CoT, Beta: mean regret", r"(?s)cot: n = .*mean over the grid, Beta:", 0.43),
        ),
    ),
    "checks-synthetic": Figure(
        "folding.py synthetic",
        "stopping-other",
        2,
        (Stated("half hopeless, as fit chooses", r"half hopeless, half Beta\(4, 4\) \| as fit chooses \|", 0.52),),
    ),
    "switching": Figure(
        f"folding.py switch @{GAME}",
        "stopping-other",
        1,
        (Stated("by index less the better arm", r"less the better arm in hindsight:", 0.79),),
    ),
    "rounds": Figure(
        f"folding.py rounds @{TRIALS}",
        "stopping-other",
        1,
        (Stated("mean regret, curve", r"mean of all: curve", 0.84),),
    ),
    "waves": Figure("folding.py waves", "stopping-other", 2),
    "scored": Figure(
        f"pandora.py {HERE.parent / 'experiments/banks/verifiers'} --only chain,UCB-Pandora", "stopping-other", 20
    ),
    "ledger": Figure("ledger.py", "ledger", 3),
    "overspend": Figure("overspend.py", "ledger", 1),
    # scheduler
    "nine-models": Figure(f"nine_models.py @{NINE}", "allocation-nine-models", 240),
    "routing-mmlu": Figure(
        f"routellm.py mmlu @{ROUTE}",
        "routing-routellm",
        3,
        (
            Stated("APGR in calls", r"\| predictor \|", 0.688, 0.002),
            Stated("PGR at 40% of calls", r"\| predictor \|[^|]*\|", 0.651, 0.002),
            Stated("APGR in calls, domain mean", r"\| domain mean \|", 0.670, 0.002),
        ),
    ),
    "routing-gsm8k": Figure(
        f"routellm.py gsm8k @{ROUTE} @{ZERO}",
        "routing-routellm",
        1,
        (
            Stated("PGR of the cascade", r"accept where the rerun agrees \|", 1.038, 0.002),
            Stated("its share of strong calls", r"accept where the rerun agrees \|[^|]*\|", 0.459, 0.002),
            Stated("its share of strong dollars", r"accept where the rerun agrees \|[^|]*\|[^|]*\|", 0.603, 0.002),
        ),
    ),
    "game24": Figure(
        f"game24_allocation.py @{GAME} @{STEPS}",
        "allocation-game24",
        1,
        (Stated("mean gain over the worths, points", r"worths, allocator, points of worth:", 8.88),),
    ),
    "sharing-0.7": Figure(
        f"sharing.py draws @{MCQA} --orders 15 --mean 3 --temperature 0.7",
        "sharing",
        20,
        (Stated("shared less uniform, points", r"(?m)^\| 3(?:\.0)? \|[^|]*\|[^|]*\|[^|]*\|", 1.72),),
    ),
    "sharing-1.0": Figure(
        f"sharing.py draws @{MCQA} --orders 15 --mean 3 --temperature 1",
        "sharing",
        20,
        (Stated("shared less uniform, points", r"(?m)^\| 3(?:\.0)? \|[^|]*\|[^|]*\|[^|]*\|", 2.07),),
    ),
    "fair-shares": Figure("queueing.py fair --seeds 2", "sharing", 5),
    "stream": Figure("queueing.py stream --even --overload 1.2", "sharing", 10),
    "decision-speed": Figure("allocation_speed.py --rounds 100", "allocation-speed", 2),
    "chaos": Figure("chaos.py --requests 50 --rounds 6", "chaos", 20),
    "killing": Figure("killing.py --rounds 20", "chaos", 5),
    "learning": Figure("learning.py", "learning", 20),
    "learning-nine-models": Figure(f"learning.py --parquet @{NINE}", "learning", 20),
    "off-policy": Figure(f"off_policy.py @{NINE}", "off-policy", 2),
}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Where recorded runs are.")
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option("--logs", type=click.Path(path_type=Path), help="A folder to keep what each printed.")
def main(names: Sequence[str], data: Path | None, every: bool, logs: Path | None) -> None:
    """See the module's docstring."""
    if not names and not every:
        for name, figure in FIGURES.items():
            click.echo(f"{name:22} docs/measurements/{figure.page}.md, about {figure.minutes:g} min: {figure.command}")
        return
    for name in names:
        if name not in FIGURES:
            raise click.ClickException(f"no figure {name!r}; there are {', '.join(FIGURES)}")
    wanted = {name: FIGURES[name].argv(data) for name in (FIGURES if every else names)}  # before hours are spent
    failed = [name for name, argv in wanted.items() if not _made(name, argv, logs)]
    if failed:
        raise click.ClickException(f"not as documented: {', '.join(failed)}")


def _made(name: str, argv: list[str], logs: Path | None) -> bool:
    click.echo(f"== {name}: {' '.join(argv[1:])}", err=True)
    lines: list[str] = []
    environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            click.echo(line, nl=False)
            lines.append(line)
    text = "".join(lines)
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        (logs / f"{name}.txt").write_text(text, encoding="utf-8")
    if process.returncode:
        click.echo(f"{name}: the command failed ({process.returncode})", err=True)
        return False
    held = [_held(name, one, text) for one in FIGURES[name].stated]  # each is said, whatever became of the others
    return all(held)


def _held(name: str, one: Stated, text: str) -> bool:
    found = re.search(one.after + NUMBER, text)
    came = float(found[1]) if found else None
    same = came is not None and abs(came - one.value) <= one.within
    said = "same" if same else "DIFFERENT" if found else "NOT FOUND"
    click.echo(f"{name}: {one.what}: page {one.value:g}, now {came}: {said}", err=True)
    return same


if __name__ == "__main__":
    main()
