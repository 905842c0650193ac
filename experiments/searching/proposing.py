"""A model proposes edits: it is shown a workflow, how it did and what was tried, and writes the whole edited workflow.

What it writes is data that nobody vouches for: it is read by the language, may name the space's models only, and is
refused (and counted) otherwise. It is never run unvetted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ...strategies.orchestrate import found_in
from ...strategies.workflow import Workflow
from .archive import Archive, Entry
from .scoring import Terms
from .search import Proposal
from .space import Space

TOLD = 8  # edits of the parent that it is told of

PROMPT = """You improve a workflow by which a language model answers questions. A workflow is JSON with `steps`.
Kinds of steps ("do"):
- sample: asks a model. Keys: prompt (holds $query), role, model{models}.
- parallel: "branches": steps done at once; the answer that most give stands.
- vote: the answer that most agree on stands.
- if: "when": {{"agreement": 0.6}} or {{"votes": 2}}, "then": [steps], "else": [steps].
- loop: "most": 3, "until": {{"votes": 2}}, "steps": [steps].
Score: right answers less cost ({worth} dollars buy one right answer). {how}

The workflow, which scores {score:.4f}:
{document}

Edits of it that were tried:
{tried}

Make one small change that should raise the score. Reply with the whole new workflow as JSON, nothing else."""


@dataclass(frozen=True, slots=True)
class FromModel:
    """Proposes by `ask`, which takes a prompt and returns a reply. Raises `CallerError` where the reply holds no
    workflow."""

    ask: Callable[[str], str]
    space: Space
    terms: Terms
    name: str = "model"

    def __call__(self, parent: Entry, archive: Archive, dice: Random) -> Proposal:
        return Proposal(found_in(self.ask(self.prompt(parent, archive))), "model", f"written by {self.name}", self.name)

    def prompt(self, parent: Entry, archive: Archive) -> str:
        """What the model is asked."""
        models = f" (one of {', '.join(self.space.models)})" if self.space.models else " (leave it out)"
        figures = parent.figures
        right, usd = (sum(column) / len(figures) for column in ([f.right for f in figures], [f.usd for f in figures]))
        shown = {k: v for k, v in Workflow.of(parent.document or {}).to_dict().items() if k == "steps" or k == "define"}
        return PROMPT.format(
            models=models,
            worth=f"{self.terms.worth:g}",
            how=f"It is right on {right:.1%} of the questions, at ${usd:.3g} each.",
            score=archive.value(parent, self.terms),
            document=json.dumps(shown),
            tried="\n".join(self._tried(parent, archive)) or "none",
        )

    def _tried(self, parent: Entry, archive: Archive) -> list[str]:
        after = [one for one in archive.entries if one.parent == parent.number and one.edit]
        told = {"scored": "scores {:.4f}", "hopeless": "was clearly worse", "equal": "changed nothing"}
        return [
            f"- {one.edit}: {told.get(one.status, one.status).format(archive.value(one, self.terms))}"
            for one in after[-TOLD:]
        ]
