"""Code: never run, only compared. For Python, layout, comments and docstrings do not make another answer."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ast

    from ..task import Contract

PARSED = 30_000  # characters that are worth parsing


def read(contract: Contract, span: str) -> tuple[str, str, str] | None:
    """The source in a span: answer, key and value."""
    source = dedent(span.replace("\r\n", "\n")).strip()
    if not source:
        return None
    python = contract.language.lower() in ("python", "py", "python3")
    key = (_python(source) if python and len(source) <= PARSED else "") or _folded(source)
    return source, key, source


def _folded(source: str) -> str:
    return "\n".join(" ".join(line.split()) for line in source.splitlines() if line.strip())


def _python(source: str) -> str:
    """The program as its syntax tree prints it, empty where it does not parse."""
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            # An odd escape in a model's string is not the caller's concern.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                node.body = _undocumented(node.body, ast)
        return ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _undocumented(body: list[ast.stmt], ast: Any) -> list[ast.stmt]:
    """A body without the docstring that opens it."""
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:] or [ast.Pass()]
    return body
