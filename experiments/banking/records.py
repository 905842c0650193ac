"""The records of a bank: questions, draws, verdicts, and recorded runs of plans with many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ...core.completions import Message
from ...core.task import AnswerKind, Contract, Task

Group: TypeAlias = "tuple[str, str, str]"  # (question id, model, arm)
Place: TypeAlias = "tuple[str, str, str, int]"  # and sample index


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its gold answer (None: not recorded; correctness then stands with each draw). `topic` "": the
    dataset is the topic. `passage`: the text that it is asked about, where several questions share one."""

    id: str
    dataset: str
    text: str
    gold: str | None
    kind: AnswerKind
    choices: tuple[str, ...]
    fold: int
    topic: str = ""
    passage: str = ""

    def task(self) -> Task:
        """The question as a task, without its gold answer. The prompt is the bare query: replay sends it nowhere, so
        that nothing is spent on rendering it."""
        bare: dict[str, str] = {self.kind: "{{ query }}"}
        contract = Contract(self.kind, self.choices)
        topic = self.topic or self.dataset
        return Task((Message("user", self.text),), contract, prompts=bare, label=self.id, topic=topic)


@dataclass(frozen=True, slots=True)
class Draw:
    """One recorded completion. `answer` is "" where the completion held none and None where nobody recorded what it
    was; `key` is None in both cases. `nanos` (nano-dollars), tokens, `seconds` (latency) and log-probabilities (of
    the completion's tokens, natural logarithms: their mean and their least) are None where they are unknown, `finish`
    (why the completion ended), `path` (the effect's place in its plan) and `strategy` (whose) are ""."""

    sample_index: int
    answer: str | None
    key: str | None
    correct: bool
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    nanos: int | None = None
    text: str | None = None
    tokens_source: str = ""
    cost_source: str = ""
    request: str = ""
    seconds: float | None = None
    finish: str = ""
    logprob_mean: float | None = None
    logprob_min: float | None = None
    path: str = ""
    strategy: str = ""

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens, as far as they are known."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a verifier said of a draw: its raw score (None: unknown), and what that cost."""

    score: float | None
    tokens: int | None = None
    nanos: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedEffect:
    """One effect of a recorded run, at its place in the plan: the model that answered and its fingerprint, the reply
    as JSON, and what it took (None: unknown)."""

    path: str
    attempt: int
    kind: str
    model: str
    fingerprint: str
    reply: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    nanos: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run of a strategy (its text as `solve --strategy` takes it) on a question, with all its effects in their
    order: what exact replay of a plan with many steps needs. `stop` is the reason for stopping."""

    strategy: str
    run: int
    seed: int
    model: str
    answer: str | None
    key: str | None
    correct: bool
    stop: str
    nanos: int
    tokens: int
    seconds: float | None = None
    effects: tuple[RecordedEffect, ...] = ()
