"""What can be asked of a ledger, and what it says. Every operation may be sent again: ids make it happen once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ...core.amounts import Amounts
from ...core.completions import Usage
from ...core.errors import BadBudget, CallerError, SatisficeError
from .accounts import MOST, Account, Limit, check_amount
from .windows import Window

State: TypeAlias = Literal["pending", "settled", "voided"]
TTL = 900_000  # milliseconds after which an unresolved hold counts as ambiguous


@dataclass(frozen=True, slots=True)
class Open:
    """Makes an account with its limits. One that exists already stays as it is."""

    account: Account


@dataclass(frozen=True, slots=True)
class Grant:
    """Sets the limit of one window, or takes it away (`limit` None). Not below what is used in it by now."""

    account: str
    window: Window
    limit: Limit | None
    by: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit.window != self.window:
            raise CallerError(f"a limit per {self.limit.window} cannot be granted for the window {self.window}")


@dataclass(frozen=True, slots=True)
class Freeze:
    """Refuses (or allows again) every new reservation at the account and below."""

    account: str
    frozen: bool = True
    by: str = ""


@dataclass(slots=True)  # not frozen: that would cost more than the reservation itself
class Reserve:
    """Holds the worst case of one call at `account` and at every one above it, or at none. `ttl` milliseconds later an
    unresolved hold is ambiguous. `price`: the version of the price that it was reckoned by. `owner`: which process or
    attempt sends it; one that finds the hold pending takes it over from the former owner. Raises `BadBudget`."""

    id: str
    account: str
    amounts: Amounts
    ttl: int = TTL
    run: str = ""
    model: str = ""
    price: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.ttl <= MOST:
            raise BadBudget(f"ttl={self.ttl}: expected milliseconds above 0", field="ttl")
        check_amounts(self.amounts)


@dataclass(slots=True)
class Settle:
    """Posts what a call was billed in its hold's place: reported usage, at the hold where none was reported. What is
    above the hold is posted all the same. `account`: where to post it if no such hold is known. `by`: who says so, if
    it was not the call itself. Raises `BadBudget`."""

    id: str
    amounts: Amounts
    usage: Usage | None = None
    price: str = ""
    account: str = ""
    run: str = ""
    model: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        check_amounts(self.amounts)


@dataclass(slots=True)
class Void:
    """Gives back the hold of a call that never left. `owner`: only if the hold is still that owner's; without one,
    whoever's it is."""

    id: str
    by: str = ""
    owner: str = ""


Operation: TypeAlias = Open | Grant | Freeze | Reserve | Settle | Void


def check_amounts(amounts: Amounts) -> None:
    """Raises `BadBudget` for what no account can hold."""
    nanos, tokens, calls = amounts.nanos, amounts.tokens, amounts.calls
    # Nearly all calls are small: one comparison each for them.
    whole = type(nanos) is type(tokens) is type(calls) is int
    if whole and 0 <= nanos <= MOST and 0 <= tokens <= MOST and 0 <= calls <= MOST:
        return
    for name, value in (("nanos", nanos), ("tokens", tokens), ("calls", calls)):
        check_amount(name, value)


# -- what comes of them -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know: a `share` of a limit is used (in percent), a provider billed above the hold
    (`overrun`), usage came for a hold that was given back or never known (`late`), or another node reckons with
    another price (`price`)."""

    kind: Literal["share", "overrun", "late", "price"]
    account: str
    text: str
    at: int
    window: str = ""
    percent: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the ledger's own record: alerts, and who opened, granted, froze or reconciled what."""

    at: int
    kind: str
    account: str
    text: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """It is done, or was before (`repeated`). `overrun`: what was posted above the hold."""

    repeated: bool = False
    overrun: Amounts = field(default=Amounts())
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The account that has no room for it, in which window and amount, what was needed and what is left. `resets`: when
    there will be room again at the latest (milliseconds), None: not by itself."""

    account: str
    window: str
    cap: Literal["usd", "tokens", "calls", "frozen"]
    needed: int = 0
    left: int = 0
    limit: int = 0
    resets: int | None = None

    def __str__(self) -> str:
        from ...core.amounts import amount_said

        if self.cap == "frozen":
            return f"account {self.account} is frozen: `satisfice ledger grant {self.account} --unfreeze` lifts that"
        left, needed, limit = (amount_said(self.cap, x, x, x) for x in (self.left, self.needed, self.limit))
        per = "in all" if self.window == "total" else f"per {self.window}"
        return f"account {self.account} has {left} left of {limit} {per}, and this may take up to {needed}"


Result: TypeAlias = Done | Refusal | SatisficeError


@dataclass(slots=True)
class Hold:
    """One reservation and what became of it. Times in milliseconds. `spent` and `usage` once it is settled; `late`: it
    was settled after it had expired, had been given back, or without having been known; `over`: what was posted above
    the hold; `by`: who resolved it if it was not the call itself, while it is pending its owner."""

    id: str
    account: str
    at: int
    expires: int
    held: tuple[int, int, int]
    state: State = "pending"
    run: str = ""
    model: str = ""
    price: str = ""
    resolved: int | None = None
    spent: tuple[int, int, int] = (0, 0, 0)
    over: tuple[int, int, int] = (0, 0, 0)
    usage: tuple[int, int, int, int] | None = None  # prompt, completion, cached, reasoning tokens
    late: bool = False
    by: str = ""

    def ambiguous(self, now: int) -> bool:
        """Nobody has said what became of it in time: it counts in full until somebody does."""
        return self.state == "pending" and now > self.expires
