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

BARRED = -4.0  # the net of what cannot be bought: below that of a stop
DEPTH = 3  # purchases ahead, at the most


class Shop(NamedTuple):
    """What can be bought: `rows` (4 + z, s + 1) as in `Tables.rows`; `asked` (4, s): what a purchase must bring, in
    value, how many more there may be of each arm, and dollars and seconds of one; `least`: the fewest of these more;
    `after` (s, s): False where the second cannot be paid after the first (None: all can). `again` as in `Tables`;
    `wrong`: what a wrong answer costs."""

    rows: Floats
    asked: Floats
    least: float
    after: Flags | None
    again: float
    choices: int
    wrong: float

    def only(self, ends: Places) -> Shop:
        """The same with some of the arms: their places, and that of the last column."""
        arms = ends[:-1]
        after = self.after[arms[:, None], arms] if self.after is not None else None
        rows, asked = self.rows.take(ends, axis=1), self.asked.take(arms, axis=1)
        return Shop(rows, asked, self.least, after, self.again, self.choices, self.wrong)


def shop_of(
    tables: Tables, arms: Places, asked: Floats, choices: int, wrong: float, after: Flags | None = None
) -> Shop:
    """The arms with these places in `tables`; the other arrays are of these arms alone."""
    rows = tables.rows if len(arms) == len(tables.own) else tables.rows[:, [*arms.tolist(), -1]]
    return Shop(rows, asked, float(asked[1].min()), after, tables.again, choices, wrong)


class Root(NamedTuple):
    """The state as it is: `masses` (h, z); `votes` (1 + h + 2, s): pseudo-draws and votes of each arm, and its votes by
    answer, with places for answers to come; `held` (2, h + 2, 1): the weight of all votes for each answer, and of all
    others."""

    masses: Floats
    votes: Floats
    held: Floats

    def only(self, ends: Places) -> Root:
        """The same with some of the arms."""
        return Root(self.masses, self.votes.take(ends[:-1], axis=1), self.held)


def root(state: State, tables: Tables, arms: Places) -> Root:
    """The state as it is, with these of the arms."""
    import numpy as np

    k, own = state.own.shape[1], state.own
    masses = np.empty_like(state.masses)
    masses[0], masses[1:] = state.masses[k], state.masses[:k]
    votes, held = np.zeros((k + DEPTH + 1, len(arms))), np.zeros((2, k + DEPTH, 1))
    every = len(arms) == len(own)
    votes[0] = tables.own if every else tables.own[arms]
    if k:
        mine = votes[2 : k + 2]
        mine[:] = own.T if every else own[arms].T
        votes[0] += mine.sum(axis=0)
        count = held[0, 1 : k + 1, 0] = tables.weight @ own
        held[1] = count.sum()
        held[1] -= held[0]
    return Root(masses, votes, held)


@dataclass(frozen=True, slots=True, eq=False)
class Bough:
    """Branches of one depth as far as the shape of the tree decides: `own` (h, b, s): votes since the root; `held` (2,
    h, b, s): the same, and votes for all others; `drawn` (b, s): of each arm; `seen` (h, b, 1): 1 for an answer that
    was given; `fresh` (2, b, 1): how many wrong answers were not, if none of those given is right, and if one is;
    `first` (b,): where the rows of a (b, s) array begin; `bought`: purchases since the root."""

    own: Floats
    held: Floats
    drawn: Floats
    seen: Floats
    fresh: Floats
    first: Places
    bought: int


