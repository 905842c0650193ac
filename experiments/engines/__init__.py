"""Engines: who does an evaluation's jobs. This process, some processes of this machine, or a Ray cluster.

A job's outcome depends on nothing but the job, and outcomes are handed back in the order of the jobs, so that every
engine gives the same figures, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Literal, get_args

from ...core.errors import CallerError, UnknownName
from ..measuring import measure

Engine = Literal["local", "processes", "ray"]
ENGINES: tuple[str, ...] = get_args(Engine)

__all__ = ["ENGINES", "Engine", "spread"]


def spread(
    jobs: Iterable[Any],
    engine: str = "local",
    workers: int = 1,
    *,
    progress: Callable[[Any], None] | None = None,
    work: Callable[[Any], Any] = measure,
    address: str | None = None,
) -> Generator[Any, None, None]:
    """What `work` makes of each job (a `measuring.Part` of a `measuring.Job`), in the order of the jobs.

    `engine`: "local" works here; "processes" in `workers` new processes (they import the caller's main module, which
    must therefore be guarded by ``if __name__ == "__main__"``); "ray" on the cluster at `address` (None: RAY_ADDRESS,
    else one of `workers` processes that is started here and ended afterwards). Jobs are taken from the iterable as
    workers come free, so that a generator of them never stands in memory whole. `progress(job)` is told of each that
    is done, in whatever order. A worker that is killed is replaced, and its jobs done again.

    Raises what a job raised; `CallerError` for a job that cannot be sent to another process, and where workers die
    again and again; `UnknownName` for another engine; `MissingExtra` without Ray.
    """
    if engine not in ENGINES:
        raise UnknownName.of("engine", engine, ENGINES)
    if workers < 1:
        raise CallerError(f"workers={workers}: expected 1 or more")
    told: Callable[[Any], None] = progress or (lambda job: None)
    if engine == "processes":
        from .processes import spread_processes

        return spread_processes(jobs, work, workers, told)
    if engine == "ray":
        from .cluster import spread_ray

        return spread_ray(jobs, work, workers, told, address)
    return _here(jobs, work, told)


def _here(jobs: Iterable[Any], work: Callable[[Any], Any], told: Callable[[Any], None]) -> Generator[Any, None, None]:
    for job in jobs:
        done = work(job)
        told(job)
        yield done
