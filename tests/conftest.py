"""The same examples on every machine, and no deadline on any: tests are not timed. `make test-long` looks further."""

from __future__ import annotations

import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("house", deadline=None, derandomize=True, database=None)
    settings.register_profile("further", deadline=None, print_blob=True)
    settings.load_profile("further" if config.getoption("-m") == "long" else "house")
