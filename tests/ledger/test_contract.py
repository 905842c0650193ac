"""Every store keeps to the contract of a ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from satisfice.budgets.ledger.stores import Store
from satisfice.testing.ledger import LedgerStoreContract
from satisfice.testing.places import Place


class TestStores(LedgerStoreContract):
    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        store = place.open()
        yield store
        store.close()
