"""Looking one, two and three purchases ahead over several arms (`budgets.portfolio_world` says in what world).

After every outcome of a purchase the better of stopping and the best next purchase is taken, so that the value is that
of a policy which looks at what came before it pays again: dynamic programming over the tree of purchases and outcomes
(Raiffa & Schlaifer 1961), all branches of one depth at once as arrays. A purchase that brings a blank is followed by a
stop: its value is a little underestimated.

Arrays are small and calls are what they cost, so that few are made. What the shape of the tree alone decides is kept
(`tree`). The last purchase needs no difficulty: its branches are sums over it, and those are products of two arms'
chances weighed by the masses, one matrix product for all. Names of axes: h hypotheses, of which the first is that no
answer so far is right and the others are answers; o outcomes, of which the first is a new answer; b branches, s arms,
z nodes of difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .portfolio_world import State, Tables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]

BARRED = -4.0  # added to the net of what cannot be bought: below that of a stop


class Shop(NamedTuple):
    """What can be bought: `rows` as in `Tables.rows`; `asked` (4, s): what a purchase must bring, in value, how many
    votes of the arm there may be in all, and dollars and seconds of one; `after` (s, s): False where the second cannot
    be paid after the first (None: all can). `again` as in `Tables`; `wrong`: what a wrong answer costs."""

    rows: Floats
    asked: Floats
    after: Flags | None
    again: float
    choices: int
    wrong: float

    def only(self, arms: Places) -> Shop:
        """The same with some of the arms."""
        after = self.after[arms][:, arms] if self.after is not None else None
        return Shop(self.rows[:, arms], self.asked[:, arms], after, self.again, self.choices, self.wrong)


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
    """The arms with these places in `tables`; the other arrays are of these arms alone: `price` and `most` (s,), `each`
    (2, s), dollars and seconds."""
    import numpy as np

    return Shop(tables.rows[:, arms], np.array((price, most, *each)), after, tables.again, choices, wrong)


class Root(NamedTuple):
    """The state as it is: `masses` (h, z); `own` (h, s): votes of the arms; `count` (h,): the weight of all votes."""

    masses: Floats
    own: Floats
    count: Floats

    def only(self, arms: Places) -> Root:
        """The same with some of the arms."""
        return Root(self.masses, self.own[:, arms], self.count)


def root(state: State, tables: Tables, arms: Places) -> Root:
    """The state as it is, with these of the arms."""
    import numpy as np

    k = state.own.shape[1]
    masses = np.empty_like(state.masses)
    masses[0], masses[1:] = state.masses[k], state.masses[:k]
    own, count = np.zeros((k + 1, len(arms))), np.zeros(k + 1)
    if k:
        own[1:] = state.own[arms].T
        count[1:] = tables.weight @ state.own
    return Root(masses, own, count)


@dataclass(frozen=True, slots=True, eq=False)
class Bough:
    """Branches of one depth as far as the shape of the tree decides: `own` (h, b, s): votes since the root; `drawn` (b,
    s): of each arm; `seen` (h, b): 1 for an answer that was given; `given` (b,): how many were; `first` (b,): where the
    rows of a (b, s) array begin; `bought`: purchases since the root."""

    own: Floats
    drawn: Floats
    seen: Floats
    given: Floats
    first: Places
    bought: int


@lru_cache(maxsize=256)
def tree(answers: int, arms: int, depth: int) -> tuple[Bough, ...]:
    """Branches after 0, 1, ... purchases. Of those of one depth all with one outcome stand together, in the order of
    the branches that they grow from, and then of arms."""
    import numpy as np

    own, seen = np.zeros((answers + 1, 1, arms)), np.ones((answers + 1, 1))
    seen[0] = 0.0
    found = []
    for level in range(depth):
        b = own.shape[1]
        found.append(Bough(own, own.sum(axis=0), seen, seen.sum(axis=0), np.arange(b) * arms, level))
        h = answers + 1 + level
        more, known = np.zeros((h + 1, h, b, arms, arms)), np.zeros((h + 1, h, b, arms))
        more[:h], known[:h] = own[:, None, :, None], seen[:, None, :, None]
        each = np.arange(arms)
        for outcome in range(h):
            place = outcome or h  # a new answer takes a place of its own
            more[place, outcome, :, each, each] += 1.0
            known[place, outcome] = 1.0
        own, seen = more.reshape(h + 1, -1, arms), known.reshape(h + 1, -1)
    return tuple(found)


class Draws(NamedTuple):
    """What one purchase of each arm from each branch brings. `mass` (h, b); `right`, `wrong` (h, b, s): mass of a right
    draw, and of a wrong one in proportion to what is in the urn; `over` (h, b, s): the size of the urn; `often` (h, b,
    s): what is in it for each outcome; `none` (b, s): for a new answer where none is right, if that differs. `own` (h, b, s) and
    `scale` (b, s), 1 / pseudo-draws."""

    mass: Floats
    right: Floats
    wrong: Floats
    over: Floats
    often: Floats
    none: Floats | None
    own: Floats
    scale: Floats


def draws(told: Floats, at: Root, shop: Shop, bough: Bough) -> Draws:
    """`told` (h, b, s + 1): masses weighed by each arm's pseudo-draws that are right, and as they are."""
    import numpy as np

    strength, kappa, weight = shop.rows[:3]
    k = len(at.own)
    mass, right = told[:, :, -1], told[:, :, :-1]
    own, held, drawn = bough.own, bough.own @ weight, strength + bough.drawn
    if k > 1:
        own = own.copy()
        own[:k] += at.own[:, None]
        held[:k] += at.count[:, None]
        drawn += at.own.sum(axis=0)
    scale = 1.0 / drawn
    if len(told) > 1:
        right = right + own * mass[:, :, None]
        right *= scale
    else:
        right = right * scale
    urn = held[:, :, None]
    if shop.again != 1.0:
        urn = urn + ((shop.again - 1.0) * weight) * own
    over = (kappa + urn.sum(axis=0)) - urn
    wrong = mass[:, :, None] - right
    wrong /= over
    others, none = shop.choices - 1, None
    if others > 0:
        each = kappa / others
        often = urn + each
        often *= bough.seen[:, :, None]
        left = others - bough.given[:, None]  # wrong answers that were not given yet, if none so far is right
        often[0] = each * np.minimum(left + 1.0, others)
        none = each * np.maximum(left, 0.0)
    else:
        often = np.empty_like(right)
        often[:] = urn
        often[0] = kappa
    return Draws(mass, right, wrong, over, often, none, own, scale)


