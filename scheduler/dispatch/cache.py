"""Replies that are known already, and calls that are under way for somebody else.

Exact, and per tenant: the key is the tenant, the model, the request with its parameters, and the how-manieth draw of
it within its run this is, so that the samples of one run stay different ones. Equal calls of several runs at the same
time are made once: the first pays, the others wait for its reply; if it fails or is cancelled, the next one makes it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeAlias

import anyio

from ...core.completions import Completion, Params
from ...core.effects import Sample

Key: TypeAlias = tuple[str, str, bytes, int]


def key_of(tenant: str, model: str, sample: Sample, params: Params, draw: int) -> Key:
    """Of the `draw`-th of equal samples within a run. The seed is not part of it: it differs from run to run."""
    asked = repr((sample.messages, params)).encode("utf-8", "surrogatepass")
    return tenant, model, blake2b(asked, digest_size=16).digest(), draw


@dataclass(slots=True, eq=False)
class Lead:
    """Who has it makes the call. `land` must be called, whatever comes of it."""

    key: Key
    over: anyio.Event = field(default_factory=anyio.Event)


class Cache:
    """At most `most` replies, the least recently used go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Key, Completion] = OrderedDict()
        self._under_way: dict[Key, Lead] = {}
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._known)

    def ask(self, key: Key) -> Completion | Lead | anyio.Event:
        """The reply, or the lead, or what is set once the call that is under way for another is over."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            self.hits += 1
            return known
        if key in self._under_way:
            return self._under_way[key].over
        self.misses += 1
        lead = self._under_way[key] = Lead(key)
        return lead

    def keep(self, key: Key, reply: Completion) -> None:
        """A reply that was paid for."""
        self._known[key] = reply
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, model: str) -> None:
        """Drops a model's replies."""
        for key in [key for key in self._known if key[1] == model]:
            del self._known[key]

    def land(self, lead: Lead) -> None:
        """The call is over. Where it kept no reply the first of those who wait takes it over."""
        if self._under_way.get(lead.key) is lead:
            del self._under_way[lead.key]
        lead.over.set()
