"""What grows a search tree: from the steps so far to the next ones.

An expander is any callable `(task, path) -> steps`: a plan (a generator of effects) or a plain function. `path` holds
the thoughts from the root, the last one last. Built in: `Propose`, `Continue`, `Refine`, and `Moves` for pure code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any, ClassVar, Protocol, TypeAlias

from ...core.completions import Params
from ...core.effects import Effect, Gather, Sample, Within
from ...core.errors import CallerError
from ...core.plans import Plan, Strategy
from ...core.task import Candidate, Task
from ...verifiers.prompting import defang, quoted
from ..prompting import answering, draw, speaking
from ..steps import parameters, whole
from .nodes import Step
from .reading import Thoughts, ends, listed, said

Path: TypeAlias = tuple[str, ...]
WIDEST = 64  # steps that are taken from one expansion, however many it gives


class Expander(Protocol):
    """The next steps after a path; none where there is no way on. A step with a candidate is a complete answer.

    Optional attributes: `asks(task, path)`, the effects that it will ask for, and `read(task, path, replies)`, the
    steps in their replies (None: that one failed), so that they are priced before they are bought; `whole`: every step
    is a whole answer, which the next one improves; `model`: the model that it asks; `most` or `samples`: how many
    steps it gives at the most, all of which are to be valued.
    """

    def __call__(self, task: Task, path: Path, /) -> Plan[tuple[Step, ...]] | Iterable[Step | str]: ...


class Asking:
    """An expander in two parts: what it asks, and what it reads in the replies."""

    __slots__ = ()

    def asks(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        raise NotImplementedError

    def read(self, task: Task, path: Path, replies: Sequence[Any]) -> tuple[Step, ...]:
        raise NotImplementedError

    def __call__(self, task: Task, path: Path) -> Plan[tuple[Step, ...]]:
        replies = yield from Gather(self.asks(task, path), at_least=1)
        return self.read(task, path, replies)


@dataclass(frozen=True, slots=True)
class Propose(Asking):
    """One call lists up to `most` possible next thoughts (Tree of Thoughts' propose prompt), one a line. A reply that
    is no list is one thought. Prompt: "tree_propose"."""

    most: int = 5
    model: str | None = None
    params: Params = Params(temperature=0.7, max_tokens=256)

    def __post_init__(self) -> None:
        whole("Propose: most", self.most)
        parameters("Propose: params", self.params)

    def asks(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        said = speaking(task, "tree_propose", steps=harmless(path), most=self.most)
        return (Sample(said, _thoughts(task, self.most), self.model, self.params),)

    def read(self, task: Task, path: Path, replies: Sequence[Any]) -> tuple[Step, ...]:
        steps = [step for reply in replies if reply for step in listed(task, reply, self.most)]
        return tuple(steps)


@dataclass(frozen=True, slots=True)
class Continue(Asking):
    """`samples` independent draws of the next thought (Tree of Thoughts' sample prompt; the steps of a beam search).
    A reply that ends with an answer is a complete one. Prompt: "tree_continue"."""

    samples: int = 3
    model: str | None = None
    params: Params = Params(temperature=0.8, max_tokens=192)

    def __post_init__(self) -> None:
        whole("Continue: samples", self.samples)
        parameters("Continue: params", self.params)

    def asks(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        said = speaking(task, "tree_continue", steps=harmless(path))
        sample = Sample(said, _thoughts(task), self.model, self.params)
        return (sample,) * self.samples

    def read(self, task: Task, path: Path, replies: Sequence[Any]) -> tuple[Step, ...]:
        return tuple(ends(task, reply, reply.text.strip()) for reply in replies if reply and reply.text.strip())


@dataclass(frozen=True, slots=True)
class Refine(Asking):
    """Whole answers: drawn as usual at the root, and below it the parent's answer improved, given what the checks said
    of it (the space of AB-MCTS and of code refinement). Prompt: "tree_refine"."""

    samples: int = 1
    model: str | None = None
    params: Params = Params(temperature=0.8)
    most_chars: int = 8_000
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole("Refine: samples", self.samples)
        whole("Refine: most_chars", self.most_chars)
        parameters("Refine: params", self.params)

    def asks(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        if not path:
            return (draw(replace(task, known=(), judged=()), self.model, self.params),) * self.samples
        verdicts = [said(one) for one in task.judged]
        shown = quoted(path[-1], self.most_chars)
        bare = replace(task, known=(), judged=())
        sample = answering(
            bare,
            "tree_refine",
            self.model,
            self.params,
            answer=shown.text,
            fence=shown.fence,
            verdicts=[v for v in verdicts if v],
        )
        return (sample,) * self.samples

    def read(self, task: Task, path: Path, replies: Sequence[Any]) -> tuple[Step, ...]:
        return tuple(Step(reply.text, reply) for reply in replies if reply is not None)


@dataclass(frozen=True, slots=True)
class Finish(Asking):
    """Turns a path into an answer, in one call. Prompt: "tree_answer"."""

    model: str | None = None
    params: Params = Params(temperature=0.0)

    def asks(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        return (answering(task, "tree_answer", self.model, self.params, steps=harmless(path)),)

    def read(self, task: Task, path: Path, replies: Sequence[Any]) -> tuple[Step, ...]:
        return tuple(Step(reply.text, reply) for reply in replies if reply is not None)


@dataclass(frozen=True, slots=True)
class Leaf(Asking):
    """Turns a path into an answer by a whole strategy, inside `share` of what is left: it is asked the question with
    the path below it, under the same contract and checks. It starts from nothing: what was found on other paths was
    found for another prompt. Prompt: "tree_leaf"."""

    strategy: Strategy
    share: float = 1.0

    def asks(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        said = speaking(task, "tree_leaf", steps=harmless(path))
        inner = replace(task, messages=said, label=task.id, known=(), judged=())
        return (Within(self.strategy, inner, self.share),)

    def read(self, task: Task, path: Path, replies: Sequence[Any]) -> tuple[Step, ...]:
        found = [reply.candidate for reply in replies if reply is not None]
        return tuple(Step(candidate.text, candidate) for candidate in found if candidate is not None)


@dataclass(frozen=True, slots=True)
class Moves:
    """A pure function from a state (the last thought; the query at the root) to the states after it; no model.
    `answer(state)` gives the answer's text where the state is a complete one, else None."""

    states: Callable[[str], Iterable[str]]
    answer: Callable[[str], str | None] | None = None

    def __post_init__(self) -> None:
        for what in (self.states, self.answer):
            if what is not None and not callable(what):
                raise CallerError(f"Moves: expected functions of a state, not {type(what).__name__}")

    def __call__(self, task: Task, path: Path) -> tuple[Step, ...]:
        found = []
        for state in islice(self.states(path[-1] if path else task.query), WIDEST):
            text = self.answer(state) if self.answer is not None else None
            found.append(Step(state, candidate_of(task, text, (*path, state)) if text is not None else None))
        return tuple(found)


def candidate_of(task: Task, text: str, path: Path) -> Candidate:
    """An answer that no model gave. Its path is the hash of how it came about."""
    reading = task.contract.read(text)
    place = "tree/" + blake2b("\x1e".join(path).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    answer, key = (reading.answer, reading.key) if reading else (None, None)
    return Candidate(text, answer, key, strategy="tree_search", path=place)


def taken(given: Any) -> tuple[Step, ...]:
    """What an expander gave, as steps. Raises `CallerError` for what is none."""
    if given is None:
        return ()
    if isinstance(given, str | Step):
        given = (given,)
    if not isinstance(given, Iterable):
        raise CallerError(f"an expander gave {type(given).__name__}: expected Steps or texts")
    steps = []
    for one in islice(given, WIDEST):
        step = Step(one) if isinstance(one, str) else one
        if not isinstance(step, Step):
            raise CallerError(f"an expander gave {type(one).__name__} among its steps: expected a Step or a text")
        if step.text.strip() or step.candidate is not None:
            steps.append(step)
    return tuple(steps)


def harmless(path: Path) -> list[str]:
    """Thoughts as they are put into a prompt."""
    return [defang(text) for text in path]


def breadth(expander: Any) -> int:
    """How many steps an expansion gives, as far as the expander says: at the most, else one."""
    for name in ("most", "samples"):
        said = getattr(expander, name, None)
        if type(said) is int and said > 0:
            return min(said, WIDEST)
    return 1


def asked_of(expander: Any, model: str | None) -> Any:
    """The expander with this model, where it has a setting for one that is not set. Raises `CallerError` where it has
    none."""
    if model is None or getattr(expander, "model", None) is not None:
        return expander
    try:
        return replace(expander, model=model)
    except TypeError as error:
        raise CallerError(f"expander {expander!r:.60} takes no model: leave out model and models") from error


def _thoughts(task: Task, most: int = 0) -> Task:
    """The task of a reply that holds thoughts."""
    return replace(task, contract=Thoughts.of(task.contract, most), known=(), judged=())
