"""What a network costs on a device: FLOPs and bytes by formula, latency from a table of measured kernels.

>>> from hw_cost import OpGraph, flops
>>> flops(OpGraph())
0
"""

from hw_cost.bench import Measurement, TooNoisy
from hw_cost.build import build_table
from hw_cost.devices import Device
from hw_cost.graph import BATCH, Operation, OpGraph, Parameter
from hw_cost.kernels import Kernel
from hw_cost.measure import measure_latency
from hw_cost.onnx_reader import ModelError, read_onnx
from hw_cost.ops import bytes_moved, flops
from hw_cost.table import Cost, KernelCost, LatencyTable
from hw_cost.table_format import TableError
from hw_cost.validation import validate

__all__ = [
    "BATCH",
    "Cost",
    "Device",
    "Kernel",
    "KernelCost",
    "LatencyTable",
    "Measurement",
    "ModelError",
    "OpGraph",
    "Operation",
    "Parameter",
    "TableError",
    "TooNoisy",
    "build_table",
    "bytes_moved",
    "flops",
    "measure_latency",
    "read_onnx",
    "validate",
]
