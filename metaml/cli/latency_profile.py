"""``metaml latency profile``."""

from __future__ import annotations

from pathlib import Path

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import UsageError


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@options.runtime_options
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Rows of a call.")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Calls to average over.")
@options.json_option
def profile(
    model: Path, runtime: str | None, precision: str | None, threads: int | None, batch: int, runs: int, as_json: bool
) -> None:
    """Show which kernels a runtime executes for an ONNX file, as its own profiler tells, and in which precision."""
    from hw_cost.energy import measure_resources
    from hw_cost.onnx_reader import ModelError
    from hw_cost.runtimes import RuntimeMissing, find_runtime

    name = runtime or "onnxruntime"
    try:
        program = find_runtime(name)(threads=threads or 1, precision=precision or "fp32")
        profiled = program.profile(model, batch=batch, runs=runs)
        resources = measure_resources(program, model, batch=batch)
    except ModelError as error:
        raise UsageError(f"{model}: {error}") from error
    except (ValueError, RuntimeMissing) as error:
        raise UsageError(str(error)) from error
    answer = {
        "runtime": name,
        "version": program.version(),
        "threads": program.threads,
        "batch": batch,
        "precision": {"asked": program.precision, "ran": profiled.precision},
        "kernels": [
            {
                "op": step.kernel.op,
                "sizes": dict(step.kernel.sizes),
                "latency_us": step.latency_us,
                "precision": step.precision,
            }
            for step in profiled.kernels
        ],
        **resources.to_json(),
    }
    if as_json:
        print_json(answer)
        return
    click.echo(f"{name} {program.version()}, {program.threads} thread(s), batch {batch}: ran in {profiled.precision}")
    for step in profiled.kernels:
        sizes = " ".join(f"{key}={value}" for key, value in step.kernel.sizes.items())
        took = f"{'-':>8s}" if step.latency_us is None else f"{step.latency_us:8.2f}"
        click.echo(f"  {took} us  {step.precision:5s} {step.kernel.op:28s} {sizes}")
    for text, value in (("energy of a call, mJ", resources.energy_mj), ("peak memory, MiB", resources.peak_mib)):
        click.echo(f"{text}: {'not told by this machine' if value is None else f'{value:.3g}'}")
