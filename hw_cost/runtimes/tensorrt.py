"""TensorRT on a CUDA GPU."""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.onnx_reader import ModelError, OnnxModel, load_model
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes.base import Executed, Feeds, Input, OpenModel, Profile, Runtime, RuntimeMissing, typical
from hw_cost.runtimes.feeds import random_feeds

DTYPES = {"FLOAT": "float", "INT64": "int64", "UINT8": "uint8"}
LAYERS = {"gemm": "MatMul", "CaskGemmMatrixMultiply": "MatMul", "CaskConvolution": "Conv", "CaskPooling": "MaxPool"}
"""TensorRT's name of a layer -> the operator with the same sizes; other layers keep their own name."""
PRECISION_NAMES = {"int8": "int8", "fp16": "fp16", "half": "fp16", "bf16": "bf16", "fp32": "fp32", "float": "fp32"}
"""What a format may say of its numbers."""


class TensorRt(Runtime):
    """TensorRT: the engine inspector tells the layers that were built, a profiler their times.

    Left alone it multiplies in TF32, of 10 bits of fraction: it is switched off. Engines are built for a fixed batch.
    """

    name = "tensorrt"

    @classmethod
    def version(cls) -> str:
        """Return the version of TensorRT; see `Runtime.version`."""
        return str(_library().__version__)

    @classmethod
    def accelerator(cls) -> str:
        """Return the name of the GPU."""
        _library()
        return str(importlib.import_module("torch").cuda.get_device_name())

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> Engine:
        """Build an engine for `batch` rows; see `Runtime.open`."""
        if not optimise:
            raise ValueError("TensorRT cannot run a model without optimising it")
        return Engine(self._build(model, batch))

    def kernels(self, network: OpGraph | OnnxModel, batch: int = 1) -> list[Kernel]:
        """Return the layers of the engine that is built."""
        if isinstance(network, OpGraph):
            return self.remembered(network, batch, lambda: self.kernels(write_onnx(network), batch))
        return [step.kernel for step in read_layers(self.open(network, batch=batch).layers(), {})]

    def profile(self, model: OnnxModel, *, batch: int = 1, runs: int = 50) -> Profile:
        """Return the layers with the mean of their times on the device."""
        engine = self.open(model, batch=batch)
        feeds = random_feeds(engine.inputs, batch)
        engine.run(feeds)
        times = engine.watch()
        for _ in range(runs):
            engine.run(feeds)
        means = {name: float(typical(values)) for name, values in times.items()}
        return Profile(tuple(read_layers(engine.layers(), means)))

    def _build(self, model: OnnxModel, batch: int) -> Any:
        trt = _library()
        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(load_model(model).SerializeToString()):
            problems = "; ".join(str(parser.get_error(k)) for k in range(parser.num_errors))
            raise ModelError(f"TensorRT cannot read the model: {problems}. Please use the runtime onnxruntime.")
        settings = builder.create_builder_config()
        settings.clear_flag(trt.BuilderFlag.TF32)
        settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        shapes = builder.create_optimization_profile()
        for position in range(network.num_inputs):
            node = network.get_input(position)
            shape = [batch, *(max(1, length) for length in list(node.shape)[1:])]
            shapes.set_shape(node.name, shape, shape, shape)
        settings.add_optimization_profile(shapes)
        plan = builder.build_serialized_network(network, settings)
        return trt.Runtime(logger).deserialize_cuda_engine(plan)


