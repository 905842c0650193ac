"""The ledger: durable two-phase accounts that cannot be overdrawn.

`accounts` and `windows` say what may be spent, `operations` what can be asked, `book` is the arithmetic, and the
stores (`memory`, `sqlite`, `postgres`) keep it. `Ledger` is what the engine talks to.
"""
