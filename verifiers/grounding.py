"""Claims of an answer, checked one by one against sources: what is supported, contradicted, or found nowhere.

As in FActScore (Min et al. 2023, arXiv:2305.14251), the score is the share of claims that a source supports. Sources
are read in chunks, as in SummaC (Laban et al. 2022, arXiv:2111.09525), the likeliest chunks of each claim first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..core.completions import Params
from ..core.effects import Effect, Gather, Sample
from ..core.errors import BadQuery, CallerError, GatherFailed, ModelError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .judge import BRIEF, LEAST_COVERAGE, check_asking, clip, failed, words_of
from .literals import Literals
from .opinions import opinion, word_said
from .prompting import asked, fence_for, hopeless, quoted, render, standing_in
from .splitting import Relevance, chunks, sentences

Finding = Literal["supported", "contradicted", "unsupported", "unknown"]
_LABELS = {
    "yes": "yes",
    "true": "yes",
    "supported": "yes",
    "no": "no",
    "false": "no",
    "contradicted": "no",
    "unknown": "unknown",
    "neutral": "unknown",
}


@dataclass(frozen=True, slots=True)
class _Claim:
    text: str
    finding: Finding = "unsupported"
    source: str = ""
    why: str = ""


@dataclass(frozen=True)
class Grounding:
    """Checks each claim of a candidate against `sources` (name -> text, or texts) by a model that is asked whether the
    source says so; the evidence names contradicted and unsupported claims. It tells what the sources do not hold, not
    what is false.

    Claims are the sentences, or with `decompose` what a model makes of them (prompt "claims"). Numbers and quotations
    that occur in no source refute a claim at no cost (`precheck`). A claim is read against its `chunks_each` likeliest
    chunks of `chunk_chars`, the next one only where the last did not tell. More than `most_claims` are not read: the
    evidence says so. Prompt: "entail".
    """

    sources: Mapping[str, str] | Sequence[str]
    model: str | None = None
    decompose: bool = False
    precheck: bool = True
    chunks_each: int = 2
    chunk_chars: int = 2_000
    most_claims: int = 32
    params: Params | None = None
    least_coverage: float = LEAST_COVERAGE
    name: str = "grounding"
    _chunks: tuple[tuple[str, str], ...] = field(default=(), init=False, repr=False, compare=False)
    _literals: Literals = field(default_factory=lambda: Literals(()), init=False, repr=False, compare=False)
    _relevance: Relevance = field(default_factory=lambda: Relevance(()), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_asking((), "", self.least_coverage, self.chunk_chars, "chunk_chars")
        if min(self.chunks_each, self.most_claims) < 1:
            raise CallerError(f"chunks_each={self.chunks_each}, most_claims={self.most_claims}: expected 1 or more")
        if isinstance(self.sources, str | bytes):
            raise CallerError("sources: expected texts by name, or a list of texts, not one text")
        named = dict(self.sources) if isinstance(self.sources, Mapping) else dict(_numbered(self.sources))
        if not any(isinstance(text, str) and text.strip() for text in named.values()):
            raise CallerError("sources: expected at least one text that is not empty")
        if not all(isinstance(text, str) for text in named.values()):
            raise CallerError("sources: expected texts")
        parts = tuple((name, part) for name, text in named.items() for part in chunks(text, self.chunk_chars))
        object.__setattr__(self, "sources", tuple(named.items()))  # a mapping could be changed, and has no hash
        object.__setattr__(self, "_chunks", parts)
        object.__setattr__(self, "_literals", Literals(named.values()))
        object.__setattr__(self, "_relevance", Relevance([part for _, part in parts]))

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        if (verdict := hopeless(candidate)) is not None:
            return verdict if verdict.score is None else Verdict(None, evidence=f"{self.name}: {verdict.evidence}")
        found, note = sentences(candidate.text), ""
        if self.decompose:
            found, note = yield from self._decomposed(task, candidate, found)
        left_out = len(found) - self.most_claims
        if left_out > 0:
            note += f"; {left_out} further claims not read"
        claims = [self._prechecked(text) for text in found[: self.most_claims]]
        if not claims:
            return Verdict(None, evidence=f"{self.name}: the candidate makes no claim")
        ranks = [self._relevance.rank(claim.text)[: self.chunks_each] for claim in claims]
        for rank in range(self.chunks_each):
            open_ = [i for i, c in enumerate(claims) if _is_open(c) and rank < len(ranks[i])]
            if not open_:
                break
            asking = tuple(self._ask(task, claims[i].text, *self._chunks[ranks[i][rank]]) for i in open_)
            try:
                replies: tuple[Candidate | None, ...] = yield from Gather(asking, at_least=1)
            except GatherFailed as error:
                if rank == 0:
                    return failed(self.name, error)
                note += f"; {words_of(error)}"
                break
            for i, reply in zip(open_, replies, strict=True):
                claims[i] = self._told(claims[i], reply, self._chunks[ranks[i][rank]][0])
        return self._verdict(claims, note)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The calls on a candidate of four claims, of which each is read against all its chunks."""
        someone = standing_in(task, 8_000)
        longest = max((part for _, part in self._chunks), key=len)
        claims = (self._ask(task, "word " * 20, "source", longest),) * (4 * min(self.chunks_each, len(self._chunks)))
        return (self._ask_claims(task, someone), *claims) if self.decompose else claims

    # -- claims -------------------------------------------------------------------------------------------------------

    def _ask_claims(self, task: Task, candidate: Candidate) -> Sample:
        shown = quoted(candidate.text)
        text = render("claims", task.prompts, candidate=shown.text, fence=shown.fence)
        return asked(text, self.model, Params(temperature=0.0, max_tokens=1024))

    def _decomposed(
        self, task: Task, candidate: Candidate, otherwise: tuple[str, ...]
    ) -> Plan[tuple[tuple[str, ...], str]]:
        """The claims as a model lists them. One that lists none where there are sentences is not believed."""
        try:
            reply = yield from self._ask_claims(task, candidate)
        except (ModelError, BadQuery) as error:
            return otherwise, f"; by sentences, as the claims could not be asked for ({words_of(error)})"
        listed = json_list(reply.text)
        return (listed, "") if listed else (otherwise, "; by sentences, as the model listed no claims")

    def _prechecked(self, text: str) -> _Claim:
        odd = self._literals.missing(text) if self.precheck else ()
        return _Claim(text, why=f"{', '.join(odd)} in no source") if odd else _Claim(text)

    # -- sources ------------------------------------------------------------------------------------------------------

    def _ask(self, task: Task, claim: str, name: str, source: str) -> Sample:
        fence = fence_for(claim, source)
        text = render(
            "entail",
            task.prompts,
            name=" ".join(name.split())[:100],
            source=quoted(source, len(source), fence=fence).text,
            claim=quoted(claim, 1_000, fence=fence).text,
            fence=fence,
        )
        return asked(text, self.model, self.params or BRIEF)

    def _told(self, claim: _Claim, reply: Candidate | None, source: str) -> _Claim:
        """What is known of the claim now: a source that says otherwise is overruled by a later one that says so, but
        not by one that does not tell."""
        told = None if reply is None else opinion(reply, _LABELS, word_said(reply.text, _LABELS), self.least_coverage)
        if told is None:
            said = f": {clip(reply.text, 80)!r}" if reply is not None else ""
            return claim if claim.finding == "contradicted" else _Claim(claim.text, "unknown", source, f"no word{said}")
        word = max(told.shares, key=lambda label: (told.shares[label], label))
        if word == "yes":
            return _Claim(claim.text, "supported", source)
        if word == "no":
            return _Claim(claim.text, "contradicted", source)
        return claim if claim.finding == "contradicted" else _Claim(claim.text)

    def _verdict(self, claims: list[_Claim], note: str) -> Verdict:
        counts = Counter(claim.finding for claim in claims)
        known = len(claims) - counts["unknown"]
        named = "".join(
            f"; {claim.finding}{f' by {claim.source}' if claim.finding == 'contradicted' else ''}:"
            f" {clip(claim.text, 160)!r}{f' ({claim.why})' if claim.why else ''}"
            for claim in claims
            if claim.finding != "supported"
        )
        share = f"{counts['supported']} of {known} claims supported"
        return Verdict(counts["supported"] / known if known else None, evidence=f"{self.name}: {share}{named}{note}")


def _is_open(claim: _Claim) -> bool:
    return claim.finding != "supported" and not (claim.finding == "unsupported" and claim.why)


def _numbered(texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"source {i}", text) for i, text in enumerate(texts, 1)]


def json_list(text: str) -> tuple[str, ...]:
    """The first JSON list in a reply that holds texts; nothing where there is none."""
    decoder = json.JSONDecoder()
    at = text.find("[")
    for _ in range(20):
        if at < 0:
            break
        try:
            value, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list) and (listed := [v.strip() for v in value if isinstance(v, str) and v.strip()]):
            return tuple(dict.fromkeys(listed))
        at = text.find("[", at + 1)
    return ()
