"""Playing: what a choice brings on each question at each worth, by replay, without any model.

Net utility is counted in right answers: a run brings 1 if it is right, less what it spent divided by what a right
answer is worth. One draw is its expectation, exactly; votes are replayed by the voting kernel (the same stops and
answers as the plan's, `experiments.vote_replays`); everything else runs as a plan, in one order of the draws.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from ...budgets.budget import Budget
from ...budgets.policy import Policy
from ...core.belief import Terms
from ...core.errors import CallerError, TraceMiss
from ...strategies.arms import draws_of
from ..allocating import fit_allocation
from ..bank import Bank, Draw
from ..baselines import usd_of
from ..chaining import fit_chains
from ..fitting import fit
from ..replaying import BankTariff, Deck, order, run_on
from ..verifying import fit_verifiers
from ..vote_replays import MOST, Deals, going, replay_votes, rows_of
from .choices import Choice, Space
from .standing import Arm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Small: TypeAlias = NDArray[np.uint8]

UNSEEN = 255  # the place of an answer that there is not (`vote_replays`)
ORDERS = 16  # of a question's draws, for votes
CLIMBS = 4  # orders, for cascades
QUICK = ("single_shot", "self_consistency", "cascade")  # what is played on all questions at once


def points(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """The worths at which net utility is averaged: the middles of `count` equal parts of log-uniform `low` to `high`
    (dollars); one worth alone stands for itself. Raises `CallerError`."""
    if not 0 < low <= high < inf:
        raise CallerError(f"worth={low:g}:{high:g}: expected two amounts of dollars above 0, the lower first")
    if low == high:
        return (low,)
    return tuple(float(low * (high / low) ** ((i + 0.5) / count)) for i in range(count))


def comparable(bank: Bank, space: Space) -> Bank:
    """The part of a bank on which all choices are compared: the questions and arms of the space."""
    kept = set(space.questions)
    draws = {group: row for group, row in bank.draws.items() if group[0] in kept and group[1:] in space.arms}
    verdicts = {place: said for place, said in bank.verdicts.items() if place[:3] in draws}
    questions = {name: bank.questions[name] for name in space.questions}
    return Bank(questions, draws, bank.manifest, bank.path, verdicts)


@dataclass(eq=False)
class Player:
    """Plays choices on `bank` (see `comparable`) by policies that were fitted on the questions of some `folds`."""

    bank: Bank
    space: Space
    worths: tuple[float, ...]
    seed: int = 0
    _trained: dict[tuple[int, ...], Bank] = field(default_factory=dict)
    _policies: dict[Any, Policy] = field(default_factory=dict)
    _tariffs: dict[Any, BankTariff] = field(default_factory=dict)
    _decks: dict[Any, Deck] = field(default_factory=dict)
    _dealt: dict[Arm, tuple[Deals, Small, Floats]] = field(default_factory=dict)
    _going: dict[Any, Small] = field(default_factory=dict)
    _known: dict[Any, Any] = field(default_factory=dict)

    def gains(self, choice: Choice, folds: Collection[int], at: Sequence[int]) -> Floats:
        """(questions, worths): net utility of a choice on the questions at these places of `space.questions`, by a
        policy that was fitted on `folds`. Raises `TraceMiss` where the bank cannot answer it."""
        import numpy as np

        train = tuple(sorted(folds))
        if choice.name in QUICK:
            each = [self.quick(choice, train, worth) for worth in self.worths]
            found: Floats = np.stack(each, axis=1)[np.asarray(at, dtype=int)]
            return found
        return np.array([self._played(choice, train, int(i)) for i in at])

    def quick(self, choice: Choice, train: tuple[int, ...], worth: float) -> Floats:
        """(all questions,): net utility at one worth, of a choice that is played on all questions at once."""
        key = (choice, train, worth)
        if key not in self._known:
            plays = {"single_shot": self._shots, "self_consistency": self._votes, "cascade": self._climbs}
            self._known[key] = plays[choice.name](choice, train, worth)
        found: Floats = self._known[key]
        return found

    def policy(self, choice: Choice, folds: Collection[int]) -> Policy:
        """The policy by which a choice is played: what these folds teach of votes, and of what the choice needs."""
        train = tuple(sorted(folds))
        key = (train, choice.name, choice.team, choice.verifier) if choice.name not in QUICK else train
        if key not in self._policies:
            made = self._policies[key] = self._fitted(choice, train)
            return made
        return self._policies[key]

    def _fitted(self, choice: Choice, train: tuple[int, ...]) -> Policy:
        seen = self.trained(train)
        if choice.name in QUICK:
            plain = Bank(seen.questions, seen.draws, seen.manifest, seen.path)
            return fit(plain, parts=(), stops=True)  # as it will be written: tables play their own way, if hardly
        votes = self.policy(Choice("single_shot", choice.team[:1]), train)
        arms = dict(choice.team)
        part = seen.select(models=list(arms), arms=list(arms.values()))
        if choice.name == "auto":
            return votes.model_copy(update={"allocation": fit_allocation(part, held_out=False)})
        verifiers = fit_verifiers(part, votes.priors(), [choice.verifier])
        chains = fit_chains(part, verifiers, votes.priors())
        return votes.model_copy(update={"verifiers": verifiers, "chains": chains})

    def trained(self, folds: tuple[int, ...]) -> Bank:
        """The questions of these folds."""
        if folds not in self._trained:
            self._trained[folds] = self.bank.select(folds=folds)
        return self._trained[folds]

    def _tariff(self, team: tuple[Arm, ...], train: tuple[int, ...], verifier: str = "") -> BankTariff:
        key = (team, train, verifier)
        if key not in self._tariffs:
            checks = (verifier,) if verifier else ()
            self._tariffs[key] = BankTariff(self.bank, dict(team), self.trained(train), checks)
        return self._tariffs[key]

    def _shots(self, choice: Choice, train: tuple[int, ...], worth: float) -> Floats:
        """One draw. It is not bought where the policy expects less of it than it costs."""
        import numpy as np

        rows = [self.bank.draws[question, *choice.team[0]] for question in self.space.questions]
        right = np.array([sum(d.correct for d in row) / len(row) for row in rows])
        usd = np.array([sum(map(usd_of, row)) / len(row) for row in rows])
        hoped = sum(weight * theta for theta, _, weight in self.policy(choice, train).voting)
        found: Floats = (right - usd / worth) * (hoped > self._expected(choice, train) / worth)
        return found

    def _votes(self, choice: Choice, train: tuple[int, ...], worth: float) -> Floats:
        import numpy as np

        deals, orders, paid = self._deals(choice.team[0])
        samples = dict(choice.settings).get("samples")
        go = self._adaptive(choice, train, worth) if samples is None else _fixed(deals, samples)
        stops, leaders = replay_votes(deals, orders, go)
        places = np.minimum(leaders, deals.right.shape[1] - 1).astype(np.int64)
        right = np.take_along_axis(deals.right, places, axis=1) & (leaders != UNSEEN)
        spent = np.take_along_axis(paid, stops.astype(np.int64)[:, :, None], axis=2)[:, :, 0]
        found: Floats = (right - spent / worth).mean(axis=1)
        return found

    def _climbs(self, choice: Choice, train: tuple[int, ...], worth: float) -> Floats:
        """A cascade of single draws. What it does depends on which of them agree and which are blank, and on nothing
        else of the question: each such pattern is run as a plan once, and what it did holds for all that look alike.
        """
        import numpy as np

        done: dict[Any, tuple[int, int]] = {}  # by pattern: how many stages were asked, and whose answer it was
        found = []
        for question in self.space.questions:
            deck = self._deck(choice, question)
            orders = 1 if deck.count == len(choice.team) else CLIMBS
            for seed in range(self.seed, self.seed + orders):
                places = (order(len(deck.draws[m]), seed, question, m, arm)[0] for m, arm in choice.team)
                drawn = [deck.draws[m][i] for (m, _), i in zip(choice.team, places, strict=True)]
                if any(draw.answer is None for draw in drawn):
                    raise TraceMiss(f"an answer to question {question!r} was not recorded", why="answer")
                keys = [draw.key for draw in drawn]
                pattern = tuple(-1 if key is None else keys.index(key) for key in keys)
                if pattern not in done:
                    done[pattern] = self._climbed(choice, train, worth, deck, seed, drawn)
                asked, answer = done[pattern]
                right = answer >= 0 and drawn[answer].correct
                found.append((float(right) - sum(map(usd_of, drawn[:asked])) / worth) / orders)
            found[-orders:] = [sum(found[-orders:])]
        return np.array(found)

    def _climbed(
        self, choice: Choice, train: tuple[int, ...], worth: float, deck: Deck, seed: int, drawn: list[Draw]
    ) -> tuple[int, int]:
        source, tariff = deck.shuffled(seed), self._tariff(choice.team, train)
        budget = Budget(calls=len(drawn), worth=worth)
        run = run_on(source, choice.strategy, budget, self.policy(choice, train), tariff, seed)
        if isinstance(run.error, CallerError):
            raise run.error
        assert run.outcome is not None
        candidate = run.outcome.answer.candidate if run.outcome.answer else None
        given = source.drawn[candidate.path] if candidate is not None else None
        return run.outcome.spent.calls, next((i for i, draw in enumerate(drawn) if draw is given), -1)

    def _expected(self, choice: Choice, train: tuple[int, ...]) -> float:
        """Mean dollars of a draw of its arm, on the training questions."""
        return self._tariff(choice.team, train).expected(choice.team[0][0])

    def _deals(self, arm: Arm) -> tuple[Deals, Small, Floats]:
        """The draws of an arm, orders of them (questions, orders, draws), and what was paid after so many of each."""
        import numpy as np

        if arm not in self._dealt:
            most = min(self.space.sizes[self.space.arms.index(arm)], MOST)
            draws = {(question, *arm): self.bank.draws[question, *arm][:most] for question in self.space.questions}
            deals = Deals.of(Bank(self.bank.questions, draws), *arm)
            orders = deals.orders(range(self.seed, self.seed + ORDERS))
            usd = np.array([[usd_of(d) for d in row] for row in draws.values()])
            each = np.take_along_axis(usd[:, None, :].repeat(ORDERS, axis=1), orders.astype(np.int64), axis=2)
            paid = np.concatenate([np.zeros((*orders.shape[:2], 1)), each.cumsum(axis=2)], axis=2)
            self._dealt[arm] = deals, orders, paid
        return self._dealt[arm]

    def _adaptive(self, choice: Choice, train: tuple[int, ...], worth: float) -> Small:
        cost, most = self._expected(choice, train), dict(choice.settings)["most"]
        key = (train, most, cost / worth)
        if key not in self._going:
            terms = Terms(1 / worth, cost, 0, self.policy(choice, train).priors())
            self._going[key] = going(terms, min(most, MOST))
        return self._going[key]

    def _played(self, choice: Choice, train: tuple[int, ...], place: int) -> Any:
        key = (choice, train, place)
        if key not in self._known:
            policy, tariff = self.policy(choice, train), self._tariff(choice.team, train, choice.verifier)
            deck = self._deck(choice, self.space.questions[place])
            strategy: Any = choice.strategy
            if choice.name == "auto":
                strategy = replace(strategy, arms=draws_of([model for model, _ in choice.team], strategy.params))
            worths = self.worths[:1] if choice.fixed else self.worths
            runs = [self._run(deck, strategy, policy, tariff, worth) for worth in worths]
            runs *= len(self.worths) // len(runs)
            self._known[key] = [right - usd / worth for (right, usd), worth in zip(runs, self.worths, strict=True)]
        return self._known[key]

    def _deck(self, choice: Choice, question: str) -> Deck:
        key = (choice.team, choice.verifier, question)
        if key not in self._decks:
            checks = (choice.verifier,) if choice.verifier else ()
            self._decks[key] = Deck.of(self.bank, question, dict(choice.team), checks)
        return self._decks[key]

    def _run(self, deck: Deck, strategy: Any, policy: Policy, tariff: BankTariff, worth: float) -> tuple[float, float]:
        """(right, dollars) of one run. Raises `TraceMiss` also where draws ended before its first step."""
        source = deck.shuffled(self.seed)
        calls = deck.count * (1 + len(deck.task.checks))
        run = run_on(source, strategy, Budget(calls=calls, worth=worth), policy, tariff, self.seed)
        if isinstance(run.error, CallerError):
            raise run.error
        assert run.outcome is not None
        if run.outcome.reason == "budget_calls" and not run.outcome.spent.calls:
            raise TraceMiss("its first step takes more calls than were recorded", why="first")
        return float(source.right(run.outcome.answer.candidate if run.outcome.answer else None)), run.outcome.spent.usd


def _fixed(deals: Deals, samples: int) -> Small:
    """(states x blanks): goes on until so many are drawn."""
    import numpy as np

    most = deals.answers.shape[1]
    votes = np.array([sum(state) for state in rows_of(most).states])
    found: Small = (votes[:, None] + np.arange(most + 1)[None, :] < min(samples, most)).astype(np.uint8)
    return found
