"""What a test holds instead of the candidate's own objects: their attributes, calls and operators go over the pipe.

Two rules keep the candidate from deciding a test. It is never asked to compare itself with the test's own data: `==`
is False there, an order raises. And what one of its *functions* returns is expected to be data: such an object gets no
comparison, no arithmetic and none of the yes-or-no methods of text and sets, since each of them would hand over the
expected value and take the answer on trust. Objects that the test makes itself, from a class that it
names with a capital letter, are the thing under test and have them all.
"""

from __future__ import annotations

from .wire import BINARY, PREDICATES

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .candidate import Candidate

_MOST = 1_000_000  # items of one iteration


class Handle:
    """An object of the candidate's. `_sf_role`: "class" or "object" (under test), "result" (came out of a call, ever:
    the test would otherwise take an object that it made for data, once a function returns it)."""

    __slots__ = ("__weakref__", "_sf_candidate", "_sf_number", "_sf_role")

    def __init__(self, candidate: Candidate, number: int, role: str) -> None:
        object.__setattr__(self, "_sf_candidate", candidate)
        object.__setattr__(self, "_sf_number", number)
        object.__setattr__(self, "_sf_role", role)

    def _sf_do(self, name: str, *args: Any, role: str = "result", **named: Any) -> Any:
        return self._sf_candidate.do(name, (self, *args), named, role)

    def _sf_is(self, kind: type[Any], name: str, *args: Any) -> Any:
        """A reply that must be of a type, since Python takes it for one."""
        value = self._sf_do(name, *args)
        if type(value) is not kind:
            raise TypeError(f"{name}() gave {type(value).__name__}, not {kind.__name__}")
        return value

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._sf_do("call", *args, role="object" if self._sf_role == "class" else "result", **named)

    def __getattr__(self, name: str) -> Any:
        if self._sf_role == "result" and name in PREDICATES:
            raise TypeError(f"the candidate returned an object of its own where data was expected (.{name})")
        return self._sf_do("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._sf_do("setattr", name, value)

    def __delattr__(self, name: str) -> None:
        self._sf_do("delattr", name)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self._sf_may(other) and bool(self._sf_is(bool, "eq", other))

    def __ne__(self, other: object) -> bool:
        return bool(self._sf_is(bool, "ne", other)) if self._sf_may(other) else self is not other

    def __hash__(self) -> int:
        return int(self._sf_is(int, "hash"))

    def __bool__(self) -> bool:
        return bool(self._sf_is(bool, "bool"))

    def __len__(self) -> int:
        return int(self._sf_is(int, "len"))

    def __int__(self) -> int:
        return int(self._sf_is(int, "int"))

    def __index__(self) -> int:
        return int(self._sf_is(int, "index"))

    def __float__(self) -> float:
        return float(self._sf_is(float, "float"))

    def __str__(self) -> str:
        return str(self._sf_is(str, "str"))

    def __repr__(self) -> str:
        return str(self._sf_is(str, "repr"))

    def __format__(self, spec: str) -> str:
        return str(self._sf_is(str, "format", spec))

    def __round__(self, *digits: Any) -> Any:
        return self._sf_do("round", *digits)

    def __iter__(self) -> Iterator[Any]:
        inner = self._sf_do("iter")
        for _ in range(_MOST):
            try:
                item = inner.__next__() if isinstance(inner, Handle) else next(inner)
            except StopIteration:
                return
            yield item
        raise OverflowError(f"the candidate's iterator does not end (after {_MOST:,} items)")

    def __next__(self) -> Any:
        return self._sf_do("next")

    def __reversed__(self) -> Any:
        return iter(self._sf_do("reversed"))

    def __contains__(self, item: Any) -> bool:
        if self._sf_role == "object":
            return bool(self._sf_is(bool, "contains", item))
        return any(item is each or item == each for each in self)  # compared here

    def __getitem__(self, key: Any) -> Any:
        return self._sf_do("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._sf_do("setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        self._sf_do("delitem", key)

    def __instancecheck__(self, thing: Any) -> bool:
        return isinstance(thing, Handle) and bool(self._sf_is_of("isinstance", thing))

    def __subclasscheck__(self, thing: Any) -> bool:
        return isinstance(thing, Handle) and bool(self._sf_is_of("issubclass", thing))

    def _sf_is_of(self, name: str, thing: Handle) -> bool:
        return self._sf_candidate.do(name, (thing, self), {}, "result") is True

    def __enter__(self) -> Any:
        return self._sf_do("enter", role=self._sf_role)

    def __exit__(self, *_: Any) -> None:
        self._sf_do("exit")

    def __copy__(self) -> Any:
        return self._sf_do("copy", role=self._sf_role)

    def __deepcopy__(self, memo: Any) -> Any:
        return self._sf_do("deepcopy", role=self._sf_role)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the candidate's cannot be pickled")

    def _sf_may(self, other: object) -> bool:
        """Whether the candidate may compare the two: one at least is under test, and none is the test's data."""
        return isinstance(other, Handle) and "object" in (self._sf_role, other._sf_role)

    def _sf_allow(self, name: str, other: Any) -> None:
        if self._sf_role != "object" and not self._sf_may(other):
            raise TypeError(f"the candidate returned an object of its own where data was expected ({name})")


def _binary(name: str, ordering: bool = False) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Handle, other: Any) -> Any:
        if ordering and not isinstance(other, Handle):
            return NotImplemented
        self._sf_allow(name, other)
        if ordering:
            return self._sf_is(bool, name, other)
        return self._sf_do(name, other, role=self._sf_role)

    def backward(self: Handle, other: Any) -> Any:
        self._sf_allow(name, other)
        return self._sf_candidate.do(name, (other, self), {}, self._sf_role)

    return forward, backward


for _name in (*BINARY, "divmod"):
    _forward, _backward = _binary(_name)
    _plain = _name.rstrip("_")
    setattr(Handle, f"__{_plain}__", _forward)
    setattr(Handle, f"__r{_plain}__", _backward)
for _name in ("lt", "le", "gt", "ge"):
    setattr(Handle, f"__{_name}__", _binary(_name, ordering=True)[0])
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Handle, f"__{_name}__", lambda self, _op=_name: self._sf_do(_op, role=self._sf_role))
