"""Energy and peak memory of a call, where the machine can tell; None where it cannot, never 0."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from hw_cost.bench import Call
from hw_cost.onnx_reader import OnnxModel, load_model
from hw_cost.runtimes import Runtime
from hw_cost.runtimes.feeds import random_feeds

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of the processor's packages (RAPL)."""
CHILD = """
import resource, sys
from hw_cost.runtimes import find_runtime
from hw_cost.runtimes.feeds import random_feeds
name, threads, precision, path, batch = sys.argv[1:]
runtime, batch = find_runtime(name)(threads=int(threads), precision=precision), int(batch)
runtime.version()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = runtime.open(path, batch=batch)
model.run(random_feeds(model.inputs, batch))
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
"""Runs a model in a process of its own, whose peak is the model's alone."""


@dataclass(frozen=True)
class Resources:
    """What a call takes beside time."""

    energy_mj: float | None
    """Millijoules of a call, of all that the counters cover: the whole processor or GPU, its idle power included."""
    energy_source: str | None
    """``rapl`` or ``nvml``."""
    peak_mib: float | None
    """How far the model, opened and run once, raises the peak of a fresh process with the runtime loaded, MiB."""

    def to_json(self) -> dict[str, float | str | None]:
        """Return plain JSON values."""
        return asdict(self)


def measure_resources(runtime: Runtime, model: OnnxModel, *, batch: int = 1, seconds: float = 0.5) -> Resources:
    """Measure the energy and the peak memory of a call on random rows."""
    opened = runtime.open(model, batch=batch)
    feeds = random_feeds(opened.inputs, batch)
    counter, source = energy_counter()
    energy = None if counter is None else energy_of(lambda: opened.run(feeds), counter, seconds=seconds)
    return Resources(energy, source if energy is not None else None, peak_memory(runtime, model, batch=batch))


def energy_of(call: Call, counter: Callable[[], float], *, seconds: float) -> float | None:
    """Return millijoules of a call: what the counter rises over many of them; None when it stood still.

    Args:
        call: what to run.
        counter: joules since some moment.
        seconds: how long to go on.
    """
    start, calls, before = time.monotonic(), 0, counter()
    while calls == 0 or time.monotonic() - start < seconds:
        call()
        calls += 1
    spent = counter() - before
    return 1e3 * spent / calls if spent > 0 else None


def energy_counter(powercap: Path = POWERCAP) -> tuple[Callable[[], float] | None, str | None]:
    """Return a counter of joules and its name: that of the processor's packages, else of the first GPU, else None."""
    files = [path / "energy_uj" for path in sorted(powercap.glob("intel-rapl:*")) if path.name.count(":") == 1]
    readable = [path for path in files if os.access(path, os.R_OK)]
    if readable:
        return (lambda: sum(int(path.read_text()) for path in readable) / 1e6), "rapl"
    gpu = _gpu_counter()
    return gpu, "nvml" if gpu else None


def _gpu_counter() -> Callable[[], float] | None:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # noqa: BLE001 (no driver, no GPU, an old one: they all mean that the machine does not tell)
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def peak_memory(runtime: Runtime, model: OnnxModel, *, batch: int = 1) -> float | None:
    """Return the MiB by which a model raises the peak of a fresh process; None where the system does not tell."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(load_model(model), path)
        settings = [runtime.name, str(runtime.threads), runtime.precision, str(path), str(batch)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, *settings], capture_output=True, text=True, env=environment, check=False
        )
    if ran.returncode:
        return None
    before, after = map(int, ran.stdout.split()[-2:])
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB here
    return (after - before) / unit if after > before else None
