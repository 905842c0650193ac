"""What a bank teaches of many arms on the same questions: how good each is, how alike their mistakes are.

Of each question a latent difficulty (`likeliest`), of each arm how good it is and how far difficulty moves it, and an
urn of wrong answers (`urns`). What features tell beforehand is one of two: how easy a question is for all arms
(`easing`), or of each arm apart (`predicting`), which takes more questions; the latter where it predicts what is held
out better. For tasks whose draws exact checks settle there is a distribution of its own (`exact_arms`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isinf, log10
from random import Random
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..budgets.allocation_policy import DECLARED, AllocationPolicy, ArmPolicy, EasePolicy, SuccessesPolicy
from ..budgets.features import MARKS, features
from ..budgets.portfolio_world import Tables, state
from ..budgets.predictor import PredictorPolicy
from ..core.errors import CallerError, UnknownName
from .bank import Bank
from .cascading import main_arms
from .easing import ease_of
from .exact_arms import fit_successes, tried
from .likeliest import Fit, difficulties, likeliest
from .predicting import PENALTIES, SAME, Examples, cross_logits, fit_predictor
from .urns import Urn, urn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.intp]

FEWEST = 30  # questions that two arms have in common
SHARE = 0.9  # of its model's questions that an arm must have: others were chosen by what came before
PREFIX = 12  # votes of a question, of which claims are compared with what came
PRIOR = 20.0  # claims' worth of taking them as they are
MARKED = tuple(pair for pair in PENALTIES if isinf(pair[1]))  # an arm's own words take more questions than banks have


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """A bank as arrays: `right`, `wrong`, `blank` (questions, arms): draws of each kind; `votes`: of each question
    its wrong answers as (arm, answer); `choices` (questions,); `costs` (arms,) mean dollars (0: not known); `seen` and
    `topics`: features of each question, and what it is about."""

    keys: tuple[str, ...]
    questions: tuple[str, ...]
    right: Floats
    wrong: Floats
    blank: Floats
    votes: tuple[tuple[tuple[int, str], ...], ...]
    choices: tuple[int, ...]
    costs: tuple[float, ...]
    seen: tuple[tuple[float, ...], ...] = ()
    topics: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()

    def only(self, places: Places) -> Records:
        """Some of the questions."""
        rows = places.tolist()
        return replace(
            self,
            questions=tuple(self.questions[i] for i in rows),
            right=self.right[rows],
            wrong=self.wrong[rows],
            blank=self.blank[rows],
            votes=tuple(self.votes[i] for i in rows),
            choices=tuple(self.choices[i] for i in rows),
            seen=tuple(self.seen[i] for i in rows),
            topics=tuple(self.topics[i] for i in rows),
            folds=tuple(self.folds[i] for i in rows),
        )

    @classmethod
    def of(cls, bank: Bank, arms: Mapping[str, tuple[str, str]]) -> Records:
        import numpy as np

        keys, shape = tuple(arms), (len(bank.questions), len(arms))
        right, wrong, blank = (np.zeros(shape) for _ in range(3))
        votes: list[tuple[tuple[int, str], ...]] = []
        paid: list[list[int]] = [[] for _ in keys]
        for i, question in enumerate(bank.questions):
            said: list[tuple[int, str]] = []
            for a, (model, arm) in enumerate(arms.values()):
                for draw in bank.draws.get((question, model, arm), ()):
                    right[i, a] += draw.correct and draw.key is not None
                    wrong[i, a] += not draw.correct and draw.key is not None
                    blank[i, a] += draw.key is None and draw.answer is not None
                    if draw.nanos is not None:
                        paid[a].append(draw.nanos)
                    if draw.key is not None and not draw.correct:
                        said.append((a, draw.key))
            votes.append(tuple(said))
        options = tuple(len(q.choices) if q.kind == "choice" else 0 for q in bank.questions.values())
        costs = tuple(sum(row) / len(row) / 1e9 if row else 0.0 for row in paid)
        tasks = [question.task() for question in bank.questions.values()]
        seen, topics = tuple(map(features, tasks)), tuple(task.topic for task in tasks)
        folds = tuple(question.fold for question in bank.questions.values())
        return cls(keys, tuple(bank.questions), right, wrong, blank, tuple(votes), options, costs, seen, topics, folds)


def arms_of(bank: Bank) -> dict[str, tuple[str, str]]:
    """Arms by their keys: a model's main condition is "single_shot@MODEL", another one "ARM@MODEL". Conditions that
    were recorded on fewer than nine in ten of their model's questions are left out: a second try after a wrong first
    one says nothing of a first."""
    main, counts = main_arms(bank), Counter((model, arm) for _, model, arm in bank.draws)
    found: dict[str, tuple[str, str]] = {}
    for model, arm in bank.arms:
        if arm == main[model]:
            found[f"single_shot@{model}"] = model, arm
        elif counts[model, arm] >= SHARE * counts[model, main[model]]:
            found[f"{arm}@{model}"] = model, arm
    return found


By = Literal["ease", "predictor"]


def fit_allocation(
    bank: Bank,
    *,
    arms: Mapping[str, tuple[str, str]] | None = None,
    folds: Collection[int] | None = None,
    seed: int = 0,
    held_out: bool | None = None,
    by: By | None = None,
) -> AllocationPolicy | None:
    """What a bank's `folds` (None: all) teach of `arms` ((model, arm) by key; None: all, see `arms_of`); None where no
    two of them have 30 questions in common. `held_out`: whether to try on halves of the questions how well they predict
    one another, and to correct claims by that, which takes two more fits (None: where all folds are fitted). `by`: how
    features are to tell (None: as predicts questions held out better, see `fitted`). Raises `UnknownName`."""
    if by not in (None, "ease", "predictor"):
        raise CallerError(f"fit_allocation: by={by!r:.80}, expected 'ease', 'predictor' or None")
    seen = bank.select(folds=folds) if folds is not None else bank
    chosen = arms or arms_of(seen)
    for pair in chosen.values():
        if pair not in seen.arms:
            raise UnknownName.of("(model, arm)", ", ".join(pair), (f"{m}, {a}" for m, a in seen.arms))
    records = Records.of(seen, chosen)
    drawn = (records.right + records.wrong + records.blank) > 0
    shared = drawn.T.astype(float) @ drawn.astype(float)
    if len(chosen) < 2 or max(shared[i, j] for i in range(len(chosen)) for j in range(i)) < FEWEST:
        return None
    found = fitted(records, seed, by)
    facts: dict[str, str | int | float] = {
        "questions": len(records.questions),
        "arms": len(records.keys),
        "draws": int((records.right + records.wrong + records.blank).sum()),
        "folds": ",".join(map(str, seen.folds)),
    }
    settled = None
    if (folds is None if held_out is None else held_out) and len(records.questions) >= 2 * FEWEST:
        losses, settled = _held_out(records, seed, "predictor" if found.predictor is not None else "ease")
        facts |= losses
    exact = fit_successes(tried(seen, chosen), tuple(chosen)) if _repeated(records) else None
    return found.model_copy(
        update={
            "provenance": facts | found.provenance,
            "settled": settled,
            "successes": SuccessesPolicy.of(exact) if exact is not None else None,
        }
    )


def _repeated(records: Records) -> bool:
    """Whether draws say how often an exact check passes: on most questions of each arm there are several of it, as one
    draw does not tell an arm that is sometimes right from one that is right on some questions. Arms other than plain
    draws, which run once, may have one."""
    import numpy as np

    drawn = records.right + records.wrong + records.blank
    usual = [float(np.median(column[column > 0])) if (column > 0).any() else 0.0 for column in drawn.T]
    once = [key for key, n in zip(records.keys, usual, strict=True) if n < 2]
    return len(once) < len(usual) and not any(key.startswith("single_shot") for key in once)


def _held_out(records: Records, seed: int, by: By) -> tuple[dict[str, float], tuple[float, float]]:
    """Of halves of the questions by a fit on the other half: nats per draw that holds an answer, of predictions before
    anything is bought (`log_loss`) and of always predicting the arm's mean (`base_log_loss`); and how claims of
    P(right) are to be read (`AllocationPolicy.settled`)."""
    import numpy as np

    odd = np.asarray(records.folds) % 2
    half = odd if 0 < odd.sum() < len(odd) else np.arange(len(records.questions)) % 2
    losses, count, claims = np.zeros(2), 0.0, []
    for part in (0, 1):
        train, test = (records.only(np.flatnonzero(half == p)) for p in (1 - part, part))
        world, drawn = fitted(train, seed, by).world(), train.right + train.wrong
        mean = (train.right.sum(axis=0) + 1.0) / (drawn.sum(axis=0) + 2.0)
        for i in range(len(test.questions)):
            tables = world.tables(test.keys, test.costs, test.seen[i], test.topics[i])
            for column, chance in enumerate((np.clip(tables.chance, 1e-6, 1 - 1e-6), mean)):
                losses[column] -= float(test.right[i] @ np.log(chance) + test.wrong[i] @ np.log(1 - chance))
            count += float((test.right[i] + test.wrong[i]).sum())
            claims += list(_claims(test, i, tables, Random(f"{seed}/{test.questions[i]}")))
    log_loss, base = (round(float(loss) / max(count, 1.0), 5) for loss in losses)
    return {"log_loss": log_loss, "base_log_loss": base}, platt(claims)


def _claims(records: Records, i: int, tables: Tables, dice: Random) -> Iterator[tuple[float, bool]]:
    """P(right) of the likeliest answer after one vote, two, ... of this question in one order, and whether it was."""
    said = [(arm, "") for arm, n in enumerate(records.right[i].tolist()) for _ in range(int(n))]
    said += [(arm, f"wrong {answer}") for arm, answer in records.votes[i]]
    dice.shuffle(said)
    known = list(dict.fromkeys(answer for _, answer in said))
    votes = tuple((arm, known.index(answer)) for arm, answer in said[:PREFIX])
    for n in range(1, len(votes) + 1):
        p = state(tables, votes[:n], (), records.choices[i]).answers[:-1]
        yield float(p.max()), known[int(p.argmax())] == ""


def platt(claims: list[tuple[float, bool]]) -> tuple[float, float]:
    """(a, b) so that sigmoid(a + b logit p) is what came of claims of p (Platt 1999), drawn to (0, 1)."""
    import numpy as np

    if not claims:
        return 0.0, 1.0
    p, right = (np.array(column, dtype=float) for column in zip(*claims, strict=True))
    p = np.clip(p, 1e-4, 1 - 1e-4)
    x = np.stack([np.ones_like(p), np.log(p / (1 - p))], axis=1)
    at, prior = np.array([0.0, 1.0]), np.diag([PRIOR, PRIOR])
    for _ in range(20):
        q = 1.0 / (1.0 + np.exp(-x @ at))
        slope = x.T @ (right - q) - prior @ (at - np.array([0.0, 1.0]))
        at = at + np.linalg.solve((x * (q * (1 - q))[:, None]).T @ x + prior, slope)
    return round(float(at[0]), 4), round(float(max(at[1], 0.1)), 4)


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One way in which features tell: the arms beside it, what it says of each question when made from the others
    (`likeliest`), and what of it the policy keeps."""

    fit: Fit
    told: Floats
    kept: dict[str, EasePolicy | PredictorPolicy | float | None]


