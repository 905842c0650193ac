"""Fit: from a bank to a policy. What is learnt is what stopping assumes of the world (`budgets.voting`).

One pooled prior over kinds of question for the whole bank: every (question, model, arm) with two or more recorded
answers is one piece of evidence. `kinds` (in `experiments.kinds`) is what votes are counted by, `voting` its plainer
form (theta, phi) for votes and verdicts together. For the prior of one model or one recorded condition, fit on
`bank.select(models=..., arms=...)`. Weights are the maximum-likelihood mixing distribution on a fixed grid, by EM
(Dempster, Laird & Rubin 1977; on a grid, Laird 1978), lightly smoothed toward the uniform one.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Collection
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.lengths import Lengths
from ..budgets.policy import Policy
from ..budgets.priors import DEFAULT_PRIORS, voting_grid
from ..core.belief import Priors
from ..core.errors import CallerError, UnknownName
from .allocating import fit_allocation
from .bank import Bank, Draw
from .cascading import fit_cascades
from .chaining import fit_chains
from .chances import fit_chances
from .kinds import Ballots, ballots_of
from .kinds import kinds as fit_kinds
from .kinds import log_loss as kinds_loss
from .stops import stops_of
from .tables import tool
from .verifying import fit_verifiers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

SMOOTHING = 1.0  # questions' worth of evidence, spread evenly over the kinds: none has zero weight
ROUNDS, ENOUGH = 2000, 1e-10  # of EM; log-likelihood per question that a round must gain
PARTS = ("losses", "chances", "verifiers", "cascades", "chains", "allocation")  # of a policy, beside the votes
WIDTH = 4  # bytes that a policy keeps of each question's hash
FEWEST = 20  # groups with two answers or more; below, the declared prior is the better guess
# (right, the commonest wrong answer, all other wrong answers, how many groups look like this)
Votes: TypeAlias = "tuple[int, int, int]"


def fit(
    bank: Bank,
    *,
    folds: Collection[int] | None = None,
    stops: bool | None = None,
    parts: Collection[str] | None = None,
) -> Policy:
    """The policy that a bank's `folds` (None: all) teach: `voting` and `kinds` weights by EM, `success` Beta(a, b) by
    maximum likelihood of the beta-binomial over right draws, mean completion `tokens` per model and the 99% quantile of
    their `lengths`, of each recorded verifier what its verdicts teach, of chains of models when a cascade should go on,
    and of arms on the same questions how good each is and how alike their mistakes are (`fit_allocation`). `stops`:
    whether to make the tables of when to stop, a second's work, which live runs then need not make
    (`experiments.stops`; None: where all folds are fitted, since cross-fitting has no use for them). `parts`: which of
    "chances", "verifiers", "cascades", "chains" and "allocation" to fit beside the votes, and whether to tell "losses"
    (None: all that the bank can teach; losses where all folds are fitted). `provenance` holds what it saw (`facts_of`),
    what could not be learnt and why, and, where there are two folds or more, the held-out log losses (nats per group of
    draws, cross-fitted by fold) of the fitted priors and of the declared ones.

    Single draws cannot show agreement, and a prior that was never checked against it must not be called fitted: where
    fewer than 20 (question, model, arm) have two recorded answers, `voting` and `success` stay the declared ones,
    `fitted` is False and `provenance["voting"]` says so. Raises `CallerError` where nothing else can be fitted either,
    for a part that there is not, and where one question lies in two folds.
    """
    for part in parts or ():
        if part not in PARTS:
            raise UnknownName.of("part of a policy", part, PARTS)
    bank.check_split(near=False)
    wanted = set(PARTS if parts is None else parts) - ({"losses"} if parts is None and folds is not None else set())
    seen = bank.select(folds=folds) if folds is not None else bank
    by_fold: dict[int, Counter[Votes]] = defaultdict(Counter)
    ballots: dict[int, Counter[Ballots]] = defaultdict(Counter)
    for (question, _, _), row in seen.draws.items():
        votes, ballot, fold = votes_of(row), ballots_of(row), seen.questions[question].fold
        if sum(votes) >= 2:
            by_fold[fold][votes] += 1
        if ballot is not None and len(row) >= 2:
            ballots[fold][ballot] += 1
    counts = sum(by_fold.values(), Counter())
    groups = counts.total()
    facts = {**facts_of(bank, seen), "groups": groups}
    agreed = groups >= FEWEST
    few = f"only {groups} (question, model, arm) of this bank have two recorded answers or more"
    priors = _priors(seen, counts) if agreed else Priors(DEFAULT_PRIORS.voting, DEFAULT_PRIORS.success)
    kinds = fit_kinds(sum(ballots.values(), Counter())) if agreed else ()
    facts |= {} if agreed else {"voting": f"declared: {few}, and {FEWEST} are needed"}
    facts |= _held_out(by_fold, ballots) if agreed and "losses" in wanted else {}
    verifiers = fit_verifiers(seen, priors) if "verifiers" in wanted else {}
    several = len({model for model, _ in seen.arms}) > 1
    cascades = fit_cascades(seen) if several and "cascades" in wanted else {}
    allocation = fit_allocation(seen) if len(seen.arms) > 1 and "allocation" in wanted else None
    facts |= _constant(seen) if verifiers else {}
    if parts is None and not (agreed or verifiers or cascades or allocation):
        text = f"a policy is fitted on agreement between draws: {few}, and {FEWEST} are needed"
        raise CallerError(
            f"{text}; nor are there 30 verdicts, or 30 questions on which a dearer model beats a cheaper one",
            groups=groups,
        )
    return Policy(
        name="fitted" if agreed else "fitted, but not voting",
        voting=priors.voting,
        success=priors.success,
        fitted=agreed,
        tokens=_tokens(seen),
        lengths=_lengths(seen),
        verifiers=verifiers,
        cascades=cascades,
        provenance=facts,
        chances=fit_chances(_passes(seen)) if agreed and "chances" in wanted else (),
        chains=fit_chains(seen, verifiers, priors) if "chains" in wanted else {},
        kinds=kinds,
        allocation=allocation,
        stops=stops_of(kinds) if kinds and (folds is None if stops is None else stops) else "",
    )


def facts_of(bank: Bank, seen: Bank | None = None) -> dict[str, str | int | float]:
    """What a policy says of the bank that it was learnt from (`seen`: of the part of it): its name, how many questions
    and draws, of which datasets, models and folds, and `questions_hash` (SHA-256 of the sorted ids and texts), by which
    it can be told whether a policy is judged on the questions that it was learnt from, all of them; `questions_seen`:
    the sorted `question_hash`es as base64, which tell it of each. `made_by`: this program."""
    seen = seen or bank
    return {
        "made_by": tool(),
        "bank": bank.path.resolve().name if bank.path else "in memory",
        "questions": len(seen.questions),
        "draws": sum(map(len, seen.draws.values())),
        "folds": ",".join(map(str, seen.folds)),
        "datasets": ",".join(sorted({question.dataset for question in seen.questions.values()})),
        "models": ",".join(sorted({model for model, _ in seen.arms})),
        "questions_hash": questions_hash(seen),
        "questions_seen": b64encode(
            b"".join(sorted({question_hash(q.text) for q in seen.questions.values()}))
        ).decode(),
    }


def question_hash(text: str) -> bytes:
    """The first `WIDTH` bytes of the SHA-256 of a question's text, whatever its case and spaces."""
    plain = " ".join(text.casefold().split())
    return sha256(plain.encode("utf-8", "surrogatepass")).digest()[:WIDTH]


