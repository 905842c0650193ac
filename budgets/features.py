"""What can be seen of a question before anything is spent: the features that predictors and gates look at.

Pure Python: it runs on every request. `features` is of version `VERSION`, which a fitted predictor records, since the
meaning of its weights is the order of these figures. The gate of `Experts` keeps an older, shorter list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isfinite, log1p
from threading import Lock
from zlib import crc32

from ..core.errors import CallerError
from ..core.task import KINDS, Task

VERSION = 1
HASHED = 128  # buckets of words and pairs of words
LONGEST = 20_000  # characters that are looked at: a document's features are those of its beginning
MOST = 800  # words that are hashed
BUCKETS = 32  # of the gate's hashed words

_WORD = re.compile(r"[a-z]{2,}")
_ASCII_WORD = re.compile(rb"[a-z]{2,}")
# Scripts without spaces are read by the character.
_ANY_WORD = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[^\\W\\d_]{2,}")
_MATHS = re.compile(r"[+*/=^<>%\u221a\u2211\u222b]|\\frac|\bhow (?:many|much)\b", re.I)
_CODE = re.compile(r"```|\bdef |\bclass |\breturn\b|[{};]|=>|->|\w\(\)")
_OPTION = re.compile(r"^[ (]{0,3}[A-Z][.):] +(.*)$", re.M)
_NUMERIC = re.compile(r"[\W\d]*\d[\W\d]*[a-z%]{0,8}\.?", re.I)
# What is counted as it stands: a pattern for each would cost more than all the rest.
_MATHS_MARKS = ("\u221a", "\u2211", "\u222b", "how many", "how much")
_CODE_MARKS = ("```", "def ", "class ", "return ", "=>", "->", "()")
_SIGNS, _BRACES, _DIGITS, _CAPITALS = b"+*/=^<>%\\", b"{};", b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STATEMENTS = ("statement 1", "statement i", "i and ii", "ii only", "ii and iii", "i only", "ii or iii")
_CATCH_ALL = ("of the above", "of these", "both a and", "a and b")
_NEGATED = frozenset((b"not", b"except", b"least", b"false", b"incorrect", b"never", b"untrue"))
# A few of the commonest words of each language, hardly any of which is common in the others.
_LANGUAGES = {
    "en": frozenset((b"the", b"of", b"and", b"is", b"was", b"which", b"that", b"with", b"are")),
    "de": frozenset((b"der", b"die", b"das", b"und", b"nicht", b"ist", b"ein", b"mit", b"auf")),
    "fr": frozenset((b"les", b"des", b"est", b"une", b"dans", b"pour", b"qui", b"que", b"et")),
    "es": frozenset((b"el", b"los", b"las", b"una", b"por", b"con", b"para", b"como", b"del")),
}
_SCRIPTS = re.compile(
    "([\u0400-\u04ff])|([\u0590-\u06ff])|([\u0900-\u0dff])|([\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])"
)
NAMES = (
    *(f"kind:{kind}" for kind in KINDS),
    "length",
    "stem",
    "lines",
    "digits",
    "capitals",
    "word length",
    "maths",
    "code",
    "choices",
    "options' length",
    "longest option",
    "numeric options",
    "negated",
    "statements",
    "catch-all",
    "gap to fill",
    "asks",
    "quotes",
    "messages",
    "tools",
    "checks",
    *(f"language:{name}" for name in _LANGUAGES),
    *(f"script:{name}" for name in ("cyrillic", "semitic", "indic", "east asian")),
)
MARKS = len(NAMES)  # features that are no hashed words
PLAIN = 8 + len(KINDS)  # the gate's features that are no hashed words


def features(task: Task, buckets: int = HASHED) -> tuple[float, ...]:
    """What a predictor sees of a question, (MARKS + buckets,), each within about [0, 1]: `NAMES`, then how often words
    and pairs of neighbouring words come, by their hash, beside the square root of their number. The topic is the
    task's own field, and an embedding is appended by whoever has one (`embedded`)."""
    text = task.query[:LONGEST]
    low = text.lower()
    words = _words(low)
    marks = _marks(task, text, low, words)
    if not buckets:
        return marks
    scale = max(1.0, len(words)) ** -0.5
    counts, half = [0.0] * buckets, scale / 2
    before = 0
    for code in map(crc32, words):
        counts[code % buckets] += scale
        counts[(before ^ code) % buckets] += half
        before = code >> 1  # the same two words the other way round are another pair
    return (*marks, *counts)


def _words(low: str) -> list[bytes]:
    if low.isascii():
        return _ASCII_WORD.findall(low.encode())[:MOST]
    return [word.encode("utf-8", "surrogatepass") for word in _ANY_WORD.findall(low)[:MOST]]


