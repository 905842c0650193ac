"""What an engine serves by: from its arguments and settings to a `Serving`."""

from __future__ import annotations

from pathlib import Path

from ...budgets.policy import Policy
from ...budgets.registry.registry import Registry
from ...core.errors import CallerError
from ...models.settings import Settings
from .following import Follower
from .served import Served, Serving

PRODUCTION = "production"  # as a policy's name: whatever the registry has there


def registry_place(policies: bool | str | Path | None, settings: Settings, *, always: bool = False) -> Path | None:
    """Where the registry is: as asked for, else as the settings say, `policies.db` in the data home for True. None for
    none, unless `always`."""
    wanted = policies if policies is not None else settings.policies
    if isinstance(wanted, bool) or wanted is None:
        return settings.home / "policies.db" if wanted or always else None
    return Path(wanted).expanduser()


def serving_of(
    policy: Policy | str | Path | None,
    policies: bool | str | Path | None,
    channel: str | None,
    settings: Settings,
) -> Serving:
    """A policy that is named is served as it is; with `policies` it is what serves where nothing is in production.
    "production" is the registry's, a version's id that version for good. Without a name the registry is followed, where
    the settings have one. Raises `BadSettings`, `CallerError`, and `StoreError` for a registry that cannot be read."""
    learning, where = settings.learning, channel or settings.channel
    follows = policies not in (None, False) or policy in (None, "", PRODUCTION)
    place = registry_place(policies, settings, always=policy == PRODUCTION) if follows else None
    own = Served.of(_named(policy, policies, settings), learning)
    serving = Serving(own, learning, Follower(place, where) if place is not None else None)
    if policy == PRODUCTION and not serving.production.version:
        text = f"no policy is in production (registry {place}, channel {where!r}): satisfice policy promote ID"
        raise CallerError(text)
    return serving


def _named(policy: Policy | str | Path | None, policies: bool | str | Path | None, settings: Settings) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if not policy or policy == PRODUCTION:
        return Policy()
    place = registry_place(policies, settings, always=True)
    if str(policy).startswith("p-") and not Path(policy).exists() and place is not None and place.exists():
        one = Registry(place).get(str(policy))
        return one.policy.model_copy(update={"name": f"{one.name}@{one.id}"})
    return Policy.load(policy)
