"""Stores for the contract, one of each kind of database; PostgreSQL as a cluster that lives as long as the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

_NUMBER = count()


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server of our own, reached over a socket in its folder only."""

    folder: Path
    binaries: Path
    user: int | None
    """The user it runs as; None for the present one (PostgreSQL refuses to run as root)."""

    def command(self, *arguments: str) -> None:
        done = subprocess.run(arguments, capture_output=True, text=True, user=self.user, group=self.user, cwd="/")
        if done.returncode:
            msg = f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
            raise RuntimeError(msg)

    def control(self, *verb: str) -> None:
        log, options = str(self.folder / "log"), f"-c listen_addresses='' -c fsync=off -k {self.folder}"
        program = str(self.binaries / "pg_ctl")
        self.command(program, "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", *verb)

    def create(self) -> None:
        arguments = ["-D", str(self.folder / "data"), "-U", "metaml", "--auth=trust", "--no-sync", "-E", "UTF8"]
        self.command(str(self.binaries / "initdb"), *arguments)
        self.control("start")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://metaml:hush@/{database}?host={self.folder}"

    def fresh_url(self) -> str:
        """Return the address of a new, empty database."""
        import psycopg

        name = f"store{next(_NUMBER)}"
        with psycopg.connect(f"host={self.folder} user=metaml dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


def _binaries() -> Path | None:
    """Return the folder of the newest installed server."""
    found = [Path(place).resolve().parent for place in [shutil.which("initdb")] if place]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres():
    """A running PostgreSQL server; tests that need one are skipped where none can be started."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'metaml[postgres]')")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="metaml-pg-"))
    user = 65534 if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)
    cluster = Cluster(folder, binaries, user)
    try:
        cluster.create()
        yield cluster
        cluster.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """Address of a store that does not exist yet."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").fresh_url()
    return str(tmp_path / "store.sqlite")
