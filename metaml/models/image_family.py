"""What the families of networks on images share: how they are deployed, and how they are trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from ConfigSpace import CategoricalHyperparameter, Constant, Float, Integer, OrdinalHyperparameter
from ConfigSpace.hyperparameters import Hyperparameter
from torch import nn

from hw_cost.graph import OpGraph
from metaml.data import Modality
from metaml.models.augmentation import Augmentation, augmentation_space
from metaml.models.base import ImageShape, Tensors
from metaml.models.image_layers import ImageNetwork, ImageNode
from metaml.models.torch_family import Augment, TorchFamily

LEAST_EPOCHS = 8
SPARE = 0.2
"""Share of the time that a shortened training leaves: how fast it goes is known from a few steps only."""
LARGE = 48
"""The first convolution of images whose shorter side is at least this long skips every other pixel once more."""
FIXED = {
    "optimiser": "adamw",
    "schedule": "cosine",
    "gradient_clipping": "none",
    "averaging": "none",
    "early_stopping": "none",
}
"""Hyperparameters of the training loop that are not searched."""
SMALLEST = 4
"""Images with a side of no more pixels than this are not made smaller within a network."""


class ImageFamily(TorchFamily):
    """A family of `ImageNetwork`; the layers of its module say which operations it becomes."""

    modality: ClassVar[Modality] = "image"
    predict_rows: ClassVar[int] = 128

    @abstractmethod
    def build(self, config: Mapping[str, Any], shape: ImageShape) -> ImageNetwork:
        """Return an untrained module.

        **Shape**
        - Input: ``(batch, channels, height, width)``
        - Output: ``(batch, n_outputs)``
        """

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: ImageShape) -> str:
        """Append the network's operations, normalisation folded into the convolutions."""
        with torch.device("meta"):  # shapes without numbers
            module = self.build(config, shape)
        return module.emit(graph, ImageNode(inputs["images"], shape.channels, shape.height, shape.width))

    def augment(self, config: Mapping[str, Any], shape: ImageShape) -> Augment | None:
        """Return what is done to every training batch."""
        return Augmentation.of(config, n_outputs=shape.n_outputs, is_regression=shape.is_regression)

    def architecture(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Leave out what only the training sees."""
        return {name: value for name, value in config.items() if name not in _TRAINED_BY}

    def shortened(self, config: Mapping[str, Any], share: float) -> dict[str, Any] | None:
        """Return the same with fewer epochs, so that there is a little time to spare."""
        epochs = int((1 - SPARE) * share * config["epochs"])
        return {**config, "epochs": epochs} if LEAST_EPOCHS <= epochs < config["epochs"] else None

    def lengthened(self, config: Mapping[str, Any], share: float) -> dict[str, Any] | None:
        """Return the same with more epochs: augmented images are never the same twice."""
        epochs = int(share * config["epochs"])
        return {**config, "epochs": epochs} if epochs > config["epochs"] else None

    def tensors(self, module: nn.Module) -> Tensors:
        """Return the arrays of the operations."""
        assert isinstance(module, ImageNetwork)
        return module.tensors()


_TRAINED_BY = {
    *("learning_rate", "weight_decay", "batch_size", "epochs", "dropout", "label_smoothing"),
    *(hyperparameter.name for hyperparameter in augmentation_space()),
    *FIXED,
}


def stem_stride(config: Mapping[str, Any], height: int, width: int) -> int:
    """Return the stride of the first convolution: that of the configuration, twice as much on large images."""
    shorter = min(height, width)
    stride = int(config["stem_stride"]) * (2 if shorter >= LARGE else 1)
    return stride if shorter > SMALLEST * stride else 1


def stage_stride(stage: int, height: int, width: int) -> int:
    """Return the stride of the first block of a stage: 2 from the second stage on, while there are pixels enough."""
    return 2 if stage and min(height, width) > SMALLEST else 1


def shrunk(length: int, stride: int) -> int:
    """Return the length of a side behind a convolution with a stride."""
    return (length - 1) // stride + 1


def training_space(activations: Sequence[str] = ("relu", "hardswish", "silu")) -> list[Hyperparameter[Any, Any]]:
    """Return the hyperparameters of the training of networks on images, and of their activation.

    What matters less on images is fixed, so that few trials suffice.
    """
    return [
        CategoricalHyperparameter("activation", list(activations), default_value="relu"),
        Float("learning_rate", (5e-4, 2e-2), default=4e-3, log=True),
        Float("weight_decay", (1e-3, 0.3), default=3e-2, log=True),
        Integer("batch_size", (16, 128), default=64, log=True),
        Integer("epochs", (LEAST_EPOCHS, 128), default=64, log=True),
        OrdinalHyperparameter("dropout", [0.0, 0.1, 0.2, 0.4], default_value=0.0),
        OrdinalHyperparameter("label_smoothing", [0.0, 0.03, 0.1], default_value=0.1),
        *augmentation_space(),
        *(Constant(name, value) for name, value in FIXED.items()),
    ]
