from __future__ import annotations

import pytest

from satisfice.testing.driver import Drive, DriverContract, live, offline


class TestOffline(DriverContract):
    @pytest.fixture
    def drive(self) -> Drive:
        return offline


class TestLive(DriverContract):
    @pytest.fixture(params=["asyncio", "trio"])
    def drive(self, request: pytest.FixtureRequest) -> Drive:
        return lambda run, script: live(run, script, request.param)
