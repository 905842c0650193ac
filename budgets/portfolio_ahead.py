"""Looking one, two and three purchases ahead over several arms (`budgets.portfolio_world` says in what world).

After every outcome of a purchase the better of stopping and the best next purchase is taken, so that the value is that
of a policy which looks at what came before it pays again: dynamic programming over the tree of purchases and outcomes
(Raiffa & Schlaifer 1961), all branches of one depth at once as arrays. A purchase that brings a blank is followed by a
stop: its value is a little underestimated. Arrays are small and calls are what they cost, so that few are made. Names
of axes: b branches, k answers, s arms, z nodes of difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .portfolio_world import State, Tables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Shop:
    """What can be bought: `mu` (s, z), `own`, `kappa` and `weight` (s,), as in `Tables`; `clear` (s,): the chance that
    a purchase holds an answer; `price` (s,): what a purchase must bring, in value; `each` (2, s): dollars and seconds
    of one; `most` (s,): how many votes of each arm there may be in all; `after` (s, s): False where the second cannot
    be paid after the first (None: all can). `again` as in `Tables`; `wrong`: what a wrong answer costs."""

    mu: Floats
    own: Floats
    kappa: Floats
    weight: Floats
    clear: Floats
    price: Floats
    most: Floats
    each: Floats
    after: Flags | None
    again: float
    choices: int
    wrong: float

    def only(self, arms: Places) -> Shop:
        """The same with some of the arms."""
        rows = (self.mu, self.own, self.kappa, self.weight, self.clear, self.price, self.most)
        after = self.after[arms][:, arms] if self.after is not None else None
        mu, own, kappa, weight, clear, price, most = (row[arms] for row in rows)
        each = self.each[:, arms]
        return Shop(mu, own, kappa, weight, clear, price, most, each, after, self.again, self.choices, self.wrong)


def shop_of(
    tables: Tables,
    arms: Places,
    price: Floats,
    most: Floats,
    each: Floats,
    choices: int,
    wrong: float,
    after: Flags | None = None,
) -> Shop:
    """The arms with these places in `tables`; the other arrays are of these arms alone."""
    mu, own, kappa, weight = (row[arms] for row in (tables.mu, tables.own, tables.kappa, tables.weight))
    clear = 1.0 - tables.blank[arms]
    return Shop(mu, own, kappa, weight, clear, price, most, each, after, tables.again, choices, wrong)


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """States that may come, unnormalised: `masses` (b, k, z) of each answer being right, `none` (b, z) of none; `own`
    (b, k, s): votes of the arms; `count` (b, k): the weight of all votes; `seen` (b, k): 0 for a place that no answer
    has yet, which is at most the last one."""

    masses: Floats
    none: Floats
    own: Floats
    count: Floats
    seen: Floats


def root(state: State, tables: Tables, arms: Places) -> Branches:
    """The state as it is, as the only branch."""
    import numpy as np

    count = (tables.weight @ state.own)[None]
    return Branches(
        state.masses[None, :-1], state.masses[None, -1], state.own[arms].T[None], count, np.ones_like(count)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What one purchase of each arm would bring. `right` (b, k, s), `right_none` (b, s): mass of a right draw. `over`
    (b, k, s), `over_none` (b, s): size of the urn of wrong answers where answer k, or none, is right. `often` (b, k,
    s): what is in it for each answer; `new`, `new_none` (b, s): for a new one, where one of the answers is right, and
    where none is."""

    right: Floats
    right_none: Floats
    over: Floats
    over_none: Floats
    often: Floats
    new: Floats
    new_none: Floats
    mass: Floats
    mass_none: Floats
    drawn: Floats

    def only(self, arms: Places) -> Draws:
        """The same of some of the arms."""
        first = (self.right[:, :, arms], self.right_none[:, arms], self.over[:, :, arms], self.over_none[:, arms])
        urn = (self.often[:, :, arms], self.new[:, arms], self.new_none[:, arms])
        return Draws(*first, *urn, self.mass, self.mass_none, self.drawn[:, arms])


def draws(at: Branches, shop: Shop) -> Draws:
    """All purchases from all branches."""
    import numpy as np

    mass, mass_none = at.masses.sum(axis=2), at.none.sum(axis=1)
    drawn = shop.own + at.own.sum(axis=1)  # (b, s)
    scale = 1.0 / drawn
    right = (at.masses @ shop.mu.T) * shop.own
    right += at.own * mass[:, :, None]
    right *= scale[:, None]
    right_none = (at.none @ shop.mu.T) * shop.own * scale
    weight = at.count[:, :, None]
    if shop.again != 1.0:
        weight = weight + ((shop.again - 1.0) * shop.weight) * at.own
    over_none = shop.kappa + weight.sum(axis=1)
    over = over_none[:, None] - weight
    others = shop.choices - 1
    if others > 0:
        each = shop.kappa / others
        often = (weight + each) * at.seen[:, :, None]
        left = others - at.seen.sum(axis=1)[:, None]  # wrong answers that were not given yet, if none so far is right
        new, new_none = each * np.minimum(left + 1.0, others), each * np.maximum(left, 0.0)
    else:
        often = weight + np.zeros((1, 1, len(shop.own)))
        new = new_none = np.broadcast_to(shop.kappa, right_none.shape)
    return Draws(right, right_none, over, over_none, often, new, new_none, mass, mass_none, drawn)


