"""`satisfice calibrate`: how good the verifiers of a bank are, and what their scores are worth as probabilities."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from math import isfinite
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError, StoreError, UnknownName
from .banks import bank_option
from .output import emit, json_option, note, table
from .progressing import progress

if TYPE_CHECKING:
    from ..budgets.policy import Policy
    from ..experiments import Bank
    from ..experiments.verifying import Measured, Recorded
    from ..verifiers.calibration import FittedEnsemble


@click.command()
@bank_option
@click.option("--verifier", "names", multiple=True, help="Only these recorded verifiers (repeat; see `bank info`).")
@click.option("--out", type=click.Path(path_type=Path), help="Write a policy that knows these verifiers.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw reliability diagrams (.png, .svg).")
@click.option("--ensemble", type=click.Path(dir_okay=False, path_type=Path), help="Write an ensemble of them (JSON).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of folds and resamples.")
@json_option
def calibrate(
    bank_path: Path,
    names: tuple[str, ...],
    out: Path | None,
    plot: Path | None,
    ensemble: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure the recorded verifiers of a bank: how well they tell right from wrong, how far their scores can be
    believed, before and after calibration, and what a verdict is worth.

    \b
    satisfice calibrate --bank my-bank
    satisfice calibrate --bank my-bank --verifier judge --plot reliability.png --out policy.json
    satisfice calibrate --bank my-bank --ensemble ensemble.json   # then: --verifier ensemble:model=@ensemble.json,...

    \b
    Figures are of questions that were not fitted on (five folds by question), with 95% intervals by question.
      AUC        P(a right candidate scores above a wrong one); .5 is a coin
      log loss   nats a verdict: raw score -> calibrated; "constant" says the base rate to everything
      ECE        expected calibration error, before -> after
      TPR, FPR   of saying "right" at a calibrated p of .5 or more
      best of n  the candidate that this verifier likes best: P(right) claimed by its own p -> by what `n` teaches, true
    """
    from ..experiments import Bank
    from ..experiments.diagram import check_place, draw

    if plot is not None:
        check_place(plot)
    for file in (out, ensemble):
        if file is not None and not file.parent.is_dir():
            raise StoreError(f"cannot write {file}: there is no folder {file.parent}")
    bank = Bank.open(bank_path)
    for name in names:
        if name not in bank.verifiers:
            raise UnknownName.of("recorded verifier", name, bank.verifiers)
    if not bank.verifiers:
        raise CallerError(
            f"bank {bank_path} holds no verdicts. They are recorded beside its draws: save it from Python as "
            "Bank(questions, draws, manifest, verdicts={(question, model, arm, sample index): {verifier: "
            "Scored(score, tokens, nanos)}}).save(path), which writes verdicts.parquet",
            bank=str(bank_path),
        )
    measured, recorded, skipped = _measured(bank, names or bank.verifiers, bool(names), seed, as_json)
    if plot is not None:
        draw(measured, recorded, plot, f"Reliability of the verifiers in {bank_path.name}")
    policy = _policy(bank, [one.name for one in measured], as_json) if out is not None else None
    if policy is not None and out is not None:
        _write(out, policy.model_dump_json(indent=2))
    together = _ensemble(bank, [one.name for one in measured], seed) if ensemble is not None else None
    if together is not None and ensemble is not None:
        _write(ensemble, together.model.model_dump_json(indent=2))
    if as_json:
        emit(_plain(measured, skipped, bank_path, out, plot))
        return
    _show(measured, bank_path)
    _picture(measured, recorded)
    for line in (*map(verdict_on, measured), *(f"{name}: {why}" for name, why in skipped.items())):
        click.echo(fill(line, 110, subsequent_indent="  ", break_on_hyphens=False))
    if together is not None:
        click.echo(fill(ensemble_words(together), 110, subsequent_indent="  ", break_on_hyphens=False))
    if policy is not None and policy.verifiers:
        known = ", ".join(policy.verifiers)
        line = f"The policy knows its verifiers by name: what it learned holds for a verifier whose `name` is {known}."
        click.echo(fill(line, 110, subsequent_indent="  ", break_on_hyphens=False))
    for what, place in (("Policy", out), ("Ensemble", ensemble), ("Picture", plot)):
        if place is not None:
            click.echo(f"{what}: {place}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror}") from error


def _ensemble(bank: Bank, names: Collection[str], seed: int) -> FittedEnsemble:
    from ..experiments.ensembling import ensemble_of

    return ensemble_of(bank, names, seed=seed)


def ensemble_words(fitted: FittedEnsemble) -> str:
    """What an ensemble is made of, and what it buys on held-out questions."""
    kept = ", ".join(f"{part.name} (weight {part.weight:.2f})" for part in fitted.model.parts)
    dropped = "; ".join(f"{name}: {why}" for name, why in fitted.model.dropped.items())
    singles = [loss for name, loss in fitted.losses.items() if name not in _NOT_SINGLE]
    best = f"; the best verifier alone {min(singles):.4f}" if singles else ""
    loss = f", log loss {fitted.losses['ensemble']:.4f} on held-out questions{best}" if fitted.losses else ""
    return f"Ensemble of {kept}{loss}." + (f" Left out: {dropped}." if dropped else "")


_NOT_SINGLE = ("ensemble", "all verifiers", "naive Bayes", "base rate")


