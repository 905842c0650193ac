"""Multiple choice: whether the answer is one of the options, and the right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.errors import CallerError
from ..core.task import Candidate, Contract, Task
from ..core.verdict import Verdict
from .subject import shown, subject


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether the answer names an option of `task.contract.choices`, and, given a `reference`, whether it is that
    one. Labels ("(B)", "B.", "Answer: B") and the options' texts are read as the contract reads them.

    Without a reference an option only passes as evidence (1.0, not exact); what is no option is exactly wrong.
    """

    reference: str | None = None
    name: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        if self.reference is not None and not (isinstance(self.reference, str) and self.reference.strip()):
            raise CallerError(f"reference={self.reference!r}: expected an option's label or text, or None")

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """1.0 or 0.0; unknown if the reference is no option of this task."""
        contract = Contract("choice", task.contract.choices)
        answer = subject(candidate)
        if isinstance(answer, Verdict):
            return answer
        chosen = contract.read(answer)
        options = ", ".join(shown(choice, 30) for choice in contract.choices[:10]) or "A to J"
        if chosen is None:
            return Verdict(0.0, exact=True, evidence=f"{shown(answer)} is none of {options}")
        if self.reference is None:
            return Verdict(1.0, evidence=f"{chosen.answer} is one of {options}")
        right = contract.read(self.reference)
        if right is None:
            return Verdict(None, evidence=f"the reference {shown(self.reference)} is none of {options}")
        agree = chosen.key == right.key
        said = f"{shown(chosen.answer)} is {'' if agree else 'not '}{shown(right.answer)}"
        return Verdict(float(agree), exact=True, evidence=said)
