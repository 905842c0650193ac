"""Contract suites: subclass one, give it a fixture, and your own strategy, verifier or model is tested as ours are."""
