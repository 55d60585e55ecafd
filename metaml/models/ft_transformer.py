"""FT-Transformer (Gorishniy et al. 2021, section 3.3; sizes narrowed to what trains in seconds)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Float, Integer, OrdinalHyperparameter
from ConfigSpace.hyperparameters import Hyperparameter
from torch import Tensor, nn

from hw_cost.graph import OpGraph
from metaml.models.base import TabularShape, Tensors
from metaml.models.numeric_embedding import numeric_embedding_space
from metaml.models.tokens import (
    Block,
    RowHead,
    Tokenizer,
    emit_block,
    emit_last_block,
    emit_row_head,
    emit_tokens,
    fold_last,
    scaled_queries,
)
from metaml.models.torch_family import EmbeddedNetwork, TorchFamily, optimiser_space, preprocessing_choice


def transformer_space() -> list[Hyperparameter[Any, Any]]:
    """Return the sizes of transformers on columns."""
    return [
        Integer("n_blocks", (1, 3), default=2),
        OrdinalHyperparameter("width", [16, 24, 32, 48, 64], default_value=32),
        Float("hidden_factor", (1.0, 3.0), default=2.0),
        CategoricalHyperparameter("feed_forward", ["reglu", "relu"], default_value="reglu"),
    ]


class FTTransformer(TorchFamily):
    """Columns become tokens, attend to each other, and the row's own token is read out."""

    name = "ft_transformer"
    predict_rows = 512

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the network and of its training."""
        space = ConfigurationSpace()
        space.add(
            *transformer_space(),
            *optimiser_space(learning_rate=3e-3, epochs=20, dropout=0.1),
            preprocessing_choice(),
            *numeric_embedding_space(),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: TabularShape) -> nn.Module:
        """Return an untrained network."""
        return ColumnTransformer(config, shape)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the network's operations; of the last block only what the row's token needs."""
        node, last = emit_tokens(graph, inputs, config, shape), int(config["n_blocks"]) - 1
        for block in range(last):
            node = emit_block(graph, node, f"blocks.{block}", config, is_first=block == 0)
        row = emit_last_block(graph, node, f"blocks.{last}", config, is_first=last == 0)
        return emit_row_head(graph, row, shape.n_outputs)

    def tensors(self, module: Any) -> Tensors:
        """Return the module's arrays, with the last block's attention folded."""
        own = super().tensors(module)
        return scaled_queries(own) | fold_last(own, f"blocks.{len(module.blocks) - 1}")

    def folded(self, config: Mapping[str, Any], shape: TabularShape) -> Sequence[str]:
        """Return the parameters of the last block's attention."""
        return (f"blocks.{int(config['n_blocks']) - 1}.attention.",)


class ColumnTransformer(EmbeddedNetwork):
    """Tokens, blocks, head.

    **Shape**
    - Input: float32 ``(batch, n_numeric)`` and int64 ``(batch, n_categorical)``
    - Output: ``(batch, n_outputs)``
    """

    def __init__(self, config: Mapping[str, Any], shape: TabularShape) -> None:
        super().__init__()
        self.tokens = Tokenizer(config, shape)
        self.blocks = nn.ModuleList(Block(config, is_first=block == 0) for block in range(config["n_blocks"]))
        self.head = RowHead(int(config["width"]), shape.n_outputs)

    def embed(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return the tokens."""
        tokens: Tensor = self.tokens(numeric, codes)
        return tokens

    def read(self, embedded: Tensor) -> Tensor:
        """Return scores of tokens."""
        x = embedded
        for position, block in enumerate(self.blocks, start=1):
            x = block(x, only_row=position == len(self.blocks))
        scores: Tensor = self.head(x[:, 0])
        return scores
