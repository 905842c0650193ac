"""The archive of a search: every workflow that was tried, one JSON line each, written before the next is tried."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...core.errors import CallerError, StoreError
from .documents import Document
from .scoring import Figure, Terms, mean

Status = Literal["scored", "hopeless", "unanswerable", "refused", "duplicate", "equal", "unpaid"]
NAME, HEAD = "archive.jsonl", "search.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One workflow that was tried.

    `parent`: the number of the workflow that was edited (None: a seed). `kind`, `edit`: what was done to it, `by` whom.
    `status`: "scored" on all training questions; "hopeless" given up on the first of them; "unanswerable" for this
    bank; "refused" by the language; a "duplicate" document; "equal" to `twin` on every question; "unpaid", the budget
    having ended. `right`, `usd`, `answered`: figures of the training questions, in the search's order, as far as it was
    tried. `spent`: dollars really paid for it, and for proposing it.
    """

    number: int
    status: Status
    document: Document | None
    digest: str = ""
    name: str = ""
    parent: int | None = None
    kind: str = ""
    edit: str = ""
    by: str = ""
    why: str = ""
    twin: int | None = None
    spent: float = 0.0
    right: tuple[float, ...] = ()
    usd: tuple[float, ...] = ()
    answered: tuple[float, ...] = ()

    @property
    def figures(self) -> list[Figure]:
        return [Figure(*one) for one in zip(self.right, self.usd, self.answered, strict=True)]


@dataclass(slots=True)
class Archive:
    """All that was tried, in order. With a `folder` every entry is appended to its file at once, so that a search that
    is killed goes on where it was; without one it is in memory. `head`: what the search is of."""

    head: Mapping[str, Any]
    folder: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict, repr=False)
    _same: dict[Any, int] = field(default_factory=dict, repr=False)
    _values: dict[tuple[int, Terms], float] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, head: Mapping[str, Any], folder: str | Path | None = None) -> Archive:
        """A new archive, or the one that is in `folder`, to go on with. Raises `CallerError` where that is of another
        search, `StoreError` where it cannot be read."""
        if folder is None:
            return cls(dict(head))
        place = Path(folder)
        found = cls({"format": FORMAT, **head}, place)
        try:
            place.mkdir(parents=True, exist_ok=True)
            if (place / HEAD).exists():
                found._check(json.loads((place / HEAD).read_text(encoding="utf-8")))
                for entry in _read(place / NAME):
                    found._keep(entry)
            else:
                (place / HEAD).write_text(json.dumps(found.head, indent=1) + "\n", encoding="utf-8")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{place}: this archive cannot be read: {error}", path=str(place)) from error
        return found

    def add(self, **entry: Any) -> Entry:
        """Appends an entry, on disk first."""
        made = Entry(number=len(self.entries), **entry)
        if self.folder is not None:
            line = json.dumps({k: v for k, v in asdict(made).items() if v not in (None, "", ())}) + "\n"
            with (self.folder / NAME).open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self._keep(made)
        return made

    def find(self, digest: str) -> Entry | None:
        """The first entry with this document, None where it was not tried yet."""
        number = self._seen.get(digest)
        return None if number is None else self.entries[number]

    def twin(self, figures: tuple[tuple[float, ...], ...]) -> int | None:
        """An earlier workflow that was tried on all questions and did the same on each: its number."""
        return self._same.get(figures)

    def value(self, entry: Entry, terms: Terms) -> float:
        """Mean net utility of an entry on the questions that it was tried on."""
        key = (entry.number, terms)
        if key not in self._values:
            self._values[key] = mean(terms.values(entry.figures))
        return self._values[key]

    @property
    def scored(self) -> list[Entry]:
        """Those that were tried on every training question, and are not equal to an earlier one."""
        return [entry for entry in self.entries if entry.status == "scored"]

    @property
    def seeds(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.by == "seed"]

    @property
    def tried(self) -> dict[str, int]:
        """How many entries there are of each status."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            counts[entry.status] = counts.get(entry.status, 0) + 1
        return counts

    @property
    def spent(self) -> float:
        return sum(entry.spent for entry in self.entries)

    def line(self, entry: Entry) -> list[Entry]:
        """The entry and what it was made of, the seed first."""
        found = [entry]
        while found[0].parent is not None:
            found.insert(0, self.entries[found[0].parent])
        return found

    def _keep(self, entry: Entry) -> None:
        if entry.number != len(self.entries):
            raise ValueError(f"entry {entry.number} where {len(self.entries)} was expected")
        self.entries.append(entry)
        if entry.digest:
            self._seen.setdefault(entry.digest, entry.number)
        if entry.status == "scored":
            self._same.setdefault((entry.right, entry.usd, entry.answered), entry.number)

    def _check(self, stored: Mapping[str, Any]) -> None:
        for key, value in json.loads(json.dumps(dict(self.head))).items():
            if stored.get(key) != value:
                raise CallerError(
                    f"{self.folder} is the archive of another search: its {key} is {stored.get(key)!r:.120}, not "
                    f"{value!r:.120}: name another folder to begin anew"
                )


def paid(path: Path) -> float:
    """Dollars really spent on the workflows of a file; 0 where there is none. Raises `StoreError`."""
    try:
        return sum(entry.spent for entry in _read(path))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: this archive cannot be read: {error}", path=str(path)) from error


def _read(path: Path) -> Iterator[Entry]:
    """The entries of a file. A last line that was cut off by a crash is taken away."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    for line in whole.decode("utf-8").splitlines():
        raw = json.loads(line)
        lists = {key: tuple(raw.get(key, ())) for key in ("right", "usd", "answered")}
        yield Entry(**{"document": None, **raw, **lists})
