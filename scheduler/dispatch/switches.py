"""Kill switches: a small file that says what may not run, and an append-only record of who said so.

    {"version": 1, "switches": [{"level": "tenant", "name": "acme", "reason": "...", "by": "ann", "at": "2026-..."}]}

Every engine of this host that has the same home sees it: at each admission, and while requests are under way ten times
a second. It is written whole and put in place at once, under a lock. While it cannot be read, new requests are
refused, and what it said last goes on being so for those under way. Across hosts an account is stopped by
`ledger grant ACCOUNT --freeze`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ...core.errors import CallerError, Killed, StoreError, UnknownName

if TYPE_CHECKING:
    from ...models.settings import Settings

logger = logging.getLogger("satisfice")

Level = Literal["global", "tenant", "key", "strategy", "model"]
LEVELS: tuple[str, ...] = get_args(Level)
VERSION = 1
NEVER, UNSEEN = (0, 0, 0), (-1, 0, 0)  # marks: there is no file; whether there is one cannot be told


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch that is on: what it stops, why, who said so and when (UTC, ISO 8601). `warning`: what whoever threw it
    should know, such as that nothing here has this name; not kept in the file."""

    level: str
    name: str = ""
    reason: str = ""
    by: str = ""
    at: str = ""
    warning: str = field(default="", compare=False)

    @property
    def said(self) -> str:
        """In words."""
        what = "everything" if self.level == "global" else f"{self.level} {self.name!r}"
        who = f" by {self.by}" if self.by else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{what} was stopped{who} at {self.at}{why}"

    @property
    def undo(self) -> str:
        return f"satisfice revive {self.level}" + (f" {self.name}" if self.name else "")

    @property
    def row(self) -> dict[str, str]:
        """As the file and its record keep it."""
        return {"level": self.level, "name": self.name, "reason": self.reason, "by": self.by, "at": self.at}

    def names(self, level: str, names: Iterable[str]) -> bool:
        """Whether it is for one of these names of the level. A strategy's may be spelled as its class is."""
        if self.level != level:
            return False
        if level != "strategy":
            return self.name in names
        spelled = {folded(self.name), folded(self.name.rpartition(":")[2])}
        return any(folded(name) in spelled for name in names if name)

    def stops(self, model: str) -> bool:
        """Whether it is for this model, by the provider's name for it. Where one of both names no provider, it is any
        provider's: rather one too many than the wrong one going on."""
        if self.level != "model":
            return False
        bare = "/" not in self.name or "/" not in model
        return self.name == model or (bare and self.name.rpartition("/")[2] == model.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose request it is, and how it thinks. `above`: the accounts above its own."""

    account: str
    above: tuple[str, ...] = ()
    key: str = ""
    strategy: str = ""

    def stopped_by(self, switches: Iterable[Switch]) -> Switch | None:
        """The first switch that stops all of it (a model's stops only its calls)."""
        names = {
            "global": ("",),
            "tenant": (self.account, *self.above),
            "key": (self.account, self.key),
            "strategy": (self.strategy, self.strategy.partition(":")[0]),
        }
        return next((s for s in switches if s.names(s.level, names.get(s.level, ()))), None)


def folded(strategy: str) -> str:
    """The name of a strategy without what people spell it differently by: `self_consistency`, `Self-Consistency` and
    `SelfConsistency` are one."""
    return "".join(c for c in strategy if c not in "-_ ").lower()


def killed(switch: Switch, run: str = "") -> Killed:
    """The error of a request that a switch stops. `run`: one that was under way."""
    how = f"; run {run} can be resumed after `{switch.undo}`" if run else f" (`{switch.undo}` lifts it)"
    facts = {k: v for k, v in switch.row.items() if v}
    return Killed(f"{switch.said}{how}", **facts, **({"run": run} if run else {}))


class Switches:
    """The file, as this process last saw it. Raises nothing on reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on: tuple[Switch, ...] = ()
        self.changes = 0  # how often what is on was seen to be another
        self.broken: StoreError | None = None
        self._mark: tuple[int, int, int] = NEVER
        self.look()

    def look(self) -> None:
        """Reads the file if it has changed."""
        mark = _mark(self.path)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            found = _read(self.path)
        except StoreError as error:
            logger.error("%s", error)
            self.broken = error
            return
        self.changes += found != self.on
        self.on, self.broken = found, None

    def model(self, name: str, model: str) -> Switch | None:
        """The switch that stops the model of this alias, or the `model` that it stands for."""
        return next((s for s in self.on if s.level == "model" and (s.name == name or s.stops(model))), None)

    def kill(self, level: str, name: str = "", *, reason: str = "", by: str = "") -> Switch:
        """Stops what is named, for every engine that watches this file. Raises `CallerError`, `StoreError`."""
        _check(level, name)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        switch = Switch(level, name, reason, by, now)
        with _locked(self.path):
            others = [s for s in _read(self.path) if not _same(s, level, name)]
            _audit(self.path, "kill", switch)
            _write(self.path, [*others, switch])
        self.look()
        return switch

    def revive(self, level: str, name: str = "", *, reason: str = "", by: str = "") -> Switch:
        """Lets it run again. Raises `UnknownName` where no such switch is on, `StoreError`."""
        _check(level, name)
        with _locked(self.path):
            now = _read(self.path)
            found = [s for s in now if _same(s, level, name)]
            if not found:
                raise UnknownName.of("switch", f"{level} {name}".strip(), [f"{s.level} {s.name}".strip() for s in now])
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            _audit(self.path, "revive", Switch(level, name, reason, by, at))
            _write(self.path, [s for s in now if s not in found])
        self.look()
        return found[0]


def _check(level: str, name: str) -> None:
    if level not in LEVELS:
        raise UnknownName.of("level", level, LEVELS)
    if (level == "global") == bool(name):
        raise CallerError("global takes no name" if name else f"which {level}? give its name")
    if level == "strategy" and "=" in name:
        raise CallerError(f"{name!r}: a strategy is stopped whatever its settings are; give its name alone")


def _same(switch: Switch, level: str, name: str) -> bool:
    return switch.level == level and (
        folded(switch.name) == folded(name) if level == "strategy" else switch.name == name
    )


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return NEVER
    except (OSError, ValueError):  # it may well be there: reading it says what is wrong
        return UNSEEN
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> tuple[Switch, ...]:
    """What the file says. Raises `StoreError` for anything that is not understood: it may stop something."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r}, and this satisfice knows version {VERSION}")
        if not isinstance(data["switches"], list):
            raise TypeError("its switches are no list")
        return tuple(_switch(row) for row in data["switches"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{path}: no file of kill switches: {what}") from error


def _switch(row: dict[str, str]) -> Switch:
    switch = Switch(**row)
    if not all(isinstance(value, str) for value in row.values()):
        raise TypeError(f"{row!r}: expected texts")
    if switch.level not in LEVELS or (switch.level == "global") == bool(switch.name):
        raise ValueError(f"{row!r}: unknown level, or a name that does not go with it")
    return switch


def _write(path: Path, switches: list[Switch]) -> None:
    text = json.dumps({"version": 1, "switches": [s.row for s in switches]}, indent=1)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(text + "\n", "utf-8")
        os.replace(fresh, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def audit_of(path: Path) -> Path:
    """Where the record of a file of switches is kept."""
    return path.with_name(path.name + ".log")


def history(path: Path) -> list[dict[str, str]]:
    """Who stopped and revived what, oldest first. Raises `StoreError`."""
    try:
        lines = audit_of(path).read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StoreError(f"{audit_of(path)}: no record of kill switches: {error}") from error


def place_of(settings: Settings) -> Path:
    """Where the switches of these settings are."""
    return (settings.switches or settings.home / "switches.json").expanduser()


def _audit(path: Path, what: str, switch: Switch) -> None:
    """One line before the switch moves: nothing is stopped without a record of it."""
    try:
        with audit_of(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"did": what, **switch.row}) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{audit_of(path)} cannot be written: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, where the system has file locks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("a")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
    with file:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
