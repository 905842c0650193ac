"""Fans: branches under way at once. Gather waits for all and counts survivors, Race takes the first to succeed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..budgets.purse import Hold
from ..core.amounts import ZERO
from ..core.effects import Effect, Gather, Race, Sample
from ..core.errors import GatherFailed
from .log import mismatch
from .nodes import Fan, Frame, Path, Refused, Result, Slot
from .pooling import pool
from .refusing import refusal

if TYPE_CHECKING:
    from .run import Run


class Fans:
    """Opens fans for a run and decides when one is done."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def open(self, effect: Gather | Race, path: Path, frame: Frame, slot: Slot) -> Fan | None:
        """Starts the branches that the purse can pay. Refused as a whole if fewer than needed could start."""
        count = len(effect.branches)
        # A fan directly in a plan stands at its step, its branches beside each other; one in a branch, below it.
        nested = slot[0] is not frame
        own, stem = (path, (*path, 0)) if nested else (path[:-1], path[:-1])
        fan = Fan(effect, own, frame, slot, [None] * count, [None] * count, count)
        decided = self._decided(fan)
        if "winners" in decided:
            self._replay(fan, stem, decided["winners"])
            return fan if fan.alive else None
        holds = None if decided else self._admit(effect.branches, stem, frame, self._needed(fan))
        if holds is None:
            fan.alive = False
            refused = Refused(decided["refused"]) if decided else self._shortage(effect.branches, frame)
            if not decided:
                self._row(fan, {"refused": refused.cap})
            self._run.give(slot, Result(error=refused))
            return None
        try:
            for i, branch in enumerate(effect.branches):
                child = self._run.begin(branch, (*stem, i), frame, (fan, i), holds.get(i))
                if child is not None:
                    fan.children[i] = child
        except BaseException:
            self._run.kill(fan)
            for hold in holds.values():
                frame.purse.void(hold)
            raise
        fan.started = True
        self._check(fan)
        return fan if fan.alive else None

    def branch(self, fan: Fan, i: int, result: Result) -> None:
        """Takes in what became of branch `i`."""
        fan.children[i] = None
        fan.open -= 1
        fan.results[i] = result.value
        failed = result.error
        if isinstance(failed, Refused):
            fan.refused = failed
        elif failed is not None:
            fan.errors.append(failed)
        else:
            fan.came.add(i)
            if isinstance(fan.effect, Race) and fan.succeeded(i):
                fan.winners.append(i)
        if fan.started:
            self._check(fan)

    def _needed(self, fan: Fan) -> int:
        effect = fan.effect
        if isinstance(effect, Race):
            return min(effect.first, len(effect.branches))
        return len(effect.branches) if effect.at_least is None else effect.at_least

    def _check(self, fan: Fan) -> None:
        if not fan.alive:
            return
        need = self._needed(fan)
        if isinstance(fan.effect, Race):
            if len(fan.winners) >= need:
                self._win(fan, fan.winners[:need])
                return
        elif fan.open == 0 and sum(map(fan.succeeded, range(len(fan.results)))) >= need:
            self._close(fan, Result(fan.positions()))
            return
        if fan.open == 0:
            lost = len(fan.results) - sum(map(fan.succeeded, range(len(fan.results))))
            first = f": {fan.errors[0]}" if fan.errors else ""
            text = f"{lost} of {len(fan.results)} branches failed{first}"
            only_refused = fan.refused is not None and not fan.errors
            self._close(fan, Result(error=fan.refused if only_refused else GatherFailed(text, tuple(fan.errors))))

    def _win(self, fan: Fan, winners: list[int]) -> None:
        self._row(fan, {"winners": winners})
        for child in fan.children:
            self._run.kill(child)
        # What a loser had found by chance of timing is not part of the run: a resumed one could not know it.
        fan.results = [r if i in winners else None for i, r in enumerate(fan.results)]
        fan.came &= set(winners)
        fan.below = {i: items for i, items in fan.below.items() if i in winners}
        self._close(fan, Result(fan.positions()))

    def _close(self, fan: Fan, result: Result) -> None:
        fan.alive = False
        owner, i = fan.slot
        if isinstance(owner, Fan):
            owner.below[i] = fan.paid()
        else:
            pool(owner, fan.paid())
        self._run.give(fan.slot, result)

    # -- what the journal has decided -----------------------------------------------------------------------------

    def _row(self, fan: Fan, facts: dict[str, Any]) -> None:
        self._run.books.row(fan.path, 0, "reply", type(fan.effect).__name__.lower(), json.dumps(facts))

    def _decided(self, fan: Fan) -> dict[str, Any]:
        """The winners of a race, or the cap for which the fan was refused; empty where neither is on record."""
        log = self._run.log
        entry = log.at(fan.path, type(fan.effect).__name__.lower()) if log else None
        if log is None or entry is None or entry.reply is None:
            return {}
        if any(i >= len(fan.results) for i in entry.reply.get("winners", ())):
            raise mismatch(fan.path, entry.effect, "race of fewer branches")
        return entry.reply

    def _replay(self, fan: Fan, stem: Path, winners: list[int]) -> None:
        """Only the winners are gone through again, as a Gather of them; the losers' spend is carried over."""
        log = self._run.log
        assert log is not None
        for i in range(len(fan.results)):
            if i not in winners:
                self._run.books.carry(fan.frame, log.under((*stem, i)))
        fan.effect = Gather(fan.effect.branches, at_least=len(winners))
        fan.open = len(winners)
        for i in winners:
            fan.children[i] = self._run.begin(fan.effect.branches[i], (*stem, i), fan.frame, (fan, i), None)
        fan.started = True
        self._check(fan)

    # -- admission ------------------------------------------------------------------------------------------------

    def _admit(self, branches: tuple[Effect[Any], ...], stem: Path, frame: Frame, need: int) -> dict[int, Hold] | None:
        """Holds for the first completions that fit; None, and nothing held, if fewer than `need` branches could
        start. Branches that the journal knows were admitted before; deeper ones find out for themselves."""
        log = self._run.log
        holds: dict[int, Hold] = {}
        admitted, full = 0, False
        for i, branch in enumerate(branches):
            if not isinstance(branch, Sample) or (log and log.at((*stem, i))):
                admitted += 1
            elif not full:
                try:
                    hold = frame.purse.reserve(self._run.tariff.quote(branch).worst)
                except Exception:
                    admitted += 1  # fails when it is started, where the plan can see it
                    continue
                if hold is None:
                    full = True
                    if not holds and self._run.tariff.shrunk(branch, frame.purse.room()) is not None:
                        admitted += 1  # it is cut to what is left when it is started
                else:
                    holds[i] = hold
                    admitted += 1
        if admitted >= need or not full:
            return holds
        for hold in holds.values():
            frame.purse.void(hold)
        return None

    def _shortage(self, branches: tuple[Effect[Any], ...], frame: Frame) -> Refused:
        total = ZERO
        for branch in branches:
            if isinstance(branch, Sample):
                total += self._run.tariff.quote(branch).worst
        refused, self._run.lacked = refusal(frame, total)
        return refused
