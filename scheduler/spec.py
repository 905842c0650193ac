"""What a request is: checked on the way in, and stored so that another process can resume it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, cast, get_args

from ..budgets.budget import Budget
from ..core.completions import Message, Role
from ..core.errors import BadQuery, CallerError, UnknownName
from ..core.plans import Answer, Plan, Strategy
from ..core.task import KINDS, Candidate, Contract, Task
from ..core.tools import ToolSpec
from ..core.verdict import Judgement, Verifier, name_of
from ..strategies.registry import address_of, find, settings_of
from .codec import load, plain


def task_of(
    query: Any,
    contract: Contract,
    checks: Sequence[Any],
    prompts: Mapping[str, str],
    scope: Sequence[str],
    tools: tuple[ToolSpec, ...] = (),
) -> Task:
    """The task that a query is, with `tools` where it names none itself. Raises `BadQuery` for what is empty, no text,
    or no chat."""
    from dataclasses import replace

    verifiers = verifiers_of(checks)
    if isinstance(query, Task):
        messages_of(query.messages)
        merged = {**prompts, **query.prompts}
        scope, tools = query.scope or tuple(scope), query.tools or tools
        return replace(query, checks=query.checks + verifiers, prompts=merged, scope=scope, tools=tools)
    return Task(messages_of(query), contract, verifiers, prompts=prompts, scope=tuple(scope), tools=tools)


def verifiers_of(checks: Any) -> tuple[Verifier, ...]:
    """Checks as verifiers: one or several, each a verifier, a callable on the answer, or a name with its settings."""
    from ..verifiers.check import as_verifier

    def each(check: Any) -> Verifier:
        if not isinstance(check, str):
            return as_verifier(check)
        from ..verifiers.registry import verifier_of

        return verifier_of(check)

    return tuple(map(each, listed(checks)))


def listed(checks: Any) -> list[Any]:
    """One or several checks, as a list."""
    return [checks] if callable(checks) or isinstance(checks, str) else list(checks)


def checks_again(names: Sequence[str], texts: Sequence[str | None], given: Sequence[Any]) -> tuple[Verifier, ...]:
    """The checks of a stored run: `given` are all of them in order, or those that have no text. Raises `CallerError`
    where one is missing, or where another one is given."""
    needed = [name for name, text in zip(names, texts, strict=True) if text is None]
    if len(given) not in (len(names), len(needed)):
        raise CallerError(
            f"this run used the checks {', '.join(names) or '(none)'}"
            + (f", of which {', '.join(needed)} cannot be stored: resume it with " if needed else ": resume it with ")
            + "engine.resume(run_id, checks=[...]), or satisfice runs resume RUN"
            + " --check module:function" * len(needed),
            checks=list(names),
            needed=needed,
        )
    rest = iter(given)
    whole = len(given) == len(names)
    found = verifiers_of([next(rest) if whole or text is None else text for text in texts])
    pairs = [(name, name_of(check)) for name, check in zip(names, found, strict=True)]
    if other := [f"{now!r} where it used {name!r}" for name, now in pairs if now != name]:
        raise CallerError(f"these are not the checks of this run: got {', '.join(other)}", checks=list(names))
    return found


def checks_needed(text: str) -> tuple[str, ...]:
    """The names of a stored spec's checks that have to be given again."""
    data = json.loads(text)
    texts = data.get("specs") or [None] * len(data["checks"])
    return tuple(name for name, given in zip(data["checks"], texts, strict=True) if given is None)


def tools_needed(text: str) -> tuple[str, ...]:
    """The names of a stored spec's tools: they are never stored themselves."""
    return tuple(tool["name"] for tool in json.loads(text).get("tools", ()))


def model_names(models: Any) -> tuple[str, ...]:
    """Names of models: one, several, or none. Raises `CallerError` for what is no name."""
    if models is None or isinstance(models, str):
        return () if models is None else (models,)
    names = tuple(models) if isinstance(models, Iterable) else (models,)
    for name in names:
        if not isinstance(name, str):
            text = f"models: expected names, not {type(name).__name__}: a model object is registered: "
            raise CallerError(f"{text}engine.register(name, model, price), then models=name")
    return names


