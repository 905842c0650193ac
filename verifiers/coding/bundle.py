"""The modules that run inside a sandbox, as one program text.

They are compiled here, once: the sandbox runs the interpreter that runs us, and compiling takes longer than most tests.
"""

from __future__ import annotations

import marshal
import zlib
from functools import cache
from importlib.resources import files

_START = """\
import marshal, sys, zlib
ModuleSpec = type(sys.__spec__)
ModuleType = type(sys)
class _Finder:
    def __init__(self, parts):
        self.parts = parts
    def find_spec(self, name, path=None, target=None):
        code = self.parts.get(name.rpartition(".")[2]) if name.startswith("satisfice_coding.") else None
        return None if code is None else ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(marshal.loads(self.parts[module.__name__.rpartition(".")[2]]), module.__dict__)
def _load(packed):
    parts = marshal.loads(zlib.decompress(packed))
    package = sys.modules["satisfice_coding"] = ModuleType("satisfice_coding")
    package.__path__ = []
    sys.meta_path.insert(0, _Finder(parts))
    main = "satisfice_coding." + list(parts)[-1]
    __import__(main)
    return sys.modules[main]
"""


@cache
def program(*names: str) -> str:
    """A program that holds the named modules of this package, loads each when it is first imported, and calls
    `main()` of the last."""
    folder = files(__package__)
    texts = {name: folder.joinpath(f"{name}.py").read_text(encoding="utf-8") for name in names}
    parts = {name: marshal.dumps(compile(text, f"<{name}>", "exec")) for name, text in texts.items()}
    return f"{_START}_load({zlib.compress(marshal.dumps(parts), 9)!r}).main()\n"


def guest() -> str:
    """The side that holds the candidate."""
    return program("wire", "faults", "pipe", "guest")


def host() -> str:
    """The side that holds the tests."""
    return program("wire", "faults", "pipe", "draws", "handles", "asserts", "units", "calls", "candidate", "host")
