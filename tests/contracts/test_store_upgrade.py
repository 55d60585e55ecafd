"""Old stores stay readable: the golden file of each schema, and upgrades that may be interrupted."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from metaml.store import RunRecord, Store, StoreVersionError, TaskRecord, schema, sqlite, upgrade
from metaml.store.location import parse_location
from metaml.trial import Trial

ASSETS = Path(__file__).parents[1] / "assets"
SCRIPTS = upgrade.SCRIPTS
STEP = """
import os
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{new:04d}", "{old:04d}"
def upgrade():
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("colour", sa.String, nullable=False, server_default="grey"))
    op.add_column("runs", sa.Column("note", sa.String))
    {end}
"""


NEXT = schema.SCHEMA_VERSION + 1


def unpack(version: int, folder: Path) -> Path:
    path = folder / "golden.sqlite"
    path.write_bytes(gzip.decompress((ASSETS / f"store_schema{version}.sqlite.gz").read_bytes()))
    return path


@pytest.fixture
def golden(tmp_path) -> Path:
    """A store of the present schema as it was written when that schema was made."""
    return unpack(schema.SCHEMA_VERSION, tmp_path)


@pytest.fixture
def next_schema(tmp_path, monkeypatch):
    """Pretend that there is one more schema; the end of its step may be given."""

    def pretend(end: str = "pass") -> None:
        scripts = tmp_path / "scripts"
        shutil.rmtree(scripts, ignore_errors=True)
        shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        step = STEP.format(end=end, old=NEXT - 1, new=NEXT)
        (scripts / "versions" / f"v{NEXT:04d}_colour.py").write_text(step)
        monkeypatch.setattr(upgrade, "SCRIPTS", scripts)
        monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT)

    return pretend


@pytest.mark.parametrize("version", range(1, NEXT))
def test_the_golden_file_is_read(version, tmp_path):
    with Store.open(unpack(version, tmp_path)) as store:
        assert store.info()["schema_version"] == schema.SCHEMA_VERSION
        assert store.info()["counts"] == {
            "configurations": 3,
            "devices": 1,
            "latencies": 1,
            "metafeatures": 1,
            "runs": 2,
            "tasks": 2,
            "trials": 4,
        }
        assert store.verify() == []
        assert store.run("run-1").versions == {"metaml": "0.1.0"}
        trial = store.trials("run-1")[0]
        assert trial.configuration == {"space": "toy-1", "family": "mlp", "rate": 0.001}
        assert (trial.error, trial.metrics, trial.flops) == (0.25, {"roc_auc": 0.875}, 1024)
        assert store.tasks().loc["f1", "name"] == "iris — setosa?"
        learned = (12, ((6, 0.5), (12, 0.25))) if version > 1 else (None, ())
        assert (trial.epochs, trial.curve) == learned


def test_the_steps_make_the_schema_of_the_tables(store_url, monkeypatch):
    """What alembic finds different between a database that the steps made and `schema.metadata`: nothing."""
    location = parse_location(store_url)
    Store.open(store_url).close()
    with Store.open(store_url) as store, store.engine.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            table.drop(connection)
        upgrade._migrate(connection)
        context = MigrationContext.configure(connection, opts={"version_table": "schema_version"})
        assert context.get_current_revision() == f"{schema.SCHEMA_VERSION:04d}"
        different = [d for d in compare_metadata(context, schema.metadata) if "schema_version" not in str(d)]
        assert different == []
    assert location is not None


def test_an_older_file_is_backed_up_and_upgraded_when_it_is_opened(golden, next_schema):
    before = golden.read_bytes()
    next_schema()
    with Store.open(golden) as store:
        assert len(store.trials("run-1")) == 3  # the tables that point to the rebuilt one kept their rows
        assert store.verify() == []
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT DISTINCT colour FROM tasks").scalar_one() == "grey"
    (kept,) = golden.parent.glob(f"golden.sqlite.schema{NEXT - 1}.*.backup")
    assert kept.read_bytes()[100:] == before[100:]  # but for a counter in the header
    assert sqlite.examine(golden) == NEXT and sqlite.examine(kept) == NEXT - 1
    assert upgrade.upgrade(golden) == upgrade.Upgraded(NEXT, NEXT, None)


def test_an_older_store_is_not_upgraded_by_reading(golden, next_schema):
    next_schema()
    before = golden.read_bytes()
    with pytest.raises(StoreVersionError, match="metaml store upgrade"):
        Store.open(golden, read_only=True)
    assert golden.read_bytes() == before


def test_an_upgrade_that_fails_changes_nothing_and_can_be_run_again(golden, next_schema):
    next_schema('raise RuntimeError("in the middle")')
    with pytest.raises(RuntimeError):
        upgrade.upgrade(golden)
    assert sqlite.examine(golden) == NEXT - 1
    next_schema()
    assert upgrade.upgrade(golden).new == NEXT


def test_an_upgrade_that_is_killed_changes_nothing_and_can_be_run_again(golden, next_schema):
    next_schema("os.kill(os.getpid(), 9)")
    pid = os.fork()
    if pid == 0:
        upgrade.upgrade(golden)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert sqlite.examine(golden) == NEXT - 1
    next_schema()
    assert upgrade.upgrade(golden).new == NEXT
    with sqlite3.connect(golden) as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (4,)
    connection.close()


def test_a_server_is_upgraded_only_when_asked(postgres, next_schema):
    url = postgres.fresh_url()
    with Store.open(url) as store:
        store.add_task(TaskRecord("f", "iris", "binary"))
        store.add_run(RunRecord("r", "f", "toy-1", "log_loss"))
        store.add_trial("r", Trial(0, {"x": 0}, "smac", "ok", error=0.5))
    next_schema()
    with pytest.raises(StoreVersionError, match="metaml store upgrade"):
        Store.open(url)
    assert upgrade.upgrade(url) == upgrade.Upgraded(NEXT - 1, NEXT, None)
    with Store.open(url) as store:
        assert len(store.trials("r")) == 1


def test_a_newer_store_is_refused(golden, next_schema, monkeypatch):
    next_schema()
    Store.open(golden).close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT - 1)
    for attempt in (Store.open, upgrade.upgrade):
        with pytest.raises(StoreVersionError, match="update metaml"):
            attempt(golden)