@lru_cache(maxsize=256)
def tree(answers: int, arms: int, depth: int, choices: int) -> tuple[Bough, ...]:
    """Branches after 0, 1, ... purchases. Of those of one depth all with one outcome stand together, in the order of
    the branches that they grow from, and then of arms."""
    import numpy as np

    own, seen = np.zeros((answers + 1, 1, arms)), np.ones((answers + 1, 1))
    seen[0] = 0.0
    found = []
    for level in range(depth):
        b, drawn, h = own.shape[1], own.sum(axis=0), answers + 1 + level
        left = choices - 1.0 - seen.sum(axis=0)
        fresh = np.array((np.maximum(left, 0.0), np.minimum(left + 1.0, choices - 1.0)))[:, :, None]
        held = np.array((own, drawn - own))
        found.append(Bough(own, held, drawn, seen[:, :, None], fresh, np.arange(b) * arms, level))
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
    """What one purchase of each arm from each branch brings. `told` (h, b, s + 1): masses weighed by each arm's
    pseudo-draws that are right, and as they are; `own` (h, b, s): votes; `every` (4 h + 2, b, s): mass of a right draw,
    and of a wrong one in proportion to what is in the urn, the size of the urn, what is in it for a new answer where
    none is right, and for each outcome; last 1 / pseudo-draws."""

    told: Floats
    own: Floats
    every: Floats

    def only(self, ends: Places) -> Draws:
        """The same with some of the arms."""
        arms = ends[:-1]
        return Draws(self.told.take(ends, axis=2), self.own.take(arms, axis=2), self.every.take(arms, axis=2))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        """(right, wrong, over, often, none, scale) of `every`."""
        h, every = len(self.told), self.every
        return every[:h], every[h : 2 * h], every[2 * h : 3 * h], every[3 * h + 1 : -1], every[3 * h], every[-1]


def draws(told: Floats, at: Root, shop: Shop, bough: Bough) -> Draws:
    """One purchase of each arm from each branch of the bough."""
    import numpy as np

    (h, b, s), mass = told.shape, told[:, :, -1:]
    kappa, weight = shop.rows[1, :-1], shop.rows[2, :-1]
    own = bough.own + at.votes[1 : h + 1, None]
    found = Draws(told, own, np.empty((4 * h + 2, b, s - 1)))
    right, wrong, over, often, none, scale = found.parts
    np.divide(1.0, bough.drawn + at.votes[0], out=scale)
    np.multiply(own, mass, out=right)
    right += told[:, :, :-1]
    right *= scale
    both = bough.held @ weight
    both += at.held[:, :h]
    held, rest = both[:, :, :, None]
    if shop.again != 1.0:
        extra = ((shop.again - 1.0) * weight) * own
        held, rest = held + extra, rest + (extra.sum(axis=0) - extra)
    np.add(rest, kappa, out=over)
    np.subtract(mass, right, out=wrong)
    wrong /= over
    if shop.choices > 1:
        each = kappa / (shop.choices - 1)
        np.multiply(bough.seen, each, out=often)
        often += held
        np.multiply(bough.fresh, each, out=found.every[3 * h : 3 * h + 2])
    else:
        often[:] = held
        often[0] = none[:] = kappa
    return found


def worth(found: Draws, fine: float) -> Floats:
    """(b, s): the value of the answer after a purchase that holds one, in mass, where a wrong one costs `fine`."""
    import numpy as np

    right, wrong, _, often, none, _ = found.parts
    old = _others(wrong)
    old *= often
    np.maximum(old, right, out=old)
    if not fine:
        value: Floats = old.sum(axis=0)
        return value
    whole = right + often * (wrong.sum(axis=0) - wrong)
    whole[0] += none * wrong[0]
    fined: Floats = np.maximum((1.0 + fine) * old - fine * whole, 0.0).sum(axis=0)
    return fined


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
    _, _, over, often, none, scale = found.parts
    masses = masses[:, :, None]
    right = found.own[:, :, :, None] * masses
    right += base
    right *= scale[:, :, None]
    wrong = masses - right
    wrong /= over[:, :, :, None]
    grown = np.empty((h + 1, h, b, s, z))
    np.multiply(wrong[:, None], often[:, :, :, None], out=grown[:h])
    np.multiply(wrong[0], none[:, :, None], out=grown[0, 0])
    grown[h] = 0.0
    grown[h, 0] = right[0]
    for i in range(1, h):
        grown[i, i] = right[i]
    return grown.reshape(h + 1, h * b * s, z)


def ahead(at: Root, shop: Shop, depth: int, found: Draws | None = None) -> tuple[Floats, Floats]:
    """For each arm, (1, s): the value of the best course of at most `depth` purchases that begins with that arm, above
    that of a stop and less what it costs; and (2, 1, s): the dollars and seconds that are expected to go into it.
    `found`: its first purchases, where they are known."""
    grown = tree(at.held.shape[1] - DEPTH, shop.asked.shape[1], depth, shop.choices)
    masses = at.masses[:, None]
    if depth == 1 and found is None:
        masses = masses @ shop.rows[4:]
    net, paid, _ = _ahead(masses, at, shop, grown, found)
    return net, paid