def candidate_of(candidate: str | Candidate, contract: Contract) -> Candidate:
    """A completion's text as a candidate, its answer read by the contract; a Candidate as it is."""
    if isinstance(candidate, Candidate):
        return candidate
    if not isinstance(candidate, str):
        raise CallerError(f"a candidate is a completion's text or a Candidate, not {type(candidate).__name__}")
    reading = contract.read(candidate)
    return Candidate(candidate, reading.answer if reading else None, reading.key if reading else None)


def messages_of(query: Any) -> tuple[Message, ...]:
    if isinstance(query, bytes):
        try:
            query = query.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadQuery(f"the query is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}") from error
    if isinstance(query, str):
        return (Message("user", _text(query, "the query")),)
    if not isinstance(query, Sequence) or not query:
        raise BadQuery(f"a query is text, chat messages or a Task, not {type(query).__name__}")
    messages = []
    for i, item in enumerate(query):
        if isinstance(item, Message):
            item = {"role": item.role, "content": item.content}
        if not isinstance(item, Mapping) or set(item) != {"role", "content"} or not isinstance(item["content"], str):
            raise BadQuery(f"message {i}: expected {{'role': ..., 'content': text}}, got {item!r:.60}")
        if item["role"] not in get_args(Role):
            raise BadQuery(f"message {i}: role {item['role']!r} is none of {', '.join(get_args(Role))}")
        messages.append(Message(cast(Role, item["role"]), _text(item["content"], f"message {i}")))
    if not any(m.role == "user" for m in messages):
        raise BadQuery("the chat has no message of the user")
    return tuple(messages)


