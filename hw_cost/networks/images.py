"""Random networks on images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.base import add_dense, add_tail, log_uniform


@dataclass(frozen=True)
class Image:
    """A node whose output is an image."""

    node: str
    channels: int
    size: int
    """Height and width."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the node's output."""
        return BATCH, self.channels, self.size, self.size


class Layers:
    """Appends layers to a graph; each has constants of its own."""

    def __init__(self, graph: OpGraph) -> None:
        self.graph, self._n = graph, 0

    def conv(self, x: Image, channels: int, window: int = 1, stride: int = 1, groups: int = 1) -> Image:
        """Append a convolution whose output is as large as its input, or smaller by the stride."""
        self._n += 1
        weight = Parameter(f"{self._n}.weight", (channels, x.channels // groups, window, window))
        size = (x.size - 1) // stride + 1
        shape = {"kernel_shape": [window] * 2, "strides": [stride] * 2, "pads": [window // 2] * 4, "group": groups}
        bias = Parameter(f"{self._n}.bias", (channels,))
        node = self.graph.add("Conv", x.node, weight, bias, output=(BATCH, channels, size, size), **shape)
        return Image(node, channels, size)

    def activate(self, x: Image, activation: str) -> Image:
        """Append an activation: an operator, ``Relu6`` or ``SiLU``."""
        if activation == "SiLU":
            gate = self.graph.add("Sigmoid", x.node, output=x.shape)
            return Image(self.graph.add("Mul", x.node, gate, output=x.shape), x.channels, x.size)
        bounds = (Parameter("zero", ()), Parameter("six", ())) if activation == "Relu6" else ()
        op = "Clip" if activation == "Relu6" else activation
        return Image(self.graph.add(op, x.node, *bounds, output=x.shape), x.channels, x.size)

    def add(self, x: Image, y: Image) -> Image:
        """Append the sum of two images."""
        return Image(self.graph.add("Add", x.node, y.node, output=x.shape), x.channels, x.size)

    def pool(self, x: Image, op: str, window: int = 2, stride: int = 2) -> Image:
        """Append pooling."""
        margin = (window - 1) // 2
        size = (x.size + 2 * margin - window) // stride + 1
        shape = {"kernel_shape": [window] * 2, "strides": [stride] * 2, "pads": [margin] * 4}
        return Image(self.graph.add(op, x.node, output=(BATCH, x.channels, size, size), **shape), x.channels, size)

    def squeeze_excite(self, x: Image, inner: int) -> Image:
        """Append squeeze-and-excitation (Hu et al. 2018)."""
        mean = Image(self.graph.add("GlobalAveragePool", x.node, output=(BATCH, x.channels, 1, 1)), x.channels, 1)
        gate = self.conv(self.activate(self.conv(mean, inner), "Relu"), x.channels)
        gate = self.activate(gate, "HardSigmoid")
        return Image(self.graph.add("Mul", x.node, gate.node, output=x.shape), x.channels, x.size)

    def classify(self, x: Image, outputs: int) -> None:
        """Append the mean over the image, a dense layer and probabilities."""
        mean = self.graph.add("GlobalAveragePool", x.node, output=(BATCH, x.channels, 1, 1))
        flat = self.graph.add("Flatten", mean, output=(BATCH, x.channels), axis=1)
        add_tail(self.graph, add_dense(self.graph, flat, "head", x.channels, outputs), outputs)


def _start(graph: OpGraph, random: np.random.Generator) -> tuple[Layers, Image, int]:
    size, channels = int(random.choice([16, 28, 32, 48, 64, 96, 128, 224])), int(random.choice([1, 3, 3]))
    outputs = int(random.choice([2, 10, 100, 1000]))
    if random.random() < 0.3:
        return Layers(graph), _pixels(graph, random, channels, size), outputs
    return Layers(graph), Image(graph.input("image", (BATCH, channels, size, size)), channels, size), outputs


def _pixels(graph: OpGraph, random: np.random.Generator, channels: int, size: int) -> Image:
    """Append raw pixels, channels last, and what makes numbers of them; of half of the networks another size too."""
    raw = int(random.choice([28, 32, 64, 96, 128])) if random.random() < 0.5 else size
    last = graph.input("pixels", (BATCH, raw, raw, channels), dtype="uint8")
    numbers = graph.add("Cast", last, output=(BATCH, raw, raw, channels), dtype="uint8", to=1)
    x = graph.add("Transpose", numbers, output=(BATCH, channels, raw, raw), perm=[0, 3, 1, 2])
    shape = (BATCH, channels, size, size)
    if raw != size:
        empty, factors = Parameter("region", (0,)), Parameter("factors", (4,))
        x = graph.add("Resize", x, empty, factors, output=shape, mode="linear")
    centered = graph.add("Sub", x, Parameter("pixel.mean", (channels, 1, 1)), output=shape)
    return Image(graph.add("Mul", centered, Parameter("pixel.scale", (channels, 1, 1)), output=shape), channels, size)


def mbconv(graph: OpGraph, random: np.random.Generator) -> None:
    """Append inverted residuals with depthwise convolutions (MobileNetV2, V3: Sandler 2018, Howard 2019)."""
    layers, x, outputs = _start(graph, random)
    activation = str(random.choice(["Relu", "Relu6", "HardSwish", "SiLU"]))
    gated, windows = random.random() < 0.5, (3, 5) if random.random() < 0.5 else (3,)
    x = layers.activate(layers.conv(x, _eights(random, 8, 32), 3, 2 if x.size > 28 else 1), activation)
    for stage in range(int(random.integers(2, 6))):
        channels = _eights(random, 12 * 1.5**stage, 32 * 1.6**stage)
        expansion, window = int(random.choice([1, 3, 4, 6])), int(random.choice(windows))
        for block in range(int(random.integers(1, 4))):
            stride = 2 if block == 0 and x.size > 4 and random.random() < 0.8 else 1
            h, inner = x, expansion * x.channels
            if expansion > 1:
                h = layers.activate(layers.conv(h, inner), activation)
            h = layers.activate(layers.conv(h, inner, window, stride, inner), activation)
            h = layers.squeeze_excite(h, max(8, inner // 4)) if gated else h
            h = layers.conv(h, channels)
            x = layers.add(x, h) if stride == 1 and x.channels == channels else h
    if random.random() < 0.5:
        x = layers.activate(layers.conv(x, 4 * x.channels), activation)
    layers.classify(x, outputs)


def conv_resnet(graph: OpGraph, random: np.random.Generator) -> None:
    """Append residual blocks of two convolutions, or bottlenecks of three, grouped or not (He 2016, Xie 2017)."""
    layers, x, outputs = _start(graph, random)
    base, bottleneck = _eights(random, 8, 64), random.random() < 0.5
    groups = int(random.choice([1, 1, 4])) if bottleneck else 1
    window = 7 if x.size > 64 else 3
    x = layers.activate(layers.conv(x, base, window, 2 if x.size > 32 else 1), "Relu")
    x = layers.pool(x, "MaxPool", 3) if x.size > 32 else x
    for stage in range(int(random.integers(2, 5))):
        width = base * 2**stage
        channels = width * (4 if bottleneck else 1)
        for block in range(int(random.integers(1, 4))):
            stride = 2 if block == 0 and stage and x.size > 2 else 1
            if bottleneck:
                h = layers.activate(layers.conv(x, width), "Relu")
                h = layers.conv(layers.activate(layers.conv(h, width, 3, stride, groups), "Relu"), channels)
            else:
                h = layers.conv(layers.activate(layers.conv(x, width, 3, stride), "Relu"), channels, 3)
            straight = stride == 1 and x.channels == channels
            x = layers.activate(layers.add(h, x if straight else layers.conv(x, channels, 1, stride)), "Relu")
    layers.classify(x, outputs)


def cell(graph: OpGraph, random: np.random.Generator) -> None:
    """Append stacks of one random cell between residual blocks that halve the image (Dong & Yang 2020)."""
    layers, x, outputs = _start(graph, random)
    channels, depth = _eights(random, 8, 32), int(random.integers(1, 4))
    operators = [int(op) for op in random.integers(0, 5, size=6)]
    x = layers.conv(x, channels, 3, 2 if x.size > 48 else 1)
    for stage in range(3):
        if stage:
            x = _halved(layers, x)
        for _ in range(depth):
            x = _cell(layers, x, operators)
    layers.classify(layers.activate(x, "Relu"), outputs)


def _cell(layers: Layers, x: Image, operators: list[int]) -> Image:
    """Append a cell: each node is the sum of an operator on every node before it; nothing where all are left out."""
    nodes: list[Image | None] = [x]
    chosen = iter(operators)
    for _ in range(3):
        parts = [_edge(layers, node, next(chosen)) for node in nodes]
        total: Image | None = None
        for part in parts:
            total = layers.add(total, part) if total and part else total or part
        nodes.append(total)
    return nodes[-1] or x


def _edge(layers: Layers, x: Image | None, operator: int) -> Image | None:
    if x is None or operator == 0:
        return None
    if operator == 1:
        return x
    if operator == 2:
        return layers.pool(x, "AveragePool", 3, 1)
    return layers.conv(layers.activate(x, "Relu"), x.channels, 1 if operator == 3 else 3)


def _halved(layers: Layers, x: Image) -> Image:
    h = layers.conv(layers.activate(x, "Relu"), 2 * x.channels, 3, 2)
    h = layers.conv(layers.activate(h, "Relu"), 2 * x.channels, 3)
    return layers.add(h, layers.conv(layers.pool(x, "AveragePool", 2, 2), 2 * x.channels))


def convnet(graph: OpGraph, random: np.random.Generator) -> None:
    """Append convolutions and pooling in turn, dense layers in the end (as LeNet and VGG)."""
    layers, x, outputs = _start(graph, random)
    activation = str(random.choice(["Relu", "Relu", "LeakyRelu", "Tanh"]))
    channels, op = log_uniform(random, 8, 64), str(random.choice(["MaxPool", "AveragePool"]))
    for _ in range(int(random.integers(2, 5))):
        for _ in range(int(random.integers(1, 3))):
            x = layers.activate(layers.conv(x, channels, int(random.choice([3, 3, 5]))), activation)
        x, channels = layers.pool(x, op) if x.size > 3 else x, min(512, int(channels * random.uniform(1.2, 2)))
    n_in, hidden = x.channels * x.size**2, log_uniform(random, 32, 512)
    flat = graph.add("Flatten", x.node, output=(BATCH, n_in), axis=1)
    h = graph.add("Relu", add_dense(graph, flat, "hidden", n_in, hidden), output=(BATCH, hidden))
    add_tail(graph, add_dense(graph, h, "head", hidden, outputs), outputs)


def _eights(random: np.random.Generator, low: float, high: float) -> int:
    return 8 * max(1, round(log_uniform(random, low, high) / 8))
