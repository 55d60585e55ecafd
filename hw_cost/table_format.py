"""The file format of a latency table: JSON, with a version and units, every row checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hw_cost.correction import PARTS, Correction
from hw_cost.devices import Device
from hw_cost.kernels import Kernel
from hw_cost.kinds import kind_of
from hw_cost.sizes import ADDED_SIZES, SIZE_NAMES
from hw_cost.table_checks import of_another_unit

FORMAT, SCHEMA_VERSION = "metaml latency table", 3
UNFINISHED = "unfinished"
"""Kind, in the provenance, of what a build has measured so far; there may be no kernels yet."""
LARGEST = 1e18
"""No number of a table is as large as this."""
UNITS = {"latency": "us", "working_set": "bytes", "bytes": "bytes"}


class TableError(ValueError):
    """A file that is not a latency table, or one with a row that cannot be true."""


@dataclass(frozen=True)
class Row:
    """One measured kernel."""

    kernel: Kernel
    latency_us: float
    low_us: float
    """Lower end of the 95 % interval."""
    high_us: float
    blocks: int
    """Quiet blocks behind it."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        figures = {"latency": self.latency_us, "low": self.low_us, "high": self.high_us}
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        return {"op": self.kernel.op, "sizes": dict(self.kernel.sizes), **rounded, "blocks": self.blocks}


def write_document(path: str | Path, table: Mapping[str, Any]) -> None:
    """Write the fields of a table one a line, and the kernels, so that differences between tables can be read."""
    rows = [json.dumps(row.to_json()) for row in table["rows"]]
    head = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "units": UNITS,
        "device": table["device"].to_json(),
        "reference_us": table["reference_us"],
        "correction": table["correction"].to_json(),
        "certificate": None if table["certificate"] is None else dict(table["certificate"]),
        "provenance": dict(table["provenance"]),
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    text = "{\n" + ",\n".join(lines) + ',\n "kernels": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"
    Path(path).write_text(text, encoding="utf-8")


