"""Stores for the contract: one of each kind of database."""

import pytest


@pytest.fixture(params=["sqlite"])
def store_url(request, tmp_path):
    """Address of a store that does not exist yet."""
    return str(tmp_path / "store.sqlite")
