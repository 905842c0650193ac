"""Whether what a kill switch names is known here: a name that is spelled wrongly stops nothing, and should say so."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ...budgets.ledger.accounts import ROOT
from ...core.errors import SatisficeError
from .switches import Switch, folded

if TYPE_CHECKING:
    from ...models.catalog import Catalog
    from ...models.settings import Settings


def unknown_here(switch: Switch, settings: Settings, catalog: Catalog, more: Iterable[str] = ()) -> str:
    """What to say where nothing that these settings know has the name of the switch; "" where something has. `more`:
    names of its level that are known beside. It may still be known to another process."""
    level, name = switch.level, switch.name
    if level == "global":
        return ""
    if level == "model":
        if name in settings.pools:
            return f"{name!r} is a pool, and a pool is not stopped: stop its models, {', '.join(settings.pools[name])}"
        known = {*settings.models, *(alias.model for alias in settings.models.values()), *more}
        if name in known or any(switch.stops(model) for model in known) or _is_model(name, catalog):
            return ""
    elif level == "strategy":
        known = {*_strategies(), *more}
        address = name.rpartition(":")[2]
        if ":" in name or folded(address) in map(folded, known):
            return ""
    else:
        parents = (account.parent for account in settings.accounts.values() if account.parent)
        known = {ROOT, settings.account, *settings.accounts, *parents, *more}
        if name in known:
            return ""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    what = "account" if level in ("tenant", "key") else level
    hint = f" Did you mean {near[0]!r}?" if near else ""
    said = "The switch is on all the same, for whatever is called so elsewhere"
    return f"no {what} is known by the name {name!r} here.{hint} {said}"


def _is_model(name: str, catalog: Catalog) -> bool:
    """Whether a request could name it."""
    try:
        catalog.entry(name)
    except SatisficeError:
        return False
    return True


def _strategies() -> set[str]:
    from importlib.metadata import entry_points  # takes its time to import

    from ...strategies.registry import BUILT_IN, GROUP

    return {*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}