def fitted(records: Records, seed: int = 0, by: By | None = None) -> AllocationPolicy:
    """Difficulty as the arms show it, what features tell of it or of each arm, and the arms again beside that. Arms
    apart where that predicts held-out questions better by more than a standard error: the log loss of whether draws are
    right, summed over arms, by question."""
    plain = likeliest(records)
    ways: dict[By, Way] = {}
    if by != "predictor":
        ways["ease"] = _eased(records, plain)
    if by != "ease":
        apart = _apart(records)
        if apart is not None:
            ways["predictor"] = apart
    if not ways:
        ways["ease"] = _eased(records, plain)
    facts: dict[str, str | int | float] = {}
    chosen: By = next(iter(ways))
    if len(ways) == 2:
        lead = ways["ease"].fit.losses(records, ways["ease"].told)
        lead = lead - ways["predictor"].fit.losses(records, ways["predictor"].told)
        mean, error = float(lead.mean()), float(lead.std(ddof=1)) / len(lead) ** 0.5
        facts = {"predictor_lead": round(mean, 5), "predictor_lead_error": round(error, 5)}
        chosen = "predictor" if mean > error else "ease"
    way = ways[chosen]
    found = policy_of(records, way.fit, urn(records.votes, records.choices, records.costs, way.fit.bias, seed))
    return found.model_copy(update={**way.kept, "provenance": {"by": chosen, **facts}})


