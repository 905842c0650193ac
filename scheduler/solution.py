"""Solution: the answer, what it cost, why the run stopped there, and what more would have bought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

from ..budgets.lumping import near
from ..budgets.portfolio import ArmBelief, Portfolio
from ..budgets.switching import ENOUGH, reserve
from ..core.amounts import dollars
from ..core.belief import STOP, Belief, Continuation, Terms
from ..core.effects import Ask
from ..core.errors import BadSettings
from ..core.plans import Outcome
from ..core.task import Candidate, Task
from ..core.verdict import Judgement, name_of
from ..strategies.registry import BUILT_IN
from .codec import load, plain
from .decisions import Alternative, Decision, portfolio_of
from .drifting import notes
from .paths import encode
from .run import Run
from .saying import ended

TOOLLESS = frozenset(BUILT_IN) - {"react", "workflow", "orchestrate", "roles"}  # the last ones may run react inside
EMPTY = ("unreadable", "unverified", "checks_failed")  # why a plan with nothing left to buy has no answer
HIGHER = (1.15, 1.4, 2.0)  # from where an index is looked for once more, as a multiple of what was found
UNCALIBRATED = "uncalibrated: no policy fitted on a bank is loaded"


@dataclass(frozen=True, slots=True)
class Spend:
    """What a request cost. `overhead` are the seconds in which no call was under way: our own time."""

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    overhead: float = 0.0
    nanos: int = 0


@dataclass(frozen=True, slots=True)
class Doubling:
    """What spending as much again was expected to buy, in P(right), at the terms of the stop. None: unknown."""

    usd: float
    gain: float | None


@dataclass(frozen=True, slots=True)
class Solution:
    """The result of a request.

    `answer` is None where the run abstained (no candidate was worth giving: see `stop_reason`, and `candidates` for
    what was found) or waits for a person (`status` "waiting", `question`). `value` is the answer as Python data.
    `verdicts` are what the checks said of the answer. `confidence` is P(right | the state in which the run stopped),
    None with `confidence_reason` while uncalibrated. `stop_said`: `stop_reason` in words and numbers.
    `index`: of a request with a `shadow` price, the highest price (value per dollar) at which the run would have gone
    on from where it stopped (0: at none; None: not known).
    """

    answer: str | None
    value: Any
    confidence: float | None
    confidence_reason: str
    strategy: str
    stop_reason: str
    spend: Spend
    run_id: str
    policy: str
    if_doubled: Doubling
    status: str = "done"
    question: str | None = None
    question_path: str | None = None
    options: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    best: Candidate | None = None
    warnings: tuple[str, ...] = ()
    verdicts: tuple[Judgement, ...] = ()
    stop_said: str = ""
    index: float | None = None

    @property
    def abstained(self) -> bool:
        return self.answer is None and self.status == "done"

    def to_dict(self, candidates: bool = True) -> dict[str, Any]:
        """JSON-ready data."""
        data = {
            "answer": self.answer,
            "abstained": self.abstained,
            "confidence": self.confidence,
            "confidence_reason": self.confidence_reason,
            "strategy": self.strategy,
            "stop_reason": self.stop_reason,
            "stop_said": self.stop_said,
            "status": self.status,
            "spend": plain(self.spend),
            "if_doubled": plain(self.if_doubled),
            "run_id": self.run_id,
            "policy": self.policy,
            "warnings": list(self.warnings),
            "verdicts": [plain(v) for v in self.verdicts],
            "decisions": [d.to_dict() for d in self.decisions],
        }
        if self.index is not None:
            data["index"] = self.index if isfinite(self.index) else None
        if self.question is not None:
            data |= {"question": self.question, "question_path": self.question_path, "options": list(self.options)}
        if candidates:
            data["candidates"] = [plain(c) for c in self.candidates]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any], task: Task) -> Solution:
        """A stored solution again. Raises `BadSettings` for data that is none."""
        try:
            candidates = tuple(load(Candidate, c) for c in data.get("candidates", ()))
            decisions = tuple(
                Decision(**{**d, "alternatives": tuple(Alternative(**a) for a in d["alternatives"])})
                for d in data["decisions"]
            )
            return cls(
                data["answer"],
                value_in(task, data["answer"]),
                data["confidence"],
                data["confidence_reason"],
                data["strategy"],
                data["stop_reason"],
                Spend(**data["spend"]),
                data["run_id"],
                data["policy"],
                Doubling(**data["if_doubled"]),
                data["status"],
                data.get("question"),
                data.get("question_path"),
                tuple(data.get("options", ())),
                decisions,
                candidates,
                next((c for c in candidates if c.answer == data["answer"]), None) if data["answer"] else None,
                tuple(data.get("warnings", ())),
                tuple(load(Judgement, v) for v in data.get("verdicts", ())),
                data.get("stop_said", ""),
                data.get("index"),
            )
        except (KeyError, TypeError) as error:
            raise BadSettings(f"a stored solution cannot be read: {error}") from error


def value_in(task: Task, answer: str | None) -> Any:
    return None if answer is None else task.contract.value(answer)


def spend_of(run: Run, seconds: float, busy: float) -> Spend:
    """What a run has spent. The purse and not the frame says so: what an earlier process lost is spent too."""
    nanos, tokens, calls = run.root.purse.posted
    return Spend(dollars(nanos), tokens, calls, seconds, max(0.0, seconds - busy), nanos)


def solution_of(run: Run, task: Task, policy: str, spend: Spend) -> Solution:
    """What a finished run came to."""
    outcome = run.outcome
    assert outcome is not None
    answer = outcome.answer.candidate if outcome.answer else None
    confidence, why = _confidence(run, outcome, answer)
    return Solution(
        answer.answer if answer else None,
        value_in(task, answer.answer) if answer else None,
        confidence,
        why,
        run.root.name,
        outcome.reason,
        spend,
        run.id,
        policy,
        _doubling(run, outcome.spent.calls),
        decisions=tuple(run.decisions),
        candidates=outcome.found,
        best=answer,
        warnings=_warnings(run) + _unasked(run, task, answer) + _unused(task, outcome),
        verdicts=run.verdicts.of(answer.path) if answer else (),
        stop_said=ended(outcome, run.decisions, run.lacked),
        index=_index(run, outcome) if run.economics.shadow is not None else None,
    )


def _index(run: Run, outcome: Outcome) -> float | None:
    """The highest price at which one of the ways that the run last had would be gone on with, if there were the money
    for it: what others hold of a shared purse comes back. Arms of one portfolio are judged together, as in a run."""
    answer = outcome.answer
    if answer is not None and answer.reason == "verified":
        return 0.0
    ways = [(name, belief, replace(terms, steps=ENOUGH)) for name, belief, terms in run.root.ways]
    try:
        arms = _Together.of(ways)
        alone = [(belief, terms) for _, belief, terms in ways if arms is None or not isinstance(belief, ArmBelief)]
        if arms is not None:
            now = getattr(run.root.belief, "portfolio", arms.portfolio)
            if now is not arms.portfolio or outcome.reason in EMPTY:
                return 0.0  # it went on since, and ended as there was nothing left to choose from
            alone.append((arms, arms.cheapest))
        return max(_reserve(belief, terms) for belief, terms in alone)
    except Exception:  # there was no choice, or a belief that cannot say
        return None


def _reserve(belief: Belief, terms: Terms) -> float:
    """`reserve`, tried again from a little above it: how far arms look ahead differs from price to price, so that a
    course may be found there that was not looked at below."""
    found = reserve(belief, terms)
    for more in HIGHER if 0.0 < found < inf else ():
        found = max(found, reserve(belief, replace(terms, price=found * more)))
    return found


@dataclass(frozen=True, slots=True)
class _Together:
    """The arms of a portfolio as one belief: its best course is the best of theirs. `terms`: of each arm."""

    portfolio: Portfolio
    terms: tuple[Terms, ...]

    @property
    def cheapest(self) -> Terms:
        """The terms of the cheapest arm that costs something, if one does."""
        spent = [one.cost + one.seconds * one.per_second for one in self.terms]
        return self.terms[min(range(len(spent)), key=lambda i: (spent[i] <= 0, spent[i]))]

    @classmethod
    def of(cls, ways: Sequence[tuple[str, Belief, Terms]]) -> _Together | None:
        """All arms of these ways, None where they are not those of one portfolio."""
        portfolio, offered = portfolio_of(ways)
        if portfolio is None or len(offered) < len(portfolio.arms):
            return None
        return cls(portfolio, tuple(offered[i] for i in range(len(portfolio.arms))))

    def p(self, terms: Terms) -> float | None:
        return self.portfolio.p(replace(terms, others=tuple(one.cost for one in self.terms)))

    def within(self, usd: float, calls: int) -> _Together:
        """The same with no more dollars and steps than these."""
        steps = [min(calls, int(usd / one.cost + 1e-9)) if one.cost > 0 else calls for one in self.terms]
        return replace(self, terms=tuple(replace(one, steps=n) for one, n in zip(self.terms, steps, strict=True)))

    def best(self, terms: Terms) -> Continuation:
        """At the price of `terms`."""
        at = [replace(one, price=terms.price) for one in self.terms]
        ways = near(self.portfolio, at).jointly(at)
        return max(ways, key=lambda way: way.net(terms) if way.size else 0.0, default=STOP)


def waiting_of(run: Run, policy: str, spend: Spend) -> Solution:
    """A run that waits for a person: the first question that is open."""
    asks = sorted((c for c in run.books.open if c.state == "parked"), key=lambda c: c.path)
    ask = asks[0].effect
    assert isinstance(ask, Ask)
    return Solution(
        None,
        None,
        None,
        "the run waits for a person",
        run.root.name,
        "waiting",
        spend,
        run.id,
        policy,
        Doubling(spend.usd, None),
        "waiting",
        ask.question,
        encode(asks[0].path),
        ask.options,
        tuple(run.decisions),
        tuple(run.root.found),
        warnings=_warnings(run),
    )


def _warnings(run: Run) -> tuple[str, ...]:
    """What the caller should look at: checks that could not tell, and bills above the worst case."""
    said = [f"{what} ({times} times)" if times > 1 else what for what, times in run.verdicts.troubles.items()]
    said += notes(run.economics.widen)
    if run.lacked and run.outcome is not None and run.outcome.reason.startswith("budget_"):
        said.append(run.lacked)
    if run.root.purse.overrun:
        over = dollars(run.root.purse.overrun)
        said.append(f"a provider billed ${over:.9f} above the worst case that was held: check its prices and counts")
    return tuple(said)


def _unasked(run: Run, task: Task, answer: Candidate | None) -> tuple[str, ...]:
    """The checks that did not judge the answer, and a policy that was fitted on other models."""
    said = []
    told = Counter(judgement.verifier.partition("#")[0] for judgement in run.verdicts.of(answer.path if answer else ""))
    missing = Counter(name_of(check) for check in task.checks) - told
    if answer is not None and missing and run.outcome is not None and run.outcome.reason != "fault":
        names = ", ".join(missing)
        if run.verdicts.told:
            said.append(f"not asked of the answer: {names}: a verdict was not worth its price (raise worth=)")
        else:
            why = "a verdict was not worth its price (raise worth=, or fix the number of draws: BestOfN(samples=n))"
            made = run.root.name not in ("self_consistency", "single_shot")
            said.append(f"not asked: {names}: {why if made else run.root.name + ' makes no checks: use best_of_n'}")
    policy = run.economics.policy
    if answer is not None and policy.fitted and policy.tokens and answer.model not in policy.tokens:
        said.append(
            f"the policy was fitted on {', '.join(policy.tokens)}, and {answer.model} answered: P(right) may be off"
        )
    return tuple(said) + _strangers(run)


def _strangers(run: Run) -> tuple[str, ...]:
    """Arms that an allocator chose between, where its policy knows other ones only."""
    known = run.economics.policy.allocation
    if known is None or run.root.name != "auto" or not run.decisions:
        return ()
    arms = [row.name for row in run.decisions[0].alternatives]
    if len(arms) < 2 or any(arm in known.arms for arm in arms):
        return ()
    return (f"the policy knows {', '.join(known.arms)}, and none of these arms: choices were made by declared priors",)


def _unused(task: Task, outcome: Outcome) -> tuple[str, ...]:
    """Tools that were given to strategies that know of none."""
    tried = {candidate.strategy for candidate in outcome.found}
    if not task.tools or not tried or not tried <= TOOLLESS:
        return ()
    names = ", ".join(spec.name for spec in task.tools)
    return (f"no use was made of the tools ({names}): {', '.join(sorted(tried))} cannot call any; use react",)


def _confidence(run: Run, outcome: Outcome, answer: Candidate | None) -> tuple[float | None, str]:
    frame = run.root
    if answer is None:
        return None, "no answer is given"
    if outcome.answer is not None and outcome.answer.reason == "verified":
        return 1.0, "an exact check passed"
    if not run.economics.priors.fitted:
        return None, UNCALIBRATED
    p = frame.belief.p(frame.terms) if frame.belief and frame.terms else None
    if p is None:
        return None, f"{frame.name} has no calibrated belief"
    if isinstance(frame.belief, ArmBelief) and not _measured(run, outcome, frame.belief):
        return None, "uncalibrated: the policy knows no bank of all the arms that gave candidates"
    return p, f"P(right) by a policy fitted on {', '.join(run.economics.policy.tokens) or 'unnamed models'}"


def _measured(run: Run, outcome: Outcome, belief: ArmBelief) -> bool:
    """Whether a bank says what the votes of these arms are worth."""
    known = run.economics.policy.allocation
    portfolio = belief.portfolio
    return known is not None and all(portfolio.arms[arm] in known.arms for arm, _ in portfolio.votes)


def _doubling(run: Run, calls: int) -> Doubling:
    """The gain of the best continuation that spends no more than what was spent, at no price."""
    frame = run.root
    usd = dollars(frame.purse.posted[0])
    told = run.outcome is not None and run.outcome.reason != "checks_failed"  # nothing is known of going on
    if frame.belief is None or frame.terms is None or calls <= 0 or not told:
        return Doubling(usd, None)
    outcome = run.outcome
    if outcome is not None and outcome.answer is not None and outcome.answer.reason == "verified":
        return Doubling(usd, 0.0)
    old = frame.terms
    # Gains are asked for, not weighed: at a price of almost nothing every draw that can help is taken.
    terms = Terms(1e-9, old.cost, calls, old.priors, old.wrong, others=old.others)
    try:
        arms = _Together.of(frame.ways or ())
        if arms is not None and arms.portfolio is getattr(frame.belief, "portfolio", None):
            gain = arms.within(usd, calls).best(terms).gain
        else:
            gain = frame.belief.best(terms).gain
    except Exception:
        return Doubling(usd, None)
    return Doubling(usd, gain if gain != float("inf") else None)
