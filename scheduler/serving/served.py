"""Served: a policy with what an engine keeps beside it; and which one a request gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from ...budgets.policy import Policy
from ...budgets.registry.registry import Registry
from ...core.errors import CallerError
from ..drifting import Watches
from ..learning import Learner
from .background import Background
from .following import Follower, logger
from .trial import Trial

if TYPE_CHECKING:
    from ...budgets.registry.versions import Version
    from ...models.agent_settings import LearningSettings

POLL = 0.25  # seconds between two looks at the registry, at most one of them for all requests
PATIENCE = 5.0  # seconds that a closing engine waits for what is done beside the requests
_SPAN = float(1 << 64)


@dataclass(frozen=True, slots=True)
class Served:
    """A policy as requests are served by it. `json`: as runs keep it (without tables, which are large), the same in
    every stage, so that what is learnt of a canary is still known when it is in production. `version` and `stage` are
    "" for a policy that is of no registry. `key` is a hash: the caller's own may be the name of a user."""

    policy: Policy
    json: str
    watches: Watches
    learner: Learner
    version: str = ""
    stage: str = ""
    key: str = ""  # of the request that it was chosen for, while a canary is tried

    @classmethod
    def of(cls, policy: Policy, learning: LearningSettings) -> Served:
        """A policy of the engine's own."""
        text = policy.model_dump_json(exclude={"stops"})
        return cls(policy, text, Watches(policy), Learner.of(policy, text, learning.explore, learning.sd))

    @classmethod
    def version_of(cls, one: Version, learning: LearningSettings) -> Served:
        """A version of a registry. Its name says which: so runs that it served say so as well. Raises `StoreError` and
        `BadSettings` where what is stored is no policy, `CallerError` for a strategy that is none here."""
        from ...strategies.registry import recorded_strategy

        policy = one.policy
        if policy.strategy:
            recorded_strategy(policy.strategy)  # or every request would fail by it
        made = cls.of(policy.model_copy(update={"name": f"{one.name}@{one.id}"}), learning)
        return replace(made, version=one.id)

    def staged(self, stage: str) -> Served:
        """The same in a stage, which its name tells people."""
        if stage == self.stage:
            return self
        name = self.policy.name.removesuffix(f" ({self.stage})") if self.stage else self.policy.name
        shown = self.policy.model_copy(update={"name": f"{name} ({stage})" if stage else name})
        shown.__dict__["made"] = self.policy.priors()  # the tables that were made for it are still right
        return replace(self, policy=shown, stage=stage)


def key_of(sticky: str | None, account: str | None, scope: Sequence[str], query: Any) -> str:
    """By what a request sticks to a policy: the caller's key, else whose it is, else what it asks. Raises
    `CallerError`."""
    if sticky is not None and (not isinstance(sticky, str) or not sticky):
        raise CallerError(f"sticky={sticky!r:.60}: expected a text, such as the id of a user")
    if sticky is not None:
        return f"key\x1f{sticky}"
    if account or scope:
        return "\x1f".join(("account", account or "", *map(str, scope)))
    return f"query\x1f{query}" if isinstance(query, str) else ""


def within(key: str, version: str, share: float) -> bool:
    """Whether this key is among the canary's share of keys. A share that grows keeps those that it had; another version
    gets others. `key` -> 64 bits of SHA-256, as a part of all."""
    digest = _digest(f"{version}\x1f{key}")
    return int.from_bytes(digest[:8], "big") / _SPAN < share


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


