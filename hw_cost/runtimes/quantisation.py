"""Static quantisation of an ONNX model to int8, by onnxruntime's own tool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from hw_cost.onnx_reader import OnnxModel, load_model
from hw_cost.runtimes.base import Feeds

QUANTISED = ("Conv", "Gemm", "MatMul")
"""Operators that are quantised, with the ReLU behind them; what lies between them stays floating point."""


def quantise(
    model: OnnxModel, feeds: Iterable[Feeds], *, per_channel: bool = False, leave_out: Sequence[str] = ()
) -> onnx.ModelProto:
    """Return a model whose dense and convolving operators compute in 8 bits.

    Weights are signed and symmetric, activations unsigned with the range seen in calibration (Jacob et al. 2018,
    eq. 1): pairs of ``QuantizeLinear`` and ``DequantizeLinear`` say so, and onnxruntime fuses them away.

    Args:
        model: a floating-point model; it is not changed.
        feeds: batches of rows to calibrate on.
        per_channel: whether weights have a scale for each output channel.
        leave_out: names of nodes that stay floating point.
    """
    with TemporaryDirectory() as folder, _quiet():
        plain, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
        onnx.save(load_model(model), plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)  # a batch normalisation goes into its convolution
        quantize_static(
            prepared,
            quantised,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            nodes_to_exclude=list(leave_out),
        )
        return onnx.load(quantised)


def is_quantised(model: OnnxModel) -> bool:
    """Return whether any part of a model computes in 8 bits."""
    quantised = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm", "MatMulInteger", "ConvInteger")
    return any(node.op_type.startswith(quantised) for node in load_model(model).graph.node)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime from warning of each constant that the tool leaves unused."""
    ort.set_default_logger_severity(3)
    try:
        yield
    finally:
        ort.set_default_logger_severity(2)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out batches one by one."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, None at the end."""
        feeds = next(self._feeds, None)
        return None if feeds is None else dict(feeds)
