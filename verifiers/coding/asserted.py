"""Tests that a model wrote, read from its text: single lines `assert entry(...) == ...` of literal values."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterable

LONGEST_LINE, LONGEST_TEXT = 1_000, 200_000  # characters
_MAKERS = {"set", "frozenset", "float", "complex", "tuple", "list", "dict", "range", "bytes"}
_LARGEST = 10_000  # factor of a product: "a" * 5000 is a test, [0] * 10**9 an attack
_LITERAL = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop)


def parse_tests(text: str, entry: str) -> tuple[str, ...]:
    """The tests in a reply, each once, in order and in one spelling. Anything but a comparison of a call of `entry` on
    literals with a literal is left out: such a test can do nothing but test."""
    found: dict[str, None] = {}
    for line in text[:LONGEST_TEXT].splitlines():
        at = line.find("assert ")
        if at < 0 or len(line) > LONGEST_LINE:
            continue
        test = _read(line[at:].strip().rstrip("`"), entry)
        if test:
            found[test] = None
    return tuple(found)


def _read(line: str, entry: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(line).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    node = body[0] if len(body) == 1 else None
    if not (isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and len(node.test.ops) == 1):
        return ""
    test, call = node.test, node.test.left
    if not (isinstance(test.ops[0], ast.Eq | ast.Is) and isinstance(call, ast.Call)):
        return ""
    if not (isinstance(call.func, ast.Name) and call.func.id == entry):
        return ""
    words = [k.value for k in call.keywords if k.arg]
    if len(words) < len(call.keywords) or not all(map(_literal, (*call.args, *words, test.comparators[0]))):
        return ""
    if isinstance(test.ops[0], ast.Is):  # of True, False and None only: other literals have no identity
        expected = test.comparators[0]
        if not (isinstance(expected, ast.Constant) and (expected.value is None or isinstance(expected.value, bool))):
            return ""
    return f"assert {ast.unparse(test)}"


def _literal(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in _MAKERS
        return named and not node.keywords and all(map(_literal, node.args))
    if isinstance(node, ast.BinOp):
        if not isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
            return False
        # Numbers may be of any size; what they repeat may not.
        numbers = [n.value for n in (node.left, node.right) if isinstance(n, ast.Constant)]
        if isinstance(node.op, ast.Mult) and (isinstance(node.left, ast.BinOp) or isinstance(node.right, ast.BinOp)):
            return False
        if isinstance(node.op, ast.Mult) and any(isinstance(n, int) and n > _LARGEST for n in numbers):
            return False
    return isinstance(node, _LITERAL) and all(map(_literal, _parts(node)))


def _parts(node: ast.AST) -> list[ast.AST]:
    return [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr_context | ast.operator | ast.unaryop)]


def entry_in(text: str, sources: Iterable[str] = ()) -> str:
    """The function that a query asks for: the first `def name(` in it, else the top-level function that most of the
    sources define (the last of each, where they define several); "" where there is none."""
    import re

    if match := re.search(r"\bdef\s+([A-Za-z_]\w*)\s*\(", text):
        return match[1]
    names: Counter[str] = Counter()
    for source in sources:
        try:
            body = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        defined = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        names.update(defined[-1:])
    return names.most_common(1)[0][0] if names else ""
