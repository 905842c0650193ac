"""How each effect starts: from the journal where it is on record, else as a call, a frame, a fan or a choice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..budgets.purse import Hold, Purse
from ..core.amounts import amount_said
from ..core.belief import Belief, Terms
from ..core.effects import (
    Ask,
    CallTool,
    Choice,
    Choose,
    Effect,
    Gather,
    Offer,
    Race,
    Recall,
    Remember,
    Sample,
    Score,
    Within,
)
from ..core.errors import CallerError, TraceMiss
from ..core.task import Candidate
from ..core.verdict import name_of
from . import codec
from .decisions import Decision, informed, judge, picked, settled_terms, spent_usd, used_up, weighed
from .log import Entry, mismatch
from .nodes import Call, Frame, Node, Path, Refused, Result, Slot, line
from .paths import encode
from .refusing import lacking, refusal, shrink
from .saying import noun_of, say
from .stopped import failing, stopped_before
from .tariff import quote_step
from .verdicts import unknown, verdict_of

if TYPE_CHECKING:
    from .fans import Fans
    from .run import Run

_CALLS = (Sample, CallTool, Ask, Recall, Remember)


class Starter:
    """Starts effects for a run."""

    def __init__(self, run: Run, fans: Fans) -> None:
        self._run, self._fans = run, fans

    def begin(self, effect: Any, path: Path, frame: Frame, slot: Slot, hold: Hold | None) -> Node | None:
        """Starts an effect; its result goes to `slot`, at once or later. Returns what waits."""
        if isinstance(effect, _CALLS):
            return self._call(effect, path, frame, slot, hold)
        if isinstance(effect, Gather | Race):
            return self._fans.open(effect, path, frame, slot)
        if isinstance(effect, Score):
            return self._score(effect, path, frame, slot)
        if isinstance(effect, Within):
            return self._within(effect, path, frame, slot)
        if isinstance(effect, Offer | Choose) and slot[0] is frame and frame.kind == "strategy":
            self._choose(effect, path, frame)
            return None
        self._run.give(slot, Result(error=TypeError(f"{effect!r:.80} is no effect that can be performed here")))
        return None

    # -- calls ----------------------------------------------------------------------------------------------------

    def _call(self, effect: Any, path: Path, frame: Frame, slot: Slot, hold: Hold | None) -> Call | None:
        run = self._run
        call = Call(effect, path, frame, slot, run.seed)
        if isinstance(effect, CallTool):
            run.called[effect.tool] += 1
            call.nth = run.called[effect.tool]
        if run.books.journaled or run.log is not None or run.caching:
            call.fingerprint = codec.fingerprint(effect)
        if run.caching and isinstance(effect, Sample):
            call.draw = run.drawn_from + run.drawn[call.fingerprint]
            run.drawn[call.fingerprint] += 1
        entry = run.log.at(path, call.kind, call.fingerprint) if run.log else None
        if entry is not None and self._replayed(call, entry):
            return None
        call.hold = hold
        halted = next((f for f in line(frame) if f.halt), None)
        if halted is not None:
            run.halt_later(halted)
            return call
        if isinstance(effect, Sample):
            try:
                worst = run.tariff.quote(run.attempts.place(call, effect)).worst
            except Exception as error:
                run.give(slot, Result(error=error))
                return None
            call.hold = hold or frame.purse.reserve(worst) or shrink(run, call, frame.purse.room())
            if call.hold is None:
                refused, run.lacked = refusal(frame, worst)
                run.books.refuse(call, refused.cap)
                run.give(slot, Result(error=refused))
                return None
        run.books.send(call)
        return call

    def _replayed(self, call: Call, entry: Entry) -> bool:
        """Takes a place over from the journal. True if the world had replied there."""
        run = self._run
        run.books.take_over(call, entry)
        if entry.reply is None:
            if entry.lost and isinstance(call.effect, CallTool) and not call.effect.idempotent:
                call.stands_for = call.effect
                call.effect = Ask(
                    f"The call of tool {call.effect.tool!r} with {dict(call.effect.arguments)!r} was under way when "
                    "the process ended. It is not repeated. What was its result (JSON)?"
                )
            return False
        if "refused" in entry.reply:
            run.give(call.slot, Result(error=Refused(entry.reply["refused"])))
        elif "error" in entry.reply:
            run.give(call.slot, Result(error=codec.decode_error(entry.reply["error"])))
        else:
            value = codec.decode_reply(call.effect, entry.payload)
            if isinstance(value, Candidate):
                run.books.remember(call, value)
            run.came(call, value)
        return True

    # -- plans within ---------------------------------------------------------------------------------------------

    def _score(self, effect: Score, path: Path, frame: Frame, slot: Slot) -> Node | None:
        if getattr(effect.verifier, "blocking", False):
            return self._call(effect, path, frame, slot, None)
        try:
            value = effect.verifier(effect.task, effect.candidate)
        except TraceMiss:  # a recorded verifier's: never papered over
            raise
        except Exception as error:
            self._run.judged(effect, frame, slot, unknown(error))
            return None
        if not hasattr(value, "send"):
            self._run.judged(effect, frame, slot, verdict_of(value, frame))
            return None
        inner = Frame(path, value, "verifier", name_of(effect.verifier), frame.purse, frame.price, None, slot)
        inner.score = effect
        self._run.open_frame(inner)
        return inner

    def _within(self, effect: Within, path: Path, frame: Frame, slot: Slot) -> Node | None:
        run = self._run
        mark = codec.fingerprint(effect) if run.books.journaled or run.log is not None else ""
        if run.log:
            run.log.at(path, "within", mark)  # raises where something else stands
        carved = run.log.at((*path, 0), "frame", mark) if run.log else None
        if run.log and carved is not None and carved.carve is not None:
            purse, deadline = Purse(tuple(carved.carve["limit"]), frame.purse), carved.carve["deadline"]
            spent = run.log.under(path)  # the levels above have it already
            purse.posted[:] = spent.nanos, spent.tokens, spent.calls
            stopped = stopped_before(carved.carve)
        else:
            # What a share comes to depends on what others have spent by now: timing, and so on record.
            if not 0 < effect.share <= 1:
                error = CallerError(f"Within: share={effect.share!r}, expected above 0, 1 at the most")
                run.give(slot, Result(error=error))
                return None
            purse = frame.purse.carve(effect.share)
            deadline = None if effect.seconds is None else run.books.now + effect.seconds
            stopped = run.part_stopped(name_of(effect.strategy))
            facts = {"limit": purse.limit, "deadline": deadline} | ({"killed": stopped.to_dict()} if stopped else {})
            run.books.row((*path, 0), 0, "intent", "frame", json.dumps(facts), fingerprint=mark)
        try:
            plan = effect.strategy(effect.task) if stopped is None else failing(stopped)
        except Exception as error:
            run.give(slot, Result(error=error))
            return None
        price = effect.price if effect.price is not None else frame.price
        inner = Frame(path, plan, "strategy", name_of(effect.strategy), purse, price, deadline, slot, mark)
        inner.part = effect.part
        run.open_frame(inner)
        return inner

    # -- choices --------------------------------------------------------------------------------------------------

    def _choose(self, effect: Offer | Choose, path: Path, frame: Frame) -> None:
        """Goes on with the way of the highest net value, or stops; what was decided before is not decided again."""
        run, kind = self._run, type(effect).__name__.lower()
        frame.offer = effect.answer if effect.answer and effect.answer.candidate else None
        if run.foreseen and isinstance(effect, Offer):
            run.resume_with(frame, run.foreseen.pop(0))
            return
        try:
            ways, caps = self._ways(effect, frame)
            frame.ways = ways
            index, _, alternatives = judge(ways)
        except Exception as error:  # a belief's or a quote's fault is the plan's
            run.give((frame, 0), Result(error=error))
            return
        entry = run.log.at(path, kind) if run.log else None
        if entry is not None and entry.reply is not None:
            index, size, reason = entry.reply["index"], entry.reply["size"], entry.reply["reason"]
            if index >= len(ways):
                raise mismatch(path, kind, f"{kind} of fewer options")
        else:
            size, reason = alternatives[index].size, "worth it"
            if size <= 0 or alternatives[index].net <= 0.0:
                broke = all(terms.steps <= 0 for _, _, terms in ways)
                if broke:  # what is said to lack is what would have been enough
                    left = [i for i, (_, belief, _) in enumerate(ways) if not used_up(belief)]
                    index = min(left or range(len(ways)), key=lambda i: ways[i][2].cost)
                size, reason = 0, caps[index] if broke else "value"
                if broke and reason != "budget_seconds":
                    step = effect.step if isinstance(effect, Offer) else effect.options[index].step
                    worst, cap = quote_step(run.tariff, step).worst, reason.removeprefix("budget_")
                    run.lacked, _ = lacking(frame, worst, cap)
                if not broke and frame.offer is None and not frame.found and run.economics.only_caps:
                    index = next(i for i, (_, _, terms) in enumerate(ways) if terms.steps > 0)
                    size, reason = 1, "first answer"  # with nothing but a cap said, it is always bought
            run.books.row(path, 0, "reply", kind, json.dumps({"index": index, "size": size, "reason": reason}))
        frame.belief, frame.terms = ways[index][1], settled_terms(ways, index)
        frame.offer = picked(frame)
        step = effect.step if isinstance(effect, Offer) else effect.options[index].step
        p, where = frame.belief.p(frame.terms), encode(path)
        told, noun = index, noun_of(step)
        if size <= 0 and reason == "value" and run.explained:
            told, alternatives = weighed(ways, alternatives)
            noun = noun_of(effect.step if isinstance(effect, Offer) else effect.options[told].step)
        made = Decision(where, run.books.now, spent_usd(frame), p, frame.terms.price, alternatives, told, size, reason)
        if run.explained:
            said = say(
                made,
                noun,
                per_second=frame.terms.per_second,
                offered=frame.offer is not None and (p is None or frame.terms.value(p) > 0),
                lack="" if size > 0 or reason == "value" else self._lack(frame, step, reason, noun),
            )
            made = replace(made, said=said)
        run.decisions.append(made)
        if size > 0:
            run.resume_with(frame, size if isinstance(effect, Offer) else Choice(index, size))
            return
        poor = reason.startswith("budget") and reason != "budget_seconds"
        refused = None
        if poor:
            refused, run.lacked = refusal(frame, quote_step(run.tariff, step).worst)
        run.halt(frame, reason, refused.error if refused else None)

    def _lack(self, frame: Frame, step: tuple[Effect[Any], ...], reason: str, noun: str) -> str:
        """What the next step would have taken of the cap that ran out, and what was left of it."""
        quote, cap = quote_step(self._run.tariff, step), reason.removeprefix("budget_")
        if cap == "seconds":
            left = max(0.0, (frame.deadline or 0.0) - self._run.books.now)
            return f"the next {noun} takes about {quote.seconds:.3g} s, {left:.3g} s left"
        most = amount_said(cap, quote.worst.nanos, quote.worst.tokens, quote.worst.calls)
        return f"the next {noun} may take up to {most}, {amount_said(cap, *frame.purse.room())} left"

    def _ways(self, effect: Offer | Choose, frame: Frame) -> tuple[list[tuple[str, Belief, Terms]], list[str]]:
        options: list[tuple[str, Belief, tuple[Effect[Any], ...]]] = (
            [("go on", effect.belief, effect.step)]
            if isinstance(effect, Offer)
            else [(option.name or str(i), option.belief, option.step) for i, option in enumerate(effect.options)]
        )
        ways, caps = [], []
        for name, belief, step in options:
            terms, cap = self._run.economics.terms(frame, step, self._run.books.now)
            ways.append((name, belief, terms))
            caps.append(cap)
        return informed(ways), caps
