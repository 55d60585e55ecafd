"""Networks on images that nobody searched for: what a search is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace
from torch import Tensor

from hw_cost.graph import OpGraph
from metaml.models import ImageFamily, ImageShape
from metaml.models.image_family import training_space
from metaml.models.image_layers import Activation, Chain, Convolution, ImageNetwork, ImageNode, Layer, emit_sum
from metaml.models.mbconv import Block, inverted_residual

MOBILE_STAGES = ((1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 2, 2), (6, 32, 2, 2), (6, 48, 1, 1))
"""Expansion, channels, blocks and first stride of each stage: MobileNetV2 of half the width, for small images."""
MOBILE_HEAD = 256


class FixedFamily(ImageFamily):
    """A network without hyperparameters of its own."""

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the training; their defaults are what is used."""
        space = ConfigurationSpace()
        space.add(*training_space())
        return space


class SmallResNet(FixedFamily):
    """ResNet-8 for small images (He et al. 2016, section 4.2, n = 1): three residual blocks of 16, 32, 64 channels."""

    name = "ResNet-8"

    def build(self, config: Mapping[str, Any], shape: ImageShape) -> ImageNetwork:
        """Return an untrained network."""
        layers: list[Layer] = [Convolution(shape.channels, 16, 3), Activation("relu", in_place=True)]
        layers += [ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2)]
        return ImageNetwork(Chain(*layers), 64, shape.n_outputs, config["dropout"])


class ResidualBlock(Layer):
    """Two convolutions beside the identity, or beside one of single pixels where the sizes change."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        first = Convolution(n_in, n_out, 3, stride=stride)
        self.long = Chain(first, Activation("relu", in_place=True), Convolution(n_out, n_out, 3))
        self.short = Chain() if n_in == n_out else Chain(Convolution(n_in, n_out, stride=stride))
        self.last = Activation("relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of the sum."""
        y: Tensor = self.last(self.long(x) + self.short(x))
        return y

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append both ways, their sum, and its activation."""
        ways = self.long.emit(graph, x, f"{name}.long"), self.short.emit(graph, x, f"{name}.short")
        return self.last.emit(graph, emit_sum(graph, *ways), f"{name}.last")


class SmallMobileNet(FixedFamily):
    """MobileNetV2 (Sandler et al. 2018) of half its width, with strides for images of 32 pixels."""

    name = "MobileNetV2"

    def build(self, config: Mapping[str, Any], shape: ImageShape) -> ImageNetwork:
        """Return an untrained network."""
        layers: list[Layer] = [Convolution(shape.channels, 16, 3), Activation("relu", in_place=True)]
        n_in = 16
        for expansion, channels, n_blocks, first in MOBILE_STAGES:
            for block in range(n_blocks):
                sizes = Block(n_in, channels, first if block == 0 else 1, "depthwise")
                layers.append(inverted_residual(sizes, expansion=expansion, activation="relu"))
                n_in = channels
        layers += [Convolution(n_in, MOBILE_HEAD), Activation("relu", in_place=True)]
        return ImageNetwork(Chain(*layers), MOBILE_HEAD, shape.n_outputs, config["dropout"])


FIXED_NETWORKS: dict[str, FixedFamily] = {family.name: family for family in (SmallResNet(), SmallMobileNet())}
"""Name -> network."""