def _measured(
    bank: Bank, names: Collection[str], named: bool, seed: int, as_json: bool
) -> tuple[list[Measured], list[Recorded], dict[str, str]]:
    """Every verifier that can be measured; the others with the reason. One that was asked for by name has to be."""
    from ..experiments.verifying import Recorded, measured

    found: list[Measured] = []
    kept: list[Recorded] = []
    skipped: dict[str, str] = {}
    with progress("measuring verifiers", as_json) as tell:
        for i, name in enumerate(names):
            recorded = Recorded.of(bank, name)
            try:
                found.append(measured(recorded, seed=seed))
                kept.append(recorded)
            except CallerError as error:
                if named:
                    raise
                skipped[name] = str(error)
            if tell is not None:
                tell(i + 1, len(names))
    if not found:
        raise CallerError(f"no verifier of this bank can be measured: {'; '.join(skipped.values())}")
    return found, kept, skipped


def _policy(bank: Bank, names: Collection[str], as_json: bool) -> Policy:
    """The policy of `fit`, with these verifiers. A bank with single draws teaches nothing of votes; of its verifiers
    all the same."""
    from ..experiments import fit

    with progress("fitting the policy", as_json):
        policy = fit(bank)
    if not policy.fitted:
        note(f"the policy knows the verifiers only: votes are {policy.provenance['voting']}")
    return policy.model_copy(update={"verifiers": {k: v for k, v in policy.verifiers.items() if k in names}})


# -- output -----------------------------------------------------------------------------------------------------------


def informative(one: Measured) -> bool:
    """Whether it tells right from wrong at all: there is a calibration that beats the base rate on held-out questions,
    and the AUC's interval is above a coin's."""
    return one.family != "constant" and one.auc.low > 0.5 and one.loss.estimate < one.constant_loss


def verdict_on(one: Measured) -> str:
    """What the figures say, in words."""
    if not informative(one):
        return (
            f"{one.name}: tells nothing here. Its calibrated log loss of {one.loss.estimate:.3f} is that of saying the "
            f"base rate to everything ({one.constant_loss:.3f}; AUC {_interval(one.auc)}): don't pay for it on such "
            "questions." + _harm(one)
        )
    how = "improves" if one.gain.low > 0 else "does not measurably improve" if one.gain.high >= 0 else "worsens"
    free = "free" if one.bits_per_usd is None else f"{one.bits_per_usd:,.0f} bits per dollar"
    said = f"{one.name}: tells {one.bits:.2f} bits a verdict ({free}). Calibration ({one.family}) {how} its log loss"
    said += f" by {_interval(one.gain, 3)}."
    n, claimed, now, true = one.selected.gaps[-1] if one.selected.gaps else (1, 0.0, 0.0, 0.0)
    if n > 1 and claimed - true > 0.02:
        said += f" The best of {n} is right {true:.0%} of the time, while its own p claims {claimed:.0%}"
        said += f" (with n known {now:.0%})." if one.selected.form != "ignored" else "."
    said += _harm(one)
    if one.unknown:
        said += f" {one.unknown} verdicts were unknown."
    return said


def _harm(one: Measured) -> str:
    """Says where choosing by a verifier does worse than not choosing."""
    n, _, _, true = one.selected.gaps[-1] if one.selected.gaps else (1, 0.0, 0.0, 1.0)
    if n < 2 or true >= one.base_rate:
        return ""
    return (
        f" Choosing the best of {n} by it does worse than not choosing: {true:.1%} right against {one.base_rate:.1%}."
    )


def _show(measured: list[Measured], bank_path: Path) -> None:
    rows = [
        (
            one.name,
            f"{one.verdicts} / {one.questions}",
            f"{one.base_rate:.3f}",
            _interval(one.auc),
            f"{one.raw_loss.estimate:.3f} -> {one.loss.estimate:.3f}",
            f"{one.constant_loss:.3f}",
            _interval(one.gain, 3, sign=True),
            f"{one.raw_ece.estimate:.3f} -> {one.ece.estimate:.3f}",
            one.family,
        )
        for one in measured
    ]
    columns = ["verifier", "n / questions", "base rate", "AUC [95%]", "log loss", "constant", "gain [95%]", "ECE", "by"]
    table(columns, rows, title=f"{bank_path}: calibration on held-out questions")
    uses = []
    for one in measured:
        r, gap = one.rates, one.selected.gaps[-1] if one.selected.gaps else None
        uses.append(
            (
                one.name,
                f"{r.tpr:.2f} [{r.tpr_interval[0]:.2f}, {r.tpr_interval[1]:.2f}]",
                f"{r.fpr:.2f} [{r.fpr_interval[0]:.2f}, {r.fpr_interval[1]:.2f}]",
                f"of {gap[0]}: {gap[1]:.2f} -> {gap[2]:.2f}, {gap[3]:.2f}" if gap else "",
                f"{one.bits:.3f}",
                "free" if one.bits_per_usd is None else f"{one.bits_per_usd:,.0f}",
            )
        )
    click.echo()
    columns = ["verifier", "TPR at p >= .5", "FPR", "best of n: claimed, true", "bits", "bits/$"]
    table(columns, uses, right="bits bits/$")
    click.echo()


def _picture(measured: list[Measured], recorded: list[Recorded]) -> None:
    from ..core.errors import MissingExtra
    from ..experiments.diagram import terminal

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    try:
        click.echo(terminal(measured, recorded, width) + "\n")
    except MissingExtra:
        note("(no terminal picture: pip install 'satisfice[plot]')")


def _plain(
    measured: list[Measured], skipped: dict[str, str], bank: Path, out: Path | None, plot: Path | None
) -> dict[str, Any]:
    from ..experiments.verifying import to_dict

    rows = [{**to_dict(one), "informative": informative(one), "says": verdict_on(one)} for one in measured]
    places = {"policy": str(out) if out else None, "picture": str(plot) if plot else None}
    data: dict[str, Any] = _finite({"bank": str(bank), "verifiers": rows, "skipped": skipped, **places})
    return data


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _interval(interval: Any, digits: int = 2, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{interval.estimate:{plus}.{digits}f} [{interval.low:{plus}.{digits}f}, {interval.high:{plus}.{digits}f}]"
