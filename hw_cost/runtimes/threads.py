"""Which kernels of onnxruntime are split over threads, and what it costs to wake these.

A kernel on two threads follows another law than the same kernel on one, so that it has a name of its own. Threads that
do not spin sleep until the first such kernel of a call: that is a cost of the call, whatever comes after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hw_cost.kernels import Kernel

LEAST_PRODUCTS = 1 << 16
"""Multiplications of a matrix product from which its library uses a second thread (MLAS: one thread for each 64 Ki)."""
MOST_TREES, MOST_ROWS = 80, 50
"""Trees of an ensemble for one row, and rows, up to which it stays on one thread."""
SPLIT = "split"


def threaded(kernels: Sequence[Kernel], threads: int) -> list[Kernel]:
    """Return the kernels of a call, the call first, with those named that several threads share.

    >>> dense = Kernel("Gemm", {"rows": 1, "n_in": 512, "n_out": 512, "working_set": 0})
    >>> [kernel.op for kernel in threaded([Kernel("Call", {"inputs": 1, "strings": 0}), dense], 2)]
    ['Call', 'Call:split', 'Gemm:split']
    """
    call, *rest = kernels
    if threads == 1 or not any(is_split(kernel) for kernel in rest):
        return list(kernels)
    named = [Kernel(f"{kernel.op}:{SPLIT}", kernel.sizes) if is_split(kernel) else kernel for kernel in rest]
    return [call, Kernel(f"{call.op}:{SPLIT}", call.sizes), *named]


def is_split(kernel: Kernel) -> bool:
    """Return whether a second thread would take part in a kernel."""
    sizes = kernel.sizes
    if kernel.kind == "dense":
        return sizes["rows"] * sizes["n_in"] * sizes["n_out"] >= LEAST_PRODUCTS
    if kernel.kind == "trees":
        return sizes["trees"] > MOST_TREES or sizes["rows"] > MOST_ROWS
    return kernel.kind == "conv"
