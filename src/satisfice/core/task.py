"""Task, contract, candidate: what is asked, what counts as an answer, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from .amounts import ZERO, Amounts
from .completions import Alternatives, Message

if TYPE_CHECKING:
    from .answers import Reading
    from .tools import ToolSpec
    from .verdict import Judgement, Verifier

AnswerKind = Literal["number", "choice", "text", "json", "code"]
KINDS: tuple[AnswerKind, ...] = ("number", "choice", "text", "json", "code")


@dataclass(frozen=True, slots=True)
class Contract:
    """What counts as an answer. `choices` are the options of a choice (labels such as A, B, C, or the options'
    own texts), `schema` the JSON Schema of a json answer, `language` that of code."""

    kind: AnswerKind = "text"
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    language: str = "python"

    def read(self, text: str) -> Reading | None:
        """The answer in a completion's text, or None where there is none. Pure and total: never raises."""
        # Votes repeat themselves: the same text is read once. A schema is a mapping, which no cache can key.
        return _read_once(self, text) if self.schema is None and len(text) < 4096 else _read(self, text)

    def interim(self, text: str) -> bool:
        """Whether a completion is a step on the way (a tool call), and so a thought and no candidate. Plans that ask
        for steps and answers alike have contracts of their own that tell them apart."""
        return False

    def value(self, answer: str) -> Any:
        """A bare answer (a reading's `answer`) as Python data, None if it is not one. What a check receives."""
        # parsed JSON is the caller's to change, and so read anew
        plain = self.kind != "json" and self.schema is None and len(answer) < 4096
        return _value_once(self, answer) if plain else _value(self, answer)


def _read(contract: Contract, text: str) -> Reading | None:
    from .answers import read

    return read(contract, text)


def _value(contract: Contract, answer: str) -> Any:
    from .answers import value_of

    return value_of(contract, answer)


_read_once = lru_cache(maxsize=4096)(_read)
_value_once = lru_cache(maxsize=4096)(_value)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible answer and where it came from.

    `answer` is the answer as people write it, `key` its canonical form: two candidates agree when their keys do.
    Both are None where the completion holds no answer. `tokens` is the number of its tokens where the provider said,
    `logprobs` their natural-log probabilities and `alternatives` what could have stood in their place, where
    `Params(logprobs=True, top_logprobs=k)` asked for them. `path` is the effect's place in the run. A `thought` is a
    completion that was asked for on the way to an answer, and is none itself. `cached`: the reply was known already.
    """

    text: str
    answer: str | None = None
    key: str | None = None
    model: str = ""
    strategy: str = ""
    path: str = ""
    finish: str = "stop"
    logprobs: tuple[float, ...] | None = None
    alternatives: Alternatives | None = None
    tokens: int | None = None
    spent: Amounts = ZERO
    thought: bool = False
    cached: bool = False


@dataclass(frozen=True)
class Task:
    """A query and the rules for its answer. The gold answer is never part of it.

    `checks` are the verifiers that apply, exact ones first. `known` are candidates that are already paid for, `judged`
    what verifiers said of them. `prompts` override packaged prompt templates by name. `scope` names tenant and session
    for memory. `tools` are those that a plan may call. `topic` is what the caller knows the question to be
    about, in words of its own (a subject, a product): allocation learns by it.
    """

    messages: tuple[Message, ...]
    contract: Contract = Contract()
    checks: tuple[Verifier, ...] = ()
    known: tuple[Candidate, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    scope: tuple[str, ...] = ()
    label: str = ""
    tools: tuple[ToolSpec, ...] = ()
    judged: tuple[Judgement, ...] = ()
    topic: str = ""

    @classmethod
    def of(cls, query: str, kind: AnswerKind = "text", **fields: Any) -> Task:
        """A task from plain text."""
        return cls((Message("user", query),), Contract(kind), **fields)

    @cached_property
    def id(self) -> str:
        """Identifies the question: `label` if given (a bank's question id), else a hash of query and contract."""
        if self.label:
            return self.label
        seen = blake2b(digest_size=8)
        for message in self.messages:
            seen.update(f"{message.role}\x1f{message.content}\x1e".encode("utf-8", "surrogatepass"))
        seen.update(repr((self.contract.kind, self.contract.choices)).encode())
        return seen.hexdigest()

    @property
    def query(self) -> str:
        """The last user message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    def knowing(self, found: tuple[Candidate, ...], judged: tuple[Judgement, ...] = ()) -> Task:
        """The same task with further candidates already paid for, and what verifiers said of them."""
        return replace(self, known=self.known + found, judged=self.judged + judged)
