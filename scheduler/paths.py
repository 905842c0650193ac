"""Where a row stands in a run: plan steps and branch indices in turn, stored so that text order is tuple order.

Each number carries a letter for how many digits it has ("a3", "b12"), so that a longer number sorts after a shorter one
and every number ends where its own letter says: a prefix sorts before what extends it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from string import ascii_lowercase

Path = tuple[int, ...]

_LIMIT = 10 ** len(ascii_lowercase)


@lru_cache(maxsize=8192)
def encode(path: Path) -> str:
    """The path as text, `(3, 12)` as "a3.b12"; ValueError for a number below 0 or of more than 26 digits."""
    parts = []
    for number in path:
        if not 0 <= number < _LIMIT:
            raise ValueError(f"a path holds numbers from 0 to {_LIMIT - 1}, not {number}")
        digits = str(int(number))
        parts.append(ascii_lowercase[len(digits) - 1] + digits)
    return ".".join(parts)


def decode(text: str) -> Path:
    """The path that `encode` wrote; ValueError for anything else."""
    try:
        path = tuple(int(part[1:]) for part in text.split(".")) if text else ()
        if encode(path) == text:
            return path
    except ValueError:
        pass
    raise ValueError(f"not an encoded path: {text!r}")


def seed_of(run_seed: int, path: Path) -> int:
    """The seed for the call at `path`, from 0 to 2**31 - 1. Attempts share it: a retry draws the same."""
    digest = blake2b(f"{run_seed}:{encode(path)}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
