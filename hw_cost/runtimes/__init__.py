"""Runtimes: the programs that execute networks. One file each; all are listed here."""

from __future__ import annotations

import importlib

from hw_cost.runtimes.base import Executed, Feeds, Input, OpenModel, Profile, Runtime, RuntimeMissing
from hw_cost.runtimes.onnxruntime import OnnxRuntime

RUNTIMES = {
    "onnxruntime": "hw_cost.runtimes.onnxruntime:OnnxRuntime",
    "openvino": "hw_cost.runtimes.openvino:OpenVino",
    "torch": "hw_cost.runtimes.torch:Torch",
    "torch-compile": "hw_cost.runtimes.torch:TorchCompiled",
    "torch-cuda": "hw_cost.runtimes.torch_cuda:TorchCuda",
    "torch-cuda-graph": "hw_cost.runtimes.torch_cuda:TorchCudaGraph",
    "tensorrt": "hw_cost.runtimes.tensorrt:TensorRt",
}
"""Name -> module and class; modules are imported when they are used, because torch takes seconds."""


def find_runtime(name: str) -> type[Runtime]:
    """Return the runtime of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in RUNTIMES:
        raise ValueError(f"The runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    module, kind = RUNTIMES[name].split(":")
    found: type[Runtime] = getattr(importlib.import_module(module), kind)
    return found


__all__ = [
    "RUNTIMES",
    "Executed",
    "Feeds",
    "Input",
    "OnnxRuntime",
    "OpenModel",
    "Profile",
    "Runtime",
    "RuntimeMissing",
    "find_runtime",
]
