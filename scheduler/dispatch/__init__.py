"""How calls leave: turns, breakers, fallbacks, hedges, a cache, and switches that stop them."""
