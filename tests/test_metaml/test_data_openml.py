"""OpenML without OpenML: silent servers and nonsense must end in one sentence, soon."""

import socket

import openml
import pytest

import metaml.data.openml as door
from metaml.errors import DataError


@pytest.fixture
def silent_server(tmp_path, monkeypatch):
    """Accept connections and never answer."""
    monkeypatch.setattr(door, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(openml.config, "server", f"http://127.0.0.1:{server.getsockname()[1]}/api/v1/xml")
        yield


@pytest.mark.parametrize("identifier", ["31", "task/31"])
def test_a_silent_server_is_given_up(silent_server, identifier):
    with pytest.raises(DataError, match="31 cannot be fetched, the server does not answer") as caught:
        door.load_openml(identifier)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("identifier", ["iris", "run/31", "31/", "-1"])
def test_no_source(identifier):
    with pytest.raises(DataError, match="write openml:ID or openml:task/ID"):
        door.load_openml(identifier)
