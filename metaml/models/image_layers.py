"""Layers of networks on images; each says what it computes, and which operations it becomes when it is deployed.

Batch normalisation exists during training only: it is folded into the convolution before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.models.base import Tensors, emit_dense
from metaml.models.layers import Prepared

WINDOW_IMAGES, WINDOWS_ALONG = 256, 16
"""Training images whose windows a `Stem` looks at, and about how many of them along a side."""
LEAST_VARIANCE = 0.01
"""Of pixels of variance 1: what is added to the variance along a component before it is divided by its root."""


@dataclass(frozen=True)
class ImageNode:
    """A node whose output is images."""

    name: str
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its output."""
        return BATCH, self.channels, self.height, self.width


class Layer(nn.Module, ABC):
    """A part of a network on images."""

    @abstractmethod
    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append the operations of the trained layer.

        Args:
            graph: receives the operations.
            x: the layer's input.
            name: path of the layer within its network, which its parameters are called after.
        """

    def constants(self) -> dict[str, Tensor]:
        """Return the arrays of the layer's own operations, those of its parts left out."""
        return {}


def exported_tensors(module: nn.Module) -> Tensors:
    """Return the arrays of all operations that a trained network becomes."""
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous().numpy()
        for name, layer in module.named_modules()
        if isinstance(layer, Layer)
        for key, tensor in layer.constants().items()
    }


