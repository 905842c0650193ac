"""Filling a step's prompt with what was said before, within bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template

from ...verifiers.prompting import defang, shortened

LONGEST = 8_000  # characters of one text that a prompt is shown
ROOM = 48_000  # characters of all of them: a name can stand in a prompt any number of times


def filled(prompt: str, query: str, texts: Mapping[str, str]) -> str:
    """The prompt with `$query` and `$name` filled in; what is no name stays as it is. One that does not mention the
    question is put after it. Once `ROOM` is used up, names stand for nothing; the question stands in full once."""
    shown = {name: defang(shortened(text, LONGEST)[0]) for name, text in texts.items()}
    asked, room = False, ROOM

    def put(found: re.Match[str]) -> str:
        nonlocal asked, room
        name = found["named"] or found["braced"]
        if name is None:
            return "$" if found["escaped"] is not None else found[0]
        if name == "query" and not asked:
            asked = True
            return query
        value = query if name == "query" else shown.get(name)
        if value is None:
            return found[0]
        value, _ = shortened(value, room) if room > 0 else ("", 0)
        room -= len(value)
        return value

    text = Template.pattern.sub(put, prompt)
    return text if asked else f"{query}\n\n{text}"
