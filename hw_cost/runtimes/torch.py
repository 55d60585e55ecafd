"""torch on the processor: operation by operation, or compiled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import fx
from torch.profiler import ProfilerActivity

from hw_cost.graph import BATCH, OpGraph
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.onnx_reader import ELEMENT_TYPES, OnnxModel, load_model, read_onnx
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes.base import Executed, Feeds, Input, OpenModel, Profile, Runtime, text_inputs, typical
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.runtimes.torch_module import ALIASES, to_module
from hw_cost.runtimes.torch_operators import OPERATORS

Timer = Callable[[Callable[[], Any]], tuple[Any, float]]
"""Runs a call and returns its result and microseconds."""
GENERATED = re.compile(r"^(?:graph_\d+_)?((?:cpp|triton)_.*?)(?:_\d+)?$")
"""Names of the kernels that torch's compiler writes, without their numbers."""


class Torch(Runtime):
    """torch calling one operation after the other ("eager") on the processor: nothing is fused."""

    name = "torch"
    target: ClassVar[str] = "cpu"
    """Where tensors live, in torch's words."""

    @classmethod
    def version(cls) -> str:
        """Return the version of torch."""
        return str(torch.__version__)

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> TorchModel:
        """Rebuild a model from calls of torch; see `Runtime.open`. The threads are those of the whole process."""
        del batch, optimise
        self.version()
        torch.set_num_threads(self.threads)
        return TorchModel(to_module(model).to(self.target), _inputs(model), self.target)

    def kernels(self, network: OpGraph | OnnxModel, batch: int = 1) -> list[Kernel]:
        """Return a kernel for each operation."""
        graph = network if isinstance(network, OpGraph) else read_onnx(network)
        return kernels_of(graph, batch, operations=[operation for operation in graph if operation.op not in ALIASES])

    def profile(self, model: OnnxModel, *, batch: int = 1, runs: int = 50) -> Profile:
        """Return the operations with their times, each timed on its own."""
        opened = self.open(model)
        interpreter = _Timed(opened.module, self.timed)
        tensors = opened.tensors(random_feeds(opened.inputs, batch))
        with torch.inference_mode():
            times = [interpreter.times_of(*tensors) for _ in range(runs + 1)][1:]
        call, *kernels = self.kernels(model, batch)
        means = typical(times)
        steps = [Executed(kernel, float(us), "fp32") for kernel, us in zip(kernels, means, strict=True)]
        return Profile((Executed(call, None, "fp32"), *steps))

    def timed(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """Run one operation; return its result and the microseconds that it took."""
        start = time.perf_counter()
        result = call()
        return result, 1e6 * (time.perf_counter() - start)

    def unsupported(self, graph: OpGraph) -> list[str]:
        """Return the operators that torch is not called for here; those on strings and trees are among them."""
        return sorted(({operation.op for operation in graph} - set(OPERATORS) - ALIASES) | text_inputs(graph))


class TorchCompiled(Torch):
    """torch with its compiler (``torch.compile``) on the processor.

    Its profiler tells which kernels the compiler wrote and called, but not the sizes of those that it wrote: networks
    can be measured and profiled, and there is no table for them.
    """

    name = "torch-compile"
    tells_sizes = False

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> TorchModel:
        """Compile a model for `batch` rows, which takes seconds."""
        opened = super().open(model)
        if optimise:
            opened.call = torch.compile(opened.module, dynamic=False)
            opened.run(random_feeds(opened.inputs, batch))
        return opened

    def kernels(self, network: OpGraph | OnnxModel, batch: int = 1) -> list[Kernel]:
        """Return the kernels of a run."""
        model = write_onnx(network) if isinstance(network, OpGraph) else network
        return [step.kernel for step in self.profile(model, batch=batch, runs=1).kernels]

    def profile(self, model: OnnxModel, *, batch: int = 1, runs: int = 50) -> Profile:
        """Return what the compiled program calls, in order; sizes are empty where the profiler does not tell them."""
        inductor: Any = torch._inductor  # the only way to see the generated kernels by name
        with inductor.config.patch({"cpp.enable_kernel_profile": True}):
            opened = self.open(model, batch=batch)
        feeds, runs_seen = random_feeds(opened.inputs, batch), []
        for _ in range(runs):
            with torch.profiler.profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
                opened.run(feeds)
            runs_seen.append(read_events(profiler.events()))
        times = typical([[us for _, us in steps] for steps in runs_seen])
        call = super().kernels(model, batch)[0]
        steps = [Executed(kernel, float(us), "fp32") for (kernel, _), us in zip(runs_seen[0], times, strict=True)]
        return Profile((Executed(call, None, "fp32"), *steps))


class TorchModel(OpenModel):
    """A model made of calls of torch."""

    def __init__(self, module: fx.GraphModule, inputs: tuple[Input, ...], target: str) -> None:
        self.module, self.inputs, self.target = module, inputs, target
        self.call: Callable[..., Any] = module

    def tensors(self, feeds: Feeds) -> list[torch.Tensor]:
        """Return the rows as tensors on the device, in the order of the inputs."""
        return [torch.from_numpy(feeds[node.name]).to(self.target) for node in self.inputs]

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once; the outputs are on the processor when it returns. See `OpenModel.run`."""
        with torch.inference_mode():
            return [output.cpu().numpy() for output in self.call(*self.tensors(feeds))]


class _Timed(fx.Interpreter):
    """Runs a module operation by operation and keeps the time of each."""

    def __init__(self, module: fx.GraphModule, timer: Timer) -> None:
        super().__init__(module)
        self._timer, self._times = timer, list[float]()

    def times_of(self, *tensors: torch.Tensor) -> list[float]:
        """Return microseconds of each operation of a run."""
        self._times = []
        self.run(*tensors)
        return self._times

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation; see `torch.fx.Interpreter`."""
        result, us = self._timer(lambda: target(*args, **kwargs))
        self._times.append(us)
        return result


def read_events(events: Any) -> list[tuple[Kernel, float]]:
    """Return the kernels that a compiled program called, from the events of torch's profiler, with microseconds.

    These are the direct children of the program: what it wrote itself, and operations of torch with their shapes.
    """
    steps = []
    for event in events:
        parent = event.cpu_parent.name if event.cpu_parent else ""
        written = GENERATED.match(event.name)
        if "CompiledFxGraph" not in parent or not (written or event.name.startswith(("aten::", "mkldnn::"))):
            continue
        if written:
            steps.append((Kernel(written.group(1), {}), event.time_range.elapsed_us()))
        else:
            lengths = [length for shape in event.input_shapes for length in shape if not isinstance(length, list)]
            sizes = {f"length{position}": int(length) for position, length in enumerate(lengths)}
            steps.append((Kernel(event.name, sizes), event.time_range.elapsed_us()))
    return steps


def _inputs(model: OnnxModel) -> tuple[Input, ...]:
    graph = load_model(model).graph
    constants = {tensor.name for tensor in graph.initializer}
    found = []
    for value in graph.input:
        if value.name not in constants:
            tensor = value.type.tensor_type
            rest = [length.dim_value or 1 for length in tensor.shape.dim][1:]
            found.append(Input(value.name, ELEMENT_TYPES.get(tensor.elem_type, "float"), (BATCH, *rest)))
    return tuple(found)
