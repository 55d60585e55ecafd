"""Files that are no stores, places that cannot be written: one clear sentence, and the file stays as it is."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from metaml.errors import StoreError
from metaml.store import (
    RunRecord,
    Store,
    StoreCorruptError,
    StoreFullError,
    StoreMissingError,
    StoreReadOnlyError,
    StoreUnavailableError,
    StoreVersionError,
    TaskRecord,
    default_store_url,
    sqlite,
)
from metaml.trial import Trial


def fill(path: Path, n: int = 40) -> None:
    with Store.open(path) as store:
        store.add_task(TaskRecord("f", "iris", "multiclass"))
        store.add_run(RunRecord("r", "f", "toy-1", "log_loss"))
        store.add_trials("r", [Trial(i, {"x": i}, "smac", "ok", error=0.5, message="m" * 200) for i in range(n)])


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "store.sqlite"
    fill(path)
    return path.read_bytes()


def refused(path: Path, kind: type[StoreError] = StoreCorruptError) -> str:
    """Open what must be refused; the file, the folder and the sentence are as they have to be."""
    before = path.read_bytes() if path.is_file() else None
    files = sorted(p.name for p in path.parent.iterdir())
    with pytest.raises(kind) as caught:
        Store.open(path)
    assert before is None or path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == files
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"x", b"a,b\n1,2\n" * 100, b"SQLite format 3\0", b"\0" * 8192])
def test_a_file_that_is_no_store_is_refused(tmp_path, content):
    path = tmp_path / "store.sqlite"
    path.write_bytes(content)
    assert "left as it is" in refused(path)


def test_a_directory_is_refused(tmp_path):
    assert "directory" in refused(tmp_path)


def test_the_database_of_another_program_is_refused(tmp_path):
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE trials (id INTEGER)")
    connection.close()
    assert "another program" in refused(path)


def test_a_truncated_store_is_refused_at_every_page(tmp_path, sound):
    path = tmp_path / "store.sqlite"
    for size in range(0, len(sound), 4096):
        path.write_bytes(sound[:size])
        refused(path)


def test_flipped_bytes_are_refused_or_do_no_harm(tmp_path, sound):
    """Bytes inside a text cannot be told from others; those that the structure hangs on must be noticed."""
    path, rng, noticed = tmp_path / "store.sqlite", random.Random(0), 0
    for _ in range(60):
        damaged = bytearray(sound)
        for place in rng.sample(range(len(sound)), 20):
            damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            with Store.open(path, read_only=True) as store:
                store.trials("r")
                store.verify()
        except StoreError:
            noticed += 1
        assert path.read_bytes() == damaged
    assert noticed > 20


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "store.sqlite"
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "update metaml" in refused(path, StoreVersionError)


def test_a_store_that_must_exist_is_missed(tmp_path):
    with pytest.raises(StoreMissingError, match="no store at"):
        Store.open(tmp_path / "none" / "store.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made(tmp_path):
    Store.open(tmp_path / "a" / "b c" / "50%?#.sqlite").close()
    assert [p.name for p in (tmp_path / "a" / "b c").iterdir()] == ["50%?#.sqlite"]


def test_a_file_where_a_folder_must_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        Store.open(tmp_path / "file" / "store.sqlite")


def test_a_loop_of_links(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StoreError, match="cannot be read"):
        Store.open(tmp_path / "a")


READ_ONLY = """
import os, sys
from metaml.store import Store, StoreReadOnlyError, TaskRecord
Store.open(":memory:").verify()  # what is imported late must come before the rights are given up
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
path = sys.argv[1]
with Store.open(path, read_only=True) as store:
    assert len(store.trials("r")) == 40
for attempt in (lambda: Store.open(path).add_task(TaskRecord("g", "", "binary")), lambda: Store.open(path + "2")):
    try:
        attempt()
    except StoreReadOnlyError as error:
        print(error)
"""


def test_a_read_only_folder_can_be_read_and_says_that_it_cannot_be_written(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    fill(folder / "store.sqlite")
    for place in (tmp_path, *tmp_path.parents):
        if place != Path("/") and place.stat().st_uid == os.getuid() and not place.stat().st_mode & 0o005:
            place.chmod(0o755)
    (folder / "store.sqlite").chmod(0o444)
    folder.chmod(0o555)
    command = [sys.executable, "-c", READ_ONLY, str(folder / "store.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout and "no store can be created" in done.stdout


def test_a_full_disk_is_named_and_harms_nothing(tmp_path):
    path = tmp_path / "store.sqlite"
    fill(path, 5)
    with Store.open(path) as store:
        with store.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
        many = [Trial(100 + i, {"x": i}, "smac", "ok", error=0.5, message="m" * 500) for i in range(200)]
        with pytest.raises(StoreFullError, match="free some space"):
            store.add_trials("r", many)
        assert len(store.trials("r")) == 5
        assert store.verify() == []


def test_a_locked_store_says_so(tmp_path):
    path = tmp_path / "store.sqlite"
    fill(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Store.open(path, patience=0.05) as store, pytest.raises(StoreUnavailableError, match="locked by another"):
        store.add_task(TaskRecord("g", "wine", "binary"))
    other.close()


@pytest.mark.parametrize("url", ["mysql://u:hush@h/db", "postgresql+psycopg://u:hush@[bad", "oracle://", "sqlite:///"])
def test_other_urls_are_refused_without_showing_the_password(url):
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert "hush" not in str(caught.value)


def test_the_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("METAML_STORE", f"sqlite:///{tmp_path}/mine.sqlite")
    with Store.open() as store:
        assert store.url == default_store_url()
    monkeypatch.delenv("METAML_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_store_url() == str(tmp_path / "metaml" / "store.sqlite")


def test_read_only_refuses_before_it_touches_anything(tmp_path):
    path = tmp_path / "store.sqlite"
    fill(path)
    with Store.open(path, read_only=True) as store, pytest.raises(StoreReadOnlyError, match="opened read-only"):
        store.add_task(TaskRecord("g", "wine", "binary"))
    with pytest.raises(StoreMissingError):
        Store.open(tmp_path / "other.sqlite", read_only=True)


def test_a_network_file_system_is_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "_file_system", lambda _path: "nfs4")
    Store.open(tmp_path / "store.sqlite").close()
    assert "network file system (nfs4)" in caplog.text


def test_a_link_to_a_store_in_use_is_the_store(tmp_path):
    with Store.open(tmp_path / "store.sqlite") as store:
        store.add_task(TaskRecord("f", "iris", "multiclass"))
        (tmp_path / "link.sqlite").symlink_to(tmp_path / "store.sqlite")
        with Store.open(tmp_path / "link.sqlite") as linked:
            assert len(linked.tasks()) == 1
            assert linked.url == store.url


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"metaml\[postgres\]"):
        Store.open("postgresql://somewhere/db")


OTHER_PROCESS = """
import sys
from metaml.store import Store
with Store.open(sys.argv[1]) as store:
    print(len(store.trials("r")))
"""


def test_opening_a_store_again_does_not_give_up_its_locks(tmp_path):
    """SQLite's locks belong to the process; without them another process that ends would remove the log in use."""
    path = tmp_path / "store.sqlite"
    fill(path)
    with Store.open(path) as store:
        store.add_trial("r", Trial(100, {"x": 1}, "smac", "ok", error=0.5))
        Store.open(path).close()
        command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.stdout.split() == ["41"], done.stderr
        assert path.with_name("store.sqlite-wal").exists()
        store.add_trial("r", Trial(101, {"x": 1}, "smac", "ok", error=0.5))
    with Store.open(path) as store:
        assert len(store.trials("r")) == 42
