"""How many calls a budget for ten of them admits when a hundred ask at once: litellm's own limit, and the ledger.

python benchmarks/overspend.py

litellm's calls are answered by its `mock_response` (no network), priced as it prices them; ours are the same calls by
the same litellm, held and settled on an account. The account is granted what ten calls can cost at the most.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_MODE", "PRODUCTION")

MODEL, CALLS, ALLOWED = "gpt-4o-mini", 100, 10
LATENCY = 0.05


async def theirs() -> tuple[int, float, float]:
    """(admitted, spent, limit) with `litellm.max_budget`."""
    import litellm

    reply = await litellm.acompletion(MODEL, [{"role": "user", "content": "q"}], mock_response="7")
    each = litellm.completion_cost(reply)
    litellm._current_cost, litellm.max_budget = 0.0, ALLOWED * each
    admitted = 0

    async def one() -> None:
        nonlocal admitted
        try:
            await litellm.acompletion(MODEL, [{"role": "user", "content": "q"}], mock_response="7", mock_delay=LATENCY)
            admitted += 1
        except litellm.BudgetExceededError:
            pass

    await asyncio.gather(*(one() for _ in range(CALLS)))
    limit, litellm.max_budget = litellm.max_budget, 0.0
    return admitted, admitted * each, limit


async def ours(place: Path | None) -> tuple[int, float, float]:
    """The same with an account that is granted the worst case of ten calls."""
    import litellm

    from satisfice import (
        Account,
        BudgetError,
        Completion,
        Engine,
        Ledger,
        Limit,
        Params,
        Price,
        Response,
        SingleShot,
        Usage,
    )

    price = Price.per_million(0.15, 0.60)

    class Mocked:
        async def complete(self, request):  # type: ignore[no-untyped-def]
            reply = await litellm.acompletion(
                MODEL, [{"role": "user", "content": "q"}], mock_response="7", mock_delay=LATENCY
            )
            used = reply.usage
            return Response((Completion("7"),), Usage(used.prompt_tokens, used.completion_tokens))

    worst = 16 * 600 + 85 * 150  # nano-dollars of one call: 16 tokens out, at most so many of the prompt in
    accounts = [Account("team", "global", (Limit(nanos=ALLOWED * worst, alerts=()),))]
    async with await Ledger.open(place, accounts) as ledger:
        engine = Engine("m", journal=False, ledger=ledger, account="team")
        engine.register("m", Mocked(), price)
        admitted = 0

        async def one() -> None:
            nonlocal admitted
            try:
                await engine.solve("q", budget=1, strategy=SingleShot(params=Params(max_tokens=16)))
                admitted += 1
            except BudgetError:
                pass

        async with engine:
            await asyncio.gather(*(one() for _ in range(CALLS)))
        team = next(s for s in await ledger.standings() if s.account.name == "team").balances[0]
    return admitted, team.posted[0] / 1e9, ALLOWED * worst / 1e9


async def main() -> None:
    logging.disable(logging.CRITICAL)
    rows = [("litellm max_budget", await theirs()), ("ledger, memory", await ours(None))]
    with tempfile.TemporaryDirectory() as folder:
        rows.append(("ledger, SQLite", await ours(Path(folder) / "ledger.db")))
    print(f"{CALLS} calls at once, a budget for {ALLOWED}")
    print(f"{'':<20}  admitted      spent      limit")
    for name, (admitted, spent, limit) in rows:
        print(f"{name:<20}  {admitted:>8}  ${spent:.7f}  ${limit:.7f}{'  OVERSPENT' if spent > limit else ''}")


asyncio.run(main())
