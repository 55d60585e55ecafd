"""What a configuration will cost on the device: the latency table of hw_cost, asked in the search's terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from hw_cost import Cost, Device, LatencyTable, TableError, measure_latency
from hw_cost.graph import OpGraph
from hw_cost.runtimes import RUNTIMES, RuntimeMissing
from hw_cost.shipped import SHIPPED, table_for
from metaml.data import RawInputs, Task
from metaml.errors import UsageError
from metaml.export import deployed_graph
from metaml.merge import Foretold, ensemble_graph
from metaml.models import FAMILIES
from metaml.preprocessing import PREPROCESSORS, Preprocessor, kind_of
from metaml.trial import Configuration, configuration_id

HERE = {"cpu": "onnxruntime", "gpu": "torch-cuda-graph"}
"""Name of a processor of this machine -> the runtime that models are measured with."""
MEASURE_SECONDS = 1.0
"""Time for measuring one delivered model."""
MEASURED_BATCHES = 1024
"""Different batches that the measurement goes through: a model that sees one row again and again is too fast."""


CIRCUMSTANCES = {"runtime_version"}
"""What may differ where a model is measured all the same: the machine as it is now is what it will run on."""


@dataclass(frozen=True)
class Latency:
    """How long a model takes on the device, ms: measured where that is this machine, else foretold."""

    ms: float
    low_ms: float
    high_ms: float
    is_measured: bool = True
    is_bound: bool = False
    """True when the machine was too busy: the true latency is lower."""

    @property
    def judged_ms(self) -> float:
        """What must keep a limit: a latency as measured, or the upper end of one that is foretold."""
        return self.ms if self.is_measured else self.high_ms


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
        """Whether the table's device is this machine, in another version of its runtime perhaps."""
        try:
            now = self.table.device.now()
        except RuntimeMissing:
            return False
        return set(self.table.device.differences(now)) <= CIRCUMSTANCES


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
    """Return the latency table of this machine's processor or GPU, or the one in a file.

    Args:
        device: a name in `HERE`, or a path.
        seconds: time for adapting a shipped table to this machine at its first use.
        here: this machine with its settings, for a name; those of `HERE`, in fp32 on one thread, when None.
        uncertified: open a file although no validation vouches for it.

    Raises:
        UsageError: there is no such device or file, or the table in it has no certificate.
    """
    if device in HERE:
        here = here or device_here(runtime=HERE[device])
        try:
            return DeviceTable(*table_for(here, cache_dir=latency_cache(), time_limit_s=seconds))
        except ValueError as error:
            raise UsageError(str(error)) from error
    path = Path(device)
    if not path.is_file():
        raise UsageError(
            f'No device "{device}": say cpu or gpu for this machine, or give the JSON file of a latency table '
            "made by metaml latency build."
        )
    try:
        table = LatencyTable.load(path)
    except TableError as error:
        raise UsageError(str(error)) from error
    if table.device.runtime not in RUNTIMES:
        raise UsageError(
            f"The latency table {path} holds published latencies, of kernels that no runtime here executes: nothing of "
            "ours can be foretold by it."
        )
    if table.certificate is None and not uncertified:
        raise UsageError(
            f"The latency table {path} has no certificate: nothing says how far its predictions are off. Please run "
            f"metaml latency validate --certify --table {path}, or say --uncertified to use it all the same."
        )
    return DeviceTable(table, f"latency table {path}")


def latency_cache() -> Path:
    """Return the folder of this machine's own latency tables."""
    return Path(platformdirs.user_data_dir("metaml")) / "latency"


def own_table(device: str = "cpu") -> Path | None:
    """Return the file of a latency table of this machine's processor or GPU, or None while it has none.

    Raises:
        UsageError: there is no such processor.
    """
    here = device_here(runtime=HERE[device])
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

    def graph(self, configurations: Sequence[Configuration]) -> OpGraph:
        """Return the network that configurations would be deployed as, together where there are several."""
        return ensemble_graph([self._deployed(configuration) for configuration in configurations])

    def unsupported(self, configuration: Configuration) -> Sequence[str]:
        """Return what the runtime of the device cannot execute of the network that would be deployed."""
        return self.device.table.runtime.unsupported(self.graph([configuration]))

    def _predict(self, configurations: Sequence[Configuration]) -> Cost:
        graph = self.graph(configurations)
        cost = self.device.table.predict(graph, batch=self.batch)
        return replace(cost, high_ms=math.inf) if self.device.table.runtime.unsupported(graph) else cost

    def _deployed(self, configuration: Configuration) -> Foretold:
        preprocessor = self._preprocessor(kind_of(configuration))
        shape = preprocessor.shape(self._task.n_outputs, is_regression=self._task.type == "regression")
        return Foretold(deployed_graph(configuration, preprocessor, shape), preprocessor.tensors())

    def _preprocessor(self, kind: str) -> Preprocessor:
        if kind not in self._preprocessors:
            self._preprocessors[kind] = PREPROCESSORS[self._task.modality].fit(self._task.inputs, kind)
        return self._preprocessors[kind]


def latency_of(
    path: Path, rows: RawInputs, device: DeviceTable, *, batch: int, seconds: float = MEASURE_SECONDS
) -> Latency:
    """Measure an exported model on this machine, on changing real rows; foretell it where the device is another one.

    Args:
        path: the ONNX file.
        rows: raw inputs of at least one row; repeated as often as needed.
        device: what the model will run on.
        batch: rows of one prediction.
        seconds: time for the measurement; where the machine is too busy, it is an upper bound.
    """
    if not device.is_here:
        cost = device.table.predict(path, batch=batch)
        return Latency(cost.latency_ms, cost.low_ms, cost.high_ms, is_measured=False)
    feeds = {name: array[: batch * MEASURED_BATCHES] for name, array in rows.items() if array.size}
    measured = measure_latency(
        path,
        batch=batch,
        runtime=device.table.runtime,
        time_limit_s=seconds,
        feeds=feeds,
        reference_us=device.table.reference_us or None,
        bound_when_noisy=True,
    )
    return Latency(measured.median_ms, measured.low_ms, measured.high_ms, is_bound=measured.is_bound)
