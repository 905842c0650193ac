"""Jobs on a Ray cluster (Moritz et al. 2018)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from typing import Any

from ...core.errors import CallerError, MissingExtra
from .attempting import AGAIN, attempt, came, dying, unsendable

AHEAD = 2  # jobs under way for each worker
KEPT = 64  # slices of banks that stay in the object store at once
STORE = 512 << 20  # bytes of the object store of a cluster that is started here


def spread_ray(
    jobs: Iterable[Any],
    work: Callable[[Any], Any],
    workers: int,
    told: Callable[[Any], None],
    address: str | None = None,
) -> Generator[Any, None, None]:
    """See `engines.spread`. The `bank` of a job goes to the object store once for all jobs that share it. A task
    whose worker dies is tried three times more."""
    with connected(workers, address) as ray:
        remote = ray.remote(num_cpus=1, max_retries=AGAIN)(_done)
        store, left = _Store(ray), iter(jobs)
        under_way: deque[tuple[Any, Any]] = deque()
        waiting: dict[Any, Any] = {}
        while True:
            while len(under_way) < AHEAD * workers:
                job = next(left, _NONE)
                if job is _NONE:
                    break
                try:
                    bare, bank = store.split(job)
                    ref = remote.remote(work, bare, bank)
                except (TypeError, AttributeError) as error:
                    raise unsendable(error) from error
                under_way.append((job, ref))
                waiting[ref] = job
            if not under_way:
                return
            while under_way[0][1] in waiting:
                for ref in ray.wait(list(waiting), num_returns=1)[0]:
                    told(waiting.pop(ref))
            try:
                value = ray.get(under_way.popleft()[1])
            except ray.exceptions.WorkerCrashedError:
                raise dying(1 + AGAIN) from None
            yield came(value)


_NONE = object()


def _done(work: Callable[[Any], Any], job: Any, bank: Any) -> Any:
    return attempt(work, job if bank is None else replace(job, bank=bank))


class _Store:
    """The banks in the object store, by identity; the oldest go first."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._refs: OrderedDict[int, tuple[Any, Any]] = OrderedDict()

    def split(self, job: Any) -> tuple[Any, Any]:
        """The job without its bank, and the bank's place in the store (None: it has none)."""
        bank = getattr(job, "bank", None)
        if bank is None or not is_dataclass(job) or isinstance(job, type):
            return job, None
        if id(bank) not in self._refs:
            self._refs[id(bank)] = bank, self._ray.put(bank)
            if len(self._refs) > KEPT:
                self._refs.popitem(last=False)
        return replace(job, bank=None), self._refs[id(bank)][1]


@contextmanager
def connected(workers: int, address: str | None = None) -> Iterator[Any]:
    """Ray, on the cluster that this process is on already, else that at `address` or RAY_ADDRESS, else one of its own
    that ends with the block and leaves nothing behind. Raises `MissingExtra`; `CallerError` where nobody answers."""
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    folder = None if address else tempfile.mkdtemp(prefix="sf-")  # short: a socket's path has little room
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    own = {"num_cpus": workers, "object_store_memory": STORE, "_temp_dir": folder, "_node_ip_address": "127.0.0.1"}
    try:
        if address:
            _reached(ray, address)
        else:
            ray.init(**quiet, **own)
        yield ray
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _reached(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise CallerError(f"no Ray cluster answers at {address}: {error}") from error


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else `uv run` makes it pack the working directory
    try:
        import ray
    except ImportError:
        raise MissingExtra.of("ray", 'engine="ray"') from None
    return ray
