"""Kernels: what a runtime executes, told apart by the sizes that decide how long it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from hw_cost.fusion import executed
from hw_cost.graph import Operation, OpGraph
from hw_cost.kinds import kernel_name, kind_of
from hw_cost.onnx_writer import input_dtype
from hw_cost.ops import parameter_bytes, size
from hw_cost.sizes import SIZE_NAMES, SIZES, Sizes


@dataclass(frozen=True)
class Kernel:
    """One executed operation.

    >>> str(Kernel("Softmax", {"rows": 1, "width": 10}))
    'Softmax(rows=1, width=10)'
    """

    op: str
    """Operator with what is fused into it, such as ``FusedGemm:Relu``; ``Call`` is the call of the session itself."""
    sizes: Sizes
    """Name -> number; the names are those of the operator's kind."""

    @cached_property
    def kind(self) -> str:
        """Operators of one kind have the same sizes; ``other`` when nothing is known but FLOPs and bytes."""
        return "other" if tuple(self.sizes) == SIZE_NAMES["other"] else kind_of(self.op)

    def __str__(self) -> str:
        return f"{self.op}({', '.join(f'{name}={value}' for name, value in self.sizes.items())})"

    def __hash__(self) -> int:
        return hash((self.op, *self.sizes.values()))


def work_of(kernel: Kernel) -> Sizes | None:
    """Return FLOPs and bytes of a kernel as far as its sizes tell them, else None."""
    s = kernel.sizes
    if kernel.kind == "dense":
        weights = s["n_in"] * s["n_out"]
        return {"flops": 2 * s["rows"] * weights, "bytes": 4 * (weights + s["rows"] * (s["n_in"] + s["n_out"]))}
    if kernel.kind in {"elementwise", "concat", "copy"}:
        return {"flops": 0, "bytes": 2 * s["bytes"]}
    if kernel.kind == "reorder":
        return {"flops": 0, "bytes": 8 * s["planes"] * s["pixels"]}
    if kernel.kind == "pool":
        pixels = s["planes"] * s["height"] * s["width"]
        return {"flops": pixels * s["window"], "bytes": 4 * pixels * (1 + min(s["window"], s["stride"] ** 2))}
    if kernel.kind == "rowwise":
        return {"flops": 8 * s["rows"] * s["width"], "bytes": 8 * s["rows"] * s["width"]}
    if kernel.kind == "conv":
        macs = s["images"] * s["height"] * s["width"] * s["n_out"] * s["n_in"] // s["groups"] * s["window"]
        return {"flops": 2 * macs, "bytes": conv_bytes(s)}
    if kernel.kind in {"product", "batched"}:
        macs = s["matrices"] * s["rows"] * s["n_in"] * s["n_out"]
        moved = s["rows"] * s["n_in"] + s["n_in"] * s["n_out"] + s["rows"] * s["n_out"]
        return {"flops": 2 * macs, "bytes": 4 * s["matrices"] * moved}
    return s if kernel.kind == "other" else None


def conv_bytes(s: Sizes) -> int:
    """Bytes of the images that go in and out and of the weights."""
    pixels = s["images"] * s["height"] * s["width"]
    weights = s["n_in"] // s["groups"] * s["n_out"] * s["window"]
    return 4 * (pixels * (s["n_in"] * s["stride"] ** 2 + s["n_out"]) + weights)


def kernels_of(graph: OpGraph, batch: int = 1, *, operations: Iterable[Operation] | None = None) -> list[Kernel]:
    """Return the kernels of a network, the call first.

    Args:
        graph: the network.
        batch: rows in a call.
        operations: what is executed, when it is known; by default told from the rules of `hw_cost.fusion`.
    """
    working_set = parameter_bytes(graph)
    kernels = [_call(graph, batch)]
    for operation in executed(graph) if operations is None else operations:
        name = kernel_name(operation)
        kernels.append(Kernel(name, SIZES[kind_of(name)](operation, batch, working_set)))
    return kernels


def _call(graph: OpGraph, batch: int) -> Kernel:
    """The call of a session: its inputs, and the strings that are copied one by one."""
    inputs = {name: data["shape"] for name, data in graph.network.nodes(data=True) if "operation" not in data}
    strings = sum(size(shape, batch) for name, shape in inputs.items() if input_dtype(graph, name) == "string")
    return Kernel("Call", {"inputs": len(inputs), "strings": strings})