def worth(found: Draws, fine: float) -> Floats:
    """(b, s): the value of the answer after a purchase that holds one, in mass, where a wrong one costs `fine`."""
    import numpy as np

    old = np.maximum(found.right, found.often * _others(found.wrong))
    if not fine:
        value: Floats = old.sum(axis=0)
        return value
    wrong = found.wrong
    every = wrong.sum(axis=0) - wrong
    whole = found.right + found.often * every
    whole[0] += (found.often[0] if found.none is None else found.none) * wrong[0]
    value = np.maximum((1.0 + fine) * old - fine * whole, 0.0).sum(axis=0)
    return value


def _others(wrong: Floats) -> Floats:
    """(h, b, s): for each outcome the most that another answer has, the first row of none not among them."""
    import numpy as np

    k = len(wrong) - 1
    found = np.empty_like(wrong)
    if k < 2:
        found[:] = 0.0
        if k:
            found[0] = wrong[1]
        return found
    if k == 2:
        found[1:] = wrong[:0:-1]
        np.maximum(wrong[1], wrong[2], out=found[0])
        return found
    found[2] = wrong[1]
    for i in range(3, k + 1):
        np.maximum(found[i - 1], wrong[i - 1], out=found[i])
    np.maximum(found[k], wrong[k], out=found[0])
    top = wrong[k]
    for i in range(k - 1, 1, -1):
        np.maximum(found[i], top, out=found[i])
        top = np.maximum(top, wrong[i])
    found[1] = top
    return found