def read_document(path: str | Path) -> dict[str, Any]:
    """Read and check the fields of a table.

    Raises:
        TableError: the file is truncated, of another format or a newer version, or a row is wrong; the row is named.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # also of damaged text and of numbers that are too long
        raise TableError(f"{path} is not a complete JSON file: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TableError(f"{path} is not a latency table: its 'format' must be {FORMAT!r}")
    version = document.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise TableError(
            f"{path} has schema version {version!r}, this program reads 1 to {SCHEMA_VERSION}. "
            "Please update metaml, or build the table again."
        )
    if document.get("units") != UNITS:
        raise TableError(f"{path} must have units {UNITS}, got {document.get('units')}")
    told = document.get("provenance")
    is_unfinished = isinstance(told, dict) and told.get("kind") == UNFINISHED
    try:
        fields_read = {
            "device": _read_device(path, document["device"]),
            "rows": _read_rows(path, document["kernels"], may_be_empty=is_unfinished),
            "correction": _read_correction(path, document["correction"]),
            "reference_us": document["reference_us"],
            "certificate": document["certificate"],
            "provenance": document["provenance"],
        }
    except KeyError as error:
        raise TableError(f"{path} lacks the field {error}") from error
    if not _is_number(document["reference_us"]) or document["reference_us"] < 0:
        raise TableError(f"{path}: reference_us must be at least 0, got {document['reference_us']!r}")
    certificate, provenance = document["certificate"], document["provenance"]
    if certificate is not None and not (isinstance(certificate, dict) and all(map(_is_number, certificate.values()))):
        raise TableError(f"{path}: the certificate must be null or names with numbers, got {certificate!r}")
    if not isinstance(provenance, dict):
        raise TableError(f"{path}: the provenance must be names with values, got {provenance!r}")
    return fields_read


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < LARGEST  # neither nan nor infinite


def _read_device(path: str | Path, value: Any) -> Device:
    if not isinstance(value, dict):
        raise TableError(f"{path}: the device must be names with values, got {value!r}")
    try:
        device = Device.from_json(value)
    except ValueError as error:
        raise TableError(f"{path}: {error}") from error
    told = [device.cpu, device.cpu_signature, device.architecture, device.os, device.runtime, device.runtime_version]
    if not all(isinstance(text, str) for text in (*told, device.precision)):
        raise TableError(
            f"{path}: cpu, architecture, os, runtime, its version and precision of the device must be texts"
        )
    if not isinstance(device.threads, int) or isinstance(device.threads, bool) or device.threads < 1:
        raise TableError(f"{path}: threads of the device must be a whole number, at least 1, got {device.threads!r}")
    return device


def _read_rows(path: str | Path, values: Any, *, may_be_empty: bool) -> tuple[Row, ...]:
    if not isinstance(values, list) or not (values or may_be_empty):
        raise TableError(f"{path}: 'kernels' must be a list with at least one row")
    rows, seen = [], dict[str, int]()
    for position, value in enumerate(values, start=1):
        row = _read_row(f"{path}, kernel {position}", value)
        key = str(row.kernel)
        if key in seen:
            raise TableError(f"{path}, kernel {position}: {key} is there already as kernel {seen[key]}")
        seen[key] = position
        rows.append(row)
    if (stranger := of_another_unit(rows)) is not None:
        row = rows[stranger]
        raise TableError(
            f"{path}, kernel {stranger + 1}, {row.kernel}: {row.latency_us:g} us is out of proportion to kernels of "
            f"similar sizes; is it in another unit? Latencies are in {UNITS['latency']}."
        )
    return tuple(rows)


def _read_row(where: str, value: Any) -> Row:
    try:
        sizes = {str(name): size for name, size in value["sizes"].items()}
        kernel = Kernel(str(value["op"]), {**sizes, **_added(str(value["op"]), sizes)})
        figures = {name: value[name] for name in ("latency", "low", "high")}
        blocks = int(value["blocks"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TableError(f"{where}: must have op, sizes, latency, low, high and blocks; problem: {error!r}") from error
    where = f"{where}, {' '.join(str(kernel).split())}"
    expected = SIZE_NAMES[kernel.kind]
    if tuple(kernel.sizes) != expected:
        raise TableError(f"{where}: sizes must be {list(expected)}")
    if any(not isinstance(size, int) or not _is_number(size) or size < 0 for size in kernel.sizes.values()):
        raise TableError(f"{where}: sizes must be whole numbers, at least 0")
    for name, figure in figures.items():
        if not _is_number(figure) or figure <= 0:
            raise TableError(f"{where}: {name} must be a positive number of microseconds, got {figure!r}")
    if not figures["low"] <= figures["latency"] <= figures["high"]:
        raise TableError(f"{where}: latency must lie between low and high, got {figures}")
    return Row(kernel, float(figures["latency"]), float(figures["low"]), float(figures["high"]), blocks)


def _added(op: str, sizes: Mapping[str, Any]) -> dict[str, int]:
    """Return sizes that a row of an older table does not have."""
    added = ADDED_SIZES.get(kind_of(op), {})
    return {name: size for name, size in added.items() if name not in sizes and tuple(sizes) != SIZE_NAMES["other"]}


def _read_correction(path: str | Path, value: Mapping[str, Any]) -> Correction:
    try:
        correction = Correction.from_json(value)
        numbers = (correction.base_us, correction.spread, *(correction.scale(part) for part in PARTS))
        _check_experience(path, correction)
    except (TypeError, KeyError, ValueError, AttributeError, StopIteration, RuntimeError) as error:
        raise TableError(f"{path}: the correction must have {[f.name for f in fields(Correction)]}") from error
    if not all(map(_is_number, (*numbers, correction.networks))) or min(numbers[1:]) <= 0:
        raise TableError(f"{path}: the correction must be finite with positive scales and spread, got {correction}")
    return correction


def _check_experience(path: str | Path, correction: Correction) -> None:
    if (experience := correction.experience) is None:
        return
    residual = experience.residual
    arrays = residual.points, residual.centers, residual.lengths, residual.weights, residual.left_out
    n, width = residual.points.shape if residual.points.ndim == 2 else (0, 0)
    fits = [array.shape for array in arrays] == [(n, width), (width,), (width,), (n,), (n,)] and n > 0
    if not fits or not all(np.isfinite(array).all() for array in arrays) or not (residual.lengths > 0).all():
        raise TableError(f"{path}: the experience of the correction must be finite numbers of matching lengths")
    for op, process in {} if experience.kernels is None else experience.kernels.processes.items():
        shapes = [array.shape for array in (process.centers, process.lengths, process.weights)]
        n, width = process.points.shape if process.points.ndim == 2 else (0, 0)
        numbers = np.concatenate([np.ravel(values) for values in vars(process).values()])
        if shapes != [(width,), (width,), (n,)] or not np.isfinite(numbers).all() or not (process.lengths > 0).all():
            raise TableError(f"{path}: the errors of {op} must be finite numbers of matching lengths")
    if not _is_number(experience.quantile) or experience.quantile <= 0:
        raise TableError(f"{path}: the quantile of the experience must be positive, got {experience.quantile}")
