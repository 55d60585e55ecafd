"""What a configuration will cost on the device: the latency table of hw_cost, asked in the search's terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from hw_cost import Cost, Device, LatencyTable, Measurement, TableError, measure_latency
from hw_cost.runtimes import RuntimeMissing
from hw_cost.shipped import SHIPPED, table_for
from metaml.data import RawInputs, Task
from metaml.errors import UsageError
from metaml.export import deployed_graph
from metaml.merge import Foretold, ensemble_graph
from metaml.models import FAMILIES
from metaml.preprocessing import PREPROCESSORS, Preprocessor, kind_of
from metaml.trial import Configuration, configuration_id

MEASURE_SECONDS = 1.0
"""Time for measuring one delivered model."""
MEASURED_BATCHES = 1024
"""Different batches that the measurement goes through: a model that sees one row again and again is too fast."""


@dataclass(frozen=True)
class DeviceTable:
    """A latency table, and where it came from."""

    table: LatencyTable
    how: str
    """One sentence for the user: measured here, shipped, or adapted from another machine's."""

    @property
    def name(self) -> str:
        """Name of the table's device."""
        return self.table.device.slug

    @property
    def is_here(self) -> bool:
        """Whether the table's device is this machine."""
        return self.table.device.same_machine(self.table.device.now())


def device_here(
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    batches: Sequence[int] = (1, 32),
) -> Device:
    """Return this machine with the settings given, and onnxruntime, fp32 and one thread for those that are not.

    Raises:
        UsageError: the runtime is not installed, or cannot be set so.
    """
    try:
        return Device.here(
            runtime=runtime or "onnxruntime", precision=precision or "fp32", threads=threads or 1, batches=batches
        )
    except (RuntimeMissing, ValueError) as error:
        raise UsageError(str(error)) from error


def open_device(
    device: str, *, seconds: float = 15.0, here: Device | None = None, uncertified: bool = False
) -> DeviceTable:
    """Return the latency table of ``cpu`` (this machine), or the one in a file.

    Args:
        device: ``cpu`` or a path.
        seconds: time for adapting a shipped table to this machine at its first use.
        here: this machine with its settings, for ``cpu``; onnxruntime in fp32 on one thread when None.
        uncertified: open a file although no validation vouches for it.

    Raises:
        UsageError: there is no such device or file, or the table in it has no certificate.
    """
    if device == "cpu":
        try:
            return DeviceTable(*table_for(here or Device.here(), cache_dir=latency_cache(), time_limit_s=seconds))
        except ValueError as error:
            raise UsageError(str(error)) from error
    path = Path(device)
    if not path.is_file():
        raise UsageError(
            f'No device "{device}": say cpu for this machine, or give the JSON file of a latency table '
            "made by metaml latency build."
        )
    try:
        table = LatencyTable.load(path)
    except TableError as error:
        raise UsageError(str(error)) from error
    if table.certificate is None and not uncertified:
        raise UsageError(
            f"The latency table {path} has no certificate: nothing says how far its predictions are off. Please run "
            f"metaml latency validate --certify --table {path}, or say --uncertified to use it all the same."
        )
    return DeviceTable(table, f"latency table {path}")


def latency_cache() -> Path:
    """Return the folder of this machine's own latency tables."""
    return Path(platformdirs.user_data_dir("metaml")) / "latency"


def own_table() -> Path | None:
    """Return the file of a latency table of this machine, or None while it has none."""
    here = Device.here()
    for path in [*latency_cache().glob("*.json"), *SHIPPED.glob("*.json")]:
        try:
            table = LatencyTable.load(path)
        except TableError:
            continue
        if table.correction.networks and table.device.same_machine(here):
            return path
    return None


class LatencyModel:
    """Predicts the latency of configurations on one task and one device, before anything is trained."""

    def __init__(self, device: DeviceTable, task: Task, *, batch: int = 1) -> None:
        self.device, self.batch = device, batch
        self._task = task
        self._preprocessors = dict[str, Preprocessor]()
        self._known: dict[str, Cost] = {}

    def predict(self, configuration: Configuration) -> Cost:
        """Return the latency of the network that the configuration would be deployed as.

        Its upper bound is infinite where the device's runtime cannot run the network at all. It is asked for once for
        each architecture: for a network on images that takes tens of milliseconds.
        """
        key = configuration_id(FAMILIES[configuration["family"]].architecture(configuration))
        if key not in self._known:
            self._known[key] = self._predict([configuration])
        return self._known[key]

    def predict_ensemble(self, configurations: Sequence[Configuration]) -> Cost:
        """Return the latency of the one network that several configurations would be deployed as together."""
        if len(configurations) == 1:
            return self.predict(configurations[0])
        return self._predict(configurations)

    def _predict(self, configurations: Sequence[Configuration]) -> Cost:
        graph = ensemble_graph([self._deployed(configuration) for configuration in configurations])
        cost = self.device.table.predict(graph, batch=self.batch)
        return replace(cost, high_ms=math.inf) if self.device.table.runtime.unsupported(graph) else cost

    def unsupported(self, configuration: Configuration) -> Sequence[str]:
        """Return what the runtime of the device cannot execute of the network that would be deployed."""
        return self.device.table.runtime.unsupported(ensemble_graph([self._deployed(configuration)]))

    def _deployed(self, configuration: Configuration) -> Foretold:
        preprocessor = self._preprocessor(kind_of(configuration))
        shape = preprocessor.shape(self._task.n_outputs, is_regression=self._task.type == "regression")
        return Foretold(deployed_graph(configuration, preprocessor, shape), preprocessor.tensors())

    def _preprocessor(self, kind: str) -> Preprocessor:
        if kind not in self._preprocessors:
            self._preprocessors[kind] = PREPROCESSORS[self._task.modality].fit(self._task.inputs, kind)
        return self._preprocessors[kind]


def measure_model(
    path: Path, rows: RawInputs, device: DeviceTable, *, batch: int, seconds: float = MEASURE_SECONDS
) -> Measurement:
    """Measure an exported model on this machine, on changing real rows; an upper bound where it is too busy.

    Args:
        path: the ONNX file.
        rows: raw inputs of at least one row; repeated as often as needed.
        device: its threads are used, and its reference if it is of this machine.
        batch: rows of one prediction.
        seconds: time for the measurement.
    """
    feeds = {name: array[: batch * MEASURED_BATCHES] for name, array in rows.items() if array.size}
    return measure_latency(
        path,
        batch=batch,
        runtime=device.table.runtime,
        time_limit_s=seconds,
        feeds=feeds,
        reference_us=device.table.reference_us if device.is_here and device.table.reference_us else None,
        bound_when_noisy=True,
    )