def _eased(records: Records, plain: Fit) -> Way:
    """All arms by how easy the question looks; where features tell nothing of that, the arms alone."""
    import numpy as np

    known = ease_of(records, difficulties(records, plain))
    if known is None:
        return Way(plain, np.zeros(len(records.questions)), {})
    ease, held = known
    fit = likeliest(records, held)
    return Way(fit, held, {"ease": ease.model_copy(update={"gain": round(fit.gain, 4)})})


def _apart(records: Records) -> Way | None:
    """Each arm by a predictor of its own. Its logits are those of a chance that is averaged over difficulty: given the
    difficulty they are larger by a factor (`gain`), and the bias of each arm is fitted beside them."""
    examples = _examples(records)
    predictor = fit_predictor(examples, penalties=MARKED)
    if predictor is None:
        return None
    told = cross_logits(examples, penalties=MARKED)
    alone = fit_predictor(examples, penalties=MARKED, topics=False) if any(records.topics) else None
    fit = likeliest(records, told)
    return Way(fit, told, {"predictor": predictor, "alone": alone, "gain": round(fit.gain, 4)})


def _examples(records: Records) -> Examples:
    """What the arms' predictors are fitted on: draws that hold an answer."""
    import numpy as np

    drawn = records.right + records.wrong
    seen = np.asarray(records.seen)[:, :MARKS]
    weight = drawn / (1 + SAME * np.maximum(drawn - 1, 0))
    share = records.right / np.maximum(drawn, 1)
    return Examples(records.keys, seen, records.topics, records.folds, share, weight, buckets=0)


