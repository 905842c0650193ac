"""What a tests' source asks for, read from its syntax tree: before anything runs, and whatever the candidate is."""

from __future__ import annotations

import ast
import builtins
import sys
from importlib.util import find_spec

_BLOCKS = (ast.For, ast.While, ast.With, ast.If, ast.Try)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def missing_modules(tree: ast.AST, ours: str) -> list[str]:
    """Modules that the tests import and that are not there: the sandbox has the standard library only."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return sorted(n for n in names - {ours} if n not in sys.modules and find_spec(n) is None)


def expected_names(tree: ast.AST) -> set[str]:
    """Names that the tests use and their module does not bind: what they expect of the candidate (and local names,
    which it cannot replace). A builtin's name is never one, and neither is that of a library module that is only used
    for its attributes (`math.isclose` without an import): the candidate must not replace what the tests judge by."""
    loaded = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    bases = {n.value for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    whole = {n.id for n in loaded if n not in bases}
    free = {n.id for n in loaded} - set(dir(builtins)) - _bound(tree)
    return {name for name in free if name not in sys.stdlib_module_names or name in whole}


def _bound(tree: ast.AST) -> set[str]:
    """Names that are bound in the scope of a node's own children."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        names |= _bound(node)
    return names


def library_names(tree: ast.AST) -> set[str]:
    """Library modules that the tests use for their attributes without importing them."""
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return (used & set(sys.stdlib_module_names)) - _bound(tree) - expected_names(tree)


def asserts(node: ast.stmt) -> bool:
    """Whether a statement of the module's own level is a test: an assert, a call, or a block with an assert in it."""
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, _BLOCKS) and _asserts_within(node)


def _asserts_within(node: ast.AST) -> bool:
    children = [c for c in ast.iter_child_nodes(node) if not isinstance(c, _SCOPES)]
    return any(isinstance(c, ast.Assert) or _asserts_within(c) for c in children)


def called_name(node: ast.stmt) -> tuple[str, int]:
    """The name of the function that a statement bare calls, and with how many arguments; "" for any other."""
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
        return call.func.id, len(call.args) + len(call.keywords)
    return "", 0


def body_of(tree: ast.Module, name: str) -> list[ast.stmt] | None:
    """The body of a function of one parameter, where its statements can stand at the module's level, so that each of
    its asserts counts by itself (HumanEval's `check(candidate)`)."""
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    if len(found) != 1 or len(found[0].args.args) != 1 or found[0].decorator_list:
        return None
    inner = [n for statement in found[0].body for n in ast.walk(statement)]
    barred = ast.Return | ast.Yield | ast.YieldFrom | ast.Nonlocal | ast.Global | ast.Await
    return None if any(isinstance(n, barred) for n in inner) else found[0].body


class Telling(ast.NodeTransformer):
    """Gives an assert without a message one that shows what it got."""

    GOT, TELL = "_satisfice_got", "_satisfice_tell"

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        if node.msg is not None:
            return node
        test = node.test
        shown: list[ast.expr] = [ast.Constant(ast.unparse(test)[:200])]
        if isinstance(test, ast.Compare):
            kept = ast.NamedExpr(ast.Name(self.GOT, ast.Store()), test.left)
            test = ast.Compare(kept, test.ops, test.comparators)
            shown.append(ast.Name(self.GOT, ast.Load()))
        told = ast.Call(ast.Name(self.TELL, ast.Load()), shown, [])
        return ast.copy_location(ast.Assert(test, told), node)
