"""The policy registry: versions of policies, which of them serves, and an append-only record of who said so."""
