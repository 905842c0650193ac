"""The only door to language models: a catalogue of names, and three kinds of model behind one protocol.

- `LiteModel`: every provider that litellm reaches;
- `LocalModel`: a GGUF file in this process (extra `local`), with a small one embedded;
- `ScriptedModel`: replies written beforehand, for tests and examples.

Importing this package loads none of litellm, xllamacpp and pydantic-settings: names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalog import Catalog, Entry, Row
    from .lite import LiteModel
    from .local import LocalModel
    from .scripted import ScriptedModel
    from .settings import Settings, load_settings

__all__ = ["Catalog", "Entry", "LiteModel", "LocalModel", "Row", "ScriptedModel", "Settings", "load_settings"]

_HOME = {
    "Catalog": "catalog",
    "Entry": "catalog",
    "Row": "catalog",
    "LiteModel": "lite",
    "LocalModel": "local",
    "ScriptedModel": "scripted",
    "Settings": "settings",
    "load_settings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
