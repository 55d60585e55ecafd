"""Runtimes: the programs that execute networks. One file each; all are listed here."""

from __future__ import annotations

from hw_cost.runtimes.base import Executed, Feeds, Input, OpenModel, Profile, Runtime, RuntimeMissing
from hw_cost.runtimes.onnxruntime import OnnxRuntime
from hw_cost.runtimes.openvino import OpenVino

RUNTIMES: dict[str, type[Runtime]] = {runtime.name: runtime for runtime in (OnnxRuntime, OpenVino)}
"""Name -> runtime. None of the programs is imported before its runtime is used, except onnxruntime."""


def find_runtime(name: str) -> type[Runtime]:
    """Return the runtime of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in RUNTIMES:
        raise ValueError(f"The runtime must be one of {', '.join(RUNTIMES)}, got {name!r}")
    return RUNTIMES[name]


__all__ = [
    "RUNTIMES",
    "Executed",
    "Feeds",
    "Input",
    "OnnxRuntime",
    "OpenModel",
    "OpenVino",
    "Profile",
    "Runtime",
    "RuntimeMissing",
    "find_runtime",
]
