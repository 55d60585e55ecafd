"""The progress of a search: a live view on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from collections import Counter, deque

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metaml.events import Listener, Progress
from metaml.trial import Trial

SHOWN_TRIALS = 8
"""Rows of the live view."""


def make_listener(*, quiet: bool = False) -> Listener:
    """Return the listener that fits the terminal."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        return Listener()
    return LiveView(console) if console.is_terminal else PlainLines(console)


class PlainLines(Listener):
    """One line for each event, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def message(self, text: str) -> None:
        """Print a sentence."""
        self._print(text)

    def started(self, title: str, time_limit: float) -> None:
        """Print the title."""
        self._print(f"{title}; {time_limit:.0f} s")

    def progress(self, progress: Progress) -> None:
        """Print a trial."""
        trial, best = progress.trial, progress.best
        best_text = f"best {best.error:.4f}" if best is not None else "no model yet"
        self._print(
            f"trial {trial.number:3d}  {trial.source:9s}  {trial.configuration['family']:23s} {_outcome(trial):>9s}"
            f"  {_milliseconds(trial)}  {trial.seconds:5.1f} s  {best_text}  {progress.seconds_left:.0f} s left"
        )

    def finishing(self, text: str) -> None:
        """Print what is done at the end."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(Text(_printable(text)), soft_wrap=True)


class LiveView(Listener):
    """Redraws best error, latest trials, sources and the time that is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title, self._end, self._limit, self._state = "", 0.0, 1.0, ""
        self._latest: deque[Trial] = deque(maxlen=SHOWN_TRIALS)
        self._sources: Counter[str] = Counter()
        self._progress: Progress | None = None
        self._live: Live | None = None

    def message(self, text: str) -> None:
        """Print a sentence above the view."""
        self._console.print(Text(_printable(text), style="dim"))

    def started(self, title: str, time_limit: float) -> None:
        """Open the view."""
        self._title, self._limit = _printable(title), time_limit
        self._end = time.monotonic() + time_limit
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def progress(self, progress: Progress) -> None:
        """Take in a trial."""
        self._progress = progress
        self._latest.append(progress.trial)
        self._sources[progress.trial.source] += 1
        self._end = time.monotonic() + progress.seconds_left

    def finishing(self, text: str) -> None:
        """Show what is done at the end."""
        self._state = text

    def finished(self) -> None:
        """Close the view."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> Group:
        left = max(0.0, self._end - time.monotonic())
        bar = ProgressBar(total=self._limit, completed=self._limit - left, width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(Text(self._title, style="bold"), bar, f"{left:.0f} s left")
        return Group(head, self._best_line(), self._trials(), Text(self._state, style="cyan"))

    def _best_line(self) -> Text:
        if self._progress is None:
            return Text("the first trial is running …", style="dim")
        best, progress = self._progress.best, self._progress
        sources = ", ".join(f"{source} {n}" for source, n in self._sources.most_common())
        counts = f"{progress.n_trials} trials ({sources})"
        if progress.n_rejected:
            counts += f", {progress.n_rejected} rejected as too slow"
        if best is None:
            return Text(f"no model yet · {counts}")
        text = Text.assemble(("best error ", ""), (f"{best.error:.4f}", "bold green"))
        text.append(f"  {best.configuration['family']}, {best.source}, {_milliseconds(best)} · {counts}")
        return text

    def _trials(self) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in ("trial", "source", "family", "error", "latency", "seconds"):
            table.add_column(name, justify="left" if name in ("source", "family") else "right")
        best = self._progress.best if self._progress else None
        for trial in self._latest:
            style = "green" if trial is best else ("red" if trial.status not in ("ok", "pruned") else "")
            row = (str(trial.number), trial.source, str(trial.configuration["family"]), _outcome(trial))
            table.add_row(*row, _milliseconds(trial), f"{trial.seconds:.1f}", style=style)
        return table


def _outcome(trial: Trial) -> str:
    return f"{trial.error:.4f}" if trial.status == "ok" and trial.error is not None else trial.status


def _milliseconds(trial: Trial) -> str:
    return f"{trial.latency_ms:.4f} ms" if trial.latency_ms is not None else "? ms"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
