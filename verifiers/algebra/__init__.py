"""Mathematics that a model wrote, compared in a process of its own.

`client` talks to it, `worker` is it, `shapes` takes an answer apart (no sympy), `plain` and `latex` read its parts,
`values` and `compare` compare, `satisfying` plugs values in. This package imports nothing of ours, so that the worker
starts with only what it needs.
"""

from __future__ import annotations
