"""`satisfice search`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError, StoreError
from .output import emit, json_option, note, table, usd
from .progressing import progress

if TYPE_CHECKING:
    from ..experiments.searching.judging import Judgement
    from ..experiments.searching.scoring import Scorer
    from ..experiments.searching.search import Proposer, Searched
    from ..experiments.searching.space import Space

WINNER, REPORT = "winner.yaml", "judgement.json"


@click.command()
@click.option("--bank", "bank_path", type=click.Path(path_type=Path), help="Try workflows on this bank, for nothing.")
@click.option("--live", is_flag=True, help="Try workflows on real models, within --budget.")
@click.option("--tasks", type=click.Path(path_type=Path), help='With --live: JSON lines {"query", "gold", "answer"}.')
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Models that a workflow may ask (repeat; default: all, or the default one).",
)
@click.option("--arm", help="The recorded condition of the bank's models (default: the only one, or their main one).")
@click.option(
    "--verifier", "verifiers", multiple=True, help="A recorded verifier as the check of every question (repeat)."
)
@click.option("--policy", help='With --verifier: a policy file, or "fit" on the training questions.')
@click.option(
    "--seeds",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A workflow written by hand (repeat; default: the usual ones).",
)
@click.option("--budget", type=float, help="Hard cap in dollars on all real calls, judging included.")
@click.option("--worth", type=float, required=True, help="What a right answer is worth, in dollars.")
@click.option("--wrong", type=float, default=0.0, help="What a wrong answer costs, in dollars.")
@click.option("--steps", type=click.IntRange(0), default=200, show_default=True, help="How many edits are tried.")
@click.option(
    "--held-out",
    "held",
    type=click.FloatRange(0.05, 0.9),
    default=0.3,
    show_default=True,
    help="Share of questions that only judge.",
)
@click.option("--proposer", help="A model that proposes edits, in turn with the grammar; paid from --budget.")
@click.option("--select", type=click.Choice(["mixed", "ucb"]), default="mixed", show_default=True)
@click.option(
    "--resamples", type=click.IntRange(1), default=5, show_default=True, help="Orders of each question's draws."
)
@click.option("--max-tokens", type=click.IntRange(1), help="With --live: of a step (default: the model's usual).")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder of the archive; the same again goes on with it.",
)
@json_option
def search(out: Path, as_json: bool, **options: Any) -> int:
    """Search for a workflow that is worth more than those written by hand, and judge it on questions held out.

    \b
    satisfice search --bank my-bank --worth 0.1 --out found
    satisfice search --bank my-bank --worth 0.1 --seeds mine.yaml --steps 500 --out found
    satisfice search --live --tasks tasks.jsonl --model local/smollm2 --budget 0.01 --worth 0.001 --out found
    satisfice solve "..." --strategy found/winner.yaml

    Every workflow that is tried is kept in OUT/archive.jsonl; interrupted, the same command goes on. The winner is
    OUT/winner.yaml, which may be one of the seeds: that is said, too.

    \b
    Exit code: 0, 2 the call is wrong, 130 interrupted.
    """
    from ..experiments.searching.search import search as look

    wanted = _Wanted(out, **options)
    with wanted.opened() as (scorer, train, held, space, proposers):
        seeds = wanted.seeds_for(space)
        archive = wanted.archive(space, seeds, train, held)
        if archive.entries and not as_json:
            note(f"going on with {len(archive.entries)} workflows of {out}")
        try:
            with progress("trying workflows", as_json) as tell:
                searched = look(
                    scorer, seeds, train, terms=wanted.terms, space=space, steps=wanted.steps, archive=archive,
                    proposers=proposers, select=wanted.select, seed=wanted.seed, judging=len(held),
                    first=min(32, max(4, len(train) // 4)), progress=lambda done, of, _: tell(done, of),
                )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; {len(archive.entries)} workflows are in {out}: the same command goes on"
            ) from None
        judgement = wanted.judged(searched, scorer, held)
    _show(out, searched, judgement, as_json)
    return 0


@dataclass(slots=True)
class _Wanted:
    """What the caller asked for."""

    out: Path
    bank_path: Path | None
    live: bool
    tasks: Path | None
    models: tuple[str, ...]
    arm: str | None
    verifiers: tuple[str, ...]
    policy: str | None
    seeds: tuple[Path, ...]
    budget: float | None
    worth: float
    wrong: float
    steps: int
    held: float
    proposer: str | None
    select: Any
    resamples: int
    max_tokens: int | None
    seed: int

    def __post_init__(self) -> None:
        if (self.bank_path is None) == (not self.live):
            raise CallerError("search wants --bank BANK, or --live with --tasks FILE: one of them")
        if self.live and self.tasks is None:
            raise CallerError("--live wants --tasks FILE: JSON lines with query and gold")
        if (self.live or self.proposer) and self.budget is None:
            raise CallerError("real calls want a hard cap: --budget DOLLARS")

    @property
    def terms(self) -> Any:
        from ..experiments.searching.scoring import Terms

        return Terms(self.worth, self.wrong)

    @contextmanager
    def opened(self) -> Iterator[tuple[Scorer, list[str], list[str], Space, tuple[Proposer, ...]]]:
        """The scorer, training and held-out questions, the space, and who proposes."""
        from ..experiments.searching.live import live, read_tasks, split
        from ..experiments.searching.proposing import FromModel
        from ..experiments.searching.search import FromGrammar
        from ..experiments.searching.space import Space

        made: tuple[Any, list[str], list[str], Space]
        tasks = read_tasks(self.tasks) if self.tasks is not None else {}
        if not self.live:
            made = self._replay()
        if not self.live and self.proposer is None:
            yield (*made, ())
            return
        assert self.budget is not None
        names = self.models if self.live else ()
        asked = (*names, *((self.proposer,) if self.proposer else ()))
        with live(tasks, asked, budget=self.budget, worth=self.worth, spent=self._spent()) as engine:
            if self.live:
                several = names if len(names) > 1 else ()
                made = (engine, *split(list(tasks), self.held), Space.live(several, self.max_tokens))
            proposers: tuple[Proposer, ...] = ()
            if self.proposer is not None:
                from ..core.completions import Params

                writing, name = Params(temperature=0.7, max_tokens=512), self.proposer
                ask = FromModel(lambda prompt: engine.ask(prompt, name, writing), made[3], self.terms, name)
                proposers = (FromGrammar(made[3], self.terms), ask)
            yield (*made, proposers)

    def _replay(self) -> tuple[Scorer, list[str], list[str], Space]:
        from ..budgets.policy import Policy
        from ..experiments import Bank, fit
        from ..experiments.cascading import main_arms
        from ..experiments.searching.replayed import Replay
        from ..experiments.searching.space import Space
        from ..experiments.tuning.standing import Standing

        assert self.bank_path is not None
        bank = Bank.open(self.bank_path).select(models=self.models or None, arms=[self.arm] if self.arm else None)
        standing = Standing.of(bank.arms)
        main = main_arms(replace(bank, draws={g: row for g, row in bank.draws.items() if g[1:] in standing.kept}))
        arms = {model: main[model] for model in sorted(main)}
        count = max(1, min(len(bank.folds) - 1, round(self.held * len(bank.folds))))
        if len(bank.folds) < 2:
            raise CallerError("the bank's questions are all in one fold: none can be held out")
        training = bank.select(folds=bank.folds[:-count])
        policy = Policy()
        if self.policy:
            policy = fit(training) if self.policy == "fit" else Policy.load(self.policy)
        scorer = Replay(bank, arms, self.worth, self.wrong, self.verifiers, policy, self.resamples, self.seed, training)
        names = sorted(scorer.questions, key=_shuffled)
        draws = min(len(row) for (_, m, a), row in bank.draws.items() if arms.get(m) == a)
        space = Space(
            tuple(sorted(arms, key=lambda m: _price(training, m, arms[m]))), checks=bool(self.verifiers), draws=draws
        )
        known = set(training.questions)
        return scorer, [q for q in names if q in known], [q for q in names if q not in known], space

    def seeds_for(self, space: Space) -> dict[str, Any]:
        """Those of the caller's files, else the usual ones."""
        from ..experiments.searching.space import usual_seeds

        if not self.seeds:
            return usual_seeds(space)
        try:
            return {str(path.stem): path.read_text(encoding="utf-8") for path in self.seeds}
        except OSError as error:
            raise CallerError(f"--seeds: {error}") from error

    def archive(self, space: Space, seeds: dict[str, Any], train: list[str], held: list[str]) -> Any:
        from ..experiments.searching.archive import Archive

        head = {
            "of": str(self._place()),
            "training": _digest(train), "held_out": _digest(held), "worth": self.worth, "wrong": self.wrong,
            "models": list(space.models or self.models), "arm": self.arm, "verifiers": list(self.verifiers),
            "policy": self.policy, "seeds": _digest([json.dumps([n, s]) for n, s in seeds.items()]),
            "select": self.select, "resamples": self.resamples, "seed": self.seed, "proposer": self.proposer,
        }  # fmt: skip
        return Archive.open(head, self.out)

    def _place(self) -> Path | None:
        """The bank's folder (a bank that ships goes by its name), or the file of tasks."""
        return self.bank_path.resolve() if self.bank_path and self.bank_path.exists() else self.bank_path or self.tasks

    def judged(self, searched: Searched, scorer: Scorer, held: list[str]) -> Judgement:
        """On the held-out questions; writes the winner and what came of it."""
        from ..experiments.searching.documents import warmed
        from ..experiments.searching.judging import judge
        from ..experiments.searching.replayed import Replay
        from ..strategies.workflow import Workflow

        before = _stored(self.out / REPORT)
        same = sum(before.get("tried", {}).values()) == len(searched.archive.entries)
        looked = int(before.get("looked", 0)) + (0 if same else 1)
        judgement = judge(searched, scorer, held, spare=self.live, looked=looked)
        best = searched.best
        document = best.document or {}
        if isinstance(scorer, Replay) and document:
            document = warmed(document, scorer.arms)
        flow = Workflow.of({"name": best.name or f"found-{best.digest}", **document})
        data = {**judgement.to_dict(), "why": searched.why, "spent": scorer.spent + float(before.get("spent", 0.0))}
        try:
            (self.out / WINNER).write_text(flow.to_yaml(), encoding="utf-8")
            (self.out / REPORT).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write to {self.out}: {error.strerror}") from error
        return judgement

    def _spent(self) -> float:
        """What this search has paid before."""
        from ..experiments.searching.archive import NAME, paid

        return max(paid(self.out / NAME), float(_stored(self.out / REPORT).get("spent", 0.0)))


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _price(bank: Any, model: str, arm: str) -> float:
    costs = [draw.nanos or 0 for row in bank.of_arm(model, arm).values() for draw in row]
    return sum(costs) / max(1, len(costs))


