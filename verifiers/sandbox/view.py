"""What a program can see: this interpreter, its standard library, the shared objects that they load. Nothing else.

The same files stand at neutral places inside (`/py`, `/lib`), so that no path tells who runs us. site-packages is
covered by an empty folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

PYTHON = "/py/bin/python"
# -I without -E: the environment is empty but for PYTHONHASHSEED, which makes the order of sets the same in every run.
FLAGS = ("-P", "-s", "-S", "-B", "-X", "utf8")
DEVICES = ("null", "zero", "full", "random", "urandom")
ZONES = "/usr/share/zoneinfo"
# dlopen()ed by the C library when a thread ends or text is converted: no list of loaded objects names it.
ALSO = ("libgcc_s.so.1",)

# Prints every shared object that the interpreter and the extension modules of its standard library load, except those
# for terminals, windows and accounts.
LOADED = """
import ctypes, importlib, json, os, sys, sysconfig
folder = sysconfig.get_config_var("DESTSHARED") or ""
folder = folder if os.path.isdir(folder) else next((p for p in sys.path if p.endswith("lib-dynload")), "")
unwanted = ("_test", "_xx", "_tkinter", "_curses", "readline", "nis.", "spwd", "ossaudiodev", "_dbm", "_gdbm")
for name in sorted(os.listdir(folder)) if folder else ():
    try:
        if not name.startswith(unwanted):
            importlib.import_module(name.partition(".")[0])
    except Exception:
        pass
for name in json.loads(sys.argv[1]):
    try:
        ctypes.CDLL(name)
    except OSError:
        pass
found = []
class Info(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
def see(info, size, data):
    found.append(os.fsdecode(info.contents.name or b""))
    return 0
ctypes.CDLL(None).dl_iterate_phdr(see, None)
print(json.dumps([p for p in found if p.startswith("/")]))
"""


def interpreter() -> str:
    """The real interpreter behind a virtual environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    known = [getattr(sys, "_base_executable", None), os.path.join(sys.base_prefix, "bin", name), sys.executable]
    return next((os.path.realpath(p) for p in known if p and os.path.isfile(p)), sys.executable)


@cache
def binds() -> tuple[str, ...]:
    """bubblewrap's arguments for the interpreter, its library and its shared objects. OSError where one is missing."""
    python = interpreter()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    arguments = ["--ro-bind", python, PYTHON]
    for lib in dict.fromkeys(("lib", sys.platlibdir)):
        folder = Path(sys.base_prefix, lib, version)
        if folder.is_dir():
            arguments += ["--ro-bind", str(folder), f"/py/{lib}/{version}"]
            for packages in ("site-packages", "dist-packages"):
                if (folder / packages).is_dir():
                    arguments += _covered(f"/py/{lib}/{version}/{packages}")
    for path, place in _objects(python, str(Path(sys.base_prefix, "lib", version))):
        arguments += ["--ro-bind", path, place]
    arguments += ["--symlink", "/lib", "/lib64"]
    if os.path.isdir(ZONES):
        arguments += ["--ro-bind", ZONES, ZONES]
    return (*_parents(arguments), *arguments)


def _parents(arguments: list[str]) -> list[str]:
    """The folders that binds stand in. Those that bubblewrap makes on its own may be closed to other users, and where
    we are root the program is another user."""
    places = [Path(arguments[i + 2]) for i, word in enumerate(arguments) if word == "--ro-bind"]
    folders = {folder for place in places for folder in place.parents} - {Path("/")}
    return [word for folder in sorted(folders) for word in ("--dir", str(folder))]


def _covered(place: str) -> list[str]:
    return ["--tmpfs", place, "--remount-ro", place]


def _objects(python: str, library: str) -> list[tuple[str, str]]:
    """(path here, path inside). All go to /lib, by the name they are asked for; the loader also to where the binary
    looks for it."""
    command = [python, *FLAGS, "-c", LOADED, json.dumps(ALSO)]
    printed = subprocess.run(command, capture_output=True, check=True, env={}, timeout=60, stdin=subprocess.DEVNULL)
    places = []
    for path in json.loads(printed.stdout):
        if path.startswith(library):
            continue  # an extension module, there already
        name = os.path.basename(path)
        if name.startswith("ld-") and os.path.dirname(path) not in ("/lib", "/lib64"):
            places.append((path, path))
        places.append((path, f"/lib/{name}"))
    return list(dict.fromkeys(places))
