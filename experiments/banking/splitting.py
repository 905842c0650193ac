"""Folds that share no question: the same question, a near-duplicate, or another one on the same passage stay together.

Two questions are near-duplicates if their numbers are the same in the same order ("17 + 25" is not "18 + 25") and the
Jaccard similarity of their word 3-shingles (Broder 1997) is at least 0.9, both over all shingles and over those that
are not boilerplate of many questions: instructions that a whole data set begins with make no two of its questions
alike. The join is exact, by prefix filtering over rare shingles first (Bayardo, Ma, Srikant 2007), so there is no
chance in it and no seed. What is alike is joined transitively (union-find).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from ...core.errors import CallerError
from .records import Question

if TYPE_CHECKING:
    from ..bank import Bank

ALIKE = 0.9  # Jaccard similarity from which two questions are near-duplicates
SHINGLE = 3  # words
COMMON = 10  # a shingle of more questions than this is boilerplate; of few questions: of over a fifth, 3 or more
_WORD = re.compile(r"\w+|[^\w\s]+")
_NUMBER = re.compile(r"\d+")
Said: TypeAlias = tuple[str, str]  # text and passage


def normal(text: str) -> str:
    """A text without case, compatibility forms and layout. Signs stay: 3 + 4 is not 3 - 4."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def key(question: Question) -> str:
    """SHA-256 of the normalised text and passage, in hexadecimal: the same question has the same key in every bank."""
    return _key((question.text, question.passage))


@lru_cache(maxsize=1 << 16)
def _key(said: Said) -> str:
    text, passage = map(normal, said)
    return hashlib.sha256(f"{text}\0{passage}".encode()).hexdigest()


def split(bank: Bank, folds: int = 10, *, seed: int = 0) -> Bank:
    """The bank with folds from 0 to `folds` - 1 given anew: a cluster of questions that belong together goes to a
    fold by the hash of `seed` and its least key, whatever else the bank holds. Raises `CallerError`."""
    if folds < 2:
        raise CallerError(f"{folds} folds: a split has 2 or more", folds=folds)
    least: dict[int, str] = {}
    questions = list(bank.questions.values())
    of = clusters(questions)
    for question, cluster in zip(questions, of, strict=True):
        least[cluster] = min(key(question), least.get(cluster, "g"))  # "g" stands behind every hex digit
    fold = {c: int(hashlib.sha256(f"{seed}:{k}".encode()).hexdigest(), 16) % folds for c, k in least.items()}
    if len(set(fold.values())) < 2:
        raise CallerError(
            "every question would land in one fold: the bank has too few that differ, or another --seed is needed",
            clusters=len(least),
        )
    made = {q.id: replace(q, fold=fold[c]) for q, c in zip(questions, of, strict=True)}
    manifest = {**bank.manifest, "split": {"folds": folds, "seed": seed, "clusters": len(least)}}
    return replace(bank, questions=made, manifest=manifest, path=None)


def clusters(questions: Sequence[Question], *, near: bool = True) -> tuple[int, ...]:
    """For each question the index of the first one that it belongs with (its own, if none). Without `near`, only the
    same text and the same passage count."""
    return _clusters(tuple((q.text, q.passage) for q in questions), near)


def duplicates(bank: Bank, *, near: bool = True) -> list[tuple[str, ...]]:
    """Ids of the questions of each cluster of two or more."""
    found: dict[int, list[str]] = defaultdict(list)
    for name, cluster in zip(bank.questions, clusters(list(bank.questions.values()), near=near), strict=True):
        found[cluster].append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]


def clash(bank: Bank, *, near: bool = True) -> tuple[str, str] | None:
    """Ids of two questions that belong together and lie in two folds; None: there are none."""
    for names in duplicates(bank, near=near):
        first, *rest = (bank.questions[name] for name in names)
        for other in rest:
            if other.fold != first.fold:
                return first.id, other.id
    return None


def check(bank: Bank, *, near: bool = True) -> None:
    """Raises `CallerError` where the same question (with `near`: or nearly the same) lies in two folds."""
    found = clash(bank, near=near)
    if found is None:
        return
    one, other = (bank.questions[name] for name in found)
    raise CallerError(
        f"questions {one.id!r} (fold {one.fold}) and {other.id!r} (fold {other.fold}) are the same or nearly so: "
        f"{_short(one.text)!r}, {_short(other.text)!r}. What is learnt on one would be tested on the other. "
        f"`satisfice bank split {bank.path or 'BANK'} --out NEW` puts them into one fold",
        questions=list(found),
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."


# -- which belong together ------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _clusters(said: tuple[Said, ...], near: bool) -> tuple[int, ...]:
    root = list(range(len(said)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    def unite(i: int, j: int) -> None:
        a, b = sorted((find(i), find(j)))
        root[b] = a

    first: dict[str, int] = {}
    passages: dict[str, int] = {}
    distinct: list[int] = []
    for i, (text, passage) in enumerate(said):
        seen = first.setdefault(_key((text, passage)), i)
        unite(i, seen)
        if seen == i:
            distinct.append(i)
        if passage:
            unite(i, passages.setdefault(normal(passage), i))
    if near:
        for a, b in alike([f"{said[i][1]} {said[i][0]}" for i in distinct]):
            unite(distinct[a], distinct[b])
    return tuple(find(i) for i in range(len(said)))


def alike(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The pairs of near-duplicates among texts, by index."""
    shingled = [_shingles(text) for text in texts]
    counts = Counter(shingle for made in shingled for shingle in made)
    common = min(COMMON, max(3, len(texts) // 5))
    telling = [{s for s in made if counts[s] <= common} for made in shingled]
    alikes: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        if telling[i]:  # nothing but boilerplate: alike to nothing but itself
            alikes[tuple(_NUMBER.findall(unicodedata.normalize("NFKC", text)))].append(i)
    for group in alikes.values():
        if len(group) > 1:
            yield from _join(group, shingled, telling, counts)


def _join(
    group: Iterable[int], shingled: Sequence[set[str]], telling: Sequence[set[str]], counts: Mapping[str, int]
) -> Iterator[tuple[int, int]]:
    """Sets this alike share one of the first |set| - ceil(ALIKE |set|) + 1 of their telling shingles, rare first."""
    places: dict[str, list[int]] = defaultdict(list)
    for i in group:
        own = sorted(telling[i], key=lambda shingle: (counts[shingle], shingle))
        seen: set[int] = set()
        for shingle in own[: len(own) - ceil(ALIKE * len(own)) + 1]:
            for j in places[shingle]:
                if j not in seen and _near(telling[i], telling[j]) and _near(shingled[i], shingled[j]):
                    yield j, i
                seen.add(j)
            places[shingle].append(i)


def _near(a: set[str], b: set[str]) -> bool:
    if ALIKE * max(len(a), len(b)) > min(len(a), len(b)):
        return False
    both = len(a & b)
    return both >= ALIKE * (len(a) + len(b) - both)


def _shingles(text: str) -> set[str]:
    words = _WORD.findall(normal(text))
    if len(words) < SHINGLE:
        return {" ".join(words)}
    seen: Counter[str] = Counter()
    made = set()
    for i in range(len(words) - SHINGLE + 1):
        shingle = " ".join(words[i : i + SHINGLE])
        made.add(f"{shingle} {seen[shingle]}" if seen[shingle] else shingle)  # how often it occurs counts too
        seen[shingle] += 1
    return made
