"""Patterns, matched in linear time by RE2 (Cox, 2010): no candidate can make a pattern hang."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from ..core.errors import CallerError, MissingExtra
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .subject import On, shown, subject

_REFUSED = (
    (re.compile(r"\(\?<?[=!]"), "lookahead and lookbehind"),
    (re.compile(r"\\[1-9]|\(\?P=|\\k[<{]"), "backreferences"),
    (re.compile(r"\(\?>|[*+?}]\+"), "atomic groups and possessive quantifiers"),
    (re.compile(r"\(\?\("), "conditionals"),
)


@dataclass(frozen=True, slots=True)
class Regex:
    """Whether `pattern` is found in the answer (`on="text"`: in the whole completion), or, with `full`, matches all
    of it. RE2's syntax: as Python's, without backreferences and lookaround. The score is exact.

    `ignore_case`, `multiline` (^ and $ at each line) and `dotall` (. takes newlines) are as in `re`.
    Raises CallerError for a bad pattern, MissingExtra where the extra `regex` is not installed.
    """

    pattern: str
    full: bool = False
    ignore_case: bool = False
    multiline: bool = False
    dotall: bool = False
    on: On = "answer"
    _compiled: Any = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "regex"

    def __post_init__(self) -> None:
        if self.on not in ("answer", "text"):
            raise CallerError(f"on={self.on!r}: expected 'answer' or 'text'")
        flags = "".join(f for f, on in (("i", self.ignore_case), ("m", self.multiline), ("s", self.dotall)) if on)
        object.__setattr__(self, "_compiled", compiled(self.pattern, flags))

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """1.0 or 0.0, exact."""
        text = subject(candidate, self.on)
        if isinstance(text, Verdict):
            return text
        found = search(self._compiled, text, full=self.full)
        how = "matches" if found else "does not match"
        return Verdict(float(found), exact=True, evidence=f"{shown(text)} {how} {shown(self.pattern)}")

    def __reduce__(self) -> Any:
        # RE2's objects cannot be pickled or copied.
        return Regex, (self.pattern, self.full, self.ignore_case, self.multiline, self.dotall, self.on)


def compiled(pattern: str, flags: str = "") -> Any:
    """The pattern as RE2 has it. Raises CallerError, saying where it is wrong, and MissingExtra."""
    try:
        import re2
    except ImportError:
        raise MissingExtra.of("regex", "the verifier 'regex'") from None
    if not isinstance(pattern, str):
        raise CallerError(f"pattern: expected text, not {type(pattern).__name__}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 16 << 20
    try:
        return re2.compile(f"(?{flags}){pattern}" if flags else pattern, options=options)
    except (re2.error, UnicodeEncodeError) as error:
        raise CallerError(_wrong(pattern, error)) from None


@lru_cache(maxsize=256)
def cached(pattern: str) -> Any:
    """The same, kept: for patterns that were compiled once already."""
    return compiled(pattern)


def search(expression: Any, text: str, *, full: bool = False) -> bool:
    """Whether it is found. A lone surrogate, which RE2 cannot take, counts as the replacement character."""
    safe = text.encode("utf-8", "replace").decode("utf-8")
    return (expression.fullmatch(safe) if full else expression.search(safe)) is not None


def _wrong(pattern: str, error: Exception) -> str:
    """What is wrong with a pattern, and where."""
    if isinstance(error, UnicodeEncodeError):
        return f"pattern {shown(pattern)}: a lone surrogate, at position {error.start}"
    said = error.args[0] if error.args else error
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    for refused, what in _REFUSED:
        bare = re.sub(r"\\[^1-9k]|\[[^\]]*\]", lambda m: "\0" * len(m.group()), pattern)
        if m := refused.search(bare):
            return f"pattern {shown(pattern)}: {what} are not supported (RE2), at position {m.start()}"
    try:
        re.compile(pattern)
        where = pattern.find(said.rpartition(": ")[2]) if ": " in said else -1
    except (re.error, RecursionError, OverflowError) as fault:
        pos: int | None = getattr(fault, "pos", None)
        where = -1 if pos is None else pos
        said = f"{said:.60} ({fault.args[0] if isinstance(fault, re.error) else type(fault).__name__})"
    return f"pattern {shown(pattern)}: {said:.120}" + (f", at position {where}" if where >= 0 else "")
