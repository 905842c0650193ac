"""Words of approval in what a model says of an answer. A negation near one ("not an accepted answer") makes it none."""

from __future__ import annotations

import re
from collections.abc import Iterator

_YES = r"accept(?:s|ed|able)?|approv(?:e|es|ed)|correct(?:ly)?|right|true"
_NO = r"revis(?:e|ed|ion)|reject(?:s|ed)?|unacceptable|incorrect(?:ly)?|wrong(?:ly)?|false|mistaken?s?|errors?"
_WORD = re.compile(rf"\b(?:(?P<yes>{_YES})|(?P<no>{_NO}))\b", re.IGNORECASE)
_NOT = re.compile(
    r"\b(?:not|no|never|nothing|none|neither|nor|without|cannot|unable|refuse[sd]?|fail(?:s|ed)?|hardly|\w+n['\u2019]t)\b",
    re.IGNORECASE,
)
_HALF = re.compile(r"\b(?:partial\w*|partly|half|almost|nearly|hardly|barely|somewhat|mostly)\b", re.IGNORECASE)
_EITHER = re.compile(rf"\b(?:{_YES}|{_NO})[\s\"'*]*(?:\bor\b|/)[\s\"'*]*(?:{_YES}|{_NO}|not)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[^.!?;:\n]*[.!?;:\n]?")
_BUT = re.compile(r",|\bbut\b|\bhowever\b|\band\b|\bso\b", re.IGNORECASE)
_BARE_NO = re.compile(r"[\s\"'*]*(?:no|nope)\b[\s\"'*.,!]*$", re.IGNORECASE)
NEAR = 5  # words before a word of approval that a negation may stand
WINDOW = 120  # characters before it that are looked at
LONGEST = 20_000  # characters at the end of a text that are read


def leanings(text: str) -> list[bool]:
    """What each word of approval or of rejection in a text comes to, in order. A question says nothing, nor does a
    choice ("right or wrong"); approval by halves is none; that there is no mistake is not yet approval."""
    return [said for clause in _CLAUSE.findall(text[-LONGEST:]) for said in _clause(clause)]


def _clause(clause: str) -> Iterator[bool]:
    if clause.endswith("?") or _EITHER.search(clause):
        return
    if _BARE_NO.match(clause):
        yield False
        return
    for word in _WORD.finditer(clause):
        before = " ".join(_BUT.split(clause[max(0, word.start() - WINDOW) : word.start()])[-1].split()[-NEAR:])
        negated = bool(_NOT.search(before))
        if word["yes"]:
            after = " ".join(clause[word.end() : word.end() + WINDOW].split()[:1])
            yield not (negated or _HALF.search(before) or re.match(r"\W*(?:not|no)\b", after, re.IGNORECASE))
        elif not negated:
            yield False