def _shuffled(name: str) -> bytes:
    """An order of the questions in which the first are like the rest."""
    from hashlib import sha256

    return sha256(name.encode()).digest()


def _digest(names: list[str]) -> str:
    from hashlib import sha256

    return sha256("\x1f".join(names).encode()).hexdigest()[:16]


def _show(out: Path, searched: Searched, judgement: Judgement, as_json: bool) -> None:
    from ..experiments.searching.documents import difference
    from ..strategies.workflow import Workflow

    archive, best = searched.archive, searched.best
    lineage = [
        {"number": e.number, "name": e.name, "edit": e.edit, "by": e.by, "net": archive.value(e, searched.terms)}
        for e in archive.line(best)
    ]
    if as_json:
        emit({**judgement.to_dict(), "why": searched.why, "lineage": lineage, "winner": str(out / WINNER)})
        return
    tried = ", ".join(f"{count} {status}" for status, count in sorted(archive.tried.items()))
    click.echo(f"{len(archive.entries)} workflows tried ({tried}); ended by {searched.why}")
    for step in lineage:
        click.echo(f"  #{step['number']} {step['net']:+.4f}  {step['edit'] or step['name']}")
    rows = [
        (what, side.name, f"{side.right.estimate:.3f} [{side.right.low:.3f}, {side.right.high:.3f}]",
         usd(side.usd.estimate), f"{side.net.estimate:+.4f}", f"{side.trained:+.4f}")
        for what, side in (("best seed", judgement.seed), ("found", judgement.found))
    ]  # fmt: skip
    columns = ["", "workflow", "right", "cost", "net", "net on training"]
    table(columns, rows, title=f"{judgement.questions} held-out questions", right="cost")
    click.echo(judgement.verdict)
    if judgement.looked > 1:
        click.echo(f"note: judged {judgement.looked} times on these questions: they are no fresh judge any more")
    first = archive.line(best)[0]
    if first.number != best.number:
        before, after = Workflow.of(first.document or {}), Workflow.of(best.document or {})
        click.echo(difference(before, after, (first.name, "found")))
    click.echo(f"{out / WINNER}: solve --strategy {out / WINNER} runs it")
