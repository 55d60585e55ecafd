"""What a runtime must be able to do so that its latencies can be measured and foretold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from hw_cost.graph import OpGraph, Shape
from hw_cost.kernels import Kernel
from hw_cost.onnx_reader import OnnxModel
from hw_cost.onnx_writer import input_dtype

Feeds = Mapping[str, np.ndarray]
"""Input name -> rows, any number of them."""


class RuntimeMissing(RuntimeError):  # noqa: N818 (the name says what is the matter)
    """The program or the hardware that a runtime needs is not there."""


@dataclass(frozen=True)
class Input:
    """An input of a model."""

    name: str
    dtype: str
    """``float``, ``double``, ``int64``, ``string`` or ``uint8``."""
    shape: Shape
    """`BATCH` for the batch size."""


@dataclass(frozen=True)
class Executed:
    """One kernel that a runtime executed in a call."""

    kernel: Kernel
    latency_us: float | None
    """What the runtime's own profiler says; None where it does not tell."""
    precision: str
    """Type that it computed in, such as ``fp32``, ``bf16`` or ``int8``."""


@dataclass(frozen=True)
class Profile:
    """What a runtime really did in a call."""

    kernels: tuple[Executed, ...]

    @property
    def precision(self) -> str:
        """The lowest precision of any dense or convolving kernel, as is said of the whole network; else of any.

        A network counts as ``int8`` although its ends are floating point, and as ``bf16`` although its sums are not.
        """
        heavy = [step.precision for step in self.kernels if step.kernel.kind in HEAVY]
        present = Counter(heavy or [step.precision for step in self.kernels])
        return next((name for name in PRECISIONS if name in present), "fp32")


def text_inputs(graph: OpGraph) -> set[str]:
    """Return a name for inputs of text, which most runtimes cannot take, if the network has any."""
    inputs = [name for name, data in graph.network.nodes(data=True) if "operation" not in data]
    return {"text inputs"} if any(input_dtype(graph, name) == "string" for name in inputs) else set()


def typical(times: Sequence[Any]) -> Any:
    """Return the mean of the nine tenths that are shortest, along the first axis: an interrupted call tells nothing.

    Profilers count whole microseconds, of which a median would keep nothing else.
    """
    kept = np.sort(np.asarray(times, dtype=float), axis=0)[: math.ceil(0.9 * len(times))]
    return kept.mean(axis=0)


PRECISIONS = ("int8", "fp16", "bf16", "fp32")
"""From the lowest to the highest."""
HEAVY = ("dense", "conv", "attention")
"""Kinds of kernels whose precision names that of a network."""


class OpenModel(ABC):
    """A model that is ready to run."""

    inputs: tuple[Input, ...]

    @abstractmethod
    def run(self, feeds: Feeds) -> Any:
        """Run once on the rows of a batch and wait for the end; return the outputs."""


_TOLD: WeakKeyDictionary[OpGraph, dict[tuple[str, int, int], list[Kernel]]] = WeakKeyDictionary()


class Runtime(ABC):
    """A program that executes networks, with the settings that decide how long that takes."""

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    """Precisions that can be asked for."""
    tells_sizes: ClassVar[bool] = True
    """Whether `kernels` tells the sizes of all kernels, without which there is no table."""

    def __init__(self, *, threads: int = 1, precision: str = "fp32") -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        if precision not in self.precisions:
            raise ValueError(f"{self.name} runs in {' or '.join(self.precisions)}, not in {precision!r}")
        self.threads, self.precision = threads, precision

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the version of the program.

        Raises:
            RuntimeMissing: it is not installed; the message says how to get it.
        """

    @classmethod
    def accelerator(cls) -> str:
        """Return the model name of the GPU that it computes on; empty when that is the processor."""
        return ""

    @abstractmethod
    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> OpenModel:
        """Make a model ready to run.

        Args:
            model: path, bytes or model.
            batch: rows of a call; runtimes that compile for a fixed shape run no others.
            optimise: let the runtime fuse and remove operations; only one that `isolates` can do without.
        """

    @abstractmethod
    def kernels(self, network: OpGraph | OnnxModel, batch: int = 1) -> list[Kernel]:
        """Return the kernels that a call executes, the call itself first."""

    @abstractmethod
    def profile(self, model: OnnxModel, *, batch: int = 1, runs: int = 50) -> Profile:
        """Run a model on random rows under the runtime's own profiler; return what was executed."""

    def unsupported(self, graph: OpGraph) -> Sequence[str]:
        """Return what the runtime cannot execute of a network: operators, or text inputs; sorted."""
        del graph
        return ()

    @property
    def isolates(self) -> bool:
        """Whether kernels are measured one by one, many copies in a graph that `open` leaves as it is."""
        return False

    def remembered(self, network: OpGraph, batch: int, tell: Callable[[], list[Kernel]]) -> list[Kernel]:
        """Return the kernels of a graph that must be run to be known: told once, then from memory.

        All runtimes of one kind with the same settings share it; it goes with the graph.
        """
        known, key = _TOLD.setdefault(network, {}), (repr(self), batch, len(network.network))
        if key not in known:
            known[key] = tell()
        return list(known[key])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threads={self.threads}, precision={self.precision!r})"
