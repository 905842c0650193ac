"""The tests of a source, one by one: statements, test functions, unittest methods, properties.

asyncio, inspect and unittest are imported where a test needs them: they take longer than most tests.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from random import Random
from types import FunctionType

from .asserts import Telling, asserts, body_of, called_name

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any

    Unit = tuple[str, Callable[[], Any]]  # a name, and what runs the test

EXAMPLES = 100


class Skipped(Exception):
    """The test says itself that it does not apply."""


def tell(source: str, *got: Any) -> str:
    """The message of a failed assert that has none."""
    return f"assert {source}" + (f" (got {shown(got[0], 150)})" if got else "")


def shown(value: Any, most: int) -> str:
    """A value's repr, cut; its type where that fails (an int of many digits, an object that raises)."""
    try:
        return repr(value)[:most]
    except Exception:
        return f"<{type(value).__name__}>"


def statements(tree: ast.Module, space: dict[str, Any], entry: str) -> Iterator[tuple[str, bool, Callable[[], Any]]]:
    """The module's statements in order: a name, whether it is a test, and what runs it. With an `entry`, the body of
    a `check` function follows, with its parameter bound to the entry."""
    checking = body_of(tree, "check") if entry else None
    tests = {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")}
    for node in tree.body:
        called, count = called_name(node)
        if (called in tests and not count) or (called == "check" and entry):
            continue  # it is run by itself
        yield f"line {_place(node)}", asserts(node), _running(node, space)
    if checking is not None:
        yield "entry", False, lambda: space.update({space["check"].__code__.co_varnames[0]: space[".entry"]()})
        for node in checking:
            yield f"line {_place(node)}", asserts(node), _running(node, space)
    elif entry and any(isinstance(n, ast.FunctionDef) and n.name == "check" for n in tree.body):
        yield "check", True, lambda: space["check"](space[".entry"]())


def _place(node: ast.stmt) -> str:
    """The line, and the column where it is not the first: several statements may stand on one."""
    return f"{node.lineno}:{node.col_offset}" if node.col_offset else str(node.lineno)


def _running(node: ast.stmt, space: dict[str, Any]) -> Callable[[], None]:
    def run() -> None:
        module = ast.fix_missing_locations(Telling().visit(ast.Module([node], [])))
        exec(compile(module, "tests", "exec"), space)

    return run


def functions(space: dict[str, Any], tree: ast.Module, seed: int) -> Iterator[Unit]:
    """Test functions, properties and unittest methods of a module that has run. A function that the module itself
    calls with arguments is a helper."""
    handed = {name for name, count in map(called_name, tree.body) if count}
    for name, thing in list(space.items()):
        if isinstance(thing, FunctionType) and thing.__module__ == space["__name__"]:
            if name.startswith("prop_"):
                yield name, _property(thing, seed)
            elif name.startswith("test") and name not in handed:
                yield name, _called(thing)  # one with parameters cannot be called, and says so
        elif isinstance(thing, type) and (unittest := sys.modules.get("unittest")):
            if issubclass(thing, unittest.TestCase) and thing.__module__ == space["__name__"]:
                for method in unittest.TestLoader().getTestCaseNames(thing):
                    yield f"{name}.{method}", _case(unittest, thing, method)
            elif name.startswith("Test") and thing.__module__ == space["__name__"]:
                yield from _methods(name, thing)
        elif isinstance(thing, type) and name.startswith("Test") and thing.__module__ == space["__name__"]:
            yield from _methods(name, thing)


def _methods(name: str, kind: type[Any]) -> Iterator[Unit]:
    """The tests of a plain class, pytest's way: a new object for each."""
    for method in (m for m in vars(kind) if m.startswith("test")):
        yield f"{name}.{method}", _method(kind, method)


def _method(kind: type[Any], method: str) -> Callable[[], Any]:
    return lambda: getattr(kind(), method)()


def _required(function: FunctionType) -> tuple[str, ...]:
    """The parameters that have no default."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount - len(function.__defaults__ or ())]


def _called(function: FunctionType) -> Callable[[], Any]:
    def run() -> None:
        value = function()
        if hasattr(value, "__await__"):
            import asyncio

            asyncio.run(value)

    return run


def _property(function: FunctionType, seed: int) -> Callable[[], Any]:
    def run() -> None:
        import inspect

        from .draws import draw

        types = inspect.get_annotations(function, eval_str=True)
        rng = Random(f"{seed} {function.__name__}")
        for i in range(EXAMPLES):
            values = {p: draw(types.get(p, int), rng, 1 + i // 5) for p in _required(function)}
            given = ", ".join(f"{k}={shown(v, 100)}" for k, v in values.items())
            try:
                holds = function(**values)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error!s:.150} with {given}") from None
            if holds is not None and not holds:
                raise AssertionError(f"does not hold for {given}")

    return run


def _case(unittest: Any, kind: type[Any], method: str) -> Callable[[], Any]:
    class Result(unittest.TestResult):  # type: ignore[misc]
        """Keeps the exceptions themselves, not their text."""

        def __init__(self) -> None:
            super().__init__()
            self.caught: list[BaseException] = []

        def addError(self, test: Any, err: Any) -> None:
            self.caught.append(err[1])

        def addFailure(self, test: Any, err: Any) -> None:
            self.caught.append(err[1])

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                self.caught.append(err[1])

    def run() -> None:
        result = Result()
        unittest.TestSuite([kind(method)]).run(result)
        if result.caught:
            raise result.caught[0]
        if result.unexpectedSuccesses:
            raise AssertionError("passes, and was expected to fail")
        if result.skipped:
            raise Skipped(result.skipped[0][1])

    return run
