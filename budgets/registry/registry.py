"""Registry: versions of policies in one SQLite file, and which of them serves.

    registry = Registry("policies.db")
    version = registry.add(policy, by="ann")
    registry.move(version.id, "production", by="ann", why="beats the old one", evidence={...})
    registry.rollback(by="ann", why="wrong dates since this morning")

How a channel stands is what its log says and nothing else, so that no state can contradict its history. Whether a
version may be promoted is judged by `experiments.promoting`; what is written here is who did it, and on what evidence.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import BadSettings, CallerError, RegistryConflict, StoreError, UnknownName
from ...core.sqlite_errors import as_store_error
from . import sql
from .versions import MAIN, STAGES, Entry, Standing, Version, as_stored, broken, content_of, hash_of, id_of

if TYPE_CHECKING:
    from ..policy import Policy

T = TypeVar("T")
LONGEST = 10_000  # characters of a reason


class Registry:
    """The registry in the file `path`, made by the first write. Each call is one transaction on a connection of its
    own: any number of threads and processes may use it. Every method raises `StoreError` where the file cannot be
    used."""

    def __init__(self, path: str | Path, *, patience: float = sql.PATIENCE) -> None:
        self.path, self.patience = Path(path).expanduser(), patience

    # -- what there is ---------------------------------------------------------------------------------------------

    def versions(self) -> list[Version]:
        """All versions, oldest first; none where there is no file yet."""
        return self.reading(sql.versions) if self.path.exists() else []

    def get(self, name: str) -> Version:
        """The version with this id, or the only one whose id begins so, or the newest of that name. Raises
        `UnknownName`."""
        exact = self.reading(lambda db: sql.versions(db, "id = ?", name)) if self.path.exists() else []
        if exact:  # whatever is amiss with other versions
            return exact[0]
        found = self.versions()
        begun = [one for one in found if len(name) > 2 and one.id.startswith(name)]
        named = [one for one in found if one.name == name][-1:]
        hits = (begun if len(begun) == 1 else []) or named
        if not hits:
            if len(begun) > 1:
                raise UnknownName.of("policy version", name, (one.id for one in begun))
            raise UnknownName.of("policy version", name, (one.id for one in found))
        return hits[0]

    def log(self) -> list[Entry]:
        """All that was ever done, oldest first; nothing where there is no file yet."""
        return self.reading(sql.log) if self.path.exists() else []

    def standing(self, channel: str = MAIN) -> Standing:
        """How the channel stands. Raises `StoreError` where the log is not whole (`verify`): what it says is not what
        was done."""
        return self.reading(lambda db: sql.standing(db, channel)) if self.path.exists() else Standing(channel)

    def channels(self) -> list[str]:
        """The channels in which anything was done, MAIN first."""
        return list(dict.fromkeys((MAIN, *(e.channel for e in self.log() if e.channel))))

    def verify(self) -> str:
        """What is wrong with the log or with a version, in words; "" where nothing is."""
        wrong = broken(self.log())
        try:
            found = self.versions()
        except StoreError as error:
            return wrong or str(error)
        for one in found:
            if not wrong and id_of(one.hash) != one.id:
                wrong = f"version {one.id} does not have the id of its hash"
            try:
                _ = wrong or one.policy
            except (StoreError, BadSettings) as error:
                wrong = str(error)
        return wrong

    # -- what is done ----------------------------------------------------------------------------------------------

    def add(
        self,
        policy: Policy,
        *,
        name: str = "",
        by: str = "",
        parents: Sequence[str] = (),
        metrics: Mapping[str, Any] | None = None,
        why: str = "",
    ) -> Version:
        """Adds a policy as a draft. The same content again is the same version, as it was added first. `name`: "" is
        the policy's own; `metrics`: None is what its provenance says of its improvement. Raises `CallerError`, also for
        what is no JSON, and `UnknownName` for a parent that is not there."""
        text, content = content_of(policy), hash_of(policy)
        bank = next(
            (str(policy.provenance[k]) for k in ("bank_hash", "questions_hash") if policy.provenance.get(k)), ""
        )
        found = tuple(self.get(parent).id for parent in parents)
        said = metrics or {k: v for k, v in policy.provenance.items() if k.startswith("improvement")}
        facts, reason = as_stored(dict(said), "metrics"), _reason(why)
        name, by = as_stored([name or policy.name, by], "its name, or who adds it,")
        one = Version(id_of(content), content, name, _now(), by, found, bank, facts, text)

        def work(db: sqlite3.Connection) -> Version:
            there = sql.versions(db, "id = ?", one.id)
            if there:
                if there[0].hash != content:
                    raise StoreError(f"two policies have the id {one.id}: change one of them a little")
                return there[0]
            sql.put_version(db, one)
            sql.append(db, Entry(0, one.created, by, "add", "", one.id, "draft", why=reason, evidence=facts))
            return one

        return self.writing(work)

    def move(
        self,
        version: str,
        stage: str,
        *,
        share: float | None = None,
        channel: str = MAIN,
        by: str = "",
        why: str = "",
        evidence: Mapping[str, Any] | None = None,
        override: bool = False,
        expect: Standing | None = None,
    ) -> Standing:
        """Moves a version to shadow, canary (with its `share` of requests, above 0 and below 1) or production. What
        was in production is retired, and can be rolled back to. `expect`: how the channel stood when this was
        decided. Raises `CallerError`, `UnknownName`, and `RegistryConflict` where it stands otherwise by now."""
        one = self.get(version).id
        if stage not in STAGES[1:4]:
            raise UnknownName.of("stage", stage, STAGES[1:4])
        if stage == "canary" and not (isinstance(share, float) and 0 < share < 1):
            raise CallerError(f"share={share!r}: a canary takes a share of requests above 0 and below 1")
        facts = Entry(
            0, _now(), by, "promote", channel, one, stage, share if stage == "canary" else None, _reason(why), override
        )

        def allowed(now: Standing) -> None:
            if now.stage_of(one) == stage and (stage != "canary" or now.share == share):
                raise CallerError(f"{one} is in {stage} already (channel {channel!r})")
            if now.production == one:
                raise CallerError(f"{one} is in production: roll back, or promote another one")
            taken = {"canary": now.canary, "shadow": now.shadow}.get(stage)
            if taken not in (None, one):
                raise CallerError(f"{taken} is the {stage} of channel {channel!r}: retire it first, or promote it on")

        return self._change(facts, evidence, expect, allowed)

    def rollback(self, *, channel: str = MAIN, by: str = "", why: str = "", expect: Standing | None = None) -> Standing:
        """Puts back into production what was there before; where that was no policy of the registry, engines go back to
        their own. Raises `CallerError` where nothing was promoted to production, and as `move` does."""
        facts = Entry(0, _now(), by, "rollback", channel, "", "production", why=_reason(why))

        def allowed(now: Standing) -> None:
            if not now.before:
                raise CallerError(f"nothing was promoted to production in channel {channel!r}: nothing to go back to")

        return self._change(facts, None, expect, allowed)

    def retire(
        self,
        version: str,
        *,
        channel: str = MAIN,
        by: str = "",
        why: str = "",
        expect: Standing | None = None,
    ) -> Standing:
        """Takes a version out of use. Raises `CallerError` for one in production, and as `move` does."""
        one = self.get(version).id

        def allowed(now: Standing) -> None:
            if now.production == one:
                raise CallerError(f"{one} is in production: roll back, or promote another one")
            if now.stage_of(one) == "retired":
                raise CallerError(f"{one} is retired already")

        return self._change(
            Entry(0, _now(), by, "retire", channel, one, "retired", why=_reason(why)), None, expect, allowed
        )

    def stop(self, now: Standing, *, why: str, evidence: Mapping[str, Any]) -> bool:
        """Takes a canary back that was found to be worse: to shadow, where that is free, else to draft. Whether it was
        this call that did it: another engine may have been first."""
        if now.canary is None:
            return False
        stage = "draft" if now.shadow else "shadow"
        facts = Entry(0, _now(), "satisfice", "stop", now.channel, now.canary, stage, why=why)
        try:
            self._change(facts, evidence, now, lambda _: None)
        except RegistryConflict:
            return False
        return True

    def _change(
        self,
        facts: Entry,
        evidence: Mapping[str, Any] | None,
        expect: Standing | None,
        allowed: Callable[[Standing], None],
    ) -> Standing:
        as_stored([facts.by, facts.channel], "who does it, or in which channel,")
        entry = replace(facts, evidence=as_stored(dict(evidence or {}), "evidence"))

        def work(db: sqlite3.Connection) -> Standing:
            now = sql.standing(db, entry.channel)
            if expect is not None and expect.n != now.n:
                raise RegistryConflict(
                    f"channel {entry.channel!r} has changed meanwhile: production is {now.production or 'none'}, "
                    f"canary {now.canary or 'none'}; look again (satisfice policy list)",
                    expected=expect.n,
                    found=now.n,
                )
            allowed(now)
            added = sql.append(db, entry if entry.what != "rollback" else replace(entry, version=now.before[-1] or ""))
            return now.after(added)

        if not self.path.exists():
            raise StoreError(
                f"policy registry {self.path}: there is no such file: `satisfice policy add FILE` makes it"
            )
        return self.writing(work)

    # -- the file --------------------------------------------------------------------------------------------------

    def reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = sql.connect(self.path, make=False, patience=self.patience)
        try:
            return work(db)
        except sqlite3.Error as error:
            raise as_store_error(error, f"policy registry {self.path}") from error
        finally:
            db.close()

    def writing(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = sql.connect(self.path, make=True, patience=self.patience)
        try:
            with sql.transaction(db):
                return work(db)
        except sqlite3.Error as error:
            raise as_store_error(error, f"policy registry {self.path}") from error
        finally:
            db.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _reason(why: str) -> str:
    if not isinstance(why, str) or len(why) > LONGEST:
        raise CallerError(f"reason: expected a text of at most {LONGEST:,} characters")
    as_stored(why, "the reason")
    return why