class Chain(Layer):
    """Layers one after another.

    Args:
        layers: the layers.
        is_residual: whether the input is added to the output.
    """

    def __init__(self, *layers: Layer, is_residual: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.is_residual = is_residual

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output, and the input added to it."""
        y = x
        for layer in self.layers:
            y = layer(y)
        return x + y if self.is_residual else y

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append the operations of all layers."""
        y = x
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            y = layer.emit(graph, y, f"{name}.layers.{i}")
        return emit_sum(graph, x, y) if self.is_residual else y


class Convolution(Layer):
    """Convolution and batch normalisation; the image shrinks by the stride alone.

    **Shape**
    - Input: ``(batch, n_in, h, w)``
    - Output: ``(batch, n_out, ceil(h / stride), ceil(w / stride))``
    """

    def __init__(self, n_in: int, n_out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised channels."""
        y: Tensor = self.norm(self.convolution(x))
        return y

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append one convolution with a bias."""
        layer = self.convolution
        kernel, stride, n_out = layer.kernel_size[0], layer.stride[0], layer.out_channels
        weight = Parameter(f"{name}.weight", (n_out, x.channels // layer.groups, kernel, kernel))
        attributes = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [kernel // 2] * 4,
            "group": layer.groups,
        }
        y = ImageNode("", n_out, (x.height - 1) // stride + 1, (x.width - 1) // stride + 1)
        node = graph.add("Conv", x.name, weight, Parameter(f"{name}.bias", (n_out,)), output=y.shape, **attributes)
        return ImageNode(node, *y.shape[1:])

    def constants(self) -> dict[str, Tensor]:
        """Return weight and bias with the normalisation folded in."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = self.convolution.weight * scale[:, None, None, None]
        return {"weight": weight, "bias": norm.bias - norm.running_mean * scale}


class Stem(Convolution, Prepared):
    """A convolution of the image itself, whose filters start as those that make its windows white.

    They are the leading principal components of small windows of the training images, each divided by the standard
    deviation along it (Coates & Ng 2012, section 3.1), and their negatives; filters beyond that start at random. All
    are trained, the small components slowly, because their filters are large. From few images a network learns more so.
    """

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:  # type: ignore[override]
        """Set the filters from standardised training images ``(n, c, h, w)``."""
        weight, side = self.convolution.weight, self.convolution.kernel_size[0]
        some = images[:: max(1, len(images) // WINDOW_IMAGES)][:WINDOW_IMAGES].float()
        step = max(1, min(images.shape[2:]) // WINDOWS_ALONG)
        windows = functional.unfold(some, side, padding=side // 2, stride=step).transpose(1, 2).flatten(0, 1)
        variances, components = torch.linalg.eigh(windows.T @ windows / len(windows))
        white = (components / torch.sqrt(variances.clamp(min=0) + LEAST_VARIANCE)).flip(1).T
        leading = white[: len(weight) // 2].reshape(-1, *weight.shape[1:])
        weight[: len(leading)] = leading
        weight[len(leading) : 2 * len(leading)] = -leading


class Activation(Layer):
    """``relu``, ``hardswish`` or ``silu``.

    Args:
        kind: one of these.
        in_place: whether a ``relu`` may overwrite its input, which is faster.
    """

    def __init__(self, kind: str, *, in_place: bool = False) -> None:
        super().__init__()
        self.kind, self.in_place = kind, in_place

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of each value."""
        if self.kind == "relu":
            return functional.relu(x, inplace=self.in_place)
        return functional.silu(x) if self.kind == "silu" else functional.hardswish(x)

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append one operation; of ``silu``, x sigmoid(x), two."""
        if self.kind == "silu":
            gate = graph.add("Sigmoid", x.name, output=x.shape)
            return ImageNode(graph.add("Mul", x.name, gate, output=x.shape), *x.shape[1:])
        op = {"relu": "Relu", "hardswish": "HardSwish"}[self.kind]
        return ImageNode(graph.add(op, x.name, output=x.shape), *x.shape[1:])


class SqueezeExcite(Layer):
    """Scales every channel by a number in 0 … 1 that depends on the means of all (Hu et al. 2018, section 3)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scaled channels; the gate is a hard sigmoid (Howard et al. 2019)."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * functional.hardsigmoid(self.excite(functional.relu(self.squeeze(means))))

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append the mean, two convolutions of single pixels, and the product."""
        means = ImageNode(graph.add("GlobalAveragePool", x.name, output=(BATCH, x.channels, 1, 1)), x.channels, 1, 1)
        inner = _emit_pointwise(graph, means, f"{name}.squeeze", self.squeeze.out_channels)
        inner = ImageNode(graph.add("Relu", inner.name, output=inner.shape), *inner.shape[1:])
        gate = _emit_pointwise(graph, inner, f"{name}.excite", x.channels)
        opened = graph.add("HardSigmoid", gate.name, output=gate.shape, alpha=1 / 6, beta=0.5)
        return ImageNode(graph.add("Mul", x.name, opened, output=x.shape), *x.shape[1:])

    def constants(self) -> dict[str, Tensor]:
        """Return the weights of both convolutions."""
        layers = {"squeeze": self.squeeze, "excite": self.excite}
        return {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()}


class AveragePool(Layer):
    """Mean over windows; pixels outside of the image do not count."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.margin = kernel, stride, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the means; a last incomplete window is its own."""
        return functional.avg_pool2d(
            x, self.kernel, self.stride, self.margin, ceil_mode=self.stride > 1, count_include_pad=False
        )

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append one operation."""
        y = ImageNode("", x.channels, (x.height - 1) // self.stride + 1, (x.width - 1) // self.stride + 1)
        shape = {"kernel_shape": [self.kernel] * 2, "strides": [self.stride] * 2, "pads": [self.margin] * 4}
        node = graph.add("AveragePool", x.name, output=y.shape, ceil_mode=int(self.stride > 1), **shape)
        return ImageNode(node, *y.shape[1:])


class Resize(Layer):
    """Bilinear interpolation to another height and width."""

    def __init__(self, height: int, width: int, *, before: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width, self.before = height, width, before

    def forward(self, x: Tensor) -> Tensor:
        """Return the resized images."""
        return functional.interpolate(x, size=(self.height, self.width), mode="bilinear", align_corners=False)

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append one operation."""
        y = ImageNode("", x.channels, self.height, self.width)
        region, factors = Parameter(f"{name}.region", (0,)), Parameter(f"{name}.factors", (4,))
        return ImageNode(graph.add("Resize", x.name, region, factors, output=y.shape, mode="linear"), *y.shape[1:])

    def constants(self) -> dict[str, Tensor]:
        """Return the factors by which the axes grow."""
        factors = [1.0, 1.0, _factor(self.before[0], self.height), _factor(self.before[1], self.width)]
        return {"region": torch.empty(0), "factors": torch.tensor(factors)}


class ImageNetwork(nn.Module):
    """A body, the mean over the image, dropout and a dense head.

    **Shape**
    - Input: ``(batch, channels, height, width)``
    - Output: ``(batch, n_outputs)``
    """

    def __init__(self, body: Layer, width: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self._is_dense = all(layer.groups == 1 for layer in body.modules() if isinstance(layer, nn.Conv2d))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores.

        Channels are kept last in memory, which is faster on processors. Networks without grouped convolutions are
        trained in bfloat16 where the machine has instructions for it; their weights and their predictions are float32.
        """
        is_half = self.training and self._is_dense and has_fast_bfloat16(images.device.type)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_half):
            features = self.body(images.contiguous(memory_format=torch.channels_last))
            scores: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return scores.float()

    def emit(self, graph: OpGraph, x: ImageNode) -> str:
        """Append all operations; node of the scores."""
        y = self.body.emit(graph, x, "body")
        means = graph.add("GlobalAveragePool", y.name, output=(BATCH, y.channels, 1, 1))
        flat = graph.add("Flatten", means, output=(BATCH, y.channels), axis=1)
        return emit_dense(graph, flat, "head", y.channels, self.head.out_features)

    def tensors(self) -> Tensors:
        """Return the arrays of all operations."""
        head = {f"head.{name}": tensor.detach().cpu().numpy() for name, tensor in self.head.state_dict().items()}
        return exported_tensors(self) | head


@cache
def has_fast_bfloat16(device: str) -> bool:
    """Whether a kind of device multiplies bfloat16 faster than float32: a graphics card, or AVX-512 BF16, or AMX."""
    if device != "cpu":
        return True
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def emit_sum(graph: OpGraph, *images: ImageNode) -> ImageNode:
    """Append the sum of images of the same shape, one after another."""
    total = images[0]
    for image in images[1:]:
        total = ImageNode(graph.add("Add", total.name, image.name, output=total.shape), *total.shape[1:])
    return total


def _factor(before: int, after: int) -> float:
    """Return the least float32 factor that, rounded down, gives the new length, as onnxruntime computes it."""
    factor = np.float32(after / before)
    while np.floor(np.float32(before) * factor) < after:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)


def _emit_pointwise(graph: OpGraph, x: ImageNode, name: str, n_out: int) -> ImageNode:
    weight, bias = Parameter(f"{name}.weight", (n_out, x.channels, 1, 1)), Parameter(f"{name}.bias", (n_out,))
    shape = (BATCH, n_out, x.height, x.width)
    attributes = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "group": 1}
    return ImageNode(graph.add("Conv", x.name, weight, bias, output=shape, **attributes), *shape[1:])


def eights(width: float) -> int:
    """Return a number of channels as a multiple of 8, which is what processors compute at a time.

    >>> eights(3), eights(17.6), eights(21)
    (8, 16, 24)
    """
    return max(8, 8 * round(width / 8))
