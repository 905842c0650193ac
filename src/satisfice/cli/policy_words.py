"""How the `satisfice policy` commands put things into words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..budgets.policy import Policy
    from ..budgets.registry.versions import Entry, Version

SHORT = 60  # characters of a value that are shown as they are
NANO = 1e9


def changes(before: Policy, after: Policy) -> list[tuple[str, str, str]]:
    """The fields that differ, as (field, before, after). What is long is told by its size and hash."""
    old, new = (dict(_flat(one.model_dump(mode="json"))) for one in (before, after))
    fields = [field for field in dict.fromkeys((*old, *new)) if old.get(field) != new.get(field)]
    return [(field, _shown(old, field), _shown(new, field)) for field in fields]


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields, and one level below them the entries of mappings by name."""
    for field, value in data.items():
        if isinstance(value, dict) and value:
            yield from ((f"{field}.{name}", inner) for name, inner in value.items())
        elif value not in ({}, [], None, ""):
            yield field, value


def _shown(data: Mapping[str, Any], field: str) -> str:
    if field not in data:
        return "-"
    value = data[field]
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if len(text) <= SHORT:
        return text
    count = f"{len(value)} entries, " if isinstance(value, dict | list) else ""
    return f"{count}{len(text):,} characters, {sha256(text.encode()).hexdigest()[:8]}"


def version_lines(one: Version, stage: str) -> list[str]:
    """What a version holds and where it comes from."""
    made = one.policy
    parts = [f"worth ${made.worth:g}" if made.worth is not None else "no worth"]
    parts.append("fitted" if made.fitted else "not fitted")
    held = {name: len(getattr(made, name)) for name in ("verifiers", "cascades", "chains", "rounds")}
    parts += [f"{count} {name}" for name, count in held.items() if count]
    if made.allocation is not None:
        parts.append(f"{len(made.allocation.arms)} arms")
    lines = [
        f"{one.id}  {one.name}  ({stage})",
        f"added {one.created[:19]} UTC" + (f" by {one.by}" if one.by else ""),
        f"content {one.hash}",
        f"strategy: {made.strategy or 'auto'}; {', '.join(parts)}",
    ]
    lines += [f"made from {', '.join(one.parents)}"] if one.parents else []
    facts = {name: value for name, value in made.provenance.items() if name != "questions_seen"}  # hashes
    lines += [f"provenance: {name} = {value}" for name, value in facts.items()]
    lines += [f"measured: {name} = {value}" for name, value in one.metrics.items()]
    return lines


def entry_line(entry: Entry) -> str:
    """A row of the log."""
    who = entry.by or "somebody"
    where = f" to {entry.stage}" if entry.what in ("promote", "stop") else ""
    what = f"{entry.what} {entry.version or '(no policy of the registry)'}{where}"
    share = f" {entry.share:.0%}" if entry.share is not None else ""
    channel = f" [{entry.channel}]" if entry.channel not in ("", "main") else ""
    said = f"{entry.at[:19]}  {who}: {what}{share}{channel}" + (" (override)" if entry.override else "")
    said += f": {entry.why}" if entry.why else ""
    return said + evidence_said(entry.evidence)


def evidence_said(evidence: Mapping[str, Any]) -> str:
    """The figure that decided, in short."""
    found = evidence.get("net") or evidence.get("accuracy") or evidence.get("difference")
    if not isinstance(found, Mapping) or "estimate" not in found:
        return ""
    what = "net utility" if evidence.get("net") else "accuracy" if evidence.get("accuracy") else "difference"
    n = f", n = {evidence['questions']}" if "questions" in evidence else ""
    return f" ({what} {found['estimate']:+.4g}, at least {found['low']:+.4g}{n})"


def shadow_said(counts: Mapping[str, int]) -> str:
    """What a shadow came to."""
    n, misses, replayed = (counts.get(name, 0) for name in ("requests", "misses", "replayed"))
    text = f"{n} requests, {misses} of which the recorded draws cannot answer"
    if not replayed:
        return text
    mine, theirs = (counts.get(name, 0) / NANO / replayed for name in ("nanos_shadow", "nanos_served"))
    same = counts.get("same", 0)
    return f"{text}; of {replayed} replayed {same} have the same answer, at ${mine:.3g} against ${theirs:.3g} each"
