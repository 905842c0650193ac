"""Standing: which recorded arms the text of a strategy can stand for. A text names a model and a temperature, but no
prompt: what was drawn by another prompt than the plain question is not what a live run of that text would draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...core.errors import CallerError

Arm: TypeAlias = "tuple[str, str]"  # (model, recorded condition)
PLAIN = ("direct", "", "baseline", "single_shot", "single")  # names of the plain question, the first go first


def temperature(condition: str) -> float | None:
    """That of a recorded condition, as in "direct@0.3"; None where it does not say."""
    _, at, text = condition.rpartition("@")
    try:
        return float(text) if at else None
    except ValueError:
        return None


def prompt_of(condition: str) -> str:
    """The name of the prompts of a recorded condition: "chain_of_thought" of "chain_of_thought@0.7"."""
    return condition if temperature(condition) is None else condition.rpartition("@")[0]


def asked(arm: Arm) -> dict[str, Any]:
    """The settings under which a live run asks what was recorded."""
    model, condition = arm
    warm = temperature(condition)
    return {"model": model, **({} if warm is None else {"params": {"temperature": warm}})}


@dataclass(frozen=True, slots=True)
class Standing:
    """The arms `kept`, the `left` ones of which no text would be theirs alone, and the `prompt` by which those that are
    kept were asked, "" for the plain question."""

    kept: tuple[Arm, ...]
    left: tuple[Arm, ...] = ()
    prompt: str = ""

    @classmethod
    def of(cls, arms: Collection[Arm]) -> Standing:
        """Of each model and temperature one arm: the plain question where some arm was recorded by it. Where none was,
        those of the one prompt that there is, which requests then have to bring. Raises `CallerError` where there are
        several prompts and none of them is plain."""
        names = {prompt_of(condition) for _, condition in arms}
        plain = names & set(PLAIN)
        if not plain and len(names) > 1:
            found = ", ".join(sorted(names))
            raise CallerError(
                f"this bank was recorded by several prompts ({found}), which the text of a strategy cannot tell apart: "
                "choose the conditions of one of them, --arm"
            )
        alike: dict[Any, list[Arm]] = defaultdict(list)
        for model, condition in sorted(arms):
            if not plain or prompt_of(condition) in plain:
                alike[model, temperature(condition)].append((model, condition))
        kept = {min(same, key=lambda arm: _rank(arm[1])) for same in alike.values()}
        return cls(
            tuple(arm for arm in arms if arm in kept),
            tuple(arm for arm in arms if arm not in kept),
            "" if plain or not names else next(iter(names)),
        )

    def notes(self, conditions: Mapping[str, Any]) -> list[str]:
        """What a caller has to know of it, in words. `conditions`: what the bank's manifest says of its arms."""
        found = []
        if self.left:
            shown = "; ".join(", ".join(arm) for arm in self.left[:3]) + ("; ..." if len(self.left) > 3 else "")
            found.append(
                f"{len(self.left)} recorded conditions left out, a policy names model and temperature, no prompt, and "
                f"live it would not ask as they were asked: {shown}"
            )
        if self.prompt:
            found.append(
                f"all was recorded by the prompt {self.prompt!r}: requests have to be asked by the same ([prompts] in "
                "the settings), or the figures are not theirs"
            )
        elif any(_own(conditions.get(f"{model} {condition}")) for model, condition in self.kept):
            found.append(
                'recorded by prompts of its own (manifest.json, "conditions"): the figures hold for requests that are '
                "asked by the same ([prompts] in the settings)"
            )
        return found


def _rank(condition: str) -> int:
    name = prompt_of(condition)
    return PLAIN.index(name) if name in PLAIN else len(PLAIN)


def _own(condition: Any) -> bool:
    return isinstance(condition, Mapping) and bool(condition.get("prompts") or condition.get("prefill"))
