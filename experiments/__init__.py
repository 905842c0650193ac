"""Was it worth it? Banks of recorded samples, replay without cost, evaluation beside its baselines, and `fit`.

Importing this package loads neither pyarrow nor numpy; each name loads its own file when it is first used. (Files
are called evaluation, fitting and replaying because an imported submodule would hide a function of its own name.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .allocating import fit_allocation
    from .bank import Bank, Draw, Question
    from .cascading import fit_cascades
    from .evaluation import evaluate
    from .fitting import fit
    from .gating import fit_gate
    from .importing import import_file
    from .intervals import Interval, clustered, paired, wilson
    from .predicting import fit_predictor
    from .replaying import BankSource, BankTariff, Deck, replay
    from .report import Report, Row

_HOMES = {
    "Bank": "bank",
    "BankSource": "replaying",
    "BankTariff": "replaying",
    "Deck": "replaying",
    "Draw": "bank",
    "Interval": "intervals",
    "Question": "bank",
    "Report": "report",
    "Row": "report",
    "clustered": "intervals",
    "evaluate": "evaluation",
    "fit": "fitting",
    "fit_allocation": "allocating",
    "fit_cascades": "cascading",
    "fit_gate": "gating",
    "fit_predictor": "predicting",
    "import_file": "importing",
    "paired": "intervals",
    "replay": "replaying",
    "wilson": "intervals",
}
__all__ = [
    "Bank",
    "BankSource",
    "BankTariff",
    "Deck",
    "Draw",
    "Interval",
    "Question",
    "Report",
    "Row",
    "clustered",
    "evaluate",
    "fit",
    "fit_allocation",
    "fit_cascades",
    "fit_gate",
    "fit_predictor",
    "import_file",
    "paired",
    "replay",
    "wilson",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