def worth(found: Draws, shop: Shop) -> Floats:
    """(b, s): the value of the answer after a purchase that holds one, in mass."""
    import numpy as np

    k = found.right.shape[1]
    if not k:
        return np.maximum(
            found.right_none
            - shop.wrong * found.new_none / found.over_none * (found.mass_none[:, None] - found.right_none),
            0.0,
        )
    wrong = (found.mass[:, :, None] - found.right) / found.over
    if k == 1:
        top, others = wrong[:, 0], np.zeros_like(wrong)
    elif k == 2:
        top, others = np.maximum(wrong[:, 0], wrong[:, 1]), wrong[:, ::-1]
    else:
        ranked = np.sort(wrong, axis=1)
        top = ranked[:, -1]
        others = np.where(wrong == ranked[:, -1:], ranked[:, -2:-1], ranked[:, -1:])
    old = np.maximum(found.right, found.often * others)
    new = np.maximum(found.right_none, found.new * top)
    if not shop.wrong:
        value: Floats = old.sum(axis=1) + new
        return value
    none = (found.mass_none[:, None] - found.right_none) / found.over_none
    every = wrong.sum(axis=1)
    in_old = found.right + found.often * (every[:, None] - wrong + none[:, None])
    in_new = found.right_none + found.new * every + found.new_none * none
    value = np.maximum((1.0 + shop.wrong) * old - shop.wrong * in_old, 0.0).sum(axis=1)
    value += np.maximum((1.0 + shop.wrong) * new - shop.wrong * in_new, 0.0)
    return value


def branch(at: Branches, found: Draws, shop: Shop) -> Branches:
    """The states after each purchase and outcome, b * s * (k + 1) of them: each answer so far, and a new one."""
    import numpy as np

    b, k, z = at.masses.shape
    s, places = len(shop.own), np.arange(k)
    base = shop.own[:, None] * shop.mu  # (s, z)
    scale = 1.0 / found.drawn
    chance = (base[:, None] + at.own.transpose(0, 2, 1)[:, :, :, None]) * scale[:, :, None, None]
    right = at.masses[:, None] * chance  # (b, s, k, z)
    right_none = at.none[:, None] * base * scale[:, :, None]  # (b, s, z)
    wrong = (at.masses[:, None] - right) / found.over.transpose(0, 2, 1)[:, :, :, None]
    wrong_none = (at.none[:, None] - right_none) / found.over_none[:, :, None]
    often = np.concatenate([found.often.transpose(0, 2, 1), found.new[:, :, None]], axis=2)  # (b, s, k + 1)
    masses = np.zeros((b, s, k + 1, k + 1, z))
    np.multiply(wrong[:, :, None], often[:, :, :, None, None], out=masses[:, :, :, :k])
    masses[:, :, places, places] = right
    # A new answer takes the first place that none has: the last one of all, or the one before, if that is free.
    count = np.zeros((b, s, k + 1, k + 1))
    count[..., :k] = at.count[:, None, None]
    seen = np.zeros((b, s, k + 1, k + 1))
    seen[..., :k] = at.seen[:, None, None]
    own = np.zeros((b, s, k + 1, k + 1, s))
    own[..., :k, :] = at.own[:, None, None]
    which = np.arange(s)[:, None]
    count[:, :, places, places] += shop.weight[:, None]
    own[:, which, places, places, which] += 1.0
    spare = np.where(at.seen[:, -1] > 0, k, k - 1) if k else np.zeros(b, dtype=np.int64)
    row = np.arange(b)
    masses[row, :, k, spare] = right_none
    count[row, :, k, spare] += shop.weight
    seen[row, :, k, spare] = 1.0
    own[row[:, None], which.T, k, spare[:, None], which.T] += 1.0
    often[:, :, k] = found.new_none
    none = wrong_none[:, :, None] * often[:, :, :, None]
    n = b * s * (k + 1)
    return Branches(
        masses.reshape(n, k + 1, z),
        none.reshape(n, z),
        own.reshape(n, k + 1, s),
        count.reshape(n, k + 1),
        seen.reshape(n, k + 1),
    )


def ahead(at: Branches, shop: Shop, depth: int, found: Draws | None = None) -> tuple[Floats, Floats]:
    """For each branch and arm, (b, s): the value of the best course of at most `depth` purchases that begins with that
    arm, in mass, less what it costs; and (2, b, s): the dollars and seconds that are expected to go into it."""
    import numpy as np

    found = found if found is not None else draws(at, shop)
    mass = found.mass.sum(axis=1) + found.mass_none
    paid = shop.each[:, None] * mass[:, None]
    if depth <= 1:
        value = worth(found, shop)
    else:
        then = branch(at, found, shop)
        after = draws(then, shop)
        nets, costs = ahead(then, shop, depth - 1, after)
        stop = _value(after.mass, after.mass.sum(axis=1) + after.mass_none, shop.wrong)
        shape = (len(at.masses), len(shop.own), then.count.shape[1])
        nets[after.drawn - shop.own > shop.most - 0.5] = -1.0
        if shop.after is not None:
            nets.reshape(*shape, -1)[:, ~shop.after[:, None].repeat(shape[2], axis=1)] = -1.0
        first = nets.argmax(axis=1)
        rows = np.arange(len(nets))
        best = nets[rows, first]
        value = np.maximum(best, stop).reshape(shape).sum(axis=2)
        more = costs[:, rows, first] * (best > stop)
        paid = paid + shop.clear * more.reshape(2, *shape).sum(axis=3)
    now = _value(found.mass, mass, shop.wrong)
    net = shop.clear * value + now[:, None] * (1.0 - shop.clear) - shop.price * mass[:, None]
    return net, paid


def _value(answers: Floats, mass: Floats, wrong: float) -> Floats:
    """(b,): the value of the likeliest answer, in mass."""
    import numpy as np

    top: Floats = answers.max(axis=1, initial=0.0)
    return np.maximum((1.0 + wrong) * top - wrong * mass, 0.0) if wrong else top
