"""A model file whose dense and convolving operators compute in 8 bits, by onnxruntime's static quantisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from hw_cost.runtimes.quantisation import QUANTISED, quantise
from metaml.data import RawInputs

CALIBRATION_ROWS = 512
"""Training rows on which the ranges of activations are measured."""
BATCH = 64
"""Rows of one batch of the calibration."""
PLAIN = "ensemble.mean"
"""The node that averages the members of an ensemble stays as it is: its few weights are what was chosen."""


def to_int8(model: bytes, rows: RawInputs) -> bytes:
    """Return a model file in 8 bits: weights by output channel, activations by tensor.

    Args:
        model: the file, not changed.
        rows: raw training rows; at most ``CALIBRATION_ROWS`` of them are used.
    """
    proto = onnx.load_model_from_string(model)
    names = [value.name for value in proto.graph.input]
    quantised = quantise(proto, _batches({name: rows[name] for name in names}), per_channel=True, leave_out=[PLAIN])
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(proto.metadata_props)
    content: bytes = quantised.SerializeToString()
    return content


def is_quantisable(model: bytes) -> bool:
    """Return whether a model file has layers that can compute in 8 bits."""
    nodes = onnx.load_model_from_string(model).graph.node
    return any(node.op_type in QUANTISED and node.name != PLAIN for node in nodes)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of rows on which two predictions ``(n, k)`` name the same class."""
    return float((a.argmax(axis=1) == b.argmax(axis=1)).mean())


def _batches(rows: RawInputs) -> Iterator[RawInputs]:
    n = min(CALIBRATION_ROWS, len(next(iter(rows.values()))))
    for start in range(0, n, BATCH):
        yield {name: array[start : min(n, start + BATCH)] for name, array in rows.items()}
