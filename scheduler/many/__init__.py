"""Many requests, one budget: batches (`solve_many`), streams, and the queue of a stream."""
