"""What a worker sends back: what came, or the error that was raised, as the very error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.errors import CallerError

AGAIN = 3  # times that workers may die before it is the work's fault


@dataclass(frozen=True, slots=True)
class Raised:
    """A job's error, packed; `told` is its text, for one that cannot be packed."""

    packed: bytes | None
    told: str

    def error(self) -> BaseException:
        """The error to raise where the job was handed out."""
        if self.packed is not None:
            found = pickle.loads(self.packed)
            if isinstance(found, BaseException):
                return found
        return RuntimeError(self.told)


def attempt(work: Callable[[Any], Any], job: Any) -> Any:
    """What `work` makes of a job, or the error as a value: an engine's own way of passing errors on may change their
    type."""
    try:
        return work(job)
    except Exception as error:
        return Raised(_packed(error), f"{type(error).__name__}: {error}")


def came(value: Any) -> Any:
    """What came of a job. Raises what it raised."""
    if isinstance(value, Raised):
        raise value.error()
    return value


def unsendable(error: Exception) -> CallerError:
    """What to say of a job that does not pickle."""
    return CallerError(
        f"this cannot be sent to another process ({error}): define the strategy in a module that can be imported, or "
        'use engine="local"'
    )


def dying(times: int) -> CallerError:
    """What to say where workers die again and again."""
    return CallerError(
        f"worker processes ended {times} times without a word: is there too little memory, does the strategy end the "
        'process, or is the calling script without ``if __name__ == "__main__"``?'
    )


def _packed(error: Exception) -> bytes | None:
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:
        return None
    return packed