def questions_hash(bank: Bank) -> str:
    """SHA-256 of the bank's sorted question ids and texts, in hex."""
    digest = sha256()
    for name, text in sorted((q.id, q.text) for q in bank.questions.values()):
        digest.update(f"{name}\x1f{text}\x1e".encode())
    return digest.hexdigest()


def _constant(bank: Bank) -> dict[str, str]:
    """Words on each verifier that gives every draw one and the same score: it tells nothing, and is not worth its
    price."""
    told: dict[str, set[float | None]] = defaultdict(set)
    for said in bank.verdicts.values():
        for name, scored in said.items():
            told[name].add(scored.score)
    return {
        f"verifier {name}": f"its score is always {next(iter(scores))}: it tells nothing of any answer"
        for name, scores in sorted(told.items())
        if len(scores) == 1
    }


def _passes(bank: Bank) -> dict[int, Counter[tuple[int, int]]]:
    """By fold: (right draws, draws) -> how many (question, model, arm) have such."""
    found: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    for (question, _, _), row in bank.draws.items():
        found[bank.questions[question].fold][sum(draw.correct for draw in row), len(row)] += 1
    return found


def _priors(bank: Bank, counts: Counter[Votes]) -> Priors:
    weights = mixture(counts)
    voting = tuple((t, p, float(w)) for (t, p), w in zip(voting_grid(), weights, strict=True))
    success = beta_binomial(Counter((sum(d.correct for d in row), len(row)) for row in bank.draws.values()))
    return Priors(voting, success, fitted=True)


