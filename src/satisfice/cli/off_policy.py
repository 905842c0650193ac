"""`satisfice off-policy`."""

from __future__ import annotations

from pathlib import Path

import click

from .output import emit, json_option, note, table


@click.command("off-policy")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--clip", type=float, help="Cut weights off at this: less variance, for some bias.")
@click.option(
    "--predict",
    is_flag=True,
    help="Predict rewards by each action's mean in the other folds, for the doubly robust estimate.",
)
@json_option
def off_policy(log: Path, clip: float | None, predict: bool, as_json: bool) -> None:
    """What another policy would have got, from decisions that were logged under this one.

    LOG is a file of JSON lines, one decision each: question, action, reward, propensity (the chance with which that
    action was chosen), target (the action that the other policy would take, or the chance of each), and, where known,
    predicted (the reward predicted of each action) and fold.

    \b
    {"question": "q1", "action": "small", "propensity": 0.8, "reward": 1, "target": "large"}
    satisfice off-policy decisions.jsonl
    satisfice off-policy decisions.jsonl --predict --clip 20 --json
    """
    from ..experiments.off_policy import off_policy as estimate
    from ..experiments.off_policy import read_logs, with_means

    logs = read_logs(log)
    found = estimate(with_means(logs) if predict else logs, clip=clip)
    if as_json:
        emit(found.to_dict())
        return
    rows = [("as logged", found.logged), ("ips", found.ips), ("snips", found.snips)]
    rows += [(n, i) for n, i in (("direct", found.direct), ("doubly robust", found.doubly_robust)) if i is not None]
    table(
        ["estimate", "reward", "95%"],
        ((name, f"{i.estimate:.4f}", f"[{i.low:.4f}, {i.high:.4f}]") for name, i in rows),
        title=f"{found.decisions} decisions on {found.questions} questions, {found.effective:.0f} effective; "
        f"largest weight {found.largest:.3g}",
    )
    for text in found.notes:
        note(f"note: {text}")
