"""Where the answer stands in a completion: the spans of text to try, the most telling first.

Explicit marks (`\\boxed{}`, "Answer:", "####", <answer> tags) come before looser ones ("the answer is"), the later of
equals before the earlier, and all of them before what the kind of answer suggests (the last number, the last line).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..task import AnswerKind

LIMIT = 100_000  # characters looked at: answers stand at the end, so the tail is kept
TRIES = 200  # spans of one sort that are tried

_I = re.IGNORECASE | re.MULTILINE
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_STRONG = re.compile(
    r"(?<![^\W_])(?:final[ \t]+)?(?:answers?|ans)\b[ \t]?[*_`\"']{0,4}[ \t]?(?:[:=\uff1a]|is[ \t]?[*_]{0,4}:)"
    r"|\bfinal[ \t]+answer[ \t]+is\b"
    r"|^[ \t>#*_]{0,12}(?:the[ \t]+)?(?:final[ \t]+|correct[ \t]+)?answer[ \t]?[*_]{0,4}[ \t]?$",
    _I,
)
_WEAK = re.compile(
    r"\banswer(?:[ \t]+(?:to|for)[ \t][^.:=\n]{0,80}?)?[ \t]+(?:is|are|must be|would be|should be)\b", _I
)
_GSM = re.compile(r"\s*####(?!#)[ \t]*(.+)")
_WRAP = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit)\s?\{([^{}]{0,400})\}")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d{1,3}[.)])\s+(?=\S)")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_CODE = re.compile(
    r"^\s*(?:(?:def|class|import|from|return|for|while|if|with|try|async|function|const|let|var|public|fn|func|package"
    r"|use|SELECT)\b|@|print\(|#include).*[\w:;(){}>]\s*$|^\s*[\w.\[\]]+\s*[-+*/]?=[^=]|[;{}]\s*$|^\s*[\w.]+\(.*\)\s*$",
    re.MULTILINE,
)
_LEAD = re.compile(r"[\s*_#>]{0,12}(?:the\s)?(?:final\s)?answer[*_\s]{0,6}:[*_]{0,4}", re.IGNORECASE)


def visible(text: str) -> str:
    """The part of a completion that may hold the answer: its tail, without a closed <think> block before it."""
    tail = text[-LIMIT:]
    after = tail.rpartition("</think>")[2]
    return after if after.strip() else tail


def spans(kind: AnswerKind, text: str, language: str = "") -> Iterator[str]:
    """The places to look for an answer of that kind, best first."""
    if kind == "code":
        yield from _code(text, language)
    elif kind == "json":
        yield from _json(text)
    else:
        yield from marked(text)
        yield from (_numbers if kind == "number" else _lines)(text)


def marked(text: str) -> Iterator[str]:
    """What the marks in the text point at."""
    strong = _tags(text) + _boxes(text)
    strong += [(m.end(), "") for m in _STRONG.finditer(text)]
    # Elsewhere "####" is a heading; GSM8K ends with it.
    ending = text.rstrip().rpartition("\n")[2]
    if m := _GSM.match(ending):
        strong.append((len(text.rstrip()) - len(ending) + m.start(1), m.group(1)))
    weak = [(m.end(), "") for m in _WEAK.finditer(text)]
    for found in (strong, weak):
        for start, inside in sorted(found, reverse=True)[:TRIES]:
            yield from (plain(part) for part in ([inside] if inside else _after(text, start)) if part.strip())


def _tags(text: str) -> list[tuple[int, str]]:
    """Contents of <answer> tags. Tag by tag: one pattern over both would be quadratic in unclosed tags."""
    found, start = [], -1
    for m in _TAG.finditer(text):
        if not m.group(1):
            start = m.end()
        elif start >= 0:
            found.append((start, text[start : m.start()]))
            start = -1
    return found


def _boxes(text: str) -> list[tuple[int, str]]:
    """Contents of `\\boxed{...}`, braces balanced. One pass with a stack, so that nesting costs nothing."""
    opened = {m.end() - 1 for m in _BOX.finditer(text)}
    if not opened:
        return []
    stack: list[int] = []
    found: list[tuple[int, str]] = []
    for m in re.finditer(r"\\[{}]|[{}]", text):
        if m.group() == "{":
            stack.append(m.start())
        elif m.group() == "}" and stack:
            start = stack.pop()
            # Bounded, so that deep nesting does not copy the text over and over.
            if start in opened and m.start() - start < 4_000:
                found.append((start + 1, text[start + 1 : m.start()]))
    return found


def _after(text: str, start: int) -> Iterator[str]:
    """The rest of the line, and the next line with content if that says nothing ("Answer:" on a line of its own)."""
    window = text[start : start + 4_000]
    rest, _, below = window.partition("\n")
    if rest.strip(" \t\r*_"):
        yield rest
    if not any(c.isalnum() for c in rest):
        yield from islice((line for line in below.split("\n")[:8] if any(c.isalnum() for c in line)), 1)


def plain(span: str) -> str:
    """Without LaTeX's text wrappers: `\\text{B}` is B."""
    return _WRAP.sub(r"\1", span) if "\\" in span else span