def _text(text: str, what: str) -> str:
    if not text.strip():
        raise BadQuery(f"{what} is empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadQuery(f"{what} is not valid UTF-8 (at character {error.start})") from error
    return text


def plan_of(strategy: Strategy, task: Task) -> Plan[Answer]:
    """The strategy's plan. Raises `CallerError` for what makes none."""
    plan = strategy(task)
    if not hasattr(plan, "send"):
        raise CallerError(
            f"{name_of(strategy)} is no strategy: it returned {type(plan).__name__}, not a plan (a generator)"
        )
    return plan


def check_options(on_event: Any, on_cancel: Any) -> None:
    """Raises `CallerError`."""
    if on_cancel not in ("raise", "best"):
        raise CallerError(f"on_cancel={on_cancel!r}: expected 'raise' or 'best'")
    if on_event is not None and (not callable(on_event) or iscoroutinefunction(on_event)):
        raise CallerError("on_event: expected a plain function of an event (it is not awaited)")


def contract_of(answer: str | Contract, choices: Sequence[str], schema: Mapping[str, Any] | None) -> Contract:
    """Raises `UnknownName` for a kind that is none, `CallerError` for a choice between nothing."""
    if isinstance(answer, Contract):
        return answer
    if choices and answer == "text":
        answer = "choice"
    if answer not in KINDS:
        raise UnknownName.of("kind of answer", str(answer), KINDS)
    if isinstance(choices, str) or len(set(choices)) != len(choices):
        raise CallerError(f"choices={choices!r}: expected different texts")
    try:
        plain = None if schema is None else json.loads(json.dumps(schema, default=dict))
    except (TypeError, ValueError) as error:
        raise CallerError(f"schema: expected a JSON Schema: {error}") from error
    return Contract(answer, tuple(choices), plain)


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that another process needs to go on with a run, but for checks, tools and models that are objects
    of the first process: those are named here and have to be given again. Checks given as text are not."""

    task: Task
    budget: Budget
    strategy: Strategy
    models: tuple[str, ...]
    seed: int
    policy: str  # JSON
    name: str
    guesses: Mapping[str, float] = field(default_factory=dict)  # expected completion tokens by model
    widen: Mapping[str, float] = field(default_factory=dict)  # how far verifiers have drifted
    texts: tuple[str | None, ...] = ()  # the last checks as they were given, where that was text
    account: str = ""  # that it is charged to
    lengths: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # of replies: upper quantiles by model
    shadow: float | None = None  # value per dollar, beside what worth asks; None: no budget is shared
    shifts: Mapping[str, float] = field(default_factory=dict)  # of arms, in logits
    store: bool = True
    key: str = ""  # a hash of that by which it stuck to its policy, while a canary was tried

    def dump(self) -> str:
        task = self.task
        return json.dumps(
            {
                "messages": [plain(m) for m in task.messages],
                "contract": plain(task.contract),
                "checks": [name_of(check) for check in task.checks],
                "specs": [*(None,) * (len(task.checks) - len(self.texts)), *self.texts],
                "prompts": dict(task.prompts),
                "known": [plain(c) for c in task.known],
                "scope": task.scope,
                "label": task.label,
                "tools": [plain(t) for t in task.tools],
                "judged": [plain(j) for j in task.judged],
                "topic": task.topic,
                "budget": plain(self.budget),
                "strategy": address_of(self.strategy) if _found_again(self.strategy) else "",
                "settings": settings_of(self.strategy),
                "name": self.name,
                "models": self.models,
                "seed": self.seed,
                "policy": self.policy,
                "key": self.key,
                "guesses": dict(self.guesses),
                "widen": dict(self.widen),
                "account": self.account,
                "shadow": self.shadow,
                "shifts": dict(self.shifts),
                "lengths": {name: dict(kinds) for name, kinds in self.lengths.items()},
            }
        )

    @classmethod
    def load(cls, text: str, checks: Sequence[Any], strategy: Strategy | None) -> Spec:
        """Raises `CallerError` where something has to be given again and is not."""
        data = json.loads(text)
        texts = data.get("specs") or [None] * len(data["checks"])  # older records have the names only
        verifiers = checks_again(data["checks"], texts, listed(checks))
        if strategy is None:
            if not data["strategy"]:
                raise CallerError(
                    f"strategy {data['name']!r} cannot be found by a name: resume it from Python with "
                    "engine.resume(run_id, strategy=...)"
                )
            strategy = find(data["strategy"], **data["settings"])
        task = stored_task(text, verifiers)
        budget = Budget(**data["budget"])
        return cls(
            task,
            budget,
            strategy,
            tuple(data["models"]),
            data["seed"],
            data["policy"],
            data["name"],
            data["guesses"],
            data.get("widen", {}),
            account=data.get("account", ""),
            lengths=data.get("lengths", {}),
            shadow=data.get("shadow"),
            shifts=data.get("shifts", {}),
            key=data.get("key", ""),
        )


def _found_again(strategy: Strategy) -> bool:
    """Whether name and settings make the same strategy: some settings cannot be stored."""
    try:
        again = find(address_of(strategy), **settings_of(strategy))
    except Exception:
        return False
    alike = type(again) is type(strategy) and getattr(again, "__dict__", None) == getattr(strategy, "__dict__", {})
    return again == strategy or alike


def stored_task(text: str, checks: tuple[Verifier, ...] = ()) -> Task:
    """The task of a stored spec."""
    data = json.loads(text)
    contract = data["contract"]
    return Task(
        tuple(Message(**m) for m in data["messages"]),
        Contract(contract["kind"], tuple(contract["choices"]), contract["schema"], contract["language"]),
        checks,
        tuple(load(Candidate, c) for c in data.get("known", ())),
        prompts=data["prompts"],
        scope=tuple(data["scope"]),
        label=data["label"],
        tools=tuple(load(ToolSpec, t) for t in data.get("tools", ())),
        judged=tuple(load(Judgement, j) for j in data.get("judged", ())),
        topic=data.get("topic", ""),
    )
