"""Conditions: how a plain draw is asked for. One condition of a model is one arm of a bank, such as "direct@0.7"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...core.completions import Params
from ...core.errors import CallerError

FORMS = {
    "number": "Reply with just the number.",
    "text": "Reply with just the answer.",
    "choice": "Reply with just one of: {{ choices | join(', ') }}.",
}
_STEPS = (
    "{{ query }}\nThink step by step, in one or two short sentences. "
    'End with a line of the form "Answer: <your answer>".'
)
# Templates by the kind of answer; kinds without one are asked with the packaged template.
PROMPTS: Mapping[str, Mapping[str, str]] = {
    "direct": {kind: "{{ query }}\n" + form for kind, form in FORMS.items()},
    "chain_of_thought": dict.fromkeys(FORMS, _STEPS),
}
_NAME = re.compile(r"[\w.-]{1,64}")
LONGEST = {"direct": 24, "chain_of_thought": 64}  # tokens of a reply, where nobody says


@dataclass(frozen=True, slots=True)
class Condition:
    """How draws are asked for: the name of the prompts, a temperature, and at most `max_tokens` of reply. A direct
    reply ends with its first line. `prefill` are the first words of the reply, for a model that is no good at following
    instructions ("Answer:"); its server has to go on from them, as llama.cpp does. Log-probabilities are asked for, so
    that `confidence` can be recorded for nothing. The arm is called "direct@0.7", or "NAME@0.7" with a `name` of its
    own. Raises `CallerError`."""

    prompt: str = "direct"
    temperature: float = 0.7
    max_tokens: int = 0  # 0: as long as the prompts are made for
    prefill: str = ""  # how the reply begins: the model goes on from there
    name: str = ""  # of the arm, where one under the prompts' name was recorded otherwise

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise CallerError(f"--arm {self.name!r}: expected letters, digits, ., - and _ (the temperature is added)")
        if self.prompt not in PROMPTS:
            raise CallerError(f"prompt={self.prompt!r}: expected one of {', '.join(PROMPTS)}")
        self.params()

    @property
    def arm(self) -> str:
        return f"{self.name or self.prompt}@{self.temperature:g}"

    @property
    def prompts(self) -> Mapping[str, str]:
        return PROMPTS[self.prompt]

    def params(self) -> Params:
        stop = ("\n",) if self.prompt == "direct" else ()
        longest = self.max_tokens or LONGEST[self.prompt]
        return Params(temperature=self.temperature, max_tokens=longest, stop=stop, logprobs=True)