def branch(found: Draws, masses: Floats, base: Floats) -> Floats:
    """(h + 1, o * b * s, z) masses after each purchase and outcome. `masses` (h, b, z); `base` (h, b, s, z): the same
    weighed by each arm's pseudo-draws that are right. For z stands whatever is linear in masses."""
    import numpy as np

    h, b, s, z = base.shape
    right = found.own[:, :, :, None] * masses[:, :, None]
    right += base
    right *= found.scale[:, :, None]
    wrong = masses[:, :, None] - right
    wrong /= found.over[:, :, :, None]
    grown = np.empty((h + 1, h, b, s, z))
    np.multiply(wrong[:, None], found.often[:, :, :, None], out=grown[:h])
    if found.none is not None:
        np.multiply(wrong[0], found.none[:, :, None], out=grown[0, 0])
    grown[h] = 0.0
    grown[h, 0] = right[0]
    for i in range(1, h):
        grown[i, i] = right[i]
    return grown.reshape(h + 1, h * b * s, z)


def ahead(at: Root, shop: Shop, depth: int) -> tuple[Floats, Floats]:
    """For each arm, (1, s): the value of the best course of at most `depth` purchases that begins with that arm, less
    what it costs; and (2, 1, s): the dollars and seconds that are expected to go into it."""
    import numpy as np

    z, s = len(at.masses[0]), shop.asked.shape[1]
    basis = np.ones((z, s + 1))
    np.multiply(shop.rows[4:], shop.rows[0], out=basis[:, :s])
    grown = tree(len(at.own) - 1, s, depth)
    masses = at.masses[:, None]
    net, paid, _ = _ahead(masses @ basis if depth == 1 else masses, at, shop, grown, basis)
    return net, paid


def _ahead(
    masses: Floats, at: Root, shop: Shop, grown: tuple[Bough, ...], basis: Floats
) -> tuple[Floats, Floats, Floats]:
    """The same (b, s), (2, b, s), from the branches of the first of `grown`; and (b, 1), the value of a stop there.
    `masses` (h, b, z), or before the last purchase (h, b, s + 1), weighed by `basis` (z, s + 1)."""
    (h, b, z), s, depth = masses.shape, shop.asked.shape[1], len(grown)
    told = base = masses
    if depth == 2:
        pairs = (basis[:, :, None] * basis[:, None]).reshape(z, -1)
        both = (masses.reshape(h * b, z) @ pairs).reshape(h, b, s + 1, s + 1)
        told, base = both[:, :, s], both[:, :, :s]
    elif depth > 2:
        told, base = masses @ basis, masses[:, :, None] * basis.T[:s]
    found = draws(told, at, shop, grown[0])
    mass = found.mass.sum(axis=0)[:, None]
    paid, clear = shop.asked[2:, None] * mass, shop.rows[3]
    if depth < 2:
        value = worth(found, shop.wrong)
    else:
        then = branch(found, told if depth == 2 else masses, base)
        value, more = _then(*_ahead(then, at, shop, grown[1:], basis), at, shop, grown[1], (h, b, s))
        paid += clear * more
    now = _value(found.mass, mass[:, 0], shop.wrong)[:, None]
    net = value - now
    net *= clear
    net += now
    net -= shop.asked[0] * mass
    return net, paid, now


def _then(
    nets: Floats, paid: Floats, stop: Floats, at: Root, shop: Shop, bough: Bough, shape: tuple[int, int, int]
) -> tuple[Floats, Floats]:
    """What a purchase is worth, (b, s), and what goes into what comes after it, (2, b, s), where the better of a stop
    and the best next purchase follows each of its outcomes."""
    import numpy as np

    room = shop.asked[1] - at.own.sum(axis=0)
    if room.min() < bough.bought + 0.5:
        nets[bough.drawn > room - 0.5] = BARRED
    if shop.after is not None:
        whole = nets.reshape(*shape, -1)
        whole[:, :, ~shop.after] = BARRED
    first = nets.argmax(axis=1)
    first += bough.first
    best, stop = nets.ravel()[first], stop[:, 0]
    more = paid.reshape(2, -1)[:, first]
    more *= best > stop
    return np.maximum(best, stop).reshape(shape).sum(axis=0), more.reshape(2, *shape).sum(axis=1)


def _value(answers: Floats, mass: Floats, wrong: float) -> Floats:
    """(b,): the value of the likeliest answer, in mass; the first row is that of none."""
    import numpy as np

    if len(answers) == 1:
        return np.zeros(len(mass))
    top: Floats = answers[1:].max(axis=0)
    return np.maximum((1.0 + wrong) * top - wrong * mass, 0.0) if wrong else top
