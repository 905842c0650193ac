"""One price for many requests: predicted value curves, the dual price of a shared budget, pacing, fair shares."""
