"""``metaml portfolio``."""

from __future__ import annotations

from pathlib import Path

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import UsageError


@click.group()
def portfolio() -> None:
    """Build histories of results, replay warm-starters on them."""


@portfolio.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--store", "store_url", required=True, help="Store that collects the trials; the build goes on from it.")
@click.option("--tasks", "n_tasks", type=click.IntRange(min=1), default=24, show_default=True, help="How many tables.")
@click.option(
    "--max-rows", type=click.IntRange(min=1), default=5000, show_default=True, help="Leave out larger tables."
)
@click.option(
    "--configurations", type=click.IntRange(min=1), default=24, show_default=True, help="Tried on each table."
)
@click.option("--families", default="", help="Only configurations of these, separated by commas.")
@click.option(
    "--best",
    is_flag=True,
    help="Not new configurations, but those that complement each other best on the tables tried so far.",
)
@click.option("--shard", default="1/1", show_default=True, help="i/n: only the i-th of n parts of the tables.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials side by side.")
@click.option("--trial-time", type=options.Duration(), default="60s", show_default=True, help="For one trial.")
@click.option(
    "--publish",
    type=click.Path(path_type=Path),
    help="Add all of the store's results to a history folder; what it holds already is not run again.",
)
@options.seed_option
@options.json_option
def build(
    folder: Path,
    store_url: str,
    n_tasks: int,
    max_rows: int,
    configurations: int,
    families: str,
    best: bool,
    shard: str,
    workers: int,
    trial_time: float,
    publish: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Evaluate a set of configurations on the tables of FOLDER.

    FOLDER holds tables and a manifest.csv with the columns name, file, target and, if known, task, family, rows. What
    the store already holds is not run again, so that a build can be stopped and started at will.

    A large history for little: try many configurations on a few tables, then the best of them (--best) on all.
    """
    from metaml.collect import (
        Plan,
        best_configurations,
        choose_configurations,
        choose_tasks,
        collect,
        publish_history,
        published,
        read_manifest,
    )
    from metaml.store import Store

    part = _parse_shard(shard)
    entries = choose_tasks(read_manifest(folder), n_tasks, max_rows=max_rows)
    names = [name.strip() for name in families.split(",") if name.strip()]
    if best and names:
        raise UsageError("Give --best or --families, not both.")

    def report(text: str) -> None:
        click.echo(text, err=True)

    with Store.open(store_url) as store:
        known = None if publish is None else published(publish)
        if best:
            chosen = best_configurations(configurations, store, known)
        else:
            chosen = choose_configurations(configurations, families=names, seed=seed)
        plan = Plan(chosen, workers=workers, seed=seed, trial_seconds=trial_time)
        n_new = collect(entries, plan, store, known=known, shard=part, report=report)
        answer: dict[str, object] = {"tasks": len(entries), "configurations": len(chosen), "new_trials": n_new}
        if publish is not None:
            tasks_in_all, configurations_in_all = publish_history(store, publish)
            answer["published"] = {
                "folder": str(publish),
                "tasks": tasks_in_all,
                "configurations": configurations_in_all,
            }
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{n_new} new trials; {len(entries)} tables x {len(chosen)} configurations were asked for")


@portfolio.command()
@click.option(
    "--history",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A history folder; default: the one that ships.",
)
@click.option("--starters", default="portfolio,knn,pmf,auto", show_default=True, help="Names, separated by commas.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Groups of families left out.")
@options.seed_option
@options.json_option
def replay(history: Path | None, starters: str, folds: int, seed: int, as_json: bool) -> None:
    """Replay warm-starters on stored results, the task's whole family left out of what they learn from.

    Prints the mean normalised regret, (best so far - best) / (worst - best), after 1, 2, 3, 5, … evaluations, beside
    that of random order.
    """
    from portfolio import WARM_STARTERS, load_default_history, load_history
    from portfolio.replay import replay as run_replay
    from portfolio.replay import summarise

    names = [name.strip() for name in starters.split(",") if name.strip()]
    if unknown := [name for name in names if name not in WARM_STARTERS]:
        text = f"no {', '.join(unknown)}; choose from {', '.join(WARM_STARTERS)}"
        raise click.BadParameter(text, param_hint="--starters")
    past = load_history(history) if history else load_default_history()
    table = summarise(run_replay(past, {name: WARM_STARTERS[name] for name in names}, folds=folds, seed=seed))
    n_tasks, n_configurations = past.errors.shape
    if as_json:
        regret = {str(name): {str(n): float(value) for n, value in row.items()} for name, row in table.iterrows()}
        print_json({"tasks": n_tasks, "configurations": n_configurations, "folds": folds, "regret": regret})
        return
    click.echo(f"mean normalised regret over {n_tasks} tasks x {n_configurations} configurations")
    click.echo(table.round(4).to_string())


def _parse_shard(text: str) -> tuple[int, int]:
    """Return (position from 0, number of shards).

    >>> _parse_shard("2/3")
    (1, 3)
    """
    position, _, total = text.partition("/")
    if not (position.isdigit() and total.isdigit() and 1 <= int(position) <= int(total)):
        raise click.BadParameter(f'"{text}" must be i/n with 1 <= i <= n, such as 1/4', param_hint="--shard")
    return int(position) - 1, int(total)
