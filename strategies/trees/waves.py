"""Expansions that go on at once: what each of them asks, and what came of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.effects import Effect, Gather, Sample
from ...core.errors import GatherFailed
from ...core.plans import Outcome, Plan
from ...core.task import Task
from ..steps import FAULTS
from .expanders import Path, taken
from .nodes import Step


@dataclass(frozen=True, slots=True)
class Job:
    """One node to expand, by which expander (`arm`: its place), and what that will ask."""

    node: int
    arm: int
    at_end: bool
    expander: Any
    task: Task
    path: Path
    asked: tuple[Effect[Any], ...]

    @property
    def splits(self) -> bool:
        """What it asks is known before it is asked, so that it can stand beside others."""
        return bool(self.asked) and hasattr(self.expander, "read")

    @property
    def length(self) -> int:
        """Characters of its prompts."""
        return sum(len(m.content) for one in self.asked if isinstance(one, Sample) for m in one.messages)


@dataclass(frozen=True, slots=True)
class Grown:
    """What came of a job: its steps, and what strategies that were run for it have found. `fault`: it failed (None
    where it did not)."""

    steps: tuple[Step, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    fault: Exception | None = None


def together(jobs: list[Job]) -> list[Job]:
    """The first jobs that can be done at once: one alone, where it is not known what it asks."""
    known = next((i for i, job in enumerate(jobs) if not job.splits), len(jobs))
    return jobs[: max(1, known)]


def done(jobs: Sequence[Job]) -> Plan[list[Grown]]:
    """Does the jobs, all that they ask in one `Gather`. A failure is told, not raised."""
    if len(jobs) == 1:
        try:
            return [(yield from _alone(jobs[0]))]
        except FAULTS as error:
            return [Grown(fault=error)]
    try:
        replies = yield from Gather(tuple(effect for job in jobs for effect in job.asked), at_least=1)
    except FAULTS as error:
        return [Grown(fault=error)] * len(jobs)
    came, at = [], 0
    for job in jobs:
        came.append(_read(job, replies[at : at + len(job.asked)]))
        at += len(job.asked)
    return came


def _alone(job: Job) -> Plan[Grown]:
    if not job.splits:
        made = job.expander(job.task, job.path)
        if isinstance(made, Generator):
            made = yield from made
        return Grown(taken(made))
    if len(job.asked) == 1:
        reply = yield from job.asked[0]
        return _read(job, (reply,))
    return _read(job, (yield from Gather(job.asked, at_least=1)))


def _read(job: Job, replies: Sequence[Any]) -> Grown:
    if all(reply is None for reply in replies):
        return Grown(fault=GatherFailed("none of what a step asked for came"))
    outcomes = tuple(reply for reply in replies if isinstance(reply, Outcome))
    return Grown(taken(job.expander.read(job.task, job.path, replies)), outcomes)
