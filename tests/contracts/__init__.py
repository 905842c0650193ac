"""Contract suites: subclass one, give it a fixture, and your own strategy, verifier, model or store is tested as ours are."""
