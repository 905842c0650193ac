"""Is it right? One file per verifier. Verifiers see the task and the candidate, never the gold answer."""

from __future__ import annotations

from .check import Check, as_verifier

__all__ = ["Check", "as_verifier"]