def _lines(text: str) -> Iterator[str]:
    """Lines, the last first, without those that only hold a mark."""
    lines = (line for line in reversed(text.splitlines()) if line.strip())
    usable = (line for line in lines if not ((m := _STRONG.search(line[:200])) and not line[m.end() :].strip(" *_\t")))
    yield from (plain(line) for line in islice(usable, TRIES))


def _numbers(text: str) -> Iterator[str]:
    """Sentences, the last first: those with digits, then (for number words) those without."""
    lines = [line for line in text.splitlines() if line.strip()][-TRIES:]
    bare = [s[-400:] for line in lines for s in _SENTENCE.split(_BULLET.sub("", line[-2_000:]))][-TRIES:]
    digits = [any(c.isnumeric() for c in s) for s in bare]
    yield from (plain(s) for s, has in zip(reversed(bare), reversed(digits), strict=True) if has)
    yield from (plain(line[-400:]) for line in reversed(lines) if any(c.isnumeric() for c in line))
    yield from (plain(s) for s, has in zip(reversed(bare), reversed(digits), strict=True) if not has)


def fences(text: str) -> list[tuple[str, str]]:
    """(language tag, content) of the fenced blocks. A block that is cut off counts: its code may still be whole."""
    found: list[tuple[str, str]] = []
    tag: str | None = None
    body: list[str] = []
    for line in text.splitlines():
        if tag is None:
            head, fence, after = line.rpartition("```")
            if fence and "```" in head:
                found.append(("", head.rpartition("```")[2]))
            elif fence and head[-1:] in "\t :*>-" and re.fullmatch(r"[\w+#.-]*\s*", after):
                tag, body = after.strip().lower(), []
        elif "```" in line:
            found.append((tag, "\n".join([*body, line.partition("```")[0]])))
            tag = None
        else:
            body.append(line)
    return [*found, (tag, "\n".join(body))] if tag is not None else found


def _json(text: str) -> Iterator[str]:
    """Texts that are a JSON value as they stand; then the fences, and the text itself, to be searched."""
    if _is_json(text):
        yield text
    yield from (inside for _, inside in _tags(text)[:-TRIES:-1])
    for m in list(_STRONG.finditer(text))[:-20:-1]:
        yield from (part for part in (text[m.end() :], *_after(text, m.end())) if _is_json(part))
    yield from (body for _, body in fences(text)[:-TRIES:-1])
    yield text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _code(text: str, language: str) -> Iterator[str]:
    """The last block in the language asked for, else the last block, else text that looks like code."""
    names = {"python": {"python", "py", "python3"}, "javascript": {"javascript", "js"}, "c++": {"c++", "cpp"}}
    wanted = names.get(language.lower(), {language.lower()})
    blocks = [(tag, body) for tag, body in fences(text) if body.strip()]
    yield from islice((body for tag, body in reversed(blocks) if tag in wanted), 1)
    yield from islice((body for _, body in reversed(blocks)), 1)
    yield from (inside for _, inside in _tags(text)[-1:])
    if lead := _LEAD.match(text):
        yield text[lead.end() :]
    elif len(text) < 20_000 and _CODE.search(text):
        yield text