class Engine(OpenModel):
    """A TensorRT engine with its buffers, which are tensors of torch."""

    def __init__(self, engine: Any) -> None:
        trt, self._torch = _library(), importlib.import_module("torch")
        self._engine, self._context = engine, engine.create_execution_context()
        self._buffers: dict[str, Any] = {}
        self._stream = self._torch.cuda.Stream()
        inputs = []
        for position in range(engine.num_io_tensors):
            name = engine.get_tensor_name(position)
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                shape = engine.get_tensor_profile_shape(name, 0)[0]
                inputs.append(Input(name, DTYPES[engine.get_tensor_dtype(name).name], (BATCH, *list(shape)[1:])))
                self._context.set_input_shape(name, shape)
        for position in range(engine.num_io_tensors):
            name = engine.get_tensor_name(position)
            dtype = getattr(self._torch, trt.nptype(engine.get_tensor_dtype(name)).__name__)
            shape = tuple(self._context.get_tensor_shape(name))
            self._buffers[name] = self._torch.empty(shape, dtype=dtype, device="cuda")
            self._context.set_tensor_address(name, self._buffers[name].data_ptr())
        self.inputs = tuple(inputs)
        self._outputs = [name for name in self._buffers if name not in {node.name for node in inputs}]

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once, with the way to the device and back; see `OpenModel.run`."""
        with self._torch.cuda.stream(self._stream):
            for node in self.inputs:
                self._buffers[node.name].copy_(self._torch.from_numpy(feeds[node.name]))
            self._context.execute_async_v3(self._stream.cuda_stream)
            self._stream.synchronize()
            return [self._buffers[name].cpu().numpy() for name in self._outputs]

    def layers(self) -> str:
        """Return what the engine inspector says, JSON."""
        text = self._engine.create_engine_inspector().get_engine_information(_library().LayerInformationFormat.JSON)
        return str(text)

    def watch(self) -> dict[str, list[float]]:
        """Return a dictionary that fills with microseconds by layer in the runs to come."""
        times: dict[str, list[float]] = defaultdict(list)

        class Watch(_library().IProfiler):  # type: ignore[misc]
            """Is told the time of each layer."""

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times[layer_name].append(1e3 * ms)

        self._context.profiler = Watch()
        return times


def read_layers(text: str, times: Mapping[str, float]) -> list[Executed]:
    """Return the kernels of an engine, the call first.

    Args:
        text: what the engine inspector says in detail, JSON.
        times: name of a layer -> microseconds.
    """
    graph, names, steps = OpGraph(), dict[str, str](), []
    for layer in json.loads(text)["Layers"]:
        if not isinstance(layer, dict):
            raise ValueError("The layers must be told in detail: build the engine with ProfilingVerbosity.DETAILED")
        for tensor in layer["Inputs"]:
            if tensor["Name"] not in names:
                names[tensor["Name"]] = graph.input(tensor["Name"], tuple(tensor["Dimensions"]))
        output = layer["Outputs"][0]
        op = str(LAYERS.get(layer["LayerType"], layer["LayerType"]))
        sources: list[str | Parameter] = [names[tensor["Name"]] for tensor in layer["Inputs"]]
        count = int((layer.get("Weights") or {}).get("Count", 0))
        if count:
            sources.append(Parameter(f"{layer['Name']}.weights", _weights(layer, count)))
        added = graph.add(op, *sources, output=tuple(output["Dimensions"]))
        names.update(dict.fromkeys([tensor["Name"] for tensor in layer["Outputs"]], added))
        steps.append((times.get(layer["Name"]), _precision(output["Format/Datatype"])))
    call, *kernels = kernels_of(graph, operations=graph)
    told = [Executed(kernel, *step) for kernel, step in zip(kernels, steps, strict=True)]
    return [Executed(call, None, "fp32"), *told]


def _weights(layer: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """Outputs first, as in ONNX: the shape of a convolution's weights follows from its window and their number."""
    window, maps = layer.get("Kernel"), layer.get("OutMaps")
    if window and maps:
        places = 1
        for length in window:
            places *= int(length)
        return (int(maps), count // (int(maps) * places), *(int(length) for length in window))
    return (count,)


def _precision(datatype: str) -> str:
    words = datatype.lower()
    return next((name for word, name in PRECISION_NAMES.items() if word in words), "fp32")


@cache
def _library() -> Any:
    try:
        library = importlib.import_module("tensorrt")
    except ImportError as error:
        raise RuntimeMissing("TensorRT is not installed: pip install 'metaml[tensorrt]'") from error
    if not importlib.import_module("torch").cuda.is_available():
        raise RuntimeMissing("TensorRT needs a CUDA device, and this machine has none.")
    return library
