"""Measures the models of a kit on the machine it was copied to: ``python run.py``.

Needs Python 3.9, numpy and onnxruntime. `hw_cost.kit` writes it to one file together with the modules of ours that it
imports. It can be stopped at any time and goes on where it was; what it found is in ``result.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from hw_cost.bench import Bench, Call, Protocol, TooNoisy
from hw_cost.fingerprint import cpu_name, cpu_signature, governor, load

GROUP, PASSES, GROUP_SECONDS, N_BATCHES = 16, 3, 5.0, 32
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8}


def open_call(path: Path, item: dict[str, Any], threads: int) -> Call:
    """Return a call of a model on rows that change."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    for kind in ("intra", "inter"):
        options.add_session_config_entry(f"session.{kind}_op.allow_spinning", "0")
    if not item["optimise"]:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    random, batches = np.random.default_rng(0), []
    strings = np.array([f"category {k}" for k in range(min(64, max(4, item["high"])))], dtype=object)
    for _ in range(max(1, min(N_BATCHES, 4096 // item["rows"]))):
        feeds = {}
        for node in session.get_inputs():
            shape = [length if isinstance(length, int) else item["rows"] for length in node.shape]
            if node.type == "tensor(string)":
                feeds[node.name] = random.choice(strings, size=shape)
            elif node.type in DTYPES:
                feeds[node.name] = random.normal(size=shape).astype(DTYPES[node.type])
            else:
                feeds[node.name] = random.integers(0, item["high"], size=shape, dtype=INTEGERS[node.type])
        batches.append(feeds)
    rows = cycle(batches)
    return lambda: session.run(None, next(rows))


def device(threads: int) -> dict[str, Any]:
    """Return the fingerprint of this machine, as `hw_cost.Device` has it."""
    has_memory = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if has_memory else 0.0
    return {
        "cpu": cpu_name(),
        "cpu_signature": cpu_signature(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory, 1),
        "os": platform.system(),
        "runtime": "onnxruntime",
        "runtime_version": ort.__version__,
        "threads": threads,
        "precision": "fp32",
        "governor": governor(),
        "load": load(),
        "python": platform.python_version(),
    }


def limits() -> dict[str, Any]:
    """Return what this process is held to: processors and address space; None where nothing is told."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        memory = None if soft == resource.RLIM_INFINITY else round(soft / 2**30, 2)
    except ImportError:
        memory = None
    return {"processors": processors, "memory_gib": memory}


def pin(threads: int) -> None:
    """Keep this process on as many processors as it has threads, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads:]))


def save(path: Path, result: dict[str, Any]) -> None:
    """Write the result beside the old one and put it in its place."""
    waiting = path.with_suffix(".tmp")
    waiting.write_text(json.dumps(result, indent=1))
    waiting.replace(path)


class Kit:
    """The folder that the zip became, and the calls that are open for good."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Any] = json.loads((folder / "kit.json").read_text())
        self._calls: dict[str, Call] = {}

    def measure(self, bench: Bench, names: list[str], deadline: float) -> dict[str, Any]:
        """Measure models beside the calls that they are compared with; return figures, or an error for each."""
        items, opened, found = self.told["items"], dict[str, Call](), dict[str, Any]()
        wanted = [name for name in names for name in (name, items[name].get("baseline")) if name]
        for name in dict.fromkeys(wanted):
            try:
                opened[name] = self._calls.get(name) or self.open(name)
            except Exception as error:  # a board may lack an operator or the memory
                found[name] = {"error": f"cannot be opened: {error}"[:200]}
                continue
            if items[name]["role"] == "call":
                self._calls[name] = opened[name]
        bench.run(opened, max(0.5, min(GROUP_SECONDS, deadline - time.monotonic())))
        for name in opened:
            try:
                found[name] = asdict(bench.measurement(name))
            except TooNoisy as error:
                found[name] = {"error": str(error)}
        return found

    def open(self, name: str) -> Call:
        """Return the call of a model."""
        return open_call(self.folder / self.told["files"][name], self.told["items"][name], self.told["threads"])


class Result:
    """What was found so far, on this machine with this kit."""

    def __init__(self, path: Path, kit: Kit) -> None:
        self.path, self.started = path, time.monotonic()
        self.told = {"format": "metaml kit result", "version": 1, "kit": kit.told["identity"]}
        self.told.update(device=device(kit.told["threads"]), limits=limits(), figures={}, seconds=0.0)
        before = json.loads(path.read_text()) if path.exists() else {}
        same = before.get("kit") == self.told["kit"]
        if same and before["device"]["cpu_signature"] == self.told["device"]["cpu_signature"]:
            self.told.update({name: before[name] for name in ("figures", "seconds", "reference_us")})
        self.earlier: float = self.told["seconds"]

    def has(self, name: str) -> bool:
        """Whether a model has its figure."""
        return "median_ms" in self.told["figures"].get(name, {})

    def add(self, figures: dict[str, Any], floor_s: float) -> None:
        """Add figures and write the file."""
        self.told["figures"].update(figures)
        self.told.update(reference_us=1e6 * floor_s, load_at_end=load())
        self.told["seconds"] = round(self.earlier + time.monotonic() - self.started, 1)
        self.told["measured_at"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        save(self.path, self.told)


def main(arguments: list[str] | None = None) -> int:
    """Measure what is not yet measured, for as long as there is time; 3 when something remains."""
    folder = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Measure the models of this kit; stop and go on as you like.")
    parser.add_argument("--time", type=float, default=300.0, help="seconds, 300 by default")
    parser.add_argument("--out", type=Path, default=folder / "result.json")
    options = parser.parse_args(arguments)
    deadline, kit = time.monotonic() + options.time, Kit(folder)
    result = Result(options.out, kit)
    pin(kit.told["threads"])
    floor_us = result.told.get("reference_us")
    reference = open_call(folder / "reference.onnx", kit.told["reference"], 1)
    floor_s = 1e-6 * floor_us if floor_us else None
    bench = Bench(reference, Protocol(**kit.told["protocol"]), floor_s=floor_s)
    names = list(kit.told["items"])
    for _ in range(PASSES):
        waiting = [name for name in names if not result.has(name)]
        for first in range(0, len(waiting), GROUP):
            if time.monotonic() > deadline:
                break
            result.add(kit.measure(bench, waiting[first : first + GROUP], deadline), bench.floor_s)
            done = sum(map(result.has, names))
            print(f"\r{done} of {len(names)} models measured", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return 0 if all(map(result.has, names)) else 3


if __name__ == "__main__":
    sys.exit(main())
