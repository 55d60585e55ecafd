"""torch on a CUDA GPU: operation by operation, or a recorded call that is replayed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hw_cost.onnx_reader import OnnxModel
from hw_cost.runtimes.base import Feeds, RuntimeMissing
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.runtimes.torch import Torch, TorchModel

WARM_UP = 3
"""Calls before a recording, in which libraries choose algorithms and take their memory."""
COPIES, REPLAYS = 20, 5
"""Copies of an operation in a recording that is replayed to time it: what a replay costs by itself is shared."""


def device_time(call: Callable[[], Any]) -> tuple[Any, float]:
    """Run a call; return its result and the microseconds between two events of the GPU around it."""
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    result = call()
    end.record()
    end.synchronize()
    return result, 1e3 * start.elapsed_time(end)


def record(call: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Return a call's work on the GPU, ready to be replayed on the same tensors, and its result.

    The result is filled by a replay.
    """
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        result = call()
    return recording, result


class TorchCuda(Torch):
    """torch on a CUDA GPU, operation by operation; kernels are timed by events of the device.

    Left alone it convolves in TF32, of 10 bits of fraction: that is switched off.
    """

    name = "torch-cuda"
    target = "cuda"

    @classmethod
    def version(cls) -> str:
        """Return the version of torch.

        Raises:
            RuntimeMissing: there is no GPU that torch can use.
        """
        if not torch.cuda.is_available():
            raise RuntimeMissing(
                "torch finds no CUDA GPU on this machine. Please use the device cpu, or the runtime torch."
            )
        return super().version()

    @classmethod
    def accelerator(cls) -> str:
        """Return the name of the GPU."""
        cls.version()
        return str(torch.cuda.get_device_name())

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> TorchModel:
        """Rebuild a model from calls of torch; see `Runtime.open`."""
        self.version()
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        return super().open(model, batch=batch, optimise=optimise)

    def timed(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """Run one operation; see `Torch.timed`."""
        return device_time(call)


class TorchCudaGraph(TorchCuda):
    """torch on a CUDA GPU with the whole call recorded ("CUDA graph"): one launch in the place of one per operation."""

    name = "torch-cuda-graph"

    def open(self, model: OnnxModel, *, batch: int = 1, optimise: bool = True) -> TorchModel:
        """Rebuild a model and record its call for `batch` rows, and no other number of them."""
        opened = super().open(model, batch=batch, optimise=optimise)
        return RecordedModel(opened, batch) if optimise else opened

    def timed(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """Run one operation and time it within a recording of many of it; see `Torch.timed`."""
        recording, _ = record(lambda: [call() for _ in range(COPIES)])

        def replay() -> None:
            for _ in range(REPLAYS):
                recording.replay()

        return call(), device_time(replay)[1] / (COPIES * REPLAYS)


class RecordedModel(TorchModel):
    """A model whose work on the GPU is replayed."""

    def __init__(self, opened: TorchModel, batch: int) -> None:
        super().__init__(opened.module, opened.inputs, opened.target)
        self._given = opened.tensors(random_feeds(opened.inputs, batch))
        with torch.inference_mode():
            self._recording, self._outputs = record(lambda: opened.call(*self._given))

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once; see `OpenModel.run`."""
        with torch.inference_mode():
            for given, node in zip(self._given, self.inputs, strict=True):
                given.copy_(torch.from_numpy(feeds[node.name]))
            self._recording.replay()
            return [output.cpu().numpy() for output in self._outputs]