class Serving:
    """Which policy each request of an engine gets. `own`: the engine's, where the registry names none. Without a
    `follower` that is all there is."""

    def __init__(self, own: Served, learning: LearningSettings, follower: Follower | None = None) -> None:
        self.own, self.follower = own, follower
        self._learning = learning
        self._made: dict[str, Served] = {}
        self._looked = float("-inf")
        self._busy = False
        self.production, self.canary = own, own
        self.share = 0.0
        self._unread: dict[str, str] = {}  # what is wrong with a stage
        self.background = Background()
        self.trial = Trial(Registry(follower.path)) if follower is not None else None
        if follower is not None:
            follower.read()
            if (error := self._arrange(follower).get("production")) is not None:
                raise error

    @property
    def trouble(self) -> str:
        """What is wrong with the registry, or with a policy that it names; "" for nothing."""
        found = (self.follower.trouble if self.follower is not None else "", *self._unread.values())
        return "; ".join(text for text in found if text)

    async def refresh(self) -> None:
        """Looks whether the registry has changed, at most every quarter of a second. What is new is read in a thread;
        requests that come meanwhile are served as before. Whatever is amiss with the file, no request fails by it."""
        follower, now = self.follower, monotonic()
        if follower is None or self._busy or now - self._looked < POLL:
            return
        self._looked = now
        if not follower.changed():
            return
        self._busy = True
        try:
            await anyio.to_thread.run_sync(self._reload)
        finally:
            self._busy = False

    def _reload(self) -> None:
        follower = self.follower
        assert follower is not None
        if follower.look() or self._stale(follower):
            self._arrange(follower)

    def _stale(self, follower: Follower) -> bool:
        now = follower.standing
        return (now.production or "") != self.production.version or now.share != self.share

    def _arrange(self, follower: Follower) -> dict[str, Exception]:
        """Each stage by itself, so that a canary that cannot be read here holds up no rollback: without it there is
        none. Where production cannot be read, what was there goes on. What is wrong, by stage."""
        now, failed = follower.standing, dict[str, Exception]()
        production = self._stage("production", now.production, follower, failed) or self.own
        if "production" in failed:
            production = self.production
        canary = self._stage("canary", now.canary, follower, failed)
        kept = {one.version: one for one in (production, canary) if one is not None and one.version}
        if now.shadow in self._made:
            kept.setdefault(now.shadow, self._made[now.shadow])
        share = now.share if canary is not None else 0.0
        self._made, self.production, self.canary, self.share = kept, production, canary or production, share
        self._tell(failed)
        return failed

    def _stage(
        self, stage: str, version: str | None, follower: Follower, failed: dict[str, Exception]
    ) -> Served | None:
        if version is None:
            return None
        try:
            made = self._made.get(version) or Served.version_of(follower.version(version), self._learning)
            return made.staged(stage)
        except Exception as error:  # whatever a file or another satisfice may hold
            failed[stage] = error
            return None

    def _tell(self, failed: Mapping[str, Exception]) -> None:
        """Notes what cannot be served, and says it once."""
        ways = {"production": "the policy known last goes on serving", "canary": "no request is served by it"}
        said = {stage: f"{stage}: {error}; {ways[stage]}" for stage, error in failed.items()}
        for stage, text in said.items():
            if text != self._unread.get(stage):
                logger.warning("%s", text)
        self._unread = said

    def choose(self, sticky: str | None, account: str | None, scope: Sequence[str], query: Any) -> Served:
        """The policy of a request; of all parts of one that is solved in several, the same. Raises `CallerError`."""
        asked = query if isinstance(query, str) or not self.share else getattr(query, "query", None) or repr(query)
        key = key_of(sticky, account, scope, asked)
        served = self.of(key)
        return replace(served, key=_digest(key).hex()[:16]) if self.share and key else served

    def of(self, key: str) -> Served:
        """The policy of a request with this key."""
        share, canary = self.share, self.canary
        return canary if share and within(key, canary.version, share) else self.production

    def begun_with(self, json: str) -> Served:
        """What a stored run was begun with, in whatever stage it is now. What is learnt of a policy that serves no
        longer is kept with production's, as it is not about it."""
        for one in (self.production, self.canary, self.own):
            if one.json == json:
                return one
        return replace(self.production, policy=Policy.model_validate_json(json), json=json, version="", stage="")

    def shadow(self, version: str) -> Served | None:
        """The policy in shadow, None where it is another one by now. Raises as `Served.version_of` does."""
        follower = self.follower
        if follower is None or follower.standing.shadow != version:
            return None
        if version not in self._made:
            self._made[version] = Served.version_of(follower.version(version), self._learning)
        return self._made[version]

    async def aclose(self) -> None:
        """Finishes what is done beside the requests, within a few seconds, and lets go of the registry's file."""
        if self.background.busy:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.background.drain, PATIENCE)
        if self.follower is not None:
            self.follower.close()
