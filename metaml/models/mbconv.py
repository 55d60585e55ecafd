"""Inverted residuals of all sorts: the blocks of MnasNet, FBNet, EfficientNet and of the Edge TPU in one small space.

A block widens the image's channels, convolves, and narrows them again (MobileNetV2, Sandler et al. 2018). MnasNet (Tan
et al. 2019), FBNet (Wu et al. 2019) and EfficientNet (Tan & Le 2019) choose expansion, window, depth, width and
squeeze-and-excitation of such blocks; the Edge TPU's networks (Gupta & Akin 2020; Akin et al. 2022) replace the first
two convolutions by a full or a grouped one. Here all blocks of a network are alike but for their width: few choices
suffice for few trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Integer, OrdinalHyperparameter

from metaml.models.base import ImageShape
from metaml.models.image_family import ImageFamily, shrunk, stage_stride, stem_stride, training_space
from metaml.models.image_layers import (
    Activation,
    Chain,
    Convolution,
    ImageNetwork,
    Layer,
    Resize,
    SqueezeExcite,
    Stem,
    eights,
)

DEPTH, WIDTH, RESOLUTION = 1.2, 1.1, 1.15
"""Compound scaling multiplies depth, width and resolution by these to the power ``scale`` (Tan & Le 2019, section 3.3);
their costs, 1.2 * 1.1^2 * 1.15^2, nearly double with each step."""
GROUPS = 4


@dataclass(frozen=True)
class Block:
    """One inverted residual."""

    n_in: int
    n_out: int
    stride: int
    kind: str
    """``depthwise``, ``fused`` or ``grouped``."""

    @property
    def is_residual(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.n_in == self.n_out


@dataclass(frozen=True)
class Plan:
    """The sizes of a network."""

    height: int
    width: int
    """Of the image that the first convolution sees."""
    stem: int
    """Channels behind it."""
    stride: int
    blocks: tuple[Block, ...]


def plan(config: Mapping[str, Any], shape: ImageShape) -> Plan:
    """Return the sizes of a configuration's network."""
    ratio = config["resolution"] * RESOLUTION ** config["scale"]
    height, width = (max(1, round(ratio * side)) for side in (shape.height, shape.width))
    stem, stride = eights(config["width"] * WIDTH ** config["scale"]), stem_stride(config, height, width)
    sides = shrunk(height, stride), shrunk(width, stride)
    return Plan(height, width, stem, stride, tuple(_blocks(config, stem, *sides)))


def _blocks(config: Mapping[str, Any], n_in: int, height: int, width: int) -> Iterator[Block]:
    first = config["width"] * WIDTH ** config["scale"]
    depth = max(1, round(config["depth"] * DEPTH ** config["scale"]))
    for stage in range(config["n_stages"]):
        n_out = eights(first * config["growth"] ** stage)
        kind = config["block"]
        if kind == "fused_first":  # as EfficientNetV2 (Tan & Le 2021): depthwise where images are small
            kind = "fused" if stage < config["n_stages"] / 2 else "depthwise"
        for block in range(depth):
            stride = stage_stride(stage, height, width) if block == 0 else 1
            height, width = shrunk(height, stride), shrunk(width, stride)
            yield Block(n_in, n_out, stride, kind)
            n_in = n_out


class MBConv(ImageFamily):
    """A convolution, stages of inverted residuals, and a dense head."""

    name = "mbconv"

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the network and of its training."""
        space = ConfigurationSpace()
        space.add(
            CategoricalHyperparameter("block", ["depthwise", "fused", "fused_first", "grouped"], default_value="fused"),
            OrdinalHyperparameter("expansion", [1, 2, 3, 4, 6], default_value=1),
            OrdinalHyperparameter("kernel", [3, 5], default_value=3),
            CategoricalHyperparameter("attention", ["none", "squeeze_excite"], default_value="none"),
            OrdinalHyperparameter("width", [8, 16, 24, 32, 48], default_value=32),
            OrdinalHyperparameter("growth", [1.5, 2.0], default_value=1.5),
            Integer("n_stages", (2, 4), default=4),
            Integer("depth", (1, 3), default=1),
            OrdinalHyperparameter("resolution", [0.5, 0.75, 1.0], default_value=1.0),
            OrdinalHyperparameter("stem_stride", [1, 2], default_value=2),
            Integer("scale", (-2, 2), default=0),
            *training_space(),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: ImageShape) -> ImageNetwork:
        """Return an untrained network."""
        sizes = plan(config, shape)
        layers: list[Layer] = []
        if (sizes.height, sizes.width) != (shape.height, shape.width):
            layers.append(Resize(sizes.height, sizes.width, before=(shape.height, shape.width)))
        layers.append(Stem(shape.channels, sizes.stem, 3, stride=sizes.stride))
        layers.append(Activation(config["activation"], in_place=True))
        layers += [
            inverted_residual(
                block,
                expansion=config["expansion"],
                activation=config["activation"],
                kernel=config["kernel"],
                has_attention=config["attention"] == "squeeze_excite",
            )
            for block in sizes.blocks
        ]
        return ImageNetwork(Chain(*layers), sizes.blocks[-1].n_out, shape.n_outputs, config["dropout"])


def inverted_residual(
    block: Block, *, expansion: int, activation: str, kernel: int = 3, has_attention: bool = False
) -> Chain:
    """Return the layers of a block.

    Args:
        block: its sizes and kind.
        expansion: how many times as wide it is inside.
        activation: behind every convolution but the last.
        kernel: side of the window.
        has_attention: whether there is squeeze-and-excitation before the last convolution.
    """
    is_single = block.kind == "fused" and expansion == 1  # one convolution, as in EfficientNetV2
    inner = block.n_out if is_single else block.n_in * expansion
    groups = {"depthwise": inner, "grouped": GROUPS}.get(block.kind, 1)
    layers: list[Layer] = []
    n_in = block.n_in
    if block.kind == "depthwise":
        if expansion > 1:
            layers += [Convolution(n_in, inner), Activation(activation, in_place=True)]
        n_in = inner
    layers += [Convolution(n_in, inner, kernel, stride=block.stride, groups=groups)]
    layers += [Activation(activation, in_place=True)]
    if has_attention:
        layers.append(SqueezeExcite(inner, max(8, inner // 4)))
    if not is_single:
        layers.append(Convolution(inner, block.n_out))
    return Chain(*layers, is_residual=block.is_residual)
