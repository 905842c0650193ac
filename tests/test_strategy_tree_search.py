"""Tree search as a strategy: the contract in every mode, and what it makes of good and bad input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.budgets.prices import Price
from satisfice.budgets.purse import Purse
from satisfice.core.completions import Params
from satisfice.core.effects import Gather, Offer, Sample, Score, Within
from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.plans import Answer, Outcome, Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.tariff import PriceList, Rate
from satisfice.strategies import BestOfN, Cascade, SelfConsistency, SingleShot, TreeSearch, find
from satisfice.strategies.registry import address_of, models_of, settings_of, strategy_of
from satisfice.strategies.trees import Continue, Moves, Propose, Refine, Scored, Step, Value, Vote
from satisfice.strategies.verify import samples_of
from satisfice.testing.driver import Script, make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check


def half(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.5 if candidate.key == "1" else 0.4)


def states(state: str) -> Iterable[str]:
    """From a number to it plus one and plus two; the query is 0."""
    n = int(state) if state.isdigit() else 0
    return [str(n + 1), str(n + 2)]


def at_two(state: str) -> str | None:
    return state if state == "2" else None


MODES: dict[str, TreeSearch] = {
    "bfs": TreeSearch(width=2, depth=2, steps=6),
    "bfs_vote": TreeSearch(width=2, depth=2, steps=6, value="vote", first=False),
    "dfs": TreeSearch("dfs", depth=2, steps=6),
    "beam": TreeSearch("beam", width=2, depth=2, steps=6, value=Scored(half)),
    "mcts": TreeSearch("mcts", depth=2, steps=6),
    "ab_mcts": TreeSearch("ab_mcts", steps=6),
    "bfs_leaf": TreeSearch(width=2, depth=1, steps=4, leaf=SelfConsistency(2), first=False),
    "mcts_wave": TreeSearch("mcts", "continue", depth=2, steps=6, at_once=3),
    "ab_mcts_wave": TreeSearch("ab_mcts", steps=6, at_once=2),
    "ab_mcts_beta": TreeSearch("ab_mcts", "continue", posterior="beta", depth=2, steps=6, first=False),
}


class TestTreeSearch(StrategyContract):
    @pytest.fixture(params=[*MODES])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return MODES[request.param]

    @pytest.fixture(params=["bare", "exact", "graded"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        checks: dict[str, Any] = {"bare": (), "exact": (Check(lambda n: n == 2),), "graded": (half,)}
        return Task.of("How much is 1 + 1?", "number", checks=checks[request.param])


class TestOverCode(TestTreeSearch):
    """Code states, answers and values: no model is asked."""

    @pytest.fixture
    def strategy(self) -> Strategy:
        return TreeSearch("mcts", Moves(states, at_two), Scored(half), depth=2, steps=6, first=False, finish=False)

    def test_it_says_what_it_needs(self, strategy: Strategy, task: Task) -> None:
        assert all(isinstance(effect, Score) for effect in strategy.needs(task))  # type: ignore[attr-defined]

    def test_it_survives_when_every_draw_fails(self, strategy: Strategy, task: Task) -> None:
        run = self.finish(make_run(strategy, task), Script(text=lambda asked, seed: "never asked"))
        assert run.outcome and run.outcome.answer and run.outcome.answer.candidate
        assert run.outcome.answer.candidate.key == "2"
        assert run.root.purse.posted == [0, 0, 0]

    def test_a_budget_below_one_call_spends_nothing(self, strategy: Strategy, task: Task) -> None:
        run = self.finish(make_run(strategy, task, 1e-9), Script())
        assert run.outcome and run.outcome.answer and run.outcome.answer.candidate
        assert run.root.purse.posted == [0, 0, 0]


def number(*checks: Any) -> Task:
    return Task.of("1 + 1?", "number", checks=checks)


BEST = Budget(usd=1.0, worth=float("inf"))


def run_of(strategy: Strategy, script: Any, *checks: Any, budget: Any = BEST, **options: Any) -> Any:
    run = perform(make_run(strategy, number(*checks), budget, **options), script)
    assert run.outcome is not None
    return run


CHILDREN: dict[tuple[str, ...], list[str]] = {
    (): ["a", "b", "c", "d"],
    ("b",): ["b1", "b2"],
    ("c",): ["c1", "c1 ", "", "c"],  # the same twice, nothing, and a state of its own path
}
VALUES = {"a": 0.1, "b": 0.9, "c": 0.9, "d": 0.1, "b1": 0.2, "b2": 0.2, "c1": 0.2}


class Recorded:
    """A search written down by hand: what each state led to, and what each state was worth."""

    def __init__(self) -> None:
        self.values = dict(VALUES)
        self.asked: list[tuple[str, ...]] = []
        self.valued: list[int] = []

    def __call__(self, task: Task, path: tuple[str, ...]) -> list[str]:
        self.asked.append(path)
        return CHILDREN.get(path, [])

    def value(self, task: Task, paths: Sequence[tuple[str, ...]]) -> list[float]:
        self.valued.append(len(paths))
        return [self.values.get(path[-1], 0.5) for path in paths]


def silent(asked: str, seed: int) -> str:
    raise AssertionError(f"a model was asked: {asked}")


def test_bfs_selects_as_tree_of_thoughts_does() -> None:
    """The two best of each level, the first of equals first; a level is valued at once; duplicates and cycles go."""
    seen = Recorded()
    strategy = TreeSearch("bfs", seen, seen.value, width=2, depth=9, first=False, finish=False)
    run = run_of(strategy, Script(text=silent))
    assert seen.asked == [(), ("b",), ("c",), ("b", "b1"), ("b", "b2")]
    assert seen.valued == [4, 3]
    assert run.outcome.answer.candidate is None


def test_dfs_goes_deep_prunes_and_backtracks() -> None:
    seen = Recorded()
    seen.values = {**seen.values, "b1": 0.05}
    strategy = TreeSearch("dfs", seen, seen.value, least=0.1, depth=9, first=False, finish=False)
    run_of(strategy, Script(text=silent))
    assert seen.asked == [(), ("b",), ("b", "b2"), ("c",), ("c", "c1"), ("a",), ("d",)]  # b1 is pruned


@pytest.mark.parametrize("algorithm", ["mcts", "ab_mcts"])
def test_a_tree_without_ways_on_ends(algorithm: Any) -> None:
    seen = Recorded()
    run_of(TreeSearch(algorithm, seen, seen.value, steps=500, depth=9, first=False, finish=False), Script(text=silent))
    assert {(), ("a",), ("b", "b1"), ("c", "c1")} <= set(seen.asked)
    assert len(seen.asked) < 50


@pytest.mark.parametrize("nothing", [[], None, "", [""], iter(())])
def test_an_expander_that_gives_nothing_ends_with_a_reason(nothing: Any) -> None:
    run = run_of(TreeSearch("mcts", lambda task, path: nothing, first=False, finish=False), Script(text=silent))
    assert (run.outcome.answer.candidate, run.outcome.reason, run.error) == (None, "dead_end", None)


def test_an_expander_that_gives_something_else_is_named() -> None:
    for bad in (7, [7]):
        run = run_of(TreeSearch("bfs", lambda task, path, bad=bad: bad, first=False, finish=False), Script(text=silent))
        assert isinstance(run.error, CallerError) and "expander" in str(run.error)


def test_a_valuer_that_gives_nonsense_is_named() -> None:
    for bad in ([], [2.0] * 4, [float("nan")] * 4):
        seen = Recorded()
        strategy = TreeSearch("bfs", seen, lambda task, paths, bad=bad: bad, first=False, finish=False)
        run = run_of(strategy, Script(text=silent))
        assert isinstance(run.error, CallerError) and "valuer" in str(run.error)


def test_a_path_that_ends_without_an_answer_is_turned_into_one() -> None:
    seen = Recorded()
    asked: list[str] = []

    def text(prompt: str, seed: int) -> str:
        asked.append(prompt)
        return "Answer: 2"

    run = run_of(TreeSearch("bfs", seen, seen.value, width=1, depth=2, first=False), Script(text=text))
    assert run.outcome.answer.candidate.key == "2"
    assert len(asked) == 1 and "1. b\n2. b1" in asked[0] and 'form "Answer: <number>"' in asked[0]


def test_steps_used_up_still_give_an_answer() -> None:
    seen = Recorded()
    strategy = TreeSearch("bfs", seen, seen.value, steps=1, depth=9, first=False)
    run = run_of(strategy, Script(text=lambda asked, seed: "Answer: 2" if "1. b\n" in asked else "no"))
    assert run.outcome.answer.candidate.key == "2"  # from the best leaf


def test_an_exact_pass_of_a_leaf_ends_the_search() -> None:
    script = Script(
        text=lambda asked, seed: "1. first\n2. second\nAnswer: 2\n3. third" if "List" in asked else "likely"
    )
    run = run_of(TreeSearch(first=False), script, Check(lambda n: n == 2))
    assert (run.outcome.answer.candidate.key, run.outcome.reason) == ("2", "verified")
    assert len(script.asked) == 1


def test_what_an_exact_check_refuted_is_never_given() -> None:
    run = run_of(TreeSearch("ab_mcts", steps=5), Script(), Check(lambda n: False))
    assert run.outcome.answer.candidate is None and run.outcome.found


def test_without_checks_the_valuer_decides_between_equals() -> None:
    def text(asked: str, seed: int) -> str:
        if "one per line" in asked:
            return "- try seven\n- try eight"
        if "Can a right answer" in asked:
            return "sure" if "eight" in asked else "impossible"
        return "Answer: 8" if "eight" in asked else "Answer: 7" if "seven" in asked else "Answer: 1"

    run = run_of(TreeSearch(width=2, depth=1), Script(text=text))
    assert {c.key for c in run.outcome.found} == {"1", "7", "8"}
    assert run.outcome.answer.candidate.key == "8"


def test_all_branches_failing_gives_the_best_so_far() -> None:
    def text(asked: str, seed: int) -> Any:
        return "Answer: 1" if asked.startswith("1 + 1?\n\nEnd") else ModelRefused("no")

    for algorithm in ("bfs", "dfs", "beam", "mcts"):
        run = run_of(TreeSearch(algorithm, "propose"), Script(text=text))
        assert run.outcome.answer.candidate.key == "1" and run.error is None
    run = run_of(TreeSearch("ab_mcts"), Script(text=lambda asked, seed: ModelRefused("no")))  # type: ignore[arg-type, return-value]
    assert run.outcome.answer is None and isinstance(run.error, ModelRefused)


def test_refinement_is_told_what_the_checks_said() -> None:
    def text(asked: str, seed: int) -> str:
        return "Answer: 2" if "An earlier answer" in asked else "Answer: 1"

    script = Script(text=text)

    def low(task: Task, candidate: Candidate) -> Verdict:
        return Verdict(1.0, 0.99) if candidate.key == "2" else Verdict(0.3, evidence="too low")

    run = run_of(TreeSearch("ab_mcts", steps=12), script, low)
    assert run.outcome.answer.candidate.key == "2"
    refined = next(asked for asked in script.asked if "An earlier answer" in asked)
    assert "Answer: 1" in refined and "low: score 0.30 of 1; too low" in refined


def test_known_answers_are_the_first_to_be_improved() -> None:
    known = Candidate("Answer: 5", "5", "5", path="a1")
    script = Script(text=lambda asked, seed: "Answer: 5")
    run = perform(make_run(TreeSearch("ab_mcts", steps=12), number(half).knowing((known,)), BEST), script)
    assert run.outcome and any("An earlier answer" in asked and "Answer: 5" in asked for asked in script.asked)


def test_several_models_are_arms() -> None:
    """The one whose steps are worth more is asked more often."""
    asked = {"good": 0, "bad": 0}

    class Two(Script):
        def answer(self, call: Any) -> Any:
            asked[call.effect.model] += 1
            self.text = lambda _, seed: f"Answer: {'1' if call.effect.model == 'good' else '0'}.{seed}"
            return super().answer(call)

    def worth(task: Task, candidate: Candidate) -> Verdict:
        return Verdict(0.9 if str(candidate.answer).startswith("1") else 0.1)

    strategy = TreeSearch("ab_mcts", models=("good", "bad"), steps=40)
    tariff = PriceList({name: Rate(Price.per_million(1, 1), name) for name in asked})
    economics = Economics(BEST, Policy(), tariff)
    perform(Run(strategy(number(worth)), purse=Purse.of(BEST), economics=economics, name="arms"), Two())
    assert asked["good"] > 2 * asked["bad"] > 0


def test_settings_are_checked_and_stored() -> None:
    for bad in (
        {"algorithm": "astar"},
        {"width": 0},
        {"depth": 0},
        {"steps": 1.5},
        {"least": 2},
        {"explore": -1},
        {"posterior": "cauchy"},
        {"expander": "grow"},
        {"value": "gut"},
        {"value": 3},
        {"models": "one"},
        {"first": "no"},
        {"finish": None},
        {"width": True},
        {"params": None},
        {"share": "half"},
        {"leaf": SingleShot},
        {"at_once": 0},
        {"at_once": 2.0},
        {"share": 0.0},
        {"leaf": "cascade"},
        {"leaf": SingleShot(), "finish": False},
        {"leaf": SingleShot(), "algorithm": "ab_mcts"},
        {"expander": Moves(states), "model": "m"},
    ):
        with pytest.raises(CallerError):
            TreeSearch(**bad)  # type: ignore[arg-type]
    for part in (lambda: Propose(0), lambda: Continue(0), lambda: Refine(0), lambda: Value(0), lambda: Vote(0)):
        with pytest.raises(CallerError):
            part()
    with pytest.raises(CallerError):
        Value(scale=(0.0, 1.0, 2.0))
    strategies = [
        *MODES.values(),
        TreeSearch(leaf=Cascade((SingleShot("c"), BestOfN(most=3)), (0.5,)), share=0.5, at_once=4),
        TreeSearch("mcts", Propose(3, "a", Params(temperature=1.0)), Value(2), models=("b",)),
    ]
    for strategy in strategies:
        again = find(address_of(strategy), **settings_of(strategy))
        assert again == strategy
    assert set(models_of(strategies[-1])) == {"a", "b"}
    assert set(models_of(strategies[-2])) == {"c"}
    assert strategy_of("tree_search:algorithm=mcts,steps=4") == TreeSearch("mcts", steps=4)


def test_the_same_question_is_searched_in_the_same_way() -> None:
    def once() -> list[str]:
        script = Script()
        run_of(TreeSearch("ab_mcts", steps=10), script, half, seed=3)
        return script.asked

    assert once() == once()


def test_code_states_are_searched_without_a_model() -> None:
    strategy = TreeSearch("dfs", Moves(states, at_two), lambda t, p: [0.5] * len(p), first=False, finish=False)
    run = run_of(strategy, Script(text=silent), Check(lambda n: n == 2))
    assert (run.outcome.answer.candidate.key, run.outcome.reason) == ("2", "verified")
    assert Step("a  b.").mark == Step("a b").mark


def test_an_answer_is_on_offer_before_anything_more_is_spent() -> None:
    def broken(task: Task, paths: Sequence[tuple[str, ...]]) -> list[float]:
        raise ZeroDivisionError

    reach = Moves(states, at_two)
    run = run_of(TreeSearch("bfs", reach, broken, first=False, finish=False), Script(text=silent))
    assert (run.outcome.answer.candidate.key, run.outcome.reason) == ("2", "fault")


def test_an_answer_that_was_searched_for_comes_before_one_that_was_not() -> None:
    """Even where the steps end before its level is valued."""

    def text(asked: str, seed: int) -> str:
        if "one per line" in asked:
            return "- try seven\n- try eight"
        return "likely" if "Can a right answer" in asked else "Answer: 7" if "seven" in asked else "Answer: 1"

    run = run_of(TreeSearch(width=2, depth=1, steps=2), Script(text=text))
    assert run.outcome.answer.candidate.key == "7"


def tree_of_words(asked: str, seed: int) -> str:
    """Three thoughts after each state; a path that has a "7" in it comes to 7."""
    if "one per line" in asked:
        return "\n".join(f"- try {len(asked)} {seed % 2} {word}" for word in ("five", "six", "seven"))
    if "Can a right answer" in asked:
        return "sure" if asked.count("seven") > asked.count("five") else "likely"
    return f"Answer: {7 if 'seven' in asked else 5}"


def effects_of(strategy: Strategy, task: Task, wave: int = 99) -> list[Any]:
    """What the plan asks for, where every wave is as large as may be."""
    plan, found, reply, n = strategy(task), [], None, 0

    def of(effect: Any) -> Any:
        nonlocal n
        match effect:
            case Offer():
                return wave
            case Gather():
                return tuple(of(branch) for branch in effect.branches)
            case Score():
                return effect.verifier(effect.task, effect.candidate)
            case Within():
                n += 1
                one = Candidate("Answer: 1", "1", "1", path=f"w{n}")
                two = Candidate("Answer: 2", "2", "2", path=f"v{n}")
                return Outcome(Answer(one), (one, two))
        n += 1
        text = tree_of_words(effect.messages[-1].content, n)
        reading = effect.task.contract.read(text) if effect.task else None
        answer = reading.answer if reading else None
        return Candidate(text, answer, reading.key if reading else None, path=f"a{n}", thought=reading is None)

    try:
        while True:
            found.append(plan.send(reply))
            reply = of(found[-1])
    except StopIteration as end:
        found.append(end.value)
    return found


def calls_in(effects: Iterable[Any]) -> int:
    """The completions that these take, those of checks included."""
    total = 0
    for effect in effects:
        match effect:
            case Gather():
                total += calls_in(effect.branches)
            case Score():
                total += len(samples_of(effect.verifier, effect.task))
            case Offer() | Answer():
                pass
            case _:
                total += 1
    return total


@dataclass(frozen=True)
class Judge:
    """A check that asks a model, here of nobody."""

    name: str = "judge"

    def needs(self, task: Task) -> tuple[Sample, ...]:
        return (Sample(task.messages, None, None, Params(max_tokens=8)),)

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        return Verdict(0.6)


@pytest.mark.parametrize(
    ("strategy", "checks"),
    [
        (TreeSearch(width=3, depth=2, steps=20, first=False), ()),
        (TreeSearch(width=3, depth=2, steps=20), (Judge(),)),
        (TreeSearch("mcts", depth=2, steps=6, first=False), ()),
        (TreeSearch("beam", width=2, depth=2, steps=9, first=False), (Judge(),)),
        (TreeSearch("bfs", width=2, depth=1, steps=9, value=Vote(3), first=False), ()),
        (TreeSearch("bfs", "continue", width=2, depth=1, steps=6, leaf=SelfConsistency(2)), (Judge(),)),
    ],
)
def test_a_step_is_priced_with_all_that_it_brings(strategy: TreeSearch, checks: tuple[Any, ...]) -> None:
    """All values of a level, and the first check of what is answered, are paid out of the step before."""
    effects = effects_of(strategy, number(*checks))
    offers = [i for i, effect in enumerate(effects) if isinstance(effect, Offer)]
    for at, end in zip(offers, [*offers[1:], len(effects)], strict=True):
        offer = effects[at]
        size = min(99, getattr(offer.belief, "most", 1))
        made = calls_in(effects[at + 1 : end])
        assert made <= size * calls_in(offer.step)


def test_any_label_seeds_it() -> None:
    task = replace(number(), label="\ud800")
    run = perform(make_run(TreeSearch("ab_mcts", steps=4), task, BEST), Script())
    assert run.error is None


def test_a_level_takes_the_time_of_one_call_a_phase() -> None:
    strategy = TreeSearch(width=3, depth=2, steps=20, first=False)
    fans = [len(e.branches) for e in effects_of(strategy, number()) if isinstance(e, Gather)]
    assert fans == [3, 3, 9, 3, 3]  # values; two more levels and their values; answers and theirs
    waved = run_of(strategy, Script(text=tree_of_words))
    single = run_of(replace(strategy, at_once=1), Script(text=tree_of_words))
    assert waved.books.now == 6.0 < single.books.now  # the root and its five fans
    assert [(c.text, c.key) for c in waved.outcome.found] == [(c.text, c.key) for c in single.outcome.found]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_at_once_than_is_said(at_once: int) -> None:
    for algorithm in ("bfs", "mcts"):
        strategy = TreeSearch(algorithm, width=3, depth=2, steps=9, first=False, at_once=at_once)
        offers = [e for e in effects_of(strategy, number()) if isinstance(e, Offer)]
        sizes = [getattr(offer.belief, "most", 1) for offer in offers]
        assert max(sizes) == at_once


def test_a_level_that_cannot_be_paid_at_once_is_paid_in_parts() -> None:
    """Caps hold worst cases, and replies are shorter: what is left over is paid out of what they leave."""
    strategy = TreeSearch(width=4, depth=1, steps=20, value=Scored(half), first=False)
    sizes = []
    for calls in range(1, 8):
        script = Script(text=tree_of_words)
        run = run_of(strategy, script, budget=Budget(usd=1.0, calls=calls, worth=float("inf")))
        assert len(script.asked) == min(calls, 4)  # a proposal and its three leaves
        assert (run.outcome.answer is not None) == (calls > 1)
        sizes.append([d.size for d in run.decisions])
    assert sizes[2][:2] == [1, 2] and sizes[3][:2] == [1, 3]
    params = Params(temperature=0.0, max_tokens=1000)
    tight = Budget(usd=1.0, tokens=2600, worth=float("inf"))  # two worst cases, and many more replies as they come
    script = Script(text=tree_of_words)
    run = run_of(replace(strategy, expander=Propose(params=params), params=params), script, budget=tight)
    assert len(script.asked) == 4 and [d.size for d in run.decisions[:3]] == [1, 2, 1]


def test_one_failure_in_a_level_costs_one_branch() -> None:
    def text(asked: str, seed: int) -> Any:
        return ModelRefused("no") if "1. try" in asked and "six" in asked else tree_of_words(asked, seed)

    run = run_of(TreeSearch(width=3, depth=1, first=False, value=Scored(half)), Script(text=text))
    assert run.error is None
    assert sorted(c.key for c in run.outcome.found if not c.thought) == ["5", "7"]


def test_leaves_are_strategies() -> None:
    """Asked the same question under the same contract and checks, with the path below it; all that they find counts."""
    task = replace(number(half), known=(Candidate("Answer: 3", "3", "3", path="k"),))
    leaf = Cascade((SingleShot(), SingleShot()))
    effects = effects_of(TreeSearch(width=2, depth=1, leaf=leaf, share=0.5, first=False), task)
    (leaves,) = [e.branches for e in effects if isinstance(e, Gather) and isinstance(e.branches[0], Within)]
    assert len(leaves) == 2
    for within in leaves:
        inner = within.task
        assert (within.strategy, within.share, within.part) == (leaf, 0.5, False)
        assert (inner.contract, inner.checks, inner.id) == (task.contract, task.checks, task.id)
        assert inner.known == inner.judged == ()
        assert task.query in inner.query and "1. try" in inner.query and "Answer:" not in inner.query
    offer = next(e for e in effects if isinstance(e, Offer) and isinstance(e.step[0], Within))
    assert offer.belief.most == 2
    asked = [e.candidate.key for e in effects if isinstance(e, Score) and e.verifier is half]
    assert {"1", "2"} <= set(asked)  # the leaf's answer, and what else it found
    assert len(asked) == len(set(asked))


def test_a_leaf_that_is_verified_ends_the_search() -> None:
    strategy = TreeSearch(width=3, depth=1, leaf=BestOfN(most=2), first=False)
    run = run_of(strategy, Script(text=tree_of_words), Check(lambda n: n == 7))
    assert (run.outcome.answer.candidate.key, run.outcome.reason) == ("7", "verified")
    refuted = run_of(strategy, Script(text=tree_of_words), Check(lambda n: False))
    assert refuted.outcome.answer.candidate is None and {c.key for c in refuted.outcome.found} == {"5", "7"}


def test_the_steps_end_with_a_leaf_too() -> None:
    strategy = TreeSearch(width=3, depth=3, steps=1, leaf=SelfConsistency(2), first=False)
    run = run_of(strategy, Script(text=tree_of_words))
    assert run.outcome.answer.candidate.key == "7" and len(run.outcome.found) >= 2


@pytest.mark.parametrize("expander", ["propose", "continue"])
def test_an_answer_among_thoughts_is_a_candidate_of_the_run(expander: str) -> None:
    script = Script(text=lambda asked, seed: "- go on\n- Answer: 2" if "List" in asked else "Answer: 2")
    run = run_of(TreeSearch("bfs", expander, width=2, depth=2, steps=2, first=False, value=Scored(half)), script)
    assert run.outcome.answer.candidate.path in [c.path for c in run.outcome.found]


def test_each_of_a_level_gets_its_own_replies() -> None:
    """Several draws for each of several states, all in one fan."""

    def text(asked: str, seed: int) -> str:
        if "single step" not in asked:
            return "Answer: 1"
        last = asked.partition("Steps so far:\n")[2].partition("\n\n")[0].splitlines()
        return f"{last[-1].partition('. ')[2] if last else ''}/{seed % 1000}"

    seen: list[tuple[str, ...]] = []

    def kept(task: Task, paths: Sequence[tuple[str, ...]]) -> list[float]:
        seen.extend(paths)
        return [0.5] * len(paths)

    run_of(TreeSearch("beam", Continue(2), kept, width=2, depth=3, first=False, finish=False), Script(text=text))
    assert {len(path) for path in seen} == {1, 2, 3}
    assert all(later.startswith(before + "/") for path in seen for before, later in pairwise(path))
