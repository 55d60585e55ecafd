"""The command line: one file for each command, which parses, calls and prints. Nothing heavy is imported for --help."""

from __future__ import annotations

import sys

import click

from metaml.cli.lazy import LazyGroup
from metaml.errors import MetamlError

COMMANDS = {
    "search": ("metaml.cli.search:search", "Find the best model for a task within a latency and a time limit."),
    "resume": ("metaml.cli.search:resume", "Go on with a search after any kind of stop."),
    "suggest": ("metaml.cli.suggest:suggest", "Say what to try first on a task, without any evaluation, and why."),
    "predict": ("metaml.cli.predict:predict", "Predict the rows of a table with a delivered model."),
    "report": ("metaml.cli.report:report", "Show the answer of a finished search."),
    "store": ("metaml.cli.store:store", "Look after the metadata store of past results."),
    "portfolio": ("metaml.cli.portfolio:portfolio", "Build histories of results, replay warm-starters on them."),
    "latency": ("metaml.cli.latency:latency", "Build and use the latency table of a device."),
    "metafeatures": ("metaml.cli.metafeatures:metafeatures", "Describe a task by numbers."),
    "doctor": ("metaml.cli.doctor:doctor", "Check that everything needed is here and works."),
}
"""Name -> (where the command is, its one-line help)."""


HELP = """Hardware-aware network search that remembers what worked before.

The best network for this dataset that runs within X milliseconds on that device.

\b
  metaml search --task data.csv --target price --max-latency-ms 0.2 --time 10m
"""


@click.group(
    cls=LazyGroup, commands_by_name=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}, help=HELP
)
@click.version_option(package_name="metaml")
def cli() -> None:
    """Hardware-aware network search that remembers what worked before."""


def main() -> None:
    """Run the command line and exit: 0 ok, 1 failed, 2 usage or data, 3 store, 130 Ctrl-C."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        code = 130
    except MetamlError as error:
        click.echo(f"Error: {_printable(str(error))}", err=True)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _printable(text: str) -> str:
    """Drop control characters: names of columns and files end up in messages."""
    return "".join(character for character in text if character.isprintable() or character == "\n")
