"""Which policy a request gets: the engine's own, or, where it follows a registry, production's or the canary's."""