def votes_of(row: tuple[Draw, ...]) -> Votes:
    """A group's votes: right ones, the commonest wrong answer's, all others. Blanks don't vote; a group with an
    answer that was not recorded has no votes at all."""
    if any(draw.answer is None for draw in row):
        return (0, 0, 0)
    wrong = Counter(draw.key for draw in row if draw.key is not None and not draw.correct)
    most = max(wrong.values(), default=0)
    return sum(draw.correct for draw in row if draw.key is not None), most, wrong.total() - most


def log_evidence(votes: list[Votes]) -> Floats:
    """Log-likelihood (votes x kinds) of each arrangement of votes under each kind of question, as in
    `budgets.voting`: right draws have theta, the systematic mistake phi, every other answer the rest. Wrong answers
    that came once each may be the mistake or not."""
    import numpy as np

    table = np.asarray(votes, dtype=float)
    right, most, rest = table[:, :1], table[:, 1:2], table[:, 2:]
    grid = np.asarray(voting_grid())
    theta, phi = np.log(np.maximum(grid[:, 0], 1e-9)), np.log(np.maximum(grid[:, 1], 1e-9))
    other = np.log(np.maximum(1.0 - grid.sum(axis=1), 1e-9))
    singles = most + rest
    maybe = np.log(np.maximum(singles, 1)) + phi + (singles - 1) * other
    once = np.where(singles > 0, np.logaddexp(singles * other, maybe), 0.0)
    found: Floats = right * theta + np.where(most >= 2, most * phi + rest * other, once)
    return found


def mixture(counts: Counter[Votes]) -> Floats:
    """Weights (kinds,) on `voting_grid()` by EM."""
    import numpy as np

    logs = log_evidence(list(counts))
    top = logs.max(axis=1, keepdims=True)
    likelihood, often = np.exp(logs - top), np.asarray(list(counts.values()), dtype=float)
    kinds = likelihood.shape[1]
    weights, before = np.full(kinds, 1 / kinds), -np.inf
    for _ in range(ROUNDS):
        each = likelihood @ weights
        share = weights * (likelihood.T @ (often / each))
        weights = (share + SMOOTHING / kinds) / (often.sum() + SMOOTHING)
        now = float(often @ np.log(each)) / often.sum()
        if now - before < ENOUGH and np.isfinite(before):
            break
        before = now
    found: Floats = weights / weights.sum()
    return found


def log_loss(counts: Counter[Votes], weights: Floats) -> float:
    """Nats per group: minus the mean log-probability of what was drawn."""
    import numpy as np

    logs, often = log_evidence(list(counts)), np.asarray(list(counts.values()), dtype=float)
    each = np.logaddexp.reduce(logs + np.log(weights), axis=1)
    return -float(often @ each / often.sum())


