"""``metaml search`` and ``metaml resume``."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metaml.cli import options
from metaml.cli.output import print_json, process_start, settings

if TYPE_CHECKING:
    from metaml.answer import SearchResult
    from metaml.events import Listener


@click.command()
@options.task_options
@options.latency_options
@click.option("--time", "time_limit", type=options.Duration(), default="10m", show_default=True, help="For everything.")
@click.option("--trials", type=click.IntRange(min=1), help="At most this many trials.")
@options.warm_start_option
@options.store_options
@click.option("--store-required", is_flag=True, help="Do not search without the store; else it goes on with a warning.")
@click.option("--workers", type=click.IntRange(min=1), help="Trials side by side; default: one on each core.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: a new one under runs/.")
@options.seed_option
@click.option("--metric", help="What is optimised: roc_auc, log_loss, error_rate, balanced_error, rmse, mae, r2.")
@click.option(
    "--ensemble",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="At most this many trials in one model, where that is better and keeps the limit; 1: a single one.",
)
@click.option(
    "--compress",
    type=click.Choice(["none", "int8", "prune", "svd", "distill", "auto"]),
    default="none",
    show_default=True,
    help="Make the answer smaller where its validation error allows it; all but int8 deliver a single model.",
)
@click.option(
    "--zero-cost",
    type=click.Choice(["synflow", "jacob_cov", "ntk", "regions", "parameters"]),
    help="Let a score of untrained networks choose every second configuration; default: no.",
)
@options.json_option
@click.pass_context
def search(ctx: click.Context, /, **arguments: Any) -> None:
    """Find the best model for a task within a latency and a time limit.

    The answer is a run folder with model.onnx (preprocessing inside), model.json, report.html and trials.csv.
    """
    from metaml.runners import WorkerPool

    as_json = arguments.pop("as_json")
    store = options.store_argument(arguments.pop("store_url"), arguments.pop("no_store"))
    started = process_start()
    with WorkerPool(arguments.pop("workers")) as pool:  # they import while this process does
        from metaml.data import load_task

        task = load_task(arguments.pop("task"), arguments["target"], type=arguments["task_type"])  # tells of mistakes

        from metaml.automl import search as run_search  # torch and SMAC take seconds
        from metaml.cli.live import make_listener

        listener = make_listener()
        _end_gently(listener)
        result = run_search(task, store=store, listener=listener, started=started, workers=pool, **arguments)
    _print(result, as_json=as_json)
    ctx.exit(130 if result.was_interrupted else 0)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--time", "time_limit", type=options.Duration(), help="For this sitting; default: what was left.")
@options.json_option
@click.pass_context
def resume(ctx: click.Context, /, run: Path, time_limit: float | None, as_json: bool) -> None:
    """Go on with a search after any kind of stop.

    RUN is the folder of the search. No finished trial is lost or run again. A finished run prints its answer; with
    --time it goes on searching.
    """
    from metaml.automl import resume as run_resume
    from metaml.cli.live import make_listener

    listener = make_listener()
    _end_gently(listener)
    result = run_resume(run, time_limit=time_limit, listener=listener, started=process_start())
    _print(result, as_json=as_json)
    ctx.exit(130 if result.was_interrupted else 0)


def _print(result: SearchResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result.summary)
    else:
        print_answer(result.summary)


def print_answer(summary: dict[str, Any]) -> None:
    """Print the answer of a search for people."""
    best, task = summary["best"], summary["task"]
    latency, metric = best["latency_ms"], task["metric"]
    limit = latency["limit"]
    verdict = "" if limit is None else (" ✓ within" if latency["judged"] <= limit else " ✗ ABOVE")
    limit_text = f"{verdict} the limit of {limit:g} ms" if limit is not None else ""
    ran = Counter(trial["source"] for trial in summary["trials"] if trial["status"] != "infeasible")
    rejected = sum(trial["status"] == "infeasible" for trial in summary["trials"])
    sources = ", ".join(f"{source} {count}" for source, count in ran.most_common())
    run = Path(summary["run"])
    lines = [
        (
            "answer",
            f"{metric} {best['metrics'][metric]:.4f} on validation rows ({task['validation']}), "
            f"error {best['error']:.4f} (1 = a constant prediction)",
        ),
        *_model_lines(best),
        ("latency", f"{_latency(latency)}{limit_text}"),
        *_compression_lines(best),
        ("proposed by", best["source"]),
        ("trials", f"{sum(ran.values())} ({sources})" + (f", {rejected} rejected before training" if rejected else "")),
        ("time", _time(summary)),
        ("files", f"{run / 'model.onnx'}  ({best['model_bytes'] / 1024:.0f} KiB, everything inside)"),
        ("", f"{run / 'report.html'}"),
        ("next", f"metaml predict {run} DATA.csv -o predictions.csv"),
    ]
    for name, text in lines:
        click.echo(f"{click.style(f'{name:>12s}', bold=True)}  {text}")
    for note in summary["notes"]:
        click.echo(f"{'note':>12s}  {note}")


def _model_lines(best: dict[str, Any]) -> list[tuple[str, str]]:
    """The configuration, or those of an ensemble with their weights."""
    if not best.get("ensemble"):
        return [("model", settings(best["configuration"]))]
    members = [f"{member['weight']:.2f} × {settings(member['configuration'])}" for member in best["ensemble"]]
    return [("model", f"{len(members)} trials, their weighted mean"), *(("", line) for line in members)]


def _time(summary: dict[str, Any]) -> str:
    earlier = summary.get("earlier_seconds") or 0.0
    told = f"{summary['seconds']:.1f} s, of which {summary['overhead_seconds']:.1f} s outside of trials"
    return f"{told}; {earlier:.1f} s in earlier sittings" if earlier else told


def _latency(latency: dict[str, Any]) -> str:
    if latency["measured"] is None:
        low, high = latency["interval"]
        return f"between {low:.4f} and {high:.4f} ms foretold for {latency['device']}"
    measured = f"{'at most ' if latency['is_bound'] else ''}{latency['measured']:.4f} ms measured"
    return measured if latency["predicted"] is None else f"{measured}, {latency['predicted']:.4f} ms predicted"


def _compression_lines(best: dict[str, Any]) -> list[tuple[str, str]]:
    """What came of each attempt to make the model smaller."""
    lines = []
    for attempt in best.get("compression") or []:
        told = [attempt["why"]] if attempt["why"] else []
        if attempt["latency_ms"] is not None:
            ratios = [attempt[name] / attempt[f"{name}_before"] for name in ("bytes", "latency_ms")]
            told.append(f"{ratios[0]:.2f} × the bytes, {ratios[1]:.2f} × the latency")
        lines.append(("made smaller" if attempt["accepted"] else "as it was", f"{attempt['name']}: {'; '.join(told)}"))
    return lines


def _end_gently(listener: Listener) -> None:
    """Deliver the best so far on Ctrl-C and on SIGTERM.

    The listener is told as well: libraries that pass over every exception while they are imported lose the first.
    """

    def interrupt(*_: object) -> None:
        listener.stop_asked = True
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
