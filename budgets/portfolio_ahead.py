"""Looking one, two and three purchases ahead over several arms (`budgets.portfolio_world` says in what world).

After every outcome of a purchase the better of stopping and the best next purchase is taken, so that the value is that
of a policy which looks at what came before it pays again: dynamic programming over the tree of purchases and outcomes
(Raiffa & Schlaifer 1961), all branches of one depth at once as arrays. A purchase that brings a blank is followed by a
stop: its value is a little underestimated. Names of axes: b branches, s arms, k answers, h hypotheses (answers, and
that none so far is right), z nodes of difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .portfolio_world import State, Tables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]
    Places: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Shop:
    """What can be bought: `mu` (s, z), `own` (s,), `clear` (s,): the chance that a purchase holds an answer; `price`
    (s,): what a purchase must bring, in value; `after` (s, s): False where the second cannot be paid after the first;
    `most` (s,): how many votes of each arm there may be in all."""

    mu: Floats
    own: Floats
    clear: Floats
    price: Floats
    kappa: float
    again: float
    choices: int
    wrong: float
    after: Flags
    most: Floats

    @classmethod
    def of(
        cls, tables: Tables, arms: Places, price: Floats, choices: int, wrong: float, after: Flags, most: Floats
    ) -> Shop:
        mu, own, clear = tables.mu[arms], tables.own[arms], 1.0 - tables.blank[arms]
        return cls(mu, own, clear, price, tables.kappa, tables.again, choices, wrong, after, most)


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """States that may come, unnormalised: `masses` (b, h, z), the last h being none; `own` (b, s, k): votes of the
    arms; `count` (b, k): all votes; `k` (b,): answers so far."""

    masses: Floats
    own: Floats
    count: Floats
    k: Places


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What one purchase of each arm would bring. `right` (b, s, h): mass of a right draw. `wrong` (b, s, h): of a wrong
    one, over the urn's size; times `often` (b, s, k), or `fresh` (b, k) where none is right, it is that of the wrong
    draw being answer k. `seen` and `new` (b, k): which answers were given, and which would be the next new one."""

    right: Floats
    wrong: Floats
    often: Floats
    fresh: Floats
    seen: Flags
    new: Flags


def root(state: State, arms: Places) -> Branches:
    """The state as it is, as the only branch."""
    import numpy as np

    k = state.own.shape[1]
    return Branches(
        state.masses[None], state.own[arms][None], state.own.sum(axis=0)[None], np.full(1, k, dtype=np.int64)
    )


def draws(at: Branches, shop: Shop) -> Draws:
    """All purchases from all branches, each with one place for a new answer."""
    import numpy as np

    b, h, _ = at.masses.shape
    k = h - 1
    mass = at.masses.sum(axis=2)[:, None, :]
    plain = (at.masses @ shop.mu.T).transpose(0, 2, 1)  # (b, s, h)
    mine, strength = at.own.sum(axis=2)[:, :, None], shop.own[None, :, None]
    right = strength * plain
    right[:, :, :k] += at.own * mass[:, :, :k]
    right /= strength + mine
    weight = at.count[:, None, :] + (shop.again - 1.0) * at.own if shop.again != 1.0 else at.count[:, None, :] + 0 * at.own
    every = shop.kappa + weight.sum(axis=2, keepdims=True)
    below = np.empty((b, plain.shape[1], h))
    below[:, :, :k] = every - weight
    below[:, :, k:] = every
    wrong = np.maximum(mass - right, 0.0) / below
    places = np.arange(k + 1)
    seen, new = places < at.k[:, None], places == at.k[:, None]
    others = shop.choices - 1
    each = shop.kappa / others if others > 0 else 0.0
    often = np.zeros((b, plain.shape[1], k + 1))
    often[:, :, :k] = weight
    often += each
    often *= seen[:, None, :]
    if others > 0:
        left = np.maximum(others - at.k, 0.0)[:, None]
        fresh = each * left * new
        often += (each * np.minimum(left + 1.0, others) * new)[:, None, :]
    else:
        fresh = shop.kappa * new
        often += fresh[:, None, :]
    return Draws(right, wrong, often, fresh, seen, new)


def worth(found: Draws, shop: Shop) -> Floats:
    """(b, s): the value of the answer after a purchase that holds one, in mass."""
    import numpy as np

    k = found.wrong.shape[2] - 1
    rights = _placed(found)
    answers, none = found.wrong[:, :, :k], found.wrong[:, :, k:]
    every = answers.sum(axis=2, keepdims=True)
    if k:
        top = answers.max(axis=2, keepdims=True)
        where = answers == top
        second = np.where(where, 0.0, answers).max(axis=2, keepdims=True)
        second = np.where(where.sum(axis=2, keepdims=True) > 1, top, second)
        others = np.empty_like(rights)
        others[:, :, :k] = np.where(where, second, top)
        others[:, :, k:] = top
        rest = np.empty_like(rights)
        rest[:, :, :k] = every - answers
        rest[:, :, k:] = every
    else:
        others = rest = np.zeros_like(rights)
    best = np.maximum(rights, found.often * others)
    if not shop.wrong:
        value: Floats = best.sum(axis=2)
        return value
    never = np.where(found.seen, 0.0, found.fresh)[:, None, :] + found.often * found.seen[:, None, :]
    total = rights + found.often * rest + never * none
    value = np.maximum((1.0 + shop.wrong) * best - shop.wrong * total, 0.0).sum(axis=2)
    return value


