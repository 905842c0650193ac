"""A grammar of edits: each takes a workflow one small step further, and says in words what it did.

An edit works on a copy. What comes of it is read and vetted like any workflow that nobody vouches for; one that the
language refuses is counted and never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .documents import Document, Slot, copied, lists, slots
from .space import CHANCES, Space

Edit = Callable[[Document, Random, "Grammar"], "str | None"]
EDITS: dict[str, Edit] = {}


def _edit(make: Edit) -> Edit:
    EDITS[make.__name__.strip("_")] = make
    return make


@dataclass(frozen=True, slots=True)
class Grammar:
    """Proposes edits within `space`. `others`: good documents, pieces of which may be taken over."""

    space: Space
    others: Sequence[Document] = field(default=(), compare=False)

    def kinds(self) -> tuple[str, ...]:
        """The edits that mean something in this space."""
        space = self.space
        dropped = {
            "model": len(space.models) < 2,
            "prompt": not space.prompts,
            "temperature": not space.temperatures,
            "think": not space.thoughts,
            "review": not space.thoughts,
            "strategy": not space.thoughts,
            "verify": not space.checks,
            "graft": not self.others,
            "loop": space.draws < 2,
            "rounds": space.draws < 2,
        }
        return tuple(kind for kind in EDITS if not dropped.get(kind))

    def edit(self, document: Document, kind: str, dice: Random) -> tuple[Document, str] | None:
        """The document after an edit of this kind, and what was done; None where it does not apply."""
        made = copied(document)
        said = EDITS[kind](made, dice, self)
        return (made, said) if said is not None else None

    def propose(self, document: Document, dice: Random, weights: Mapping[str, float]) -> tuple[Document, str, str]:
        """An edit, its kind drawn by `weights` (1 where none is given): document, kind and words."""
        kinds = list(self.kinds())
        while kinds:
            kind = dice.choices(kinds, [weights.get(kind, 1.0) for kind in kinds])[0]
            made = self.edit(document, kind, dice)
            if made is not None:
                return made[0], kind, made[1]
            kinds.remove(kind)
        return document, "none", "no edit applies"

    def sample(self, dice: Random, document: Document) -> dict[str, Any]:
        """A step that asks a model: one that is not asked yet, where there is one draw of each."""
        models = self.space.models
        if self.space.draws < 2:
            used = {slot.step.get("model") for slot in slots(document)}
            models = tuple(model for model in models if model not in used) or models
        return self.space.sample(dice.choice(models) if models else None)

    def condition(self, dice: Random) -> dict[str, Any]:
        """What a branch or a loop may hang on."""
        space, drawn = self.space, dice.random()
        if space.checks and drawn < 0.4:
            return {"p": dice.choice(CHANCES)}
        if drawn < 0.7:
            return {"agreement": dice.choice(space.agreements)}
        if drawn < 0.9:
            return {"votes": dice.choice(space.votes)}
        return {"agreement": dice.choice(space.agreements), "votes": dice.choice(space.votes)}


def _pick(document: Document, dice: Random, *kinds: str) -> Slot | None:
    """A step of these kinds, any step where none is named."""
    found = [slot for slot in slots(document) if not kinds or slot.step["do"] in kinds]
    return dice.choice(found) if found else None


def _said(step: Mapping[str, Any]) -> str:
    model = f" {step['model']}" if "model" in step else ""
    return f"{step['do']}{model}"


@_edit
def _model(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample")
    if slot is None:
        return None
    before = slot.step.get("model")
    others = [model for model in grammar.space.models if model != before]
    slot.step["model"] = dice.choice(others)
    return f"ask {slot.step['model']} instead of {before or 'the default model'}"


@_edit
def _insert(document: Document, dice: Random, grammar: Grammar) -> str | None:
    steps, key = dice.choice(lists(document))
    step = grammar.sample(dice, document)
    place = dice.randint(0, len(steps))
    steps.insert(place, step)
    return f"add {_said(step)} to {key} at {place}"


@_edit
def _remove(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice)
    if slot is None or (len(slot.steps) < 2 and slot.key != "else"):
        return None
    gone = slot.steps.pop(slot.at)
    return f"remove {_said(gone)} from {slot.key}"


@_edit
def _widen(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample", "parallel")
    if slot is None:
        return None
    more = [grammar.sample(dice, document) for _ in range(dice.choice((1, 1, 2)))]
    if slot.step["do"] == "parallel":
        slot.step["branches"] += more
    elif slot.key == "branches":
        slot.steps.extend(more)
    else:
        slot.steps[slot.at] = {"do": "parallel", "branches": [slot.step, *more]}
    return f"ask {', '.join(_said(one) for one in more)} beside {_said(slot.step)}"


@_edit
def _swap(document: Document, dice: Random, grammar: Grammar) -> str | None:
    several = [steps for steps, key in lists(document) if len(steps) > 1 and key != "branches"]
    if not several:
        return None
    steps = dice.choice(several)
    i = dice.randrange(len(steps) - 1)
    steps[i], steps[i + 1] = steps[i + 1], steps[i]
    return f"{_said(steps[i])} before {_said(steps[i + 1])}"


@_edit
def _branch(document: Document, dice: Random, grammar: Grammar) -> str | None:
    """What follows a step is done only where the condition does not hold yet."""
    slot = _pick(document, dice)
    if slot is None or slot.key == "branches":
        return None
    rest = slot.steps[slot.at + 1 :] or [grammar.sample(dice, document)]
    when = grammar.condition(dice)
    slot.steps[slot.at + 1 :] = [{"do": "if", "when": when, "then": [{"do": "vote"}], "else": rest}]
    return f"go on after {_said(slot.step)} only without {when}"


@_edit
def _escalate(document: Document, dice: Random, grammar: Grammar) -> str | None:
    """At the end, where the condition does not hold: one more, whose answer stands or is voted on."""
    when, more = grammar.condition(dice), [grammar.sample(dice, document)]
    more += [{"do": "vote"}] if dice.random() < 0.5 else []
    ends = [steps for steps, key in lists(document) if key in ("steps", "else") and steps[-1]["do"] != "if"]
    if not ends:
        return None
    dice.choice(ends).append({"do": "if", "when": when, "then": [{"do": "vote"}], "else": more})
    return f"without {when} ask {_said(more[0])}{' and vote' * (len(more) > 1)}"


@_edit
def _threshold(document: Document, dice: Random, grammar: Grammar) -> str | None:
    """Another condition for an `if` or a loop."""
    slot = _pick(document, dice, "if", "loop")
    if slot is None:
        return None
    key = "when" if slot.step["do"] == "if" else "until"
    before, slot.step[key] = slot.step.get(key), grammar.condition(dice)
    return f"{slot.step['do']} {key} {slot.step[key]} instead of {before}" if before != slot.step[key] else None


@_edit
def _vote(document: Document, dice: Random, grammar: Grammar) -> str | None:
    ends = [steps for steps, key in lists(document) if key != "branches" and steps[-1] != {"do": "vote"}]
    if not ends:
        return None
    dice.choice(ends).append({"do": "vote"})
    return "vote on all answers instead of taking the last"


@_edit
def _loop(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample", "parallel")
    if slot is None:
        return None
    most, until = dice.choice((2, 3, 4, 6)), grammar.condition(dice)
    slot.steps[slot.at] = {"do": "loop", "most": most, "until": until, "steps": [slot.step]}
    return f"repeat {_said(slot.steps[slot.at]['steps'][0])} up to {most} times until {until}"


@_edit
def _rounds(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "loop")
    if slot is None:
        return None
    before = slot.step["most"]
    slot.step["most"] = dice.choice([n for n in (2, 3, 4, 5, 6, 8) if n != before])
    return f"{slot.step['most']} rounds instead of {before}"


@_edit
def _unwrap(document: Document, dice: Random, grammar: Grammar) -> str | None:
    """The inside of a step without the step: one way of an `if`, the branches of a parallel one after another."""
    slot = _pick(document, dice, "if", "loop", "parallel", "within", "sequence")
    if slot is None:
        return None
    step = slot.step
    key = dice.choice([key for key in ("steps", "branches", "then", "else") if key in step])
    inner = step[key]
    slot.steps[slot.at : slot.at + 1] = inner
    return f"{key} of {_said(step)} without it"


@_edit
def _verify(document: Document, dice: Random, grammar: Grammar) -> str | None:
    steps, key = dice.choice(lists(document))
    if key == "branches":
        return None
    place = dice.randint(1, len(steps))
    steps.insert(place, {"do": "verify"})
    return f"verify after {_said(steps[place - 1])}"


@_edit
def _prompt(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample")
    if slot is None or slot.step.get("candidate") is False:
        return None
    wording = dice.choice((*grammar.space.prompts, {}))
    for key in ("prompt", "role"):
        slot.step.pop(key, None)
    slot.step.update(wording)
    return f"ask {_said(slot.step)} as {dict(wording) or 'the bare question'}"


@_edit
def _temperature(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample")
    if slot is None:
        return None
    warm = dice.choice(grammar.space.temperatures)
    slot.step["params"] = {**slot.step.get("params", {}), "temperature": warm}
    return f"temperature {warm} for {_said(slot.step)}"


@_edit
def _think(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample")
    if slot is None or slot.key == "branches" or slot.step.get("prompt") or slot.step.get("candidate") is False:
        return None
    text = "List in a few short steps how to work this out. Do not answer yet.\n\n$query"
    plan = {
        **grammar.sample(dice, document),
        "as": "plan",
        "prompt": text,
        "candidate": False,
        "params": {"max_tokens": 128},
    }
    slot.step["prompt"] = "$query\n\nFollow this plan:\n$plan"
    slot.steps.insert(slot.at, plan)
    return "plan first, then answer"


@_edit
def _review(document: Document, dice: Random, grammar: Grammar) -> str | None:
    text = "$query\n\nProposed answers:\n$answers\n\nFind the mistakes, and give the right answer."
    document["steps"].append({**grammar.sample(dice, document), "prompt": text})
    return "at the end, review the answers and give the right one"


@_edit
def _strategy(document: Document, dice: Random, grammar: Grammar) -> str | None:
    slot = _pick(document, dice, "sample")
    if slot is None or slot.step.get("candidate") is False:
        return None
    settings: dict[str, Any] = {"samples": dice.choice((3, 5))}
    if "model" in slot.step:
        settings["model"] = slot.step["model"]
    slot.steps[slot.at] = {"do": "strategy", "name": "self_consistency", "settings": settings}
    return f"self_consistency of {settings['samples']} instead of one sample"


@_edit
def _graft(document: Document, dice: Random, grammar: Grammar) -> str | None:
    """A step of another good workflow in the place of a step, or after it."""
    donor = _pick(copied(dice.choice(list(grammar.others))), dice)
    slot = _pick(document, dice)
    if donor is None or slot is None or donor.step["do"] == "call":
        return None
    if dice.random() < 0.5:
        gone, slot.steps[slot.at] = slot.step, donor.step
        return f"{_said(donor.step)} of another workflow instead of {_said(gone)}"
    slot.steps.insert(slot.at + 1, donor.step)
    return f"{_said(donor.step)} of another workflow after {_said(slot.step)}"
