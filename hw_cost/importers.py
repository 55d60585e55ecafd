"""Published latency tables, in their own formats, as rows of a `LatencyTable`, with a report of what was dropped.

A published kernel is often a whole block; its operator is named after the block and its variants
(``MBConv:k5:s2:se``), its sizes are FLOPs and bytes as far as the file tells shapes, else 0.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw_cost.devices import Device
from hw_cost.kernels import Kernel
from hw_cost.table import LatencyTable
from hw_cost.table_format import Row, TableError

ITEM = 4
"""Bytes of a number."""
NOT_TOLD = "not told"


@dataclass(frozen=True)
class Entry:
    """One line of a published table."""

    key: str
    kernel: Kernel
    latency_ms: float
    deviation_ms: float = 0.0
    """Standard deviation over repeats; 0 where the file does not tell."""
    count: int = 0
    """Repeats; 0 where the file does not tell."""


@dataclass(frozen=True)
class Imported:
    """What a published table became."""

    table: LatencyTable
    read: int
    """Entries in the files."""
    merged: int
    """Entries of one kernel beyond the first: their mean is kept."""
    dropped: dict[str, list[str]]
    """Reason -> keys of the entries."""


def import_tables(paths: Sequence[Path], device: str, *, others: Sequence[Path] = ()) -> Imported:
    """Read published tables of one device.

    Args:
        paths: files of one device, such as one for each resolution.
        device: name of the device.
        others: published tables of other devices: an entry with exactly their figures was copied, not measured.

    Raises:
        TableError: a file is of no known format, is damaged, or nothing in it can be used.
    """
    entries = [entry for path in paths for entry in read_entries(path)]
    foreign = {_figures(entry) for path in others for entry in read_entries(path)}
    copies = [entry for entry in entries if _figures(entry) in foreign]
    kept, dropped = list[Entry](), defaultdict[str, list[str]](list)
    for entry in entries:
        reason = _reason_to_drop(entry, copies)
        if reason:
            dropped[reason].append(entry.key)
        else:
            kept.append(entry)
    if not kept:
        reasons = "; ".join(f"{len(keys)} {reason}" for reason, keys in dropped.items())
        raise TableError(f"{paths[0]} has no entry that can be used: {reasons or 'it is empty'}")
    rows = _merge(kept)
    machine = Device(
        cpu=device,
        cpu_signature=NOT_TOLD,
        architecture=NOT_TOLD,
        cores=0,
        memory_gib=0.0,
        os=NOT_TOLD,
        runtime="published",
        runtime_version=NOT_TOLD,
        threads=1,
        precision=_precision(paths[0]),
    )
    provenance = {"kind": "imported", "files": [path.name for path in paths]}
    table = LatencyTable(machine, rows, provenance=provenance)
    return Imported(table, len(entries), len(kept) - len(rows), dict(dropped))


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a published table.

    Raises:
        TableError: the format is not known, or an entry cannot be read; it is named.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    for recognised, read in FORMATS.values():
        if recognised(text):
            try:
                return list(read(text))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise TableError(f"{path} is damaged: {error!r}") from error
    raise TableError(f"{path} is none of the published formats: {', '.join(FORMATS)}")


def _reason_to_drop(entry: Entry, copies: Sequence[Entry]) -> str | None:
    if entry.latency_ms == -1:
        return "failed on the device (-1)"
    if not math.isfinite(entry.latency_ms) or entry.latency_ms <= 0:
        return "not a positive latency"
    alike = [copy for copy in copies if copy.kernel.op == entry.kernel.op]
    if any(_figures(copy) == _figures(entry) for copy in alike):
        return "copied from another device's table"
    if any(abs(copy.count - entry.count) <= 0.05 * copy.count for copy in alike if copy.count):
        return "operator and repeats like those copied from another device's table"
    return None


def _figures(entry: Entry) -> tuple[str, float, float]:
    return entry.key, entry.latency_ms, entry.deviation_ms


def _merge(entries: Iterable[Entry]) -> tuple[Row, ...]:
    """Average the entries of a kernel; the interval is that of the mean of its repeats."""
    groups = defaultdict[str, list[Entry]](list)
    for entry in entries:
        groups[str(entry.kernel)].append(entry)
    rows = []
    for same in groups.values():
        mean_us = 1e3 * sum(entry.latency_ms for entry in same) / len(same)
        errors = [entry.deviation_ms / math.sqrt(entry.count) for entry in same if entry.count]
        half_us = min(0.999 * mean_us, 1e3 * 1.96 * sum(errors) / max(1, len(errors)))
        count = sum(entry.count for entry in same)
        rows.append(Row(same[0].kernel, mean_us, mean_us - half_us, mean_us + half_us, count))
    return tuple(rows)


def _precision(path: Path) -> str:
    return next((name for name in ("int8", "fp16") if name in path.name), "fp32")


def _conv_work(n_in: int, n_out: int, side_in: float, side_out: float, taps: int = 1) -> tuple[float, float]:
    """FLOPs and bytes of a convolution; the sides are pixels, not lengths."""
    weights = n_in * n_out * taps
    return 2 * weights * side_out, ITEM * (n_in * side_in + n_out * side_out + weights)


def _kernel(op: str, *work: tuple[float, float]) -> Kernel:
    return Kernel(op, {"flops": round(sum(w[0] for w in work)), "bytes": round(sum(w[1] for w in work))})


def _block_lines(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """OFA and ProxylessNAS: JSON, or the YAML of a mapping of mappings of numbers."""
    if text.lstrip().startswith("{"):
        yield from json.loads(text).items()
        return
    key, values = "", dict[str, float]()
    for line in [*text.splitlines(), "end:"]:
        name, _, value = line.rpartition(":")
        if line.startswith(" "):
            values[name.strip()] = float(value)
        elif line.strip():
            if key:
                yield key, values
            key, values = name, {}


def _read_blocks(text: str) -> Iterator[Entry]:
    for key, values in _block_lines(text):
        deviation = values["std"] if "std" in values else math.sqrt(max(0.0, values.get("var", 0.0)))
        yield Entry(key, _block(key), float(values["mean"]), float(deviation), int(values.get("count", 0)))


def _block(key: str) -> Kernel:
    """Read ``expanded_conv-input:HxWxC-output:HxWxC-expand:E-kernel:K-stride:S-idskip:0[-se:1-hs:1]``."""
    name, *fields = key.split("-")
    told = dict(field.split(":") for field in fields)
    height, width, n_in = map(int, told["input"].split("x"))
    outputs = list(map(int, told["output"].split("x")))
    n_out, before, after = outputs[-1], height * width, math.prod(outputs[:-1])
    if name != "expanded_conv":
        taps = 9 if name == "Conv" else 1
        return _kernel(name, _conv_work(1 if "Pool" in name else n_in, n_out, before, after, taps))
    expand, taps = int(told["expand"]), int(told["kernel"]) ** 2
    middle = expand if expand >= n_in else expand * n_in  # OFA tells channels, ProxylessNAS a ratio
    variants = [f"k{told['kernel']}", f"s{told['stride']}", *(v for v in ("idskip", "se", "hs") if told.get(v) == "1")]
    depthwise = 2 * middle * taps * after, ITEM * middle * (before + after + taps)
    ends = _conv_work(n_in, middle, before, before), _conv_work(middle, n_out, after, after)
    return _kernel(":".join(["MBConv", *variants]), depthwise, *ends)


def _read_single_path(text: str) -> Iterator[Entry]:
    """Layer -> choice -> ms; choices are kernel 3 with expansion 3 and 6, then kernel 5. No shapes are told."""
    names = ("k3:e3", "k3:e6", "k5:e3", "k5:e6")
    for layer, choices in json.loads(text).items():
        for choice, latency in choices.items():
            op = f"SinglePath:layer{int(layer)}:{names[int(choice)]}"
            yield Entry(f"{layer}/{choice}", _kernel(op), float(latency))


def _read_fasterseg(text: str) -> Iterator[Entry]:
    for row in csv.DictReader(text.splitlines()):
        key = row["key"]
        named = re.findall(r"_(H|W|Cin|Cout|C|kernel|stride|dilation)(\d+)", key)
        told = {name: int(value) for name, value in named}
        n_in, side = told.get("Cin", told.get("C", 1)), told["H"] * told["W"]
        n_out, taps = told.get("Cout", n_in), told.get("kernel", 1 if "Factorized" in key else 3) ** 2
        after = side / told.get("stride", 1) ** 2
        work = [_conv_work(n_in, n_out, side, after, taps)]
        work += [_conv_work(n_out, n_out, after, after, taps)] if "2x" in key else []
        variants = [f"{name[0]}{told[name]}" for name in ("kernel", "stride", "dilation") if name in told]
        yield Entry(key, _kernel(":".join([key.split("_H")[0], *variants]), *work), float(row["ms"]))


def _read_tinynas(text: str) -> Iterator[Entry]:
    for row in csv.DictReader(text.splitlines()):
        batch, n_in, n_out, kernel, stride = (int(row[name]) for name in ("batch", "cin", "cout", "kernel", "stride"))
        side = batch * int(row["h"]) * int(row["w"])
        depthwise = row["type"] == "Depthwise"
        flops, moved = _conv_work(1 if depthwise else n_in, n_out, side, side / stride**2, kernel**2)
        moved += ITEM * (n_in - 1) * side if depthwise else 0
        op = f"{row['type']}Conv:k{kernel}:s{stride}" + (":fused" if row["fused"] == "1" else "")
        yield Entry(",".join(list(row.values())[:-1]), _kernel(op, (flops, moved)), float(row["ms"]))


def _is_single_path(text: str) -> bool:
    return re.match(r'\s*\{\s*"\d+"\s*:\s*\{', text) is not None


FORMATS: dict[str, tuple[Callable[[str], Any], Callable[[str], Iterator[Entry]]]] = {
    "OFA or ProxylessNAS blocks": (lambda text: "-input:" in text[:500], _read_blocks),
    "Single-Path layers": (_is_single_path, _read_single_path),
    "FasterSeg operators": (lambda text: text.startswith("key,ms"), _read_fasterseg),
    "TinyNAS convolutions": (lambda text: text.startswith("type,batch,cin"), _read_tinynas),
}
"""Name -> how it is recognised, how it is read."""
