"""The edge way: a zip with models and a runner to copy to a device, and the way back from its result to a table."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from hw_cost.bench import Measurement
from hw_cost.build import CERTIFICATE_SEED, CORRECTION_SEED, PROTOCOL, Plan
from hw_cost.calibration import fit_correction
from hw_cost.devices import Device
from hw_cost.networks import Network, random_networks
from hw_cost.probes import Probe, baseline_of, tabular_streams
from hw_cost.profiling import LOST_SHARE, first_probes, kernel_row
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime
from hw_cost.sessions import reference_model
from hw_cost.table import LatencyTable
from hw_cost.table_format import Row, TableError
from hw_cost.validation import compare

RUNNER = ("fingerprint", "bench", "kit_runner")
"""Modules that become the one file of the runner, in this order."""
PATTERN = 4096
"""Numbers after which a constant repeats: its values do not matter, and a zip of random ones would be large."""
RESULT = "metaml kit result"


@dataclass(frozen=True)
class Kit:
    """What is measured on the device."""

    plan: Plan
    threads: int = 1

    @classmethod
    def make(cls, *, quick: bool = True, threads: int = 1) -> Kit:
        """Return the kit of a quick or of a full build."""
        return cls(replace(Plan.make(OnnxRuntime(), quick=quick), streams=tabular_streams(0)), threads)

    @cached_property
    def probes(self) -> list[Probe]:
        """Probes of the kernels of networks on tables."""
        return first_probes(self.plan.streams, quick=self.plan.quick)

    @property
    def networks(self) -> dict[str, list[Network]]:
        """Role -> networks."""
        return {
            "correction": random_networks(self.plan.n_networks, seed=CORRECTION_SEED),
            "certificate": random_networks(self.plan.n_certificate, seed=CERTIFICATE_SEED),
        }

    def write(self, path: str | Path) -> None:
        """Write the zip."""
        items, files = dict[str, dict[str, Any]](), dict[str, str]()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for position, (name, item, content) in enumerate(self._models()):
                if name not in items:
                    items[name], files[name] = item, f"models/{position}.onnx"
                    archive.writestr(files[name], content)
            archive.writestr("reference.onnx", reference_model().SerializeToString())
            described = {
                "identity": self.identity,
                "threads": self.threads,
                "protocol": asdict(PROTOCOL),
                "reference": _item("reference", rows=1, optimise=True),
                "items": items,
                "files": files,
            }
            archive.writestr("kit.json", json.dumps(described, indent=1))
            archive.writestr("run.py", runner_source())

    @property
    def identity(self) -> str:
        """Changes with anything that is measured: results of another kit are not mixed up with this one's."""
        networks = [write_onnx(network.graph) for role in self.networks.values() for network in role]
        named = [*(f"{probed.kernel} {probed.copies}" for probed in self.probes), str(self.threads)]
        digest = hashlib.sha256("\n".join(named).encode())
        for content in networks:
            digest.update(content)
        return digest.hexdigest()[:16]

    def _models(self) -> Iterator[tuple[str, dict[str, Any], bytes]]:
        for probed in self.probes:
            baseline = baseline_of(probed)
            yield _call_name(probed), _item("call", rows=baseline.rows, optimise=False), _probe_model(baseline)
            if probed.copies:
                item = _item("kernel", rows=probed.rows, optimise=False, high=probed.high)
                yield str(probed.kernel), {**item, "baseline": _call_name(probed)}, _probe_model(probed)
        for role, networks in self.networks.items():
            for network in networks:
                content = _repetitive(write_onnx(network.graph))
                yield network.name, _item(role, rows=1, optimise=True, high=8), content

    def table(self, result: Mapping[str, Any]) -> LatencyTable:
        """Return the latency table of what the runner found.

        Raises:
            TableError: the result is of another kit, is damaged, or too much of it is missing.
        """
        _require(result.get("format") == RESULT, "it is not the result of a kit")
        _require(result.get("kit") == self.identity, "it is of another kit, or of a kit of another version")
        try:
            device = replace(Device.from_json(result["device"]), threads=self.threads, batches=(1,))
            measured = {name: Measurement(**told) for name, told in result["figures"].items() if "median_ms" in told}
            reference_us = float(result["reference_us"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"The result is damaged: {error!r}") from error
        rows = {str(row.kernel): row for row in self._rows(measured)}
        lost = 1 - len(rows) / len({str(probed.kernel) for probed in self.probes})
        _require(lost <= LOST_SHARE, f"{lost:.0%} of the kernels are missing; let the runner go on for longer")
        table = LatencyTable(device, tuple(rows.values()), reference_us=reference_us)
        pairs = {
            role: [(network, measured[network.name]) for network in networks if network.name in measured]
            for role, networks in self.networks.items()
        }
        _require(bool(pairs["certificate"]), "no network for the certificate was measured; let the runner go on")
        table = replace(table, correction=fit_correction(table, pairs["correction"]))
        verdict = compare(
            [(table.predict(network.graph), figure.median_ms) for network, figure in pairs["certificate"]]
        )
        kept = ("measured_at", "seconds", "load_at_end", "limits")
        provenance = {
            "kind": "kit",
            "kernels_planned": len(self.probes),
            "batches": [1],
            **{name: result[name] for name in kept},
        }
        return replace(table, certificate=verdict, provenance=provenance)

    def _rows(self, measured: Mapping[str, Measurement]) -> Iterator[Row]:
        for probed in self.probes:
            name, call = str(probed.kernel) if probed.copies else _call_name(probed), measured.get(_call_name(probed))
            if call is not None and name in measured:
                row = kernel_row(probed, measured[name], call)
                if row.latency_us > 0 and row.low_us > 0:
                    yield row


def table_of(result: Mapping[str, Any]) -> LatencyTable:
    """Return the latency table of a runner's result, whichever kit it is of; see `Kit.table`."""
    threads = result.get("device", {}).get("threads", 1) if isinstance(result.get("device"), dict) else 1
    kits = [Kit.make(quick=quick, threads=threads) for quick in (True, False)]
    return next((kit for kit in kits if kit.identity == result.get("kit")), kits[0]).table(result)


def runner_source() -> str:
    """Return the runner as one file that imports nothing of ours."""
    parts = [(Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8") for name in RUNNER]
    source = "\n\n".join(re.sub(r"^from (__future__|hw_cost\.\w+) import .*\n", "", part, flags=re.M) for part in parts)
    return f"from __future__ import annotations\n\n{source}"


def _call_name(probed: Probe) -> str:
    return f"call {probed.baseline}"


def _probe_model(probed: Probe) -> bytes:
    return _repetitive(write_onnx(probed.graph, outputs=[probed.output]))


def _item(role: str, *, rows: int, optimise: bool, high: int = 2) -> dict[str, Any]:
    return {"role": role, "rows": rows, "optimise": optimise, "high": high}


def _repetitive(content: bytes) -> bytes:
    """Let the large floating-point constants of a model repeat a pattern."""
    model = onnx.load_model_from_string(content)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size > PATTERN:
            pattern = np.resize(values.ravel()[:PATTERN], values.shape)
            tensor.CopyFrom(numpy_helper.from_array(pattern, tensor.name))
    written: bytes = model.SerializeToString()
    return written


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise TableError(f"The result cannot be used: {otherwise}.")