def first_draws(at: Root, shop: Shop) -> Draws:
    """One purchase of each arm."""
    bough = tree(at.held.shape[1] - DEPTH, shop.asked.shape[1], 1, shop.choices)[0]
    return draws((at.masses @ shop.rows[4:])[:, None], at, shop, bough)


def _ahead(
    masses: Floats, at: Root, shop: Shop, grown: tuple[Bough, ...], found: Draws | None = None
) -> tuple[Floats, Floats, Floats]:
    """The same (b, s), (2, b, s), from the branches of the first of `grown`; and (b,), the value of a stop there.
    `masses` (h, b, z), or before the last purchase (h, b, s + 1), weighed by pseudo-draws that are right."""
    import numpy as np

    (h, b, z), s, depth, basis = masses.shape, shop.asked.shape[1], len(grown), shop.rows[4:]
    told = base = masses
    if h == 1 and depth > 1:
        net, paid = _opened(masses, at, shop, grown)
        return net, paid, np.zeros(1)
    if depth == 2:
        pairs = (basis[:, :, None] * basis[:, None]).reshape(z, -1)
        both = (masses.reshape(h * b, z) @ pairs).reshape(h, b, s + 1, s + 1)
        told, base = both[:, :, s], both[:, :, :s]
    elif depth > 2:
        told, base = (found.told if found else masses @ basis), masses[:, :, None] * basis.T[:s]
    found = found or draws(told, at, shop, grown[0])
    whole = found.told[:, :, -1]
    mass = whole.sum(axis=0)
    now = _value(whole, mass, shop.wrong)
    paid, clear = shop.asked[2:, None] * mass[:, None], shop.rows[3, :-1]
    if depth < 2:
        net = worth(found, shop.wrong)
    else:
        then = branch(found, told if depth == 2 else masses, base)
        net, more = _then(*_ahead(then, at, shop, grown[1:]), shop, grown[1], (h, b, s))
        more *= clear
        paid += more
    net -= now[:, None]
    net *= clear
    net -= shop.asked[0] * mass[:, None]
    return net, paid, now


def _opened(masses: Floats, at: Root, shop: Shop, grown: tuple[Bough, ...]) -> tuple[Floats, Floats]:
    """The same where no answer was given yet: the first one is right, or it is not, and that is all that it tells."""
    import numpy as np

    s, z = shop.asked.shape[1], masses.shape[2]
    then = np.empty((2, s, z))
    np.multiply(masses[0], (shop.rows[4:, :-1] / shop.rows[0, :-1]).T, out=then[1])
    np.subtract(masses[0], then[1], out=then[0])
    told = then @ shop.rows[4:] if len(grown) == 2 else then
    net, more = _then(*_ahead(told, at, shop, grown[1:]), shop, grown[1], (1, 1, s))
    mass = masses.sum()
    net *= shop.rows[3, :-1]
    net -= shop.asked[0] * mass
    return net, shop.asked[2:, None] * mass + shop.rows[3, :-1] * more


def _then(
    nets: Floats, paid: Floats, stop: Floats, shop: Shop, bough: Bough, shape: tuple[int, int, int]
) -> tuple[Floats, Floats]:
    """What a purchase is worth, (b, s), and what goes into what comes after it, (2, b, s), where the better of a stop
    and the best next purchase follows each of its outcomes."""
    import numpy as np

    if shop.least < bough.bought + 0.5:
        nets[bough.drawn > shop.asked[1] - 0.5] = BARRED
    if shop.after is not None:
        nets.reshape(*shape, -1)[:, :, ~shop.after] = BARRED
    first = nets.argmax(axis=1)
    first += bough.first
    best = nets.ravel()[first]
    more = paid.reshape(2, -1)[:, first]
    more *= best > 0.0
    np.maximum(best, 0.0, out=best)
    best += stop
    value: Floats = best.reshape(shape).sum(axis=0)
    return value, more.reshape(2, *shape).sum(axis=1)


def _value(answers: Floats, mass: Floats, wrong: float) -> Floats:
    """(b,): the value of the likeliest answer, in mass; the first row is that of none."""
    import numpy as np

    if len(answers) == 1:
        return np.zeros(len(mass))
    top: Floats = answers[1:].max(axis=0)
    return np.maximum((1.0 + wrong) * top - wrong * mass, 0.0) if wrong else top
