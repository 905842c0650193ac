"""Naming: what a strategy is called in a report, how `solve --strategy` spells it, and which ones are judged where
nobody names any."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..budgets.policy import Policy
from ..core.errors import CallerError, SatisficeError
from ..core.plans import Strategy
from ..core.verdict import name_of
from ..strategies.registry import address_of, recorded_strategy, settings_of
from .bank import Bank

Strategies: TypeAlias = Mapping[str, Strategy] | Sequence[Strategy]


def default_strategies(bank: Bank, policy: Policy) -> dict[str, Strategy]:
    """The policy's own; else self_consistency, and those of which whole runs were recorded. (Not auto: its plans take
    some 30 ms a run, which adds up.)"""
    text = policy.strategy or "self_consistency"
    found = {text: recorded_strategy(text)}
    for text in dict.fromkeys(text for _, text in bank.runs) if not policy.strategy else ():
        with suppress(SatisficeError):  # recorded where there was a plugin that is not here
            found.setdefault(text, recorded_strategy(text))
    return found


def policies_of(texts: Sequence[str]) -> dict[str, Policy | Literal["fit", "declared"]]:
    """Policies by name, from what a person wrote: "fit", "declared", or a file, called as the file is without its
    ending. Raises `BadSettings` for a file that is no policy, `CallerError` where two have one name."""
    found: dict[str, Policy | Literal["fit", "declared"]] = {}
    for text in texts:
        name = text if text in ("fit", "declared") else Path(text).stem
        if name in found:
            raise CallerError(f"two policies are called {name!r}: give their files different names")
        found[name] = "fit" if text == "fit" else "declared" if text == "declared" else Policy.load(text)
    return found


def named(strategies: Strategies) -> dict[str, Strategy]:
    """Strategies by name: their own, with the settings that differ from the default."""
    if isinstance(strategies, Mapping):
        return dict(strategies)
    found: dict[str, Strategy] = {}
    for strategy in strategies:
        name = name_of(strategy)
        made: Any = strategy
        if is_dataclass(made):
            plain = {f.name: f.default for f in fields(made)}
            set_ = [f"{n}={v!r}" for n, d in plain.items() if (v := getattr(strategy, n)) != d]
            name += f"({', '.join(set_)})" if set_ else ""
        if name in found:
            raise CallerError(f"two strategies are called {name!r}: pass a mapping of names")
        found[name] = strategy
    return found


def spelling(strategy: Any) -> str:
    """A strategy as `solve --strategy` takes it; "" for one that has no address, or settings that text cannot hold."""
    address = address_of(strategy)
    if not address or not is_dataclass(strategy) or isinstance(strategy, type):
        return address
    kept, texts = settings_of(strategy), []
    for f in fields(strategy):
        value = getattr(strategy, f.name)
        if f.init and value != f.default:
            if f.name not in kept:
                return ""
            texts.append(f"{f.name}={json.dumps(kept[f.name])}")
    return address + (f":{','.join(texts)}" if texts else "")