def policy_of(records: Records, fit: Fit, urn: Urn) -> AllocationPolicy:
    import numpy as np

    drawn = records.right + records.wrong
    every = drawn + records.blank
    questions = (every > 0).sum(axis=0)
    blank = (records.blank.sum(axis=0) + 0.5) / (every.sum(axis=0) + 10.0)
    sd = 1.0 / np.sqrt(np.maximum(0.15 * questions, 0.25))
    arms = {
        key: ArmPolicy(
            bias=round(float(fit.bias[i]), 4),
            sd=round(float(sd[i]), 4),
            loading=round(float(fit.loading[i]), 4),
            own=round(float(fit.own[i]), 4),
            blank=round(float(blank[i]), 4),
            usd=float(f"{records.costs[i]:.6g}"),
            questions=int(questions[i]),
        )
        for i, key in enumerate(records.keys)
    }
    return AllocationPolicy(
        arms=arms,
        curve=curve(arms),
        kappa=round(urn.kappa, 4),
        alike=(round(urn.alike[0], 4), round(urn.alike[1], 4)),
        middle=round(urn.middle, 4),
        again=round(urn.again, 4),
        weights=tuple(round(float(w), 7) for w in fit.weights),
    )


def curve(arms: Mapping[str, ArmPolicy]) -> tuple[float, float, float]:
    """(b0, b1, sd) of bias on log10 of relative cost, drawn to what is declared as by as many arms again."""
    import numpy as np

    priced = [arm for arm in arms.values() if arm.usd > 0]
    b0, b1, sd = DECLARED.curve
    if len(priced) < 2:
        return DECLARED.curve
    cheapest = min(arm.usd for arm in priced)
    x = np.array([log10(arm.usd / cheapest) for arm in priced])
    y = np.array([arm.bias for arm in priced])
    design = np.stack([np.ones_like(x), x], axis=1)
    precision = np.diag([1.0, 4.0])
    found = np.linalg.solve(design.T @ design + precision, design.T @ y + precision @ np.array([b0, b1]))
    rest = float((((y - design @ found) ** 2).sum() + 2 * sd**2) / (len(y) + 2))
    return round(float(found[0]), 4), round(float(found[1]), 4), round(rest**0.5, 4)
