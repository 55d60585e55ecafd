"""What a build has measured so far: kept in a file after every step, so that any stop costs seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hw_cost.bench import Measurement
from hw_cost.devices import Device
from hw_cost.table import LatencyTable
from hw_cost.table_format import UNFINISHED, Row

Report = Callable[[str, int, int], None]
"""Told what is going on, how much of it is done, and how much there is."""


@dataclass
class Progress:
    """Rows of kernels and figures of networks, and the file that keeps them."""

    device: Device
    file: Path | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    """Name of a kernel -> its row."""
    figures: dict[str, Measurement] = field(default_factory=dict)
    """Name of a network -> its latency."""
    reference_us: float | None = None
    """Floor of the reference; None before anything was measured."""
    seconds: float = 0.0
    """Time spent in earlier sittings."""
    report: Report = lambda *_: None

    @classmethod
    def resume(cls, device: Device, file: str | Path | None, report: Report | None = None) -> Progress:
        """Return what an earlier build of this device left in the file, or nothing.

        Raises:
            ValueError: the file is of another device.
        """
        progress = cls(device, None if file is None else Path(file), report=report or (lambda *_: None))
        if progress.file is None or not progress.file.exists():
            return progress
        kept = LatencyTable.load(progress.file)
        if differences := kept.device.differences(device):
            raise ValueError(
                f"{file} was measured on another device (it differs in {', '.join(differences)}). "
                "Please choose another file."
            )
        progress.rows = {str(row.kernel): row for row in kept.rows}
        figures: Mapping[str, Mapping[str, float]] = kept.provenance.get("networks", {})
        progress.figures = {name: Measurement(**figure) for name, figure in figures.items()}  # type: ignore[arg-type]
        progress.reference_us, progress.seconds = kept.reference_us, float(kept.provenance.get("seconds", 0.0))
        return progress

    def table(self) -> LatencyTable:
        """Return the rows as a table, without a correction."""
        return LatencyTable(self.device, tuple(self.rows.values()), reference_us=self.reference_us or 0.0)

    def save(self, seconds: float = 0.0) -> None:
        """Write everything to the file, if there is one; it is replaced at once, so that a stop cannot damage it.

        Args:
            seconds: time spent in this sitting.
        """
        if self.file is None or not (self.rows or self.figures):
            return
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        kept = {"kind": UNFINISHED, "networks": figures, "seconds": self.seconds + seconds}
        beside = self.file.with_suffix(".new")
        LatencyTable(
            self.device, tuple(self.rows.values()), reference_us=self.reference_us or 0.0, provenance=kept
        ).save(beside)
        beside.replace(self.file)
