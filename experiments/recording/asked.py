"""Questions to be recorded: from a file of your own, another bank, or reasoning-gym's generators."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha1
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...core.errors import BadQuery, CallerError, MissingExtra, UnknownName
from ...core.task import KINDS, Candidate, Contract
from ..bank import Bank, Question
from ..banking.files import csv_rows

FOLDS = 10
GYM, BANK = "reasoning-gym:", "bank:"
RIGHT = 0.99  # what a task's own scorer has to say of a right answer
Scorer = Callable[[str], bool]


@dataclass(frozen=True)
class Asked:
    """Questions in the order in which they are asked, and the scorers of those that have one of their own: neither gold
    answers nor scorers reach a model or a verifier."""

    questions: tuple[Question, ...]
    source: str
    licence: str = ""
    scorers: Mapping[str, Scorer] | None = None

    def right(self, question: Question, candidate: Candidate) -> bool:
        """Whether a candidate is right: by the task's own scorer, else by the key of the gold answer."""
        if candidate.answer is None:
            return False
        scorer = (self.scorers or {}).get(question.id)
        return scorer(candidate.answer) if scorer is not None else candidate.key == gold_key(question)


def gold_key(question: Question) -> str | None:
    """The key of the gold answer, None where there is none."""
    return None if question.gold is None else _key(Contract(question.kind, question.choices), question.gold)


def _key(contract: Contract, text: str) -> str | None:
    reading = contract.read(text)
    return reading.key if reading is not None else None


def asked_of(spec: str) -> Asked:
    """The questions that `--tasks` names: a .jsonl or .csv file, `bank:NAME[:size=N]` (the first N of each dataset of
    another bank), or `reasoning-gym:NAME[,NAME...][:size=25,seed=1,...]` (further settings go to each generator).
    Raises `CallerError`, `BadQuery`, `UnknownName`, `MissingExtra`."""
    if spec.startswith(GYM):
        return _of_gym(spec.removeprefix(GYM))
    if spec.startswith(BANK):
        return _of_bank(spec.removeprefix(BANK))
    return _of_file(Path(spec))


def interleaved(questions: Iterable[Question]) -> tuple[Question, ...]:
    """One of each dataset in turn, so that a part of a recording is a fair part."""
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        groups[question.dataset].append(question)
    return tuple(q for turn in zip_longest(*groups.values()) for q in turn if q is not None)


def fold_of(name: str) -> int:
    """A question's fold, by its id."""
    return int(sha1(name.encode()).hexdigest(), 16) % FOLDS


def _of_bank(spec: str) -> Asked:
    name, _, rest = spec.partition(":")
    settings = _settings(rest, spec)
    size = settings.pop("size", None)
    if settings or (size is not None and (type(size) is not int or size < 1)):
        raise CallerError(f"--tasks bank:{spec}: expected bank:NAME or bank:NAME:size=N")
    bank = Bank.open(name)
    taken: Counter[str] = Counter()
    kept = []
    for question in bank.questions.values():
        if question.gold is None:
            raise CallerError(
                f"bank {name}: question {question.id!r} has no gold answer, so that nothing can be labelled"
            )
        taken[question.dataset] += 1
        if size is None or taken[question.dataset] <= size:
            kept.append(question)
    source = f"questions of bank {name}: {bank.manifest.get('source', '')}".strip(" :")
    return Asked(interleaved(kept), source, str(bank.manifest.get("licence", "")))


