"""The command line: `satisfice COMMAND`. Each command is a file of its own, loaded when it is called."""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from typing import Any

import click

from ..core.errors import SatisficeError
from .output import fail, wants_json

_COMMANDS = {
    "solve": ("solving", "Answer one query within a budget."),
    "plan": ("planning", "What a query would bring at every price, before anything is spent."),
    "solve-many": ("many", "Answer many queries within one budget."),
    "verify": ("verifying", "Is an answer right? Put it before verifiers."),
    "runs": ("runs", "List, show, explain, resume and judge runs."),
    "kill": ("killing", "Stop what runs: all, a tenant, a key, a strategy, a model."),
    "revive": ("killing", "Let run again what was stopped."),
    "ledger": ("ledger", "Accounts: limits, statements, reconciliation."),
    "strategies": ("listings", "The ways to think that can be named."),
    "verifiers": ("listings", "The verifiers that can be named, and their settings."),
    "models": ("listings", "The models that can be named, and their prices."),
    "prices": ("pricing", "What models charge, on which day, and how we know."),
    "bank": ("banks", "Import and inspect banks of recorded samples."),
    "evaluate": ("evaluating", "Replay strategies on a bank: accuracy, spend, baselines."),
    "fit": ("evaluating", "Fit a policy on a bank."),
    "off-policy": ("off_policy", "What another policy would have got, from logged decisions."),
    "tune": ("tuning", "Search for the way of answering that is worth the most."),
    "search": (
        "searching",
        "Search for a workflow that beats those written by hand, and judge it on held-out questions.",
    ),
    "policy": ("policies", "Versions of policies: promote with evidence, roll back, audit."),
    "curve": ("curving", "Accuracy against spend: a page, pictures and numbers."),
    "compare": ("comparing", "Two policies side by side: what changed, and is it significant?"),
    "train-coordinator": ("coordinating", "Learn from a bank which model a question should go to."),
    "calibrate": ("calibrating", "Measure the verifiers of a bank: what is a score worth as a probability?"),
    "demo": ("demo", "Solve a few dozen questions on the embedded model and draw the curve."),
}


class _Lazy(click.Group):
    """Commands that are imported when they are called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{_COMMANDS[name][0]}", __name__), name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from ..core.errors import UnknownName

        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise UnknownName.of("command", args[0], _COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="satisfice")
def cli() -> None:
    """Test-time compute that knows when to stop.

    \b
    satisfice solve "What is 17 + 25?" --answer number --budget 0.01
    satisfice demo --quick
    satisfice COMMAND --help    for the options of a command, with examples
    """


def entry() -> None:
    """The process `satisfice`: `main`, and then out, even if a check or tool that was given up still runs in a thread
    (the interpreter would wait for it)."""
    try:
        main()
    except SystemExit as stop:
        if all(t.daemon for t in threading.enumerate() if t is not threading.main_thread()):
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 0)


def main() -> None:
    """The command line: every error is one clear line (JSON with --json) and an exit code, never a traceback."""
    as_json = wants_json(sys.argv)
    if "" not in sys.path:
        sys.path.insert(0, "")  # checks and strategies of one's own, as module:attribute, from the current folder
    try:
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, click.Abort) as stop:
        told = str(stop) or str(stop.__cause__ or "")  # click wraps it
        said = told or "interrupted; what was paid for is on record: satisfice runs list"
        fail({"code": "interrupted", "message": said}, 130, as_json)
    except click.ClickException as error:
        fail({"code": "usage", "message": error.format_message()}, 2, as_json)
    except SatisficeError as error:
        fail(error.to_dict(), exit_code(error), as_json)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        fail({"code": "io", "message": f"cannot read or write: {error}"}, 1, as_json)
    except Exception as error:
        if os.environ.get("SATISFICE_DEBUG"):
            raise
        text = f"this is a bug in satisfice: {type(error).__name__}: {error} (SATISFICE_DEBUG=1 shows where)"
        fail({"code": "bug", "message": text}, 1, as_json)


def exit_code(error: SatisficeError) -> int:
    """2 the call is wrong, 3 the budget, 4 the model, 5 no answer, 6 a store, 7 a kill switch, 1 anything else."""
    from ..core import errors

    cause = str((error.details.get("cause") or {}).get("code", ""))
    if cause.startswith("model_") or cause in ("bad_completion", "missing_key"):
        return 4
    codes = (
        (errors.NobodyToAsk, 2),
        (errors.CallerError, 2),
        (errors.BudgetError, 3),
        (errors.ModelError, 4),
        (errors.NoAnswer, 5),
        (errors.StoreError, 6),
        (errors.Killed, 7),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), 1)
