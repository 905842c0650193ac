"""Chaos: a provider that returns 429, 500, hangs, truncates, garbage, wrong usage, duplicates, and dies in mid-stream.

No run is lost, nothing is overspent, the journal and the ledger agree, and every answer is the right one or a clear
error, on asyncio and trio.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from satisfice.testing.chaos import FAULTS, Provider, storm


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.scheduler.dispatch.attempts.BACKOFF", 0.01)


# litellm's own, where a call is cancelled while it is prepared in a thread; pytest sets aside our filter for it.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
]


async def weather(tmp_path: Path, faults: tuple[str, ...], requests: int, share: float, stream: bool) -> None:
    with Provider(faults, share) as provider:
        report = await storm(provider, tmp_path, requests, stream=stream)
    assert report.faults() == []
    assert set(report.met) <= {"none", *faults}
    assert report.right >= requests * (1 - share) ** 2


@pytest.mark.parametrize("stream", [False, True])
async def test_all_faults_mixed(tmp_path: Path, stream: bool) -> None:
    await weather(tmp_path, FAULTS, 40, 0.3, stream)


async def test_an_account_that_runs_out_is_never_overdrawn(tmp_path: Path) -> None:
    honest = tuple(fault for fault in FAULTS if fault != "usage")
    with Provider(honest) as provider:
        report = await storm(provider, tmp_path, 30, cap=150_000_000)
    assert report.faults() == []
    assert (report.overrun, report.posted <= 150_000_000) == (0, True)
    assert report.errors["budget_too_small"] > 0


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_at_30_percent(tmp_path: Path, fault: str, stream: bool) -> None:
    await weather(tmp_path, (fault,), 300, 0.3, stream)


@pytest.mark.long
async def test_all_faults_mixed_for_long(tmp_path: Path) -> None:
    await weather(tmp_path, FAULTS, 600, 0.3, False)


@pytest.mark.long
async def test_a_provider_that_hardly_works(tmp_path: Path) -> None:
    with Provider(FAULTS, 0.9) as provider:
        report = await storm(provider, tmp_path, 100)
    assert report.faults() == []