def _of_file(path: Path) -> Asked:
    if not path.exists():
        raise CallerError(
            f"--tasks {path}: there is no such file; expected a .jsonl or .csv file, {BANK}NAME or {GYM}NAME,..."
        )
    try:
        rows = list(csv_rows(path)) if path.suffix.lower() == ".csv" else _lines(path.read_text("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CallerError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    if not rows:
        raise BadQuery(f"{path}: no questions")
    questions = [_question(row, f"{path}, question {i}") for i, row in enumerate(rows, 1)]
    twice = [name for name, n in Counter(q.id for q in questions).items() if n > 1]
    if twice:
        raise BadQuery(f"{path}: {len(twice)} ids stand twice, such as {twice[0]!r}: the same question, or another id?")
    return Asked(interleaved(questions), f"questions of {path.name}")


def _lines(text: str, path: Path) -> list[Any]:
    found = []
    for i, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON may hold U+2028
        if line.strip():
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise BadQuery(f"{path}, line {i}: not JSON: {error}") from error
    return found


def _question(row: Any, where: str) -> Question:
    if not isinstance(row, Mapping):
        raise BadQuery(f"{where}: expected an object with question and answer")
    text, gold = (
        _text(row, "question", where),
        _text(row, "answer" if row.get("answer") not in (None, "") else "gold", where),
    )
    choices = _choices(row.get("choices"), where)
    kind = str(row.get("kind") or ("choice" if choices else "text"))
    if kind not in KINDS:
        raise UnknownName.of("kind of answer", kind, KINDS)
    name = str(row.get("id") or sha1(text.encode()).hexdigest()[:12])
    dataset, topic, passage = (str(row.get(key) or "") for key in ("dataset", "topic", "passage"))
    made = Question(name, dataset or "tasks", text, gold, kind, choices, fold_of(name), topic, passage)
    if gold_key(made) is None:
        raise BadQuery(f"{where}: the answer {gold!r:.60} is no {kind}: nothing could ever be right")
    return made


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if value is None or not str(value).strip():
        raise BadQuery(f"{where}: no {name}: each needs a question and its answer (gold)")
    return str(value).strip()


def _choices(value: Any, where: str) -> tuple[str, ...]:
    if value in (None, ""):
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = [part.strip() for part in value.split("|")]
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise BadQuery(f"{where}: choices: expected a list of texts, or texts with | between them")
    return tuple(value)


def _settings(text: str, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, is_, value = part.partition("=")
        if not is_:
            raise CallerError(f"{where}: settings are key=value, not {part!r}")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value
    return found


def _of_gym(spec: str) -> Asked:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise MissingExtra.of("tasks", "questions of reasoning-gym") from None
    named, _, rest = spec.partition(":")
    settings = _settings(rest, GYM + spec)
    size, seed = settings.pop("size", 25), settings.pop("seed", 1)
    questions: list[Question] = []
    scorers: dict[str, Scorer] = {}
    for name in filter(None, (part.strip() for part in named.split(","))):
        if name not in DATASETS:
            raise UnknownName.of("task of reasoning-gym", name, DATASETS)
        try:
            # Generators repeat themselves where their settings are narrow: more are drawn than are kept.
            made = reasoning_gym.create_dataset(name, size=4 * size, seed=seed, **settings)
        except (TypeError, ValueError, AssertionError) as error:
            raise CallerError(f"{GYM}{name}: {error}") from error
        kept = _different(name, made, size)
        questions += [question for question, _ in kept]
        scorers |= {question.id: _scorer(made, entry) for question, entry in kept}
    if not questions:
        raise CallerError(f"--tasks {GYM}{spec}: expected the names of generators, as {GYM}chain_sum,gcd")
    told = f"reasoning-gym {reasoning_gym.__version__} ({spec})"
    return Asked(interleaved(questions), told, "Apache-2.0", scorers)


def _different(name: str, made: Iterable[Any], size: int) -> list[tuple[Question, Any]]:
    entries: dict[str, Any] = {}
    for entry in made:
        entries.setdefault(str(entry["question"]).strip(), entry)
        if len(entries) == size:
            break
    numbers = all(_key(Contract("number"), str(e["answer"])) is not None for e in entries.values())
    kept = []
    for text, entry in entries.items():
        # by its text: other seeds and settings make other questions, and the same one is the same in all of them
        label = f"{name}-{sha1(text.encode()).hexdigest()[:12]}"
        gold = str(entry["answer"]).strip()
        kept.append((Question(label, name, text, gold, "number" if numbers else "text", (), fold_of(label)), entry))
    return kept


def _scorer(made: Any, entry: Any) -> Scorer:
    return lambda answer: float(made.score_answer(answer=answer, entry=entry)) >= RIGHT