def beta_binomial(counts: Counter[tuple[int, int]]) -> tuple[float, float]:
    """(a, b) of Beta(a, b) that make the counts of (successes, trials) likeliest. By a grid over mean and strength
    that is narrowed six times: two parameters, one smooth peak, no optimiser needed. Strength stays within
    [0.01, 10000]: without a second trial per question it cannot be told."""
    import numpy as np

    wins, trials = (np.asarray(column) for column in zip(*counts, strict=True))
    often, most = np.asarray(list(counts.values()), dtype=float), int(trials.max())

    def likelihood(a: Floats, b: Floats) -> Floats:
        """Log-likelihood (points,): log B(a + k, b + n - k) / B(a, b) as sums of logs of rising factorials."""

        def rising(x: Floats) -> Floats:
            steps = np.log(x[:, None] + np.arange(most)[None, :])
            return np.concatenate([np.zeros((len(x), 1)), np.cumsum(steps, axis=1)], axis=1)

        found: Floats = (rising(a)[:, wins] + rising(b)[:, trials - wins] - rising(a + b)[:, trials]) @ often
        return found

    low, high = np.array([-6.0, np.log(0.01)]), np.array([6.0, np.log(1e4)])  # logit of the mean, log of the strength
    edges = low, high
    for _ in range(6):
        axes = [np.linspace(low[i], high[i], 25) for i in range(2)]
        logit, strength = (x.ravel() for x in np.meshgrid(*axes, indexing="ij"))
        mean, size = 1 / (1 + np.exp(-logit)), np.exp(strength)
        at = int(np.argmax(likelihood(mean * size, (1 - mean) * size)))
        half = (high - low) / 10
        middle = np.array([logit[at], strength[at]])
        low, high = np.maximum(edges[0], middle - half), np.minimum(edges[1], middle + half)
    return round(float(mean[at] * size[at]), 6), round(float((1 - mean[at]) * size[at]), 6)


def _held_out(by_fold: dict[int, Counter[Votes]], ballots: dict[int, Counter[Ballots]]) -> dict[str, float]:
    import numpy as np

    total, cast = sum(by_fold.values(), Counter()), sum(ballots.values(), Counter())
    if len(by_fold) < 2:
        return {}
    declared = np.asarray([weight for _, _, weight in DEFAULT_PRIORS.voting])
    loss = full = 0.0
    for counts in by_fold.values():
        others = total - counts
        loss += log_loss(counts, mixture(others)) * counts.total() if others else 0.0
    for groups in ballots.values():
        rest = cast - groups
        full += kinds_loss(groups, fit_kinds(rest)) * groups.total() if rest else 0.0
    return {
        "held_out_log_loss": round(loss / total.total(), 6),
        "declared_log_loss": round(log_loss(total, declared), 6),
        "held_out_kinds_log_loss": round(full / cast.total(), 6),
        "declared_kinds_log_loss": round(kinds_loss(cast, DEFAULT_PRIORS.kinds), 6),
    }


def _tokens(bank: Bank) -> dict[str, float]:
    return {model: round(sum(tokens) / len(tokens), 3) for model, tokens in _completions(bank).items()}


def _lengths(bank: Bank) -> dict[str, dict[str, int]]:
    """The upper quantile of the lengths of each model's answers, where there are enough of them to say so."""
    found = {model: Lengths.of(tokens).upper() for model, tokens in _completions(bank).items()}
    return {model: {"answer": upper} for model, upper in found.items() if upper is not None}


def _completions(bank: Bank) -> dict[str, list[int]]:
    known: dict[str, list[int]] = defaultdict(list)
    for (_, model, _), row in bank.draws.items():
        known[model] += [draw.completion_tokens for draw in row if draw.completion_tokens is not None]
    return {model: tokens for model, tokens in sorted(known.items()) if tokens}
