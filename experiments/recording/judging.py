"""What verifiers say of recorded draws: those that cost nothing of every draw, the others once of each different
answer, and their word stands for all draws that gave it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import isgenerator
from math import inf
from typing import TYPE_CHECKING, Any

from ...budgets.budget import Budget
from ...core.completions import Message
from ...core.errors import BudgetError, CallerError, SatisficeError
from ...core.task import Candidate, Task
from ...core.verdict import Verdict, Verifier, name_of
from ...verifiers.registry import verifier_of
from ..bank import Question, Scored
from .units import Plan, asked_as, task_of

if TYPE_CHECKING:
    from .recorder import _Session

Place = tuple[str, str, str]  # (question, model, arm)
_PROBE = Candidate("1", "1", "1", logprobs=(-0.1,), tokens=1)


def free_of(specs: Sequence[str]) -> tuple[Verifier, ...]:
    """Those of the named verifiers that judge at once and ask nobody."""
    return tuple(v for v in map(verifier_of, specs) if not _asks(v))


def score_of(verifier: Verifier, task: Task, candidate: Candidate) -> float | None:
    """What a verifier that asks nobody says. Its failure is an unknown verdict."""
    try:
        said = verifier(task, candidate)
    except Exception:
        return None
    return said.score if isinstance(said, Verdict) else None


def _asks(verifier: Verifier) -> bool:
    if getattr(verifier, "blocking", False):
        return True
    said: Any = verifier(Task((Message("user", "1"),)), _PROBE)
    if isgenerator(said):
        said.close()
    return not isinstance(said, Verdict)


@dataclass(frozen=True, slots=True)
class Judging:
    """The verifiers that ask a model, each with every one of `judges`, on the draws of `arms` (none: all)."""

    verifiers: tuple[str, ...]
    judges: tuple[str, ...]
    models: tuple[str, ...]
    arms: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> Judging:
        """The first model judges where nobody else is named to."""
        paid = tuple(spec for spec in plan.verifiers if _asks(verifier_of(spec)))
        judges = plan.judges or plan.models[:1]
        arms = plan.judged or tuple(c.arm for c in plan.conditions)
        return cls(paid, judges, plan.models, arms)

    def named(self, spec: str, judge: str) -> str:
        """The verdict's name in the bank: who was asked is a part of it."""
        return f"{name_of(verifier_of(spec))}@{judge.rpartition('/')[2]}"


async def judge_all(judging: Judging, session: _Session) -> None:
    """Asks what was not asked yet, question by question in the order of the recording."""
    drawn = _answers(judging, session)
    questions = {q.id: q for q in session.recorder.asked.questions}
    for place, answers in drawn.items():
        question = questions[place[0]]
        for spec in judging.verifiers:
            for judge in judging.judges:
                try:
                    await _judged(session, question, place, answers, spec, judge, judging.named(spec, judge))
                except BudgetError as error:
                    session.recorder.progress.stopped = str(error)
                    return


def _answers(judging: Judging, session: _Session) -> dict[Place, dict[str, tuple[str, list[int]]]]:
    """Of each (question, model, arm): a text and the sample indices by key of the answer."""
    from ..bank import Bank

    session.bank.flush()
    bank = Bank.open(session.bank.folder)
    found: dict[Place, dict[str, tuple[str, list[int]]]] = defaultdict(dict)
    for question in session.recorder.asked.questions:
        for model in judging.models:
            for arm in judging.arms:
                place = (question.id, model, arm)
                for draw in bank.draws.get(place, ()):
                    if draw.key is not None:
                        text = draw.text if draw.text is not None else draw.answer or ""
                        found[place].setdefault(draw.key, (text, []))[1].append(draw.sample_index)
    session.recorder.progress.total += sum(map(len, found.values())) * len(judging.verifiers) * len(judging.judges)
    return dict(found)


async def _judged(
    session: _Session,
    question: Question,
    place: Place,
    answers: dict[str, tuple[str, list[int]]],
    spec: str,
    judge: str,
    name: str,
) -> None:
    known = session.bank.known().verdicts
    progress = session.recorder.progress
    for key, (text, places) in answers.items():
        fresh = [i for i in places if ((*place, i), name) not in known]
        if not fresh:
            progress.done += 1
            progress.kept += 1
            continue
        try:
            scored = await _ask(session, question, place, key, text, spec, judge)
        except (BudgetError, CallerError):
            raise
        except SatisficeError as error:
            progress.failed.append(f"{question.id} {name}: {error}")
            continue
        session.bank.add(question, verdicts={(place[1], place[2], i): {name: scored} for i in fresh})
        progress.done += 1
        session.tick()


async def _ask(
    session: _Session, question: Question, place: Place, key: str, text: str, spec: str, judge: str
) -> Scored:
    engine = session.engine
    task = task_of(question, session.recorder.plan.prompts)
    unit = "\x1f".join(("verdict", *place, f"{spec}@{judge}", key))
    unit = asked_as(unit, task, text, session.identities([judge]))
    task = replace(task, scope=("record", unit))
    reading = task.contract.read(text)
    candidate = Candidate(text, reading.answer if reading else None, reading.key if reading else None)
    budget = Budget(calls=session.recorder.calls, worth=inf)

    def solve() -> Any:
        return engine.verify(task, candidate, spec, budget=budget, models=judge, seed=0)

    record, rows = await session.recorded(unit, solve)
    said = json.loads(record.result or "{}").get("verdicts", ())
    score = said[0]["verdict"]["score"] if said else None
    tokens = sum(row.tokens for row in rows if row.kind == "reply")
    return Scored(score, tokens, record.spent_nanos)