def _placed(found: Draws) -> Floats:
    """(b, s, k + 1): the mass of a right draw by the answer that it is."""
    import numpy as np

    k = found.wrong.shape[2] - 1
    rights = np.zeros(found.often.shape)
    rights[:, :, :k] = found.right[:, :, :k]
    rights *= found.seen[:, None, :]
    rights += found.right[:, :, k:] * found.new[:, None, :]
    return rights


def branch(at: Branches, found: Draws, shop: Shop) -> Branches:
    """The states after each purchase and outcome: b * s * (k + 1) of them."""
    import numpy as np

    b, h, z = at.masses.shape
    s, k = len(shop.own), h - 1
    mine, strength = at.own.sum(axis=2)[:, :, None, None], shop.own[None, :, None, None]
    chance = np.empty((b, s, h, z))
    chance[:] = (strength * shop.mu[None, :, None, :])
    chance[:, :, :k] += at.own[:, :, :, None]
    chance /= strength + mine
    rights = at.masses[:, None] * chance  # (b, s, h, z)
    wrongs = at.masses[:, None] - rights
    weight = at.count[:, None, :] + (shop.again - 1.0) * at.own
    every = shop.kappa + weight.sum(axis=2, keepdims=True)
    below = np.concatenate([every - weight, every], axis=2)
    wrongs /= below[:, :, :, None]
    masses = np.zeros((b, s, k + 1, h + 1, z))
    never = np.where(found.seen[:, None, :], found.often, found.fresh[:, None, :])
    masses[:, :, :, :k] = wrongs[:, :, None, :k] * found.often[:, :, :, None, None]
    masses[:, :, :, h] = wrongs[:, :, None, k] * never[:, :, :, None]
    places = np.arange(k + 1)
    placed = np.where(found.new[:, None, :, None], rights[:, :, k:], np.concatenate([rights[:, :, :k], rights[:, :, :1] * 0], axis=2))
    placed = placed * (found.seen | found.new)[:, None, :, None]
    masses[:, :, places, places] = placed
    more = np.eye(k + 1)
    count = np.zeros((b, s, k + 1, k + 1))
    count[..., :k] = at.count[:, None, None]
    count += more
    own = np.zeros((b, s, k + 1, s, k + 1))
    own[..., :k] = at.own[:, None, None]
    which = np.arange(s)
    own[:, which, :, which] += more
    ks = np.broadcast_to((at.k[:, None] + found.new)[:, None], (b, s, k + 1))
    n = b * s * (k + 1)
    return Branches(masses.reshape(n, h + 1, z), own.reshape(n, s, k + 1), count.reshape(n, k + 1), ks.reshape(n))


def ahead(at: Branches, shop: Shop, depth: int) -> tuple[Floats, Floats]:
    """For each branch and arm, (b, s) twice: the value of the best course of at most `depth` purchases that begins with
    that arm, in mass, less what it costs; and how often each arm is expected to be bought on it (b, s, s)."""
    import numpy as np

    found = draws(at, shop)
    b, s = found.right.shape[:2]
    mass = at.masses.sum(axis=(1, 2))
    answers = at.masses.sum(axis=2)[:, :-1]
    now = _value(answers, mass, shop.wrong)
    bought = np.zeros((b, s, s))
    bought[:, np.arange(s), np.arange(s)] = mass[:, None]
    if depth <= 1:
        value = worth(found, shop)
    else:
        then = branch(at, found, shop)
        stop = _value(then.masses.sum(axis=2)[:, :-1], then.masses.sum(axis=(1, 2)), shop.wrong)
        nets, counts = ahead(then, shop, depth - 1)
        k1 = then.count.shape[1]
        allowed = np.broadcast_to(shop.after[None, :, None, :], (b, s, k1, s)).reshape(-1, s)
        allowed = allowed & (then.own.sum(axis=2) < shop.most)
        nets = np.where(allowed, nets, -1.0)
        first = nets.argmax(axis=1)
        rows = np.arange(len(nets))
        going = nets[rows, first] > stop
        value = np.where(going, nets[rows, first], stop).reshape(b, s, k1).sum(axis=2)
        more = (counts[rows, first] * going[:, None]).reshape(b, s, k1, s).sum(axis=2)
        bought += shop.clear[None, :, None] * more
    net = shop.clear * value + (1.0 - shop.clear) * now[:, None] - shop.price * mass[:, None]
    return net, bought


def _value(answers: Floats, mass: Floats, wrong: float) -> Floats:
    """(b,): the value of the likeliest answer, in mass."""
    import numpy as np

    if not answers.shape[1]:
        return np.zeros(len(answers))
    found: Floats = np.maximum((1.0 + wrong) * answers.max(axis=1) - wrong * mass, 0.0)
    return found
