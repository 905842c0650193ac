"""The run: a sans-IO core that advances plans and knows what the world still has to do.

A driver takes what is due (`take`), performs the calls, and brings back what came (`reply`, `deliver`, `fail`). Live,
replay and simulate differ only in how they perform: pools, purses, offers, quorums, journal rows and stops are
decided here, once. All state changes are synchronous; time comes in as an argument (seconds since the run began).

`take` returns journal rows, cancels and calls, in this order of effect: rows are committed first, so that whatever a
call could change is on record before it is sent, and a race's winners before its losers are cancelled.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from weakref import proxy

from ..budgets.purse import Hold, Purse
from ..core.amounts import ZERO, Amounts
from ..core.effects import Score
from ..core.errors import CallerError, JournalMismatch, Killed, SatisficeError, ToolError, TraceMiss
from ..core.plans import Answer, Outcome, Plan
from ..core.task import Candidate
from ..core.verdict import Verdict, name_of
from . import codec
from .books import Books
from .decisions import Decision, Economics, picked
from .dispatch.attempts import Attempts
from .fans import Fans
from .journal import Row
from .log import Log
from .nodes import Call, Fan, Frame, Node, Path, Refused, Reply, Resolved, Result, Slot, line
from .pooling import pool, underway
from .refusing import first_of
from .starting import Starter
from .verdicts import Verdicts, asking, unknown, verdict_of

RETRIES = 2


@dataclass(slots=True)
class Due:
    """What the world has to do next: rows to commit, then calls to drop, then calls to send. `resolved`: what came of
    calls that are over, for whoever keeps accounts."""

    rows: list[Row]
    cancels: list[Call]
    calls: list[Call]
    resolved: list[Resolved]


class Run:
    """One request's thinking. `log`: what an earlier process journaled of this run. `journaled`: make rows."""

    def __init__(
        self,
        plan: Plan[Answer],
        *,
        purse: Purse,
        economics: Economics,
        name: str = "",
        id: str = "",
        seed: int = 0,
        log: Log | None = None,
        journaled: bool = False,
        retries: int = RETRIES,
    ) -> None:
        self.id, self.seed, self.retries, self.log = id, seed, retries, log
        self.economics, self.tariff = economics, economics.tariff
        self.root = Frame((), plan, "strategy", name, purse, None, economics.budget.seconds, None)
        self.books = Books(id, self.root, self.tariff, journaled, log.elapsed if log else 0.0)
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.decisions: list[Decision] = []
        self.lacked = ""  # what the last step that could not be paid would have taken, in words
        self.verdicts = Verdicts()
        self.called: Counter[str] = Counter()  # tools, by name: a resumed run counts along
        self.caching = False  # set by a driver that keeps replies: then equal samples are told apart
        self.drawn: Counter[str] = Counter()  # samples, by fingerprint: likewise
        self.part_stopped: Callable[[str], Killed | None] = lambda name: None  # by a switch; a driver's
        self.foreseen: list[int] = []  # sizes of its first offers, where a replay knows what they come to
        self.explained = True  # decisions say why, in words
        self.drawn_from = 0  # the first draw's number: past those of the runs whose candidates the task brings
        # Proxies: a cycle would leave each run to the garbage collector, which costs more than the run itself.
        self._fans = Fans(proxy(self))
        self.attempts = Attempts(proxy(self))
        self._starter = Starter(proxy(self), self._fans)
        self._ready: deque[tuple[Frame, Result]] = deque()
        self._halting: deque[Frame] = deque()
        self._cancels: list[Call] = []
        if log is not None:
            # Lost calls count as spent before any plan moves; each place takes its part over when it is reached.
            purse.post(log.total)

    # -- what a driver calls -------------------------------------------------------------------------------------

    def start(self, now: float = 0.0) -> None:
        """Advances the plan until it waits for the world. Raises `JournalMismatch`."""
        self.books.clock(now)
        self.open_frame(self.root)
        self._pump()

    def take(self) -> Due:
        """What is due since the last time."""
        books = self.books
        due = Due(books.rows, self._cancels, books.calls, books.resolved)
        books.rows, self._cancels, books.calls, books.resolved = [], [], [], []
        for call in due.calls:
            call.state = "sent"
        return due

    def reply(self, call: Call, reply: Reply, now: float) -> None:
        """A completion came back: settles it and goes on."""
        self.books.clock(now)
        if call.state != "done":
            if (twin := self.attempts.part(call)) is not None:
                self.attempts.lost(twin)
            call.cached = reply.cached
            spent = self.books.bill(call, reply)
            candidate = self.books.candidate(call, reply, spent)
            call.came = (candidate.answer, None)
            self._resolve(call, spent, candidate)

    def deliver(self, call: Call, value: Any, now: float) -> None:
        """A tool, a check, a memory or a person replied. A value that JSON cannot hold fails the call."""
        self.books.clock(now)
        if call.state == "done":
            return
        try:
            value = codec.held(call.effect, codec.loosely(value) if call.stands_for is not None else value)
            codec.encode_reply(call.stands_for or call.effect, value)
        except (TypeError, ValueError) as error:
            self.fail(call, ToolError(f"{call.kind} replied what JSON cannot hold: {error}"), now)
        else:
            self._resolve(call, ZERO, value)

    def fail(self, call: Call, error: Exception, now: float) -> None:
        """A call failed: tried again where that may help and the purse allows it, else thrown into the plan."""
        self.books.clock(now)
        if call.state == "done":
            return
        call.came = (None, str(error))
        if isinstance(call.effect, Score):
            self._resolve(call, ZERO, Verdict(None, evidence=codec.storable(unknown(error).evidence)))
            return
        sent = getattr(error, "sent", not isinstance(error, CallerError))  # the caller's fault is found before sending
        spent = call.hold.amounts if call.hold and sent else ZERO
        self.books.pay(call, spent)
        other = self.attempts.part(call)  # its hedge, or what it hedges: that one goes on
        again = self.attempts.after(call, error) if other is None else None
        # Whether it is tried again is what the purse says now, not what it may say on resuming.
        facts = {"error": codec.encode_error(error), "retry": (other or again) is not None}
        self.books.close(call, spent, json.dumps(facts))
        if other is not None or again is not None:
            self.attempts.stand_in(call, other or again)
        else:
            self.give(call.slot, Result(error=error))
        if again is not None:
            self.books.send(again)
        self._pump()

    def hedge(self, call: Call, now: float) -> None:
        """Sends a second equal call, where the purse can pay it."""
        self.books.clock(now)
        self.attempts.hedge(call)

    def refuse(self, call: Call, cap: str, why: str, error: SatisficeError, now: float) -> None:
        """An account above the run has no room for the call, which was not sent."""
        self.books.clock(now)
        if call.state != "done":
            self.books.turn_away(call, cap)
            if (other := self.attempts.part(call)) is not None:  # it was a hedge: what it hedged goes on
                self.attempts.stand_in(call, other)
                return
            self.lacked = why
            self.give(call.slot, Result(error=Refused(cap, error if first_of(call.frame) else None)))
            self._pump()

    def park(self, call: Call) -> None:
        """Nobody answers this for now."""
        call.state = "parked"

    def stop(self, reason: str, now: float, error: Exception | None = None) -> None:
        """Ends the run with what is on offer. A resumed run goes on from there."""
        self.books.clock(now)
        if self.outcome is None:
            self.halt(self.root, reason, error)
            self._pump()

    def tick(self, now: float) -> None:
        """Stops what is past its deadline, outermost first."""
        self.books.clock(now)
        frames = {id(f): f for call in self.books.open for f in line(call.frame)}
        for frame in sorted(frames.values(), key=lambda f: (len(f.path), f.path)):
            if frame.alive and frame.deadline is not None and now >= frame.deadline:
                self.books.row((*frame.path, 0), 0, "reply", "frame", json.dumps({"stop": "budget_seconds"}))
                self.halt(frame, "budget_seconds")
        self._pump()

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due next, in seconds since the run began."""
        times = [f.deadline for call in self.books.open for f in line(call.frame) if f.deadline is not None]
        return min(times, default=None)

    @property
    def waiting(self) -> bool:
        """Nothing is under way, and somebody has yet to answer."""
        return self.outcome is None and all(call.state == "parked" for call in self.books.open)

    # -- plans ----------------------------------------------------------------------------------------------------

    def open_frame(self, frame: Frame) -> None:
        frame.started = self.books.now
        entry = self.log.at((*frame.path, 0)) if self.log else None
        if entry is not None and entry.reply is not None:
            frame.halt = entry.reply["stop"]
        self._ready.append((frame, Result()))

    def _pump(self) -> None:
        while self._ready or self._halting:
            if self._ready:
                frame, result = self._ready.popleft()
                if frame.alive:
                    self._advance(frame, result)
            else:
                frame = self._halting.popleft()
                if frame.alive:
                    self.halt(frame, frame.halt or "cancelled")

    def _advance(self, frame: Frame, result: Result) -> None:
        frame.waiting = None
        if isinstance(result.value, Candidate | Outcome):
            pool(frame, (result.value,))
        try:
            plan, failed = frame.plan, result.error
            effect = plan.send(result.value) if failed is None else plan.throw(failed)
        except StopIteration as end:
            self._finish(frame, end.value)
        except Exception as error:
            self._fault(frame, error)
        else:
            frame.step += 1
            waiting = self.begin(effect, (*frame.path, frame.step, 0), frame, (frame, 0))
            if frame.alive:
                frame.waiting = waiting

    def begin(self, effect: Any, path: Path, frame: Frame, slot: Slot, hold: Hold | None = None) -> Node | None:
        """Starts an effect; its result goes to `slot`, at once or later. Returns what waits."""
        try:
            return self._starter.begin(effect, path, frame, slot, hold)
        except (JournalMismatch, TraceMiss):
            raise
        except Exception as error:  # an effect that is none, or with values that make no sense: the plan's fault
            self.give(slot, Result(error=error))
            return None

    def _finish(self, frame: Frame, value: Any) -> None:
        if frame.kind == "verifier":
            self._end(frame, verdict_of(value, frame))
        elif not isinstance(value, Answer):
            self._fault(frame, TypeError(f"{frame.name} returned {type(value).__name__}, not an Answer"))
        else:
            frame.offer, frame.belief = value, value.belief or frame.belief
            frame.offer = picked(frame)
            self._end(frame, self._outcome(frame, value.reason))

    def _fault(self, frame: Frame, error: Exception) -> None:
        if frame.kind == "verifier":
            self._end(frame, unknown(error))
            return
        if frame is self.root:
            self.error = error
        else:
            self.verdicts.troubles[f"{frame.name} failed: {type(error).__name__}: {error}"] += 1
        outcome = replace(self._outcome(frame, "fault"), fault=f"{type(error).__name__}: {error}")
        in_fan = frame.slot is not None and isinstance(frame.slot[0], Fan)
        self._end(frame, outcome, error if in_fan and outcome.answer is None else None)

    def halt(self, frame: Frame, reason: str, error: Exception | None = None) -> None:
        """Closes a plan where it stands and answers with its last offer."""
        pool(frame, underway(frame.waiting))
        self.kill(frame)
        if frame is self.root and error is not None:
            self.error = error
        if frame.kind == "verifier":
            self._end(frame, unknown(error or Refused(reason)))
        else:
            self._end(frame, self._outcome(frame, reason))

    def _outcome(self, frame: Frame, reason: str) -> Outcome:
        answer, terms = frame.offer, frame.terms
        if answer is not None and frame.belief is not None and terms is not None and terms.wrong:
            p = frame.belief.p(terms)
            if p is not None and terms.value(p) <= 0.0:
                answer, reason = Answer(None, "abstained"), "abstained"
        spent = replace(frame.spent, seconds=self.books.now - frame.started)
        if frame.slot is None:
            return Outcome(answer, tuple(frame.found), spent, reason)
        known = answer is not None and answer.candidate is not None and frame.belief is not None and terms is not None
        p = frame.belief.p(terms) if known and frame.belief and terms else None
        judged = tuple(sorted(frame.judged, key=lambda j: (j.candidate, j.verifier)))  # not in the order of arrival
        return Outcome(answer, tuple(frame.found), spent, reason, judged, p, frame.part)

    def _end(self, frame: Frame, value: Outcome | Verdict, error: Exception | None = None) -> None:
        frame.alive = False
        if frame.slot is None:
            assert isinstance(value, Outcome)
            self.outcome = value
            return
        if isinstance(value, Outcome):
            entry = self.log.at(frame.path) if self.log else None
            if entry is not None and entry.reply is not None:
                value = codec.decode_outcome(entry.payload)
            elif self.books.journaled:
                payload = codec.encode_outcome(value)
                self.books.row(frame.path, 0, "reply", "within", payload, fingerprint=frame.fingerprint)
        if isinstance(value, Verdict) and frame.score is not None:
            self.judged(frame.score, asking(frame), frame.slot, value)
        else:
            self.give(frame.slot, Result(value, error))

    def kill(self, node: Node | None) -> None:
        """Ends a subtree without a word: plans are closed, what is under way is cancelled and billed at its hold."""
        if isinstance(node, Frame) and node.alive:
            node.alive = False
            self.kill(node.waiting)
            try:
                node.plan.close()
            except Exception as error:  # a plan that yields while it is closed: its fault, not a reason to go on
                self.error = self.error or error
        elif isinstance(node, Fan) and node.alive:
            node.alive = False
            for child in node.children:
                self.kill(child)
        elif isinstance(node, Call):
            other = self.attempts.part(node)
            self._drop(node)
            if other is not None:
                self._drop(other)

    def _drop(self, call: Call) -> None:
        if call.state == "open":
            self.books.drop(call)
        elif call.state != "done":
            left = call.hold is not None and self.books.now >= call.leaves  # a retry that backs off has not left
            self.books.settle(call, call.hold.amounts if left and call.hold else ZERO, json.dumps({"cancelled": True}))
            self.cancel(call)

    def cancel(self, call: Call) -> None:
        """What the world is to drop, once that is on record."""
        self._cancels.append(call)

    # -- results --------------------------------------------------------------------------------------------------

    def give(self, slot: Slot, result: Result) -> None:
        """Hands a result to the plan or fan that waits for it. A refusal stops a plan."""
        owner, i = slot
        if not owner.alive:
            return
        if isinstance(owner, Fan):
            self._fans.branch(owner, i, result)
        elif isinstance(result.error, Refused):
            self.halt(owner, f"budget_{result.error.cap}", result.error.error)
        else:
            self._ready.append((owner, result))

    def resume_with(self, frame: Frame, value: Any) -> None:
        """The reply to an offer."""
        self._ready.append((frame, Result(value)))

    def halt_later(self, frame: Frame) -> None:
        """A journaled stop is due as soon as the journal has nothing more to say."""
        self._halting.append(frame)

    def _resolve(self, call: Call, spent: Amounts, value: Any) -> None:
        payload = codec.encode_reply(call.stands_for or call.effect, value) if self.books.journaled else ""
        self.books.settle(call, spent, payload)
        self.came(call, value)
        self._pump()

    def came(self, call: Call, value: Any) -> None:
        """Hands over what a call brought."""
        if isinstance(call.effect, Score) and isinstance(value, Verdict):
            self.judged(call.effect, call.frame, call.slot, value)
        else:
            self.give(call.slot, Result(value))

    def judged(self, score: Score, frame: Frame, slot: Slot, verdict: Verdict) -> None:
        """Hands over a verdict, calibrated by the policy, and keeps it."""
        verdict = codec.held(score, verdict)
        verdict = self.economics.calibrated(name_of(score.verifier), score.task.contract.kind, verdict)
        said = self.verdicts.add(score, frame, verdict)
        if said is not None:
            frame.judged.append(said)
        self.give(slot, Result(verdict))
