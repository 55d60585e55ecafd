"""onnxruntime on the processor."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime as ort

from hw_cost.fusion import rules_hold
from hw_cost.graph import BATCH, OpGraph
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.onnx_reader import ModelError, OnnxModel, load_model
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes.base import Executed, Feeds, Input, OpenModel, Profile, Runtime, typical
from hw_cost.runtimes.executed import Execution, executed, named
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.runtimes.quantisation import is_quantised, quantise
from hw_cost.runtimes.threads import threaded

DTYPES = {
    "tensor(float)": "float",
    "tensor(double)": "double",
    "tensor(int64)": "int64",
    "tensor(string)": "string",
    "tensor(uint8)": "uint8",
}
N_CALIBRATION = 8
"""Rows for the calibration of a model whose numbers do not matter; a deployed one is quantised with its own data."""
WARM_UP = 5
"""Runs whose profile is thrown away."""


class OnnxRuntime(Runtime):
    """onnxruntime: its optimised model tells the kernels, its profile their times."""

    name = "onnxruntime"
    precisions = ("fp32", "int8")

    @property
    def isolates(self) -> bool:
        """True on one thread; see `Runtime.isolates`. On several, whole networks tell more of their kernels.

        Threads that sleep until they are needed are a cost that copies of one kernel do not show.
        """
        return self.threads == 1

    @classmethod
    def version(cls) -> str:
        """Return the version of onnxruntime."""
        return str(ort.__version__)

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> Session:
        """Open a session; see `Runtime.open`. It runs batches of any size; a model left as it is is not quantised."""
        del batch
        return Session(_session(self.prepared(model) if optimise else model, self._options(optimise=optimise)))

    def prepared(self, model: OnnxModel) -> OnnxModel:
        """Return the model in the runtime's precision: quantised with random rows for calibration for ``int8``.

        A model that is quantised already stays as it is.
        """
        if self.precision == "fp32" or is_quantised(model):
            return model
        inputs = Session(_session(model, self._options())).inputs
        return quantise(model, [random_feeds(inputs, 1, seed=seed) for seed in range(N_CALIBRATION)])

    def kernels(self, network: OpGraph | OnnxModel, batch: int = 1) -> list[Kernel]:
        """Return the kernels of a call: by the rules of `hw_cost.fusion` where they hold, else as a call shows them.

        The call of a graph is made once; a second question is answered from memory.
        """
        if not isinstance(network, OpGraph):
            return self._shown(network, batch)
        if self.precision == "fp32" and rules_hold(network):
            return threaded(kernels_of(network, batch), self.threads)
        return self.remembered(network, batch, lambda: self._shown(write_onnx(network), batch))

    def _shown(self, model: OnnxModel, batch: int) -> list[Kernel]:
        graph = self.execute(model, batch).graph
        return threaded(kernels_of(graph, batch, operations=graph), self.threads)

    def execute(self, model: OnnxModel, batch: int = 1, runs: int = 1) -> Execution:
        """Run a model on random rows; return what was executed.

        Raises:
            ModelError: it cannot be opened or run, or is written for another batch.
        """
        with TemporaryDirectory() as folder:
            dump = Path(folder) / "optimised.onnx"
            options = self._options(dump=dump)
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
            session = Session(_session(named(load_model(self.prepared(model))), options))
            written_for = {node.shape[0] for node in session.session.get_inputs() if node.shape} - {batch}
            if fixed := [length for length in written_for if isinstance(length, int)]:
                raise ModelError(f"The model is written for a batch of {fixed[0]}, got batch {batch}")
            feeds = random_feeds(session.inputs, batch)
            for _ in range(runs):
                session.run(feeds)
            profile = Path(session.session.end_profiling()).read_text(encoding="utf-8")
            return executed(load_model(dump), profile, {name: rows.shape for name, rows in feeds.items()})

    def optimised(self, model: OnnxModel) -> onnx.ModelProto:
        """Return the model that onnxruntime makes of a model before it runs it."""
        with TemporaryDirectory() as folder:
            dump = Path(folder) / "optimised.onnx"
            _session(self.prepared(model), self._options(dump=dump))
            return load_model(dump)

    def profile(self, model: OnnxModel, *, batch: int = 1, runs: int = 50) -> Profile:
        """Return the kernels of the optimised model with their times; see `Runtime.profile`.

        onnxruntime counts whole microseconds: the mean over runs says more than one of them.
        """
        execution = self.execute(model, batch, WARM_UP + runs)
        times = read_profile(execution.profile)
        call, *kernels = kernels_of(execution.graph, batch, operations=execution.graph)
        told = [None] * (len(threaded([call, *kernels], self.threads)) - len(kernels))
        took = [*told, *(times.get(name) for name in execution.nodes)]
        steps = zip(threaded([call, *kernels], self.threads), took, strict=True)
        return Profile(tuple(Executed(kernel, us, _precision(kernel)) for kernel, us in steps))

    def _options(self, *, optimise: bool = True, dump: Path | None = None) -> ort.SessionOptions:
        """Threads that do not spin while they wait, operations one after the other."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what goes wrong is raised
        for kind in ("intra", "inter"):
            options.add_session_config_entry(f"session.{kind}_op.allow_spinning", "0")
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if dump is not None:
            options.optimized_model_filepath = str(dump)
        return options


class Session(OpenModel):
    """An onnxruntime session."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self.inputs = tuple(_input(node) for node in session.get_inputs())

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once; see `OpenModel.run`."""
        try:
            outputs: list[Any] = self.session.run(None, feeds)
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run the model: {_said(error)}{self._hint()}") from error
        return outputs

    def _hint(self) -> str:
        """Say what to do where sizes were guessed: an axis without a length, other than the batch, is taken for 1."""
        open_axes = [node.name for node in self.session.get_inputs() if not all(map(_is_fixed, node.shape[1:]))]
        if not open_axes:
            return ""
        how = "python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name NAME --input_shape 1,3,224,224 IN OUT"
        return f". Axes of {', '.join(open_axes)} have no fixed length and were taken for 1; fix them before: {how}"


def read_profile(text: str) -> dict[str, float]:
    """Return node name -> typical microseconds from the profile of a session, the first `WARM_UP` runs left out."""
    durations = defaultdict[str, list[float]](list)
    for event in json.loads(text):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            durations[event["name"].removesuffix("_kernel_time")].append(float(event["dur"]))
    return {name: float(typical(values[WARM_UP:] or values)) for name, values in durations.items()}


def _precision(kernel: Kernel) -> str:
    return "int8" if kernel.op.startswith(("Q", "MatMulInteger", "ConvInteger", "DynamicQuantize")) else "fp32"


def _session(model: OnnxModel, options: ort.SessionOptions) -> ort.InferenceSession:
    source = str(model) if isinstance(model, (str, Path)) else load_model(model).SerializeToString()
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"onnxruntime cannot open the model: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Return what onnxruntime says, without its number and name of the error."""
    return str(error).rsplit("[ONNXRuntimeError] : ", maxsplit=1)[-1].split(" : ", maxsplit=2)[-1].strip()


def _is_fixed(length: int | str | None) -> bool:
    return isinstance(length, int)


def _input(node: ort.NodeArg) -> Input:
    if node.type not in DTYPES:
        raise ModelError(f"Input {node.name!r} must be one of {', '.join(DTYPES.values())}, got {node.type}")
    shape = [length if _is_fixed(length) else 1 for length in node.shape]
    return Input(node.name, DTYPES[node.type], (BATCH, *shape[1:]))
