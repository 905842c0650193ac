"""The shape of a mathematical answer: lists, sets, intervals, matrices, relations, and the expressions in them.

Pure text work, bounded by `LIMIT` and `DEPTH`; nothing is evaluated here.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

LIMIT = 4_096  # characters
DEPTH = 40  # nested brackets
DIGITS = 400  # in a row
ITEMS = 64  # of a list


class Unreadable(ValueError):
    """Not mathematics, or too large to look at. The text says which."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One expression."""

    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """Items in brackets: `(`, `[`, `{` (a set), or "" for a list without any."""

    left: str
    items: tuple[Shape, ...]
    right: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Expressions between relations: `1 < x <= 3` is ("<", "<=") over three parts."""

    ops: tuple[str, ...]
    parts: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets or intervals."""

    parts: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix."""

    rows: tuple[tuple[Shape, ...], ...]


Shape: TypeAlias = Leaf | Row | Chain | Union | Grid

_SUPER = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a\u207f", "0123456789-+n"
)
_SUPERS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b\u207f]+")
_SUB = re.compile("[\u2080-\u2089]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SIGNS = {
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*",
    "\u2217": "*", "\u00f7": "/", "\u2044": "/", "\u2215": "/", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=",
    "\u221e": " oo ", "\u03c0": " pi ", "\u222a": r" \cup ", "\u00b1": r" \pm ", "\u2213": r" \mp ",
    "\u2208": r" \in ", "\u2205": r" \emptyset ", "\u2032": "'", "\u00b0": r"\degree ", "\u211d": r"\mathbb{R}",
}  # fmt: skip
_CHANGES = [
    (re.compile(p), r)
    for p, r in (
        (r"\\(?:left|right|m?left|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-zA-Z])|\\!|\\?\$+", ""),
        (r"\\[\[\]()]", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"(?<=\d)\{,\}(?=\d)|(?<=\d)\\,(?=\d{3}(?!\d))", ","),
        (r"\\[,;:> ]|~", " "),
        (r"\\q?quad(?![a-zA-Z])", " "),
        (r"\\%|\s*\bper ?cent\b", "%"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])", ""),
        (r"\\(?:le|leq|leqslant)(?![a-zA-Z])", " <= "),
        (r"\\(?:ge|geq|geqslant)(?![a-zA-Z])", " >= "),
        (r"\\(?:ne|neq)(?![a-zA-Z])", " != "),
        (r"\\lt(?![a-zA-Z])", " < "),
        (r"\\gt(?![a-zA-Z])", " > "),
        (r"\\(?:lbrace|rbrace)(?![a-zA-Z])", lambda m: r"\{" if m.group()[1] == "l" else r"\}"),
        (r"\\(?:lvert|rvert|vert)(?![a-zA-Z])", "|"),
        (r"\\(?:infty|infin)(?![a-zA-Z])", " oo "),
        (r"\\mathbb\s*\{?\s*R\s*\}?(?![a-zA-Z])", "(-oo, oo)"),
        (r"\\mathrm\s*\{\s*([eid])\s*\}", r"\1"),
        (r"\\varnothing(?![a-zA-Z])|\\empty(?![a-zA-Z])", r"\\emptyset "),
        (r"\\(?:text|mathrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}", ", "),
        (r",?\s\b(?:and|or)\b\s", ", "),
        (r"[\u20ac\u00a3\u00a5\u20b9]", ""),
    )
]
_DEGREES = re.compile(r"\\circ(?![a-zA-Z])|\\degree")
_TRIG = re.compile(r"\b(?:arc)?(?:sin|cos|tan|cot|sec|csc)")
_NUMBER = re.compile(r"([-+]?\d+)(?: ?/ ?(\d+)|\.(\d+))?")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?")
_RELATION = re.compile(r"<=|>=|!=|==|=|<|>|\\in(?![a-zA-Z])")
_GRID = re.compile(r"\\begin\{([pbBvV]?matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def tidy(text: str) -> str:
    """One notation for what Unicode and LaTeX write in many. Raises `Unreadable`."""
    if len(text) > LIMIT:
        raise Unreadable(f"longer than {LIMIT:,} characters")
    if _BIDI.search(text):
        raise Unreadable("characters that turn the direction of reading")
    text = _SUPERS.sub(lambda m: f"^({m.group().translate(_SUPER)})", text)
    text = _SUB.sub(lambda m: f"_{ord(m.group()) - 0x2080}", text)
    text = "".join(f" {c}" if unicodedata.decomposition(c).startswith("<fraction>") else c for c in text)
    # Before NFKC some signs, after it others: it makes "\u2044" of a vulgar fraction.
    for _ in range(2):
        text = "".join(_SIGNS.get(c, c) for c in text)
        text = unicodedata.normalize("NFKC", text)[: 4 * LIMIT]
    kept = []
    for c in text:
        kind = unicodedata.category(c)
        if kind in ("Cs", "Cn", "Co") or (kind == "Cc" and not c.isspace()):
            raise Unreadable(f"the character U+{ord(c):04X}")
        kept.append("" if kind == "Cf" else c)
    text = "".join(kept)
    if _DEGREES.search(text) and _TRIG.search(text):
        raise Unreadable("degrees inside a function")
    for pattern, new in _CHANGES:
        text = pattern.sub(new, text)
    text = " ".join(text.split()).rstrip(".;,: ") if text.strip() not in (".", "") else ""
    if box := _BOX.fullmatch(text):
        text = box.group(1).strip()
    _check(text)
    return text


def fraction(text: str) -> tuple[Fraction, bool] | None:
    """A tidy text that is one whole number, decimal or fraction: its value and whether it is a decimal."""
    m = _NUMBER.fullmatch(text)
    if m is None or (m.group(2) and not int(m.group(2))):
        return None
    if m.group(3):
        return Fraction(f"{m.group(1)}.{m.group(3)}"), True
    return Fraction(int(m.group(1)), int(m.group(2) or 1)), False


def _check(text: str) -> None:
    if not text:
        raise Unreadable("nothing there")
    if len(text) > LIMIT:
        raise Unreadable(f"longer than {LIMIT:,} characters")
    if re.search(rf"\d{{{DIGITS + 1}}}", text):
        raise Unreadable(f"a number of more than {DIGITS} digits")
    if (e := re.search(r"\d[eE][+-]?(\d+)", text)) and int(e.group(1)) > 1_000:
        raise Unreadable("a number too large to hold")
    depth = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if depth > DEPTH:
            raise Unreadable(f"more than {DEPTH} nested brackets")
    # x^x^x^... nests without a bracket
    if re.search(r"(?:(?:\^|\*\*)\s*[-{(]{0,3}\s*\\?[\w.]{1,12}\s*){4}", text):
        raise Unreadable("a tower of powers")


def shape(text: str) -> Shape:
    """The shape of a text that is tidy. Raises `Unreadable`."""
    return _shape(text.strip(), 0)


def _shape(text: str, depth: int) -> Shape:
    if depth > DEPTH or not text:
        raise Unreadable("too deeply nested" if text else "an empty part")
    if r"\pm" in text or r"\mp" in text:
        return _shape(_both(text), depth + 1)
    if _THOUSANDS.fullmatch(text):
        return Leaf(text.replace(",", ""))
    if grid := _GRID.fullmatch(text):
        return _grid(grid.group(2), depth)
    if text in (r"\emptyset", r"\{ \}", r"\{\}", "{}"):
        return Row("{", (), "}")
    parts = split(text, re.compile(r"\\cup(?![a-zA-Z])|\bU\b(?=\s*[\[(])"))[0]
    if len(parts) > 1:
        return Union(tuple(_shape(p, depth + 1) for p in parts))
    items = split(text, re.compile(r"[,;]"))[0]
    if len(items) > 1:
        return Row("", _items(items, depth), "")
    parts, ops = split(text, _RELATION)
    if ops:
        if ops[0] == r"\in" and len(ops) == 1:  # x in a set: the set is the answer
            return _shape(parts[1], depth + 1)
        return Chain(tuple("=" if op == "==" else op for op in ops), tuple(_shape(p, depth + 1) for p in parts))
    return _bracketed(text, depth) or Leaf(text)


def _bracketed(text: str, depth: int) -> Row | None:
    """A row in brackets of its own; a bracketed expression without commas is left an expression, but not a set."""
    plain = text.replace(r"\{", "{").replace(r"\}", "}")
    left, right = plain[:1], plain[-1:]
    if left not in ("(", "[", "{") or right not in (")", "]", "}") or not _closes(plain):
        return None
    inner = text[2 if text.startswith("\\") else 1 : -2 if text[-2:-1] == "\\" and right == "}" else -1].strip()
    items = split(inner, re.compile(r"[,;]"))[0]
    if len(items) == 1 and (left == "(" or (left == "{" and not text.startswith("\\") and "\\" in text)):
        return None
    if (left == "{") != (right == "}"):
        return None
    return Row(left, _items(items, depth) if inner else (), right)


def _items(items: list[str], depth: int) -> tuple[Shape, ...]:
    if len(items) > ITEMS:
        raise Unreadable(f"more than {ITEMS} items")
    return tuple(_shape(item, depth + 1) for item in items)


def _grid(body: str, depth: int) -> Grid:
    lines = [line for line in re.split(r"\\\\", body) if line.strip()]
    rows = tuple(_items(line.split("&"), depth) for line in lines[: ITEMS + 1])
    if not rows or len(rows) > ITEMS or len({len(row) for row in rows}) != 1:
        raise Unreadable("a matrix whose rows differ in length")
    return Grid(rows)


def _both(text: str) -> str:
    """`a \\pm b` is the list of a + b and a - b; several signs go together, `\\mp` the other way."""
    plus = re.sub(r"\\pm(?![a-zA-Z])", "+", re.sub(r"\\mp(?![a-zA-Z])", "-", text))
    minus = re.sub(r"\\pm(?![a-zA-Z])", "-", re.sub(r"\\mp(?![a-zA-Z])", "+", text))
    if r"\pm" in plus or r"\mp" in plus or len(plus) > LIMIT // 2:
        raise Unreadable("signs that say plus or minus")
    name = re.match(r"([a-zA-Z]\w{0,10}) ?= ?", plus)
    head = name.group() if name else ""
    return f"{head}{plus[len(head) :]}, {head}{minus[len(head) :]}"


def split(text: str, at: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The parts between matches outside all brackets, and what was matched."""
    parts: list[str] = []
    found: list[str] = []
    depth, start, i = 0, 0, 0
    while i < len(text):
        c = text[i]
        if depth == 0 and (m := at.match(text, i)) and m.group():
            parts.append(text[start:i].strip())
            found.append(m.group())
            start = i = m.end()
            continue
        if c == "\\" and text[i + 1 : i + 2] in ("{", "}"):
            i += 1
            c = text[i]
        depth += (c in "([{") - (c in ")]}")
        depth = max(depth, 0)
        i += 1
    return [*parts, text[start:].strip()], found


def _closes(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return i == len(text) - 1
    return False
