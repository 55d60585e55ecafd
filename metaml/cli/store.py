"""``metaml store``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json

store_option = click.option("--store", "store_url", help="Path or URL; by default the one in your user data folder.")


@click.group()
def store() -> None:
    """Look after the metadata store of past results."""


@store.command()
@store_option
@options.json_option
def info(store_url: str | None, as_json: bool) -> None:
    """Say where the store is and what it holds."""
    from metaml.store import Store

    with Store.open(store_url, create=False, read_only=True) as opened:
        _print(opened.info(), as_json=as_json)


@store.command()
@store_option
@options.json_option
@click.pass_context
def verify(ctx: click.Context, store_url: str | None, as_json: bool) -> None:
    """Check the whole store; exit code 3 if something is wrong."""
    from metaml.store import Store

    with Store.open(store_url, create=False, read_only=True) as opened:
        problems = opened.verify()
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        click.echo("\n".join(problems) or "nothing is wrong")
    ctx.exit(3 if problems else 0)


@store.command()
@store_option
@options.json_option
def upgrade(store_url: str | None, as_json: bool) -> None:
    """Bring an older store to the present schema; a file is backed up before."""
    from metaml.store.upgrade import upgrade as run_upgrade

    done = run_upgrade(store_url)
    _print({"from": done.old, "to": done.new, "backup": str(done.backup) if done.backup else None}, as_json=as_json)


@store.command()
@click.argument("target", type=click.Path(path_type=Path))
@store_option
@options.json_option
def backup(target: Path, store_url: str | None, as_json: bool) -> None:
    """Copy the store to TARGET, also while searches write to it."""
    from metaml.store import Store
    from metaml.store.transfer import backup as run_backup

    with Store.open(store_url, create=False) as opened:
        _print({"backup": str(target), "bytes": run_backup(opened, target)}, as_json=as_json)


@store.command()
@click.argument("source")
@store_option
@options.json_option
def merge(source: str, store_url: str | None, as_json: bool) -> None:
    """Add everything of the store SOURCE to this one; doing it again changes nothing."""
    from metaml.store import Store
    from metaml.store.transfer import merge as run_merge

    with Store.open(store_url) as opened, Store.open(source, create=False, read_only=True) as other:
        _print(asdict(run_merge(opened, other)), as_json=as_json)


@store.command()
@click.option("--run", "run_ids", multiple=True, help="Id of a run; may be given several times.")
@click.option("--task", "fingerprints", multiple=True, help="Fingerprint of a task, removed with all its runs.")
@click.option("--space", "spaces", multiple=True, help="Search space, removed with all its runs.")
@store_option
@options.json_option
def remove(
    run_ids: tuple[str, ...],
    fingerprints: tuple[str, ...],
    spaces: tuple[str, ...],
    store_url: str | None,
    as_json: bool,
) -> None:
    """Remove runs, tasks or search spaces with all that belongs to them."""
    from metaml.store import Store
    from metaml.store.removal import remove as run_remove

    if not (run_ids or fingerprints or spaces):
        raise click.UsageError("Say what to remove: --run, --task or --space.")
    with Store.open(store_url, create=False) as opened:
        removed = run_remove(opened, run_ids=run_ids, fingerprints=fingerprints, spaces=spaces)
    if not any(removed.values()):
        click.echo("nothing in the store has such a name, so nothing was removed", err=True)
    _print(removed, as_json=as_json)


@store.command()
@click.argument("folder", type=click.Path(path_type=Path))
@store_option
@options.json_option
def export(folder: Path, store_url: str | None, as_json: bool) -> None:
    """Write the store as Parquet and JSON files into FOLDER."""
    from metaml.store import Store
    from metaml.store.transfer import export as run_export

    with Store.open(store_url, create=False, read_only=True) as opened:
        _print(run_export(opened, folder), as_json=as_json)


@store.command("import")
@click.argument("source")
@click.option("--task", "tasks", type=int, multiple=True, help="Task of OpenML; may be given several times.")
@click.option("--study", "studies", type=int, multiple=True, help="Study or suite of OpenML; also several times.")
@click.option("--measure", default="predictive_accuracy", show_default=True, help="OpenML's measure of the results.")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Results of each task.")
@store_option
@options.json_option
def import_(
    source: str,
    tasks: tuple[int, ...],
    studies: tuple[int, ...],
    measure: str,
    limit: int,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Read SOURCE into the store.

    SOURCE is a folder: an export of a store, or results of other people (a matrix of tasks and configurations,
    learning curves, or an ASlib scenario). Or it is the word openml, with --task or --study: evaluations of runs.
    Search spaces of others keep their own names and never mix with ours.
    """
    from metaml.store import Store

    if source != "openml":
        if tasks or studies:
            raise click.UsageError("--task and --study go with SOURCE openml.")
        _import_folder(Path(source), store_url, as_json=as_json)
        return
    from metaml.store.openml_results import import_openml

    with Store.open(store_url) as opened:
        report = import_openml(opened, tasks=tasks, studies=studies, measure=measure, limit=limit)
    _print_reports([asdict(report)], as_json=as_json)


def _import_folder(folder: Path, store_url: str | None, *, as_json: bool) -> None:
    from metaml.store import Store
    from metaml.store.importers import import_results
    from metaml.store.transfer import import_folder

    if not folder.is_dir():
        raise click.UsageError(f"There is no folder {folder}; SOURCE is a folder or the word openml.")
    with Store.open(store_url) as opened:
        if (folder / "store.json").exists():
            _print(asdict(import_folder(opened, folder)), as_json=as_json)
            return
        reports = [asdict(report) for report in import_results(opened, folder)]
    _print_reports(reports, as_json=as_json)


def _print_reports(reports: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"imported": reports})
        return
    for report in reports:
        _print({name: value for name, value in report.items() if value != ()}, as_json=False)


def _print(content: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(dict(content))
        return
    for name, value in content.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name.replace('_', ' '):>26s}  {shown}")
