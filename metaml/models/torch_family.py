"""What the torch families share: the interface, the training's hyperparameters and the input layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from ConfigSpace import CategoricalHyperparameter, Float, Integer, OrdinalHyperparameter
from ConfigSpace.hyperparameters import Hyperparameter
from torch import Tensor, nn

from hw_cost.graph import BATCH, OpGraph
from metaml.models.base import Family, TabularShape, Tensors, emit_embedding
from metaml.models.layers import Prepared, Projection
from metaml.models.numeric_embedding import NumericEmbedding, embedding_width, emit_numeric_embedding

ACTIVATIONS: dict[str, tuple[type[nn.Module], str]] = {"relu": (nn.ReLU, "Relu"), "gelu": (nn.GELU, "Gelu")}
"""Name in the space -> module and ONNX operator."""


@dataclass(frozen=True)
class Batch:
    """Some rows on their way into a network."""

    inputs: tuple[Tensor, ...]
    """What the network's ``forward`` takes; the first axis of each counts the rows."""
    target: Tensor
    """Class codes int64 ``(batch,)``, class probabilities ``(batch, n_outputs)`` or values ``(batch,)``."""


Augment = Callable[[Batch, torch.Generator], Batch]
"""Makes another training batch out of one; all chance comes from the generator, which is on the batch's device."""


class TorchFamily(Family):
    """A family trained by gradient descent: by `metaml.training`, under the hyperparameters of `optimiser_space`."""

    predict_rows: ClassVar[int] = 8192
    """Rows that go through a network at a time when nothing is learned."""

    @abstractmethod
    def build(self, config: Mapping[str, Any], shape: Any) -> nn.Module:
        """Return an untrained module; all its chance comes from torch's global generator.

        A module may have several heads. Each of them is trained on its own loss; the prediction is the mean of their
        probabilities or values. What `emit` appends gives the scores of that prediction: its logarithm, for classes.

        **Shape**
        - Input: batches of `metaml.preprocessing.Features.arrays`: of a table float32 ``(batch, n_numeric)`` and int64
          ``(batch, n_categorical)``
        - Output: ``(batch, n_outputs)``, or ``(batch, heads, n_outputs)``: class scores before the softmax, or values
        """

    def tensors(self, module: nn.Module) -> Tensors:
        """Return the arrays of a trained module under the names of the parameters that `emit` appends."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}

    def folded(self, config: Mapping[str, Any], shape: Any) -> Sequence[str]:
        """Return how the names of those parameters begin that `tensors` multiplies into others: no graph has them."""
        return ()

    def decayed(self, module: nn.Module) -> Sequence[nn.Parameter]:
        """Return the parameters that weight decay acts on.

        The matrices of dense and convolutional layers; not biases, normalisation, embeddings (Gorishniy et al. 2021).
        """
        matrices = (nn.Linear, nn.Conv1d, nn.Conv2d, Projection)
        layers = [layer for layer in module.modules() if isinstance(layer, matrices)]
        return [weight for layer in layers if isinstance(weight := layer.weight, nn.Parameter)]

    def augment(self, config: Mapping[str, Any], shape: Any) -> Augment | None:
        """Return what is done to every training batch, or None for nothing; codes may become probabilities."""
        return None


def prepare(module: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Let the training rows set what a module learns from them without gradients, before its training."""
    for layer in module.modules():
        if isinstance(layer, Prepared):
            layer.prepare(*inputs)


def optimiser_space(**defaults: Any) -> list[Hyperparameter[Any, Any]]:
    """Return the hyperparameters of the training loop, the same in every torch family but for their `defaults`."""
    usual = {"learning_rate": 2e-3, "weight_decay": 3e-2, "batch_size": 128, "epochs": 24, "dropout": 0.2} | defaults
    return [
        Float("learning_rate", (1e-4, 2e-2), default=usual["learning_rate"], log=True),
        Float("weight_decay", (1e-4, 1.0), default=usual["weight_decay"], log=True),
        Integer("batch_size", (32, 512), default=usual["batch_size"], log=True),
        Integer("epochs", (4, 128), default=usual["epochs"], log=True),
        CategoricalHyperparameter("optimiser", ["adamw", "sgd"], default_value="adamw"),
        CategoricalHyperparameter("schedule", ["cosine", "constant", "one_cycle"], default_value="cosine"),
        OrdinalHyperparameter("label_smoothing", [0.0, 0.03, 0.1], default_value=0.0),
        CategoricalHyperparameter("gradient_clipping", ["none", "norm"], default_value="none"),
        CategoricalHyperparameter("averaging", ["none", "exponential"], default_value="none"),
        CategoricalHyperparameter("early_stopping", ["none", "best_epoch"], default_value="none"),
        Float("dropout", (0.0, 0.6), default=usual["dropout"]),
    ]


