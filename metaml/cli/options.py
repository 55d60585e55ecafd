"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Duration(click.ParamType[float]):
    """``40s``, ``10m``, ``1h`` or a number of seconds; becomes float seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds.

        >>> [Duration().convert(text, None, None) for text in ("40s", "1.5m", "1h", "7")]
        [40.0, 90.0, 3600.0, 7.0]
        """
        if isinstance(value, (int, float)):
            return float(value)
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", value)
        if match is None or float(match[1]) <= 0:
            self.fail(f'"{value}" is not a time; write 40s, 10m or 1h', param, ctx)
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "": 1}[match[2]]


class OutFile(click.ParamType[Path]):
    """A file that will be written; its folder is made."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(value)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.fail(f"the folder {path.parent} cannot be made ({error.strerror})", param, ctx)
        if path.is_dir():
            self.fail(f"{path} is a folder, not a file", param, ctx)
        return path


def together(*decorators: Decorator) -> Decorator:
    """Return one decorator that applies all, the first one outermost."""
    return lambda function: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, all else on stderr."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Fixes all random choices.")

task_options = together(
    click.option(
        "--task",
        "-t",
        required=True,
        help="A .csv/.tsv/.parquet/.arff file (also .gz), sklearn:NAME, openml:TASK or openml:dDATASET; of images, a "
        "folder with a subfolder for each class, or an .npz file.",
    ),
    click.option("--target", help="Name of the column to predict (of an .npz file: of the array of labels)."),
    click.option(
        "--type",
        "task_type",
        type=click.Choice(["classification", "binary", "multiclass", "regression"]),
        help="What kind of task it is, where the target leaves a doubt.",
    ),
)

latency_options = together(
    click.option(
        "--device",
        default="cpu",
        show_default=True,
        help="cpu or gpu: this machine; or the JSON file of a latency table.",
    ),
    click.option("--uncertified", is_flag=True, help="Use the table of --device although nothing vouches for it."),
    click.option("--max-latency-ms", type=click.FloatRange(min=0, min_open=True), help="Limit of one prediction."),
    click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Rows of one prediction."),
)

runtime_options = together(
    click.option(
        "--runtime",
        type=click.Choice(
            ["onnxruntime", "openvino", "torch", "torch-compile", "torch-cuda", "torch-cuda-graph", "tensorrt"]
        ),
        help="What executes the network; default: onnxruntime, or the table's.",
    ),
    click.option("--precision", type=click.Choice(["fp32", "int8", "bf16"]), help="Default: fp32, or the table's."),
    click.option("--threads", type=click.IntRange(min=1), help="Threads of a call; default: 1, or the table's."),
)

store_options = together(
    click.option(
        "--store", "store_url", help="Metadata store, a path or URL; by default one in your user data folder."
    ),
    click.option("--no-store", is_flag=True, help="Neither read nor write a metadata store."),
)

warm_start_option = click.option(
    "--warm-start",
    type=click.Choice(["auto", "knn", "pmf", "portfolio", "cold"]),
    default="auto",
    show_default=True,
    help="How past results choose the first configurations.",
)


def store_argument(store_url: str | None, no_store: bool) -> str | bool | None:
    """Return the two store options as the argument of `metaml.search`."""
    if store_url and no_store:
        raise click.UsageError("--store and --no-store contradict each other.")
    return False if no_store else store_url
