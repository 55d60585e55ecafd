"""OpenVINO on the processor."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hw_cost.graph import BATCH, OpGraph, Parameter, Shape
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.kinds import FEWEST_BLOCKED
from hw_cost.onnx_reader import ModelError, OnnxModel, load_model
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes.base import (
    Executed,
    Feeds,
    Input,
    OpenModel,
    Profile,
    Runtime,
    RuntimeMissing,
    text_inputs,
    typical,
)
from hw_cost.runtimes.feeds import random_feeds

DTYPES = {"f32": "float", "f64": "double", "i64": "int64", "u8": "uint8"}
"""Element types of inputs; on the processor they stay what the ONNX file says."""
PRECISION_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
ACTIVATIONS = ("Relu", "Gelu", "Sigmoid", "Tanh", "Swish", "HSwish", "Clamp", "Elu")
"""OpenVINO operations that are worth telling apart when a heavy kernel has one fused into it."""
ONNX_NAMES = {"Clamp": "Clip", "HSwish": "HardSwish", "Swish": "Sigmoid"}
"""OpenVINO's name of an activation -> that of ONNX, where they differ."""
CODED = {"FullyConnected"}
"""Layers that OpenVINO has several implementations of, like convolutions: which one is chosen is part of the name."""
UNSUPPORTED = {"LabelEncoder", "TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"}


class OpenVino(Runtime):
    """OpenVINO: its executed graph tells the kernels and the precision of each.

    Left alone it computes in bf16 wherever the processor can (AMX, AVX-512 BF16) and says nothing: the precision is set
    here, and `profile` reports what ran. Graphs are compiled for a fixed batch. Its own code for chains of operations
    ("snippets") is switched off: with it, versions 2026.0 to 2026.4 crash on residual networks.
    """

    name = "openvino"
    precisions = ("fp32", "bf16")

    @classmethod
    def version(cls) -> str:
        """Return the version of OpenVINO."""
        return str(_library().__version__).split("-")[0]

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> Compiled:
        """Compile a model for `batch` rows; see `Runtime.open`."""
        if not optimise:
            raise ValueError("OpenVINO cannot run a model without optimising it")
        return Compiled(self._compile(model, batch)[0])

    def kernels(self, network: OpGraph | OnnxModel, batch: int = 1) -> list[Kernel]:
        """Return the kernels of the executed graph, which says them before the first call."""
        if isinstance(network, OpGraph):
            return self.remembered(network, batch, lambda: self.kernels(write_onnx(network), batch))
        return [step.kernel for step in _executed(*self._compile(network, batch), {})]

    def profile(self, model: OnnxModel, *, batch: int = 1, runs: int = 50) -> Profile:
        """Return the executed kernels; OpenVINO counts whole microseconds, so that quick ones may take 0."""
        compiled, operators = self._compile(model, batch, profiled=True)
        opened = Compiled(compiled)
        feeds = random_feeds(opened.inputs, batch)
        seen = defaultdict[str, list[float]](list)
        for _ in range(runs):
            opened.run(feeds)
            for info in opened.request.get_profiling_info():
                seen[info.node_name].append(1e6 * info.real_time.total_seconds())
        times = {name: float(typical(values)) for name, values in seen.items()}
        return Profile(tuple(_executed(compiled, operators, times)))

    def unsupported(self, graph: OpGraph) -> list[str]:
        """Return the operators that OpenVINO's ONNX reader refuses; strings and trees are among them."""
        return sorted(({operation.op for operation in graph} & UNSUPPORTED) | text_inputs(graph))

    def _compile(self, model: OnnxModel, batch: int, *, profiled: bool = False) -> tuple[Any, dict[str, str]]:
        """Return the compiled model, and name -> operator of the operations that it was compiled from."""
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "f32" if self.precision == "fp32" else self.precision,
            "ENABLE_CPU_PINNING": False,
            "SNIPPETS_MODE": "DISABLE",
            "PERF_COUNT": profiled,
        }
        core = _core()
        if self.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeMissing("This processor cannot compute in bf16. Please ask for fp32.")
        source = str(model) if isinstance(model, (str, Path)) else load_model(model).SerializeToString()
        try:
            read = core.read_model(source)
            read.reshape({node.any_name: _fixed(node.partial_shape, batch) for node in read.inputs})
            operators = {node.get_friendly_name(): node.get_type_name() for node in read.get_ops()}
            return core.compile_model(read, "CPU", settings), operators
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot open the model: {_said(error)}") from error