def preprocessing_choice() -> Hyperparameter[Any, Any]:
    """Return the choice of what is done to numbers before any network sees them; see `metaml.preprocessing`."""
    return CategoricalHyperparameter("preprocessing", ["robust", "quantile"], default_value="robust")


def category_width() -> Hyperparameter[Any, Any]:
    """Return the width of the embedding of a category."""
    return Integer("embedding_dimension", (2, 16), default=4, log=True)


def activation_choice() -> Hyperparameter[Any, Any]:
    """Return the choice between the `ACTIVATIONS`."""
    return CategoricalHyperparameter("activation", list(ACTIVATIONS), default_value="relu")


class InputLayer(nn.Module):
    """Embedded numeric features beside the embeddings of the categorical ones.

    **Shape**
    - Input: float32 ``(batch, n_numeric)`` and int64 ``(batch, n_categorical)``, codes numbered over all columns
    - Output: ``(batch, width)``
    """

    def __init__(self, config: Mapping[str, Any], shape: TabularShape) -> None:
        super().__init__()
        self.numeric = NumericEmbedding(config, shape.n_numeric) if shape.n_numeric else None
        dimension = int(config["embedding_dimension"])
        self.embedding = nn.Embedding(shape.n_codes, dimension) if shape.n_categorical else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=dimension**-0.5)

    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return the network's input."""
        parts = []
        if self.numeric is not None:
            parts.append(self.numeric(numeric).flatten(1))
        if self.embedding is not None:
            parts.append(self.embedding(codes).flatten(1))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def input_width(config: Mapping[str, Any], shape: TabularShape) -> int:
    """Width of the input layer's output."""
    return shape.n_numeric * embedding_width(config) + shape.n_categorical * int(config["embedding_dimension"])


def emit_input(graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
    """Append the operations of `InputLayer` and return their node."""
    parts = []
    if "numeric_features" in inputs:
        node = emit_numeric_embedding(graph, inputs["numeric_features"], "input.numeric", config, shape.n_numeric)
        if embedding_width(config) > 1:
            width = shape.n_numeric * embedding_width(config)
            node = graph.add("Flatten", node, output=(BATCH, width), axis=1)
        parts.append(node)
    if "codes" in inputs:
        parts.append(emit_embedding(graph, inputs["codes"], shape, int(config["embedding_dimension"])))
    if len(parts) == 1:
        return parts[0]
    return graph.add("Concat", *parts, output=(BATCH, input_width(config, shape)), axis=1)


class EmbeddedNetwork(nn.Module, ABC):
    """A network on tables in two parts: all inputs become floats, and these become scores.

    **Shape**
    - Input: float32 ``(batch, n_numeric)`` and int64 ``(batch, n_categorical)``
    - Output: as of `TorchFamily.build`
    """

    @abstractmethod
    def embed(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return floats."""

    @abstractmethod
    def read(self, embedded: Tensor) -> Tensor:
        """Return scores."""

    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return scores."""
        return self.read(self.embed(numeric, codes))


class TabularNetwork(EmbeddedNetwork):
    """An input layer and a body; parameter names are those of the operation graph.

    **Shape**
    - Input: float32 ``(batch, n_numeric)`` and int64 ``(batch, n_categorical)``
    - Output: what the body returns for ``(batch, width)``
    """

    def __init__(self, config: Mapping[str, Any], shape: TabularShape, body: nn.Module) -> None:
        super().__init__()
        self.input = InputLayer(config, shape)
        self.body = body

    def embed(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return what the input layer does, ``(batch, width)``."""
        embedded: Tensor = self.input(numeric, codes)
        return embedded

    def read(self, embedded: Tensor) -> Tensor:
        """Return what the body does."""
        scores: Tensor = self.body(embedded)
        return scores