def _marks(task: Task, text: str, low: str, words: list[bytes]) -> tuple[float, ...]:
    length, number, kind = max(1, len(text)), max(1, len(words)), task.contract.kind
    stem, options = _parts(text, task.contract.choices) if kind == "choice" else (text, ())
    counted = [0, 0, 0, 0]
    if not text.isascii():
        for match in _SCRIPTS.finditer(text):
            counted[(match.lastindex or 1) - 1] += 1
    once, raw = set(words), text.encode("utf-8", "surrogatepass")

    def many(of: bytes) -> int:
        return len(raw) - len(raw.translate(None, of))

    return (
        *(float(kind == known) for known in KINDS),
        log1p(length) / 10,
        log1p(len(stem)) / 10,
        min(1.0, text.count("\n") / 20),
        many(_DIGITS) / length,
        many(_CAPITALS) / length,
        min(1.0, sum(map(len, words)) / number / 10),
        min(1.0, (many(_SIGNS) + sum(map(low.count, _MATHS_MARKS))) / 5),
        min(1.0, (many(_BRACES) + sum(map(low.count, _CODE_MARKS))) / 5),
        min(1.0, len(options) / 5),
        log1p(sum(map(len, options)) / max(1, len(options))) / 6,
        log1p(max(map(len, options), default=0)) / 6,
        sum(_NUMERIC.fullmatch(option[:40]) is not None for option in options) / max(1, len(options)),
        float(not once.isdisjoint(_NEGATED)),
        float(any(map(low.__contains__, _STATEMENTS))),
        float(any(map(low.__contains__, _CATCH_ALL))),
        float("__" in stem),
        float(stem.rstrip().endswith("?")),
        min(1.0, text.count('"') / 10),
        min(1.0, (len(task.messages) - 1) / 5),
        min(1.0, len(task.tools) / 5),
        min(1.0, len(task.checks) / 3),
        *(min(1.0, len(once & stops) / 4) for stops in _LANGUAGES.values()),
        *(count / length for count in counted),
    )


def _parts(text: str, choices: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """(the question before its options, the options' texts); the contract's labels where the text lists none."""
    first = _OPTION.search(text)
    if first is None:
        return text, choices
    return text[: first.start()], tuple(_OPTION.findall(text, first.start()))


def gate_features(task: Task, buckets: int = BUCKETS) -> tuple[float, ...]:
    """What a gate sees of a question, (PLAIN + buckets,), each within about [0, 1]: a constant, the kind of answer,
    length, lines, digits, capitals, marks of mathematics and of code, choices, and how often words of each hash come,
    beside the square root of their number."""
    text = task.query
    length = max(1, len(text))
    plain = (
        1.0,
        *(float(task.contract.kind == kind) for kind in KINDS),
        log1p(length) / 10,
        min(1.0, text.count("\n") / 20),
        sum(c.isdigit() for c in text) / length,
        sum(c.isupper() for c in text) / length,
        min(1.0, len(_MATHS.findall(text)) / 5),
        min(1.0, len(_CODE.findall(text)) / 5),
        min(1.0, len(task.contract.choices) / 5),
    )
    if not buckets:
        return plain
    counts = [0.0] * buckets
    words = _WORD.findall(text.lower())[:2000]
    for word in words:
        counts[crc32(word.encode()) % buckets] += 1.0
    scale = max(1.0, len(words) ** 0.5)
    return (*plain, *(count / scale for count in counts))


Embed = Callable[[str], Sequence[float]]
_embeddings: dict[str, tuple[Embed, int]] = {}
_lock = Lock()


def register_embedding(name: str, embed: Embed | None, size: int = 0) -> None:
    """Makes `embed(text)`, a vector of `size` numbers, known as `name`: a policy that was fitted with it says so by
    this name. None takes it away. It runs on the request's path: a slow one delays every first decision. Raises
    `CallerError`."""
    if not isinstance(name, str) or not name:
        raise CallerError(f"register_embedding: name={name!r:.80}, expected a text")
    if embed is not None and (not callable(embed) or isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise CallerError("register_embedding: expected a callable from text to numbers, and how many it gives")
    with _lock:
        if embed is None:
            _embeddings.pop(name, None)
        else:
            _embeddings[name] = embed, size


def embedding_size(name: str) -> int:
    """How many numbers the embedding of this name gives; 0 where none is registered."""
    known = _embeddings.get(name)
    return known[1] if known else 0


def embedded(task: Task, name: str) -> tuple[float, ...] | None:
    """The embedding of the question under this name; None where none is registered, or where it fails or gives no
    finite vector of its size: a predictor then goes by the other features."""
    known = _embeddings.get(name)
    if known is None:
        return None
    embed, size = known
    try:
        found = tuple(map(float, embed(task.query[:LONGEST])))
    except Exception:  # whatever a user's callable raises, the question is still to be answered
        return None
    return found if len(found) == size and all(map(isfinite, found)) else None
