"""Tree search: think in steps, value the steps, and go on from the most promising ones.

Tree of Thoughts (Yao et al. 2023, arXiv:2305.10601), beam search with a step verifier (Snell et al. 2024,
arXiv:2408.03314), Monte Carlo tree search (UCT, Kocsis & Szepesvari 2006) and adaptive branching (AB-MCTS-A, Inoue et
al. 2025, arXiv:2503.04412), over any expander of states, code included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from ..core.completions import Params
from ..core.effects import Effect
from ..core.errors import CallerError
from ..core.plans import Answer, Plan, Strategy
from ..core.task import Task
from .pool import Judged, Pool
from .prompting import draw
from .steps import FAULTS, checks_of, dice, names, one_of, parameters, strategy, whole
from .trees.abmcts import Adaptive, Arms, Moments, Posterior
from .trees.expanders import Continue, Expander, Finish, Leaf, Propose, Refine, asked_of, breadth
from .trees.mcts import Uct
from .trees.nodes import Search, Tree
from .trees.tot import Depth, Levels
from .trees.valuing import EVEN, GRADES, Value, Valuer, Vote, asked_for
from .trees.walk import HOPELESS, Walk

Algorithm = Literal["bfs", "dfs", "beam", "mcts", "ab_mcts"]
EXPANDERS: dict[str, Callable[[], Any]] = {"propose": Propose, "continue": Continue, "refine": Refine}
VALUERS: dict[str, Callable[[], Any]] = {"value": Value, "vote": Vote}
AVERAGED = ("mcts", "ab_mcts")
LEVELLED = ("bfs", "beam")


@dataclass(frozen=True, slots=True)
class TreeSearch:
    """Searches a tree of thoughts or of whole answers; stopped at any time, it gives the best answer so far.

    `algorithm`: "bfs" (the `width` best of each level), "dfs" (best child first; what is worth less than `least` is
    pruned; backtracks), "beam" (as bfs, over sampled steps), "mcts" (UCT with weight `explore`), or "ab_mcts" (wider or
    deeper by Thompson sampling with a "gaussian" or "beta" `posterior`). `expander`: "propose", "continue", "refine"
    (whole answers, improved) or any `Expander`; by default "continue" for beam, "refine" for ab_mcts, else "propose".
    `value`: "value", "vote", or any `Valuer`; by default grades by the model. The task's checks judge answers always.

    At most `steps` expansions, paths of at most `depth` thoughts. Where thoughts are expanded, one plain answer is
    drawn `first`, so that there is something to give at any time; and a path that ends without an answer is turned
    into one by a call (`finish`; False where states are code's), or by a whole strategy, the `leaf`, inside `share` of
    what is left. The first answer is a plain one then too: it is there to cost little, and the leaf alone is no search.
    `models`: several are arms, chosen by what their steps were worth.

    `at_once`: how many expansions go on at the same time. None: as many as a level has ("bfs", "beam"), else one.
    "mcts" spreads several by virtual losses, "ab_mcts" draws several; "dfs" always takes one at a time.
    """

    algorithm: Algorithm = "bfs"
    expander: Expander | str | None = None
    value: Valuer | str | None = None
    width: int = 5
    depth: int = 3
    steps: int = 32
    least: float = 0.001
    explore: float = 1.0
    posterior: Posterior = "gaussian"
    first: bool = True
    finish: bool = True
    leaf: Strategy | None = None
    share: float = 1.0
    at_once: int | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    params: Params = Params(temperature=0.0)
    name: ClassVar[str] = "tree_search"
    pays: ClassVar[str] = (
        "where wrong steps can be told early, by code or by a good judge; seldom where an answer takes one step"
    )

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        for what, known in (("algorithm", Algorithm), ("posterior", Posterior)):
            one_of(what, getattr(self, what), get_args(known))
        for what in ("width", "depth", "steps"):
            whole(what, getattr(self, what))
        whole("at_once", self.at_once, optional=True)
        for what in ("first", "finish"):
            one_of(what, getattr(self, what), (True, False))
        parameters("params", self.params)
        names("models", self.models)
        for what in ("least", "explore", "share"):
            if isinstance(value := getattr(self, what), bool) or not isinstance(value, int | float):
                raise CallerError(f"{what}={value!r:.80}: expected a number")
        if not 0 <= self.least <= 1 or not 0 <= self.explore < float("inf"):
            raise CallerError(f"least={self.least!r}, explore={self.explore!r}: expected 0 to 1, and 0 or more")
        arms = self._arms()
        self._valuer()
        self._check_leaf(bool(getattr(arms[0], "whole", False)))

    def _check_leaf(self, whole: bool) -> None:
        if not 0 < self.share <= 1:
            raise CallerError(f"tree_search: share={self.share!r}, expected above 0, 1 at the most")
        strategy("tree_search: leaf", self.leaf, optional=True)
        if self.leaf is None:
            return
        if whole or not self.finish:
            why = "every step is a whole answer" if whole else "finish=False"
            text = f"tree_search: leaf has no place where {why}: "
            raise CallerError(text + ("set expander='continue' or 'propose'" if whole else "leave finish as it is"))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The first answer: a plain one, or a path of thoughts and what turns it into one."""
        checks = checks_of(task)
        expander = self._arms()[0]
        asks = getattr(expander, "asks", None)
        once = tuple(asks(task, ())) if asks is not None else ()
        if getattr(expander, "whole", False):
            return (*once, *(checks * breadth(expander)))
        if self.first:
            return (draw(task, self._model(), self.params), *checks)
        valuing = asked_for(self._valuer(), task, (("a step",),) * breadth(expander))
        last = self._finish().asks(task, ("a step",)) if self.finish else ()
        return (*(*once, *valuing) * self.depth, *last, *checks)

    def __call__(self, task: Task) -> Plan[Answer]:
        walk = self._walk(task)
        passed = yield from walk.start()
        if passed is None and self.first and not walk.whole and walk.offer is None:
            passed = yield from self._first(walk)
        reason = None
        while walk.left > 0:
            if passed is not None or walk.pool.hopeless or walk.failed >= HOPELESS:
                break
            nodes = walk.search.pick(min(walk.left, self._at_once()))
            if not nodes:
                reason = "exhausted"
                break
            passed = yield from walk.grow(nodes)
        if passed is None and walk.offer is None and walk.finish is not None and walk.failed < HOPELESS:
            passed = yield from walk.last()
        return _ended(walk, passed, reason)

    def _first(self, walk: Walk) -> Plan[Judged | None]:
        sample = draw(walk.task, self._model(), self.params)
        yield from walk.show((sample, *checks_of(walk.task)))
        try:
            candidate = yield from sample
        except FAULTS as error:
            walk.fault = error
            return None
        return _passed((yield from walk.take(candidate)))

    def _walk(self, task: Task) -> Walk:
        expanders, tree, chance = self._arms(), Tree(), dice(task, "tree_search")
        searches: dict[str, Callable[[], Search]] = {
            "bfs": lambda: Levels(tree, self.width),
            "beam": lambda: Levels(tree, self.width),
            "dfs": lambda: Depth(tree, self.least),
            "mcts": lambda: Uct(tree, self.explore),
            "ab_mcts": lambda: Adaptive(tree, chance, self.posterior),
        }
        whole = bool(getattr(expanders[0], "whole", False))
        finish = self._finish() if self.finish and not whole else None
        arms = Arms(chance, self.posterior, [Moments() for _ in expanders])
        pool, search = Pool.of(task), searches[self.algorithm]()
        return Walk(task, pool, tree, search, expanders, arms, self._valuer(), finish, self.depth, whole, self.steps)

    def _finish(self) -> Finish | Leaf:
        return Leaf(self.leaf, self.share) if self.leaf is not None else Finish(self._model(), self.params)

    def _at_once(self) -> int:
        return self.at_once if self.at_once is not None else self.steps if self.algorithm in LEVELLED else 1

    def _model(self) -> str | None:
        return self.model or (self.models[0] if self.models else None)

    def _arms(self) -> tuple[Expander, ...]:
        """The expander, once for each model."""
        usual = {"beam": "continue", "ab_mcts": "refine"}.get(self.algorithm, "propose")
        expander = _named(self.expander or usual, EXPANDERS, "expander")
        return tuple(asked_of(expander, model) for model in self.models or (self.model,))

    def _valuer(self) -> Valuer:
        if self.value is None:
            whole = getattr(self._arms()[0], "whole", False)
            scale = EVEN if self.algorithm in AVERAGED else GRADES
            return Value(1, scale, self._model(), prompt="tree_worth" if whole else "tree_value")
        valuer: Valuer = _named(self.value, VALUERS, "value")
        return valuer


def _named(given: Any, known: dict[str, Callable[[], Any]], what: str) -> Any:
    if isinstance(given, str):
        if given not in known:
            raise CallerError(f"{what}={given!r}: expected one of {', '.join(known)}, or a callable")
        return known[given]()
    if not callable(given):
        raise CallerError(f"{what}={given!r:.60}: expected one of {', '.join(known)}, or a callable")
    return given


def _passed(one: Judged | None) -> Judged | None:
    return one if one is not None and one.passed else None


def _ended(walk: Walk, passed: Judged | None, reason: str | None) -> Answer:
    """The answer to end with. Raises what failed last, where nothing ever came."""
    if passed is not None:
        return Answer(passed.candidate, "verified")
    nothing = len(walk.tree) == 1 and not walk.pool.judged and not walk.pool.blanks
    if nothing and walk.fault is not None:
        raise walk.fault
    if nothing:
        return Answer(None, "dead_end")  # no expander gave anything to start from
    if walk.offer is None:
        return walk.pool.end()
    return walk.offer if reason is None else replace(walk.offer, reason=reason)
