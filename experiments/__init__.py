"""Was it worth it? Banks of recorded samples, replay without cost, evaluation beside its baselines, and `fit`.

Importing this package loads neither pyarrow nor numpy; each name loads its own file when it is first used. (Files
are called evaluation, fitting and replaying because an imported submodule would hide a function of its own name.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .allocating import fit_allocation
    from .bank import Bank, Draw, Question, RecordedEffect, RecordedRun, Scored
    from .banking.appending import Appender
    from .cascading import fit_cascades
    from .engines.many import solve_many_on
    from .evaluation import evaluate
    from .evolving import evolve_gate
    from .fitting import fit
    from .gating import fit_gate
    from .importing import import_file
    from .intervals import Interval, clustered, paired, wilson
    from .predicting import fit_predictor
    from .promoting import evidence_on, promote
    from .recording.recorder import Recorder
    from .replaying import BankSource, BankTariff, Deck, replay
    from .report import Report, Row
    from .retracing import RunSource, decks_of
    from .searching.search import search
    from .sweeping import Sweep, Vote, sweep_votes
    from .tuning.nested import tune

_HOMES = {
    "Appender": "banking.appending",
    "RecordedEffect": "bank",
    "RecordedRun": "bank",
    "Scored": "bank",
    "Bank": "bank",
    "BankSource": "replaying",
    "BankTariff": "replaying",
    "Deck": "replaying",
    "Draw": "bank",
    "Interval": "intervals",
    "Question": "bank",
    "Recorder": "recording.recorder",
    "Report": "report",
    "Row": "report",
    "Sweep": "sweeping",
    "Vote": "sweeping",
    "RunSource": "retracing",
    "clustered": "intervals",
    "decks_of": "retracing",
    "evaluate": "evaluation",
    "evolve_gate": "evolving",
    "evidence_on": "promoting",
    "fit": "fitting",
    "fit_allocation": "allocating",
    "fit_cascades": "cascading",
    "fit_gate": "gating",
    "fit_predictor": "predicting",
    "import_file": "importing",
    "paired": "intervals",
    "promote": "promoting",
    "replay": "replaying",
    "solve_many_on": "engines.many",
    "sweep_votes": "sweeping",
    "search": "searching.search",
    "tune": "tuning.nested",
    "wilson": "intervals",
}
__all__ = [
    "Appender",
    "RecordedEffect",
    "RecordedRun",
    "Scored",
    "Bank",
    "BankSource",
    "BankTariff",
    "Deck",
    "Draw",
    "Interval",
    "Question",
    "Recorder",
    "Report",
    "Row",
    "Sweep",
    "Vote",
    "RunSource",
    "clustered",
    "decks_of",
    "evaluate",
    "evolve_gate",
    "evidence_on",
    "fit",
    "fit_allocation",
    "fit_cascades",
    "fit_gate",
    "fit_predictor",
    "import_file",
    "paired",
    "promote",
    "replay",
    "solve_many_on",
    "sweep_votes",
    "search",
    "tune",
    "wilson",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
