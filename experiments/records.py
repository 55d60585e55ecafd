"""The command line of an experiment that adds records to a file, table by table, and prints what is in it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Record = Mapping[str, Any]


def command(
    about: str | None,
    tables: Sequence[str],
    run: Callable[[str], Iterable[Record]],
    summary: Callable[[Sequence[Record]], list[str]],
) -> None:
    """Run an experiment on the tables that are asked for, or only print what its file holds.

    Args:
        about: what ``--help`` says.
        tables: names of those that are run unless others are asked for.
        run: name of a table -> its records, which are written as they come.
        summary: all records of the file -> lines.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("results", type=Path)
    parser.add_argument("tables", nargs="*", default=tables)
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in () if arguments.summary else arguments.tables:
        for record in run(name):
            with arguments.results.open("a") as file:
                file.write(json.dumps(record) + "\n")
    print("\n".join(summary([json.loads(line) for line in arguments.results.read_text().splitlines()])))
