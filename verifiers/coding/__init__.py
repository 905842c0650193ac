"""Unit tests on candidate code: what runs on either side of the pipes, and what the plan makes of it.

`wire`, `pipe`, `guest`, `handles`, `units`, `draws`, `asserts` and `host` run inside sandboxes, as one text each
(`bundle`), with the standard library only. `guest` holds the candidate and serves calls; `host` holds the tests. The
candidate is never in the process that decides, so it can do no more than return values.
"""