def _said(error: RuntimeError) -> str:
    """Return the findings of OpenVINO's report, or all of it on one line where there are none."""
    findings = [line.removeprefix("-- ") for line in str(error).splitlines() if line.startswith("-- ")]
    return "; ".join(findings) or " ".join(str(error).split())


class Compiled(OpenModel):
    """A model compiled by OpenVINO."""

    def __init__(self, compiled: Any) -> None:
        self.request = compiled.create_infer_request()
        self.inputs = tuple(
            Input(node.any_name, DTYPES[node.element_type.to_string()], (BATCH, *list(node.shape)[1:]))
            for node in compiled.inputs
        )

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once, inputs and outputs without a copy; see `OpenModel.run`."""
        return list(self.request.infer(feeds, share_inputs=True, share_outputs=True).values())


def _executed(compiled: Any, operators: Mapping[str, str], times: Mapping[str, float]) -> list[Executed]:
    """Return the executed kernels, the call first.

    Args:
        compiled: the compiled model.
        operators: name of an operation of the model as it was read -> its operator.
        times: name of an executed node -> microseconds.
    """
    graph, names, steps = OpGraph(), dict[str, str | Parameter](), []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = {key: getattr(value, "value", value) for key, value in node.get_rt_info().items()}
        name, layer = node.get_friendly_name(), facts["layerType"]
        if layer == "Output":  # some have no shape: they stand for outputs that nobody reads
            continue
        shape = tuple(node.output(0).shape)
        if layer == "Input":
            names[name] = graph.input(name, shape)
        elif layer == "Const":
            names[name] = Parameter(name, shape)
        else:
            fused = [operators.get(original, "") for original in facts["originalLayersNames"].split(",")]
            activation = next((operator for operator in fused if operator in ACTIVATIONS and operator != layer), None)
            sources = [names[port.get_source_output().get_node().get_friendly_name()] for port in node.inputs()]
            if all(isinstance(source, Parameter) for source in sources):
                names[name] = Parameter(name, shape)  # made from constants before the first call
                continue
            code = facts["primitiveType"].rsplit("_", 1)[0]
            if layer == "Convolution":
                names[name] = _add_convolution(graph, sources, shape, (code, activation))
            else:
                tags = [tag for tag in (activation, code if layer in CODED else None) if tag]
                names[name] = graph.add(":".join([layer, *tags]), *sources, output=shape)
            steps.append((times.get(name), PRECISION_NAMES.get(facts["runtimePrecision"], "fp32")))
    call, *kernels = kernels_of(graph, operations=graph)
    told = [Executed(kernel, *step) for kernel, step in zip(kernels, steps, strict=True)]
    return [Executed(call, None, "fp32"), *told]


def _add_convolution(graph: OpGraph, sources: list[str | Parameter], shape: Shape, told: tuple[str, str | None]) -> str:
    """Append a convolution as ONNX describes it; OpenVINO keeps groups as an axis of the weights, and tells no strides.

    Strides are those that make the output, paddings half of the window less one. What is told is the implementation
    and the activation fused into it.
    """
    image, weight, *others = sources
    code, activation = told
    if not isinstance(image, str) or not isinstance(weight, Parameter):
        return graph.add("ConvolutionOfActivations", *sources, output=shape)
    space = shape[2:]
    group = weight.shape[0] if len(weight.shape) == len(shape) + 1 else 1
    n_out, n_in = shape[1], weight.shape[-len(space) - 1]
    window = weight.shape[-len(space) :]
    lengths = graph.network.nodes[image]["shape"][2:]
    attributes = {
        "group": group,
        "strides": [max(1, round(into / out)) for into, out in zip(lengths, space, strict=True)],
        "pads": [(length - 1) // 2 for length in window] * 2,
        **({"activation": ONNX_NAMES.get(activation, activation)} if activation else {}),
    }
    stem = ":stem" if group == 1 and n_in < FEWEST_BLOCKED else ""
    op = f"{'GroupConvolution' if group > 1 else 'Convolution'}:{code}{stem}"
    return graph.add(op, image, Parameter(weight.name, (n_out, n_in, *window)), *others, output=shape, **attributes)


def _fixed(shape: Any, batch: int) -> list[int]:
    """The batch on the first axis, 1 on other axes without a length."""
    rest = [axis.get_length() if axis.is_static else 1 for axis in list(shape)[1:]]
    return [batch, *rest]


@cache
def _core() -> Any:
    return _library().Core()


@cache
def _library() -> Any:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise RuntimeMissing("OpenVINO is not installed: pip install 'metaml[openvino]'") from error
