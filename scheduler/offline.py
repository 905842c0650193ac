"""The drivers that need no world: replay and simulate. One loop in virtual time; what differs is who answers.

A source is asked once for each call and says what comes back and after how many seconds. Replies arrive in the order
of their virtual times (ties: in the order in which the calls were sent), so races, deadlines and retries behave as
they do live, at no cost and without a clock.
"""

from __future__ import annotations

import heapq
from threading import Thread
from typing import Any, Protocol

import anyio

from ..core.effects import Ask, CallTool, Recall, Remember, Sample, Score
from ..core.errors import NobodyToAsk, ToolError, TraceMiss
from ..core.verdict import Verdict
from .nodes import Call, Reply
from .run import Run
from .tools import call_here
from .verdicts import unknown


class Source(Protocol):
    """Answers Samples: a Reply (its `seconds` is when it arrives), or an exception to throw at the yield. Raises
    `TraceMiss` for what it cannot answer: that ends the whole run, so that no plan can paper over it. The
    `tools` of one that has any (as `scheduler.tools.toolbox` makes them) are called."""

    def answer(self, call: Call) -> Reply | Exception: ...


class Memory:
    """Recall and Remember for one offline run."""

    def __init__(self) -> None:
        self._topics: dict[tuple[str, str], list[Any]] = {}

    def perform(self, effect: Recall | Remember) -> Any:
        topic = self._topics.setdefault((effect.scope, effect.topic), [])
        if isinstance(effect, Recall):
            return tuple(topic)
        topic.append(effect.value)
        return None


def perform(run: Run, source: Source) -> Run:
    """Drives a run to its end. Raises `TraceMiss`, and `NobodyToAsk` where a plan asks a person."""
    queue: list[tuple[float, int, Call, Any]] = []
    memory, count, now = Memory(), 0, run.books.now
    run.start(now)
    while run.outcome is None:
        for call in run.take().calls:
            came = _perform(call, source, memory)
            seconds = call.delay + (came.seconds if isinstance(came, Reply) else 0.0)
            heapq.heappush(queue, (now + seconds, count, call, came))
            count += 1
        if not queue:
            raise TraceMiss("the run waits for nothing: a plan yielded an effect that no driver performs")
        deadline = run.next_deadline
        if deadline is not None and deadline <= queue[0][0]:
            now = max(now, deadline)
            run.tick(now)
            continue
        now, _, call, came = heapq.heappop(queue)
        if isinstance(came, Exception):
            run.fail(call, came, now)
        elif isinstance(came, Reply):
            run.reply(call, came, now)
        else:
            run.deliver(call, came, now)
    return run


def _perform(call: Call, source: Source, memory: Memory) -> Any:
    effect = call.effect
    if isinstance(effect, Sample):
        return source.answer(call)
    if isinstance(effect, Score):
        return judge(effect)
    if isinstance(effect, Recall | Remember):
        return memory.perform(effect)
    if isinstance(effect, CallTool):
        try:
            return call_here(effect, getattr(source, "tools", {}), call.nth)
        except ToolError as error:
            return error
    if isinstance(effect, Ask):
        raise NobodyToAsk("a person is asked, and nobody is there in replay or simulation")
    raise TraceMiss(f"nothing performs {type(effect).__name__}")


def judge(effect: Score) -> Verdict:
    """Runs a blocking verifier where it stands."""
    try:
        if getattr(effect.verifier, "is_async", False):
            value = _awaited(effect)
        else:
            value = effect.verifier(effect.task, effect.candidate)
    except Exception as error:
        return unknown(error)
    if isinstance(value, Verdict):
        return value
    return unknown(TypeError("a blocking verifier must return a Verdict"))


def _awaited(effect: Score) -> Any:
    """The verdict of an async verifier, in a loop of its own: there may be one under way in this thread."""
    box: list[Any] = []

    async def work() -> None:
        try:
            box.append(await effect.verifier.acall(effect.task, effect.candidate))  # type: ignore[attr-defined]
        except Exception as error:
            box.append(unknown(error))

    thread = Thread(target=anyio.run, args=(work,))
    thread.start()
    thread.join()
    return box[0]
