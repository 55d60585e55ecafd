"""A network given as a graph with its arrays, run by torch: what a compressed network is until it is exported."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hw_cost.graph import OpGraph, Parameter
from hw_cost.onnx_writer import to_model
from hw_cost.runtimes.torch_module import to_module
from metaml.models import Exported, NetworkShape, Tensors
from metaml.preprocessing import Features
from metaml.training import Model
from metaml.trial import Configuration

PREDICT_ROWS = 8192
"""Rows that go through a network at a time."""


class GraphModule(nn.Module):
    """Runs an exported network; its float arrays are parameters that can be tuned.

    **Shape**
    - Input: the arrays of `Features.arrays`
    - Output: ``(batch, n_outputs)``
    """

    def __init__(self, network: Exported) -> None:
        super().__init__()
        model = to_model(network.graph, network.tensors, {})
        self._body = to_module(model)
        self._inputs = [value.name for value in model.graph.input]
        self._names = [tensor.name for tensor in model.graph.initializer]
        trained = _trained(network.graph)
        for position, name in enumerate(self._names):
            value = getattr(self._body, f"constant_{position}")
            if value.is_floating_point() and name in trained:
                delattr(self._body, f"constant_{position}")
                self._body.register_parameter(f"constant_{position}", nn.Parameter(value))

    def forward(self, *arrays: Tensor) -> Tensor:
        """Return scores of preprocessed rows; a graph has no inputs for columns that a table has none of."""
        scores: Tensor = self._body(*(array for array in arrays if array.shape[-1]))[0]
        return scores

    def tensors(self) -> Tensors:
        """Return the arrays as they are now, by the names that they have in the graph."""
        values = ((name, getattr(self._body, f"constant_{i}")) for i, name in enumerate(self._names))
        return {name: value.detach().numpy().copy() for name, value in values}


def _trained(graph: OpGraph) -> set[str]:
    """Names of the parameters that training sets; statistics of a normalisation are not among them."""
    found = set()
    for _, data in graph.network.nodes(data=True):
        own = [source for source in data.get("sources", ()) if isinstance(source, Parameter)]
        is_normalisation = "operation" in data and data["operation"].op == "BatchNormalization"
        found |= {parameter.name for parameter in (own[:2] if is_normalisation else own) if parameter.is_trained}
    return found


class GraphModel(Model):
    """A network given as a graph."""

    def __init__(self, config: Configuration, shape: NetworkShape, network: Exported) -> None:
        super().__init__(config, shape)
        self._network, self._module = network, GraphModule(network).eval()

    def scores(self, features: Features) -> np.ndarray:
        """Return class probabilities ``(n, k)``, or standardised values ``(n,)``."""
        arrays = [torch.from_numpy(array) for array in features.arrays]
        with torch.inference_mode():
            starts = range(0, len(features), PREDICT_ROWS)
            raw = torch.cat([self._module(*(array[i : i + PREDICT_ROWS] for array in arrays)) for i in starts])
            scores: np.ndarray = (raw[:, 0] if self.shape.is_regression else raw.softmax(dim=1)).numpy()
        return scores

    def export(self) -> Exported:
        """Return the network."""
        return self._network
