"""SAINT (Somepalli et al. 2021): attention between the columns of a row, and between rows.

In the paper a row attends to the other rows of its batch, so that a prediction depends on which rows come with it.
Here every row attends to the same rows, a sample of the training rows without their targets that is drawn before the
training and stays: predictions are those of one row, whatever the batch. As these rows never change, the deployed
network holds their keys and values, not the rows. Without attention between rows it would be the `ft_transformer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter
from torch import Tensor, nn
from torch.nn import functional

from hw_cost.graph import BATCH, OpGraph, Parameter, constant
from metaml.models.base import TabularShape, Tensors
from metaml.models.ft_transformer import transformer_space
from metaml.models.layers import Prepared, Projection, emit_norm, emit_projection
from metaml.models.numeric_embedding import numeric_embedding_space
from metaml.models.tokens import (
    N_HEADS,
    Block,
    RowHead,
    Tokenizer,
    emit_block,
    emit_last_block,
    emit_row_head,
    emit_tokens,
    fold_last,
    scaled_queries,
    split_heads,
    token_count,
)
from metaml.models.torch_family import TorchFamily, optimiser_space, preprocessing_choice

ROW_WIDTH = 32
"""Width of queries, keys and values of the attention between rows, all heads together."""


class SAINT(TorchFamily):
    """Blocks of attention to stored rows and of attention between columns."""

    name = "saint"
    predict_rows = 512

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the network and of its training."""
        space = ConfigurationSpace()
        space.add(
            *transformer_space(),
            OrdinalHyperparameter("n_stored_rows", [16, 32, 64, 128], default_value=32),
            *optimiser_space(learning_rate=1e-3, batch_size=128, epochs=16, dropout=0.1),
            preprocessing_choice(),
            *numeric_embedding_space(),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: TabularShape) -> nn.Module:
        """Return an untrained network."""
        return RowTransformer(config, shape)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the network's operations, with keys and values of the stored rows as constants."""
        node, last = emit_tokens(graph, inputs, config, shape), int(config["n_blocks"]) - 1
        for block in range(last + 1):
            node = _emit_row_attention(graph, node, f"rows.{block}", int(config["n_stored_rows"]))
            if block < last:
                node = emit_block(graph, node, f"blocks.{block}", config, is_first=False)
        row = emit_last_block(graph, node, f"blocks.{last}", config, is_first=False)
        return emit_row_head(graph, row, shape.n_outputs)

    def tensors(self, module: Any) -> Tensors:
        """Return the module's arrays, with the last block's attention folded, and what is kept of the stored rows."""
        own = super().tensors(module)
        memories: Tensors = module.memories()
        return scaled_queries(own) | fold_last(own, f"blocks.{len(module.blocks) - 1}") | memories

    def folded(self, config: Mapping[str, Any], shape: TabularShape) -> Sequence[str]:
        """Return the parameters of the last block's attention, and those that make keys and values of rows."""
        n = int(config["n_blocks"])
        rows = [f"rows.{block}.{part}." for block in range(n) for part in ("query", "key", "value")]
        return (f"blocks.{n - 1}.attention.", *rows)


class RowAttention(nn.Module):
    """Attention of each row, all its tokens together, to the first rows.

    **Shape**
    - Input: ``(batch, n_tokens, width)``
    - Output: the same
    """

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__()
        n_in = n_tokens * width
        self.norm = nn.LayerNorm(width)
        self.query, self.value = Projection(n_in, ROW_WIDTH), Projection(n_in, ROW_WIDTH)
        self.key = Projection(n_in, ROW_WIDTH, bias=False)
        self.out = Projection(ROW_WIDTH, n_in)

    def forward(self, x: Tensor, n_stored: int) -> Tensor:
        """Return the rows with what they gather from the first `n_stored` of them."""
        flat = self.norm(x).flatten(1)
        key, value = self.memory(flat[:n_stored])
        query = self.query(flat).unflatten(-1, (N_HEADS, -1)).transpose(0, 1)
        gathered = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        added: Tensor = x + self.out(gathered).view_as(x)
        return added

    def constants(self, stored: Tensor) -> dict[str, Tensor]:
        """Return what `emit` needs of stored rows ``(n, n_tokens, width)``, in the layout that it needs."""
        factor = (ROW_WIDTH // N_HEADS) ** -0.5
        key, value = self.memory(self.norm(stored).flatten(1))
        return {
            "scaled.weight": self.query.weight * factor,
            "scaled.bias": self.query.bias * factor,
            "keys": key.transpose(1, 2).contiguous(),
            "values": value.contiguous(),
        }

    def memory(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, each ``(heads, n, width / heads)``, of ``(n, n_tokens * width)``."""
        key, value = (split_heads(part(flat).unsqueeze(0))[0] for part in (self.key, self.value))
        return key, value


class RowTransformer(Prepared):
    """Tokens, blocks and head; the stored rows go through the network in front of each batch.

    **Shape**
    - Input: float32 ``(batch, n_numeric)`` and int64 ``(batch, n_categorical)``
    - Output: ``(batch, n_outputs)``
    """

    stored_numeric: Tensor
    stored_codes: Tensor

    def __init__(self, config: Mapping[str, Any], shape: TabularShape) -> None:
        super().__init__()
        width, n_stored = int(config["width"]), int(config["n_stored_rows"])
        self.register_buffer("stored_numeric", torch.zeros(n_stored, shape.n_numeric))
        self.register_buffer("stored_codes", torch.zeros(n_stored, shape.n_categorical, dtype=torch.int64))
        self.tokens = Tokenizer(config, shape)
        n_blocks = range(config["n_blocks"])
        self.rows = nn.ModuleList(RowAttention(token_count(shape), width) for _ in n_blocks)
        self.blocks = nn.ModuleList(Block(config, is_first=False) for _ in n_blocks)
        self.head = RowHead(width, shape.n_outputs)

    def prepare(self, *inputs: Tensor) -> None:
        """Draw the rows that are stored; of few rows each comes several times."""
        numeric, codes = inputs
        n = len(self.stored_numeric)
        order = torch.randperm(len(numeric)).repeat(-(-n // len(numeric)))[:n]
        self.stored_numeric.copy_(numeric[order])
        self.stored_codes.copy_(codes[order])

    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return scores."""
        n = len(self.stored_numeric)
        x = self.tokens(torch.cat([self.stored_numeric, numeric]), torch.cat([self.stored_codes, codes]))
        for position, (rows, block) in enumerate(zip(self.rows, self.blocks, strict=True), start=1):
            x = rows(x, n)
            is_last = position == len(self.blocks)
            x = block(x[n:], only_row=True) if is_last else block(x)
        scores: Tensor = self.head(x[:, 0])
        return scores

    @torch.no_grad()
    def memories(self) -> Tensors:
        """Return, of each block, queries with the factor of their scores, and keys and values of the stored rows."""
        tensors, n = Tensors(), len(self.stored_numeric)
        x = self.tokens(self.stored_numeric, self.stored_codes)
        attentions = [layer for layer in self.rows if isinstance(layer, RowAttention)]
        for k, (rows, block) in enumerate(zip(attentions, self.blocks, strict=True)):
            tensors |= {f"rows.{k}.{name}": tensor.cpu().numpy() for name, tensor in rows.constants(x).items()}
            x = block(rows(x, n))
        return tensors


def _emit_row_attention(graph: OpGraph, x: str, name: str, n_stored: int) -> str:
    """Append a `RowAttention` whose keys and values are constants."""
    shape = graph.network.nodes[x]["shape"]
    _, n_tokens, width = shape
    inner, flat_width = ROW_WIDTH // N_HEADS, n_tokens * width
    normed = emit_norm(graph, x, f"{name}.norm")
    flat = graph.add("Flatten", normed, output=(BATCH, flat_width), axis=1)
    query = emit_projection(graph, flat, f"{name}.scaled", ROW_WIDTH)
    heads = (BATCH, N_HEADS, 1, inner)
    query = graph.add("Reshape", query, constant(0, N_HEADS, 1, inner, name="shape"), output=heads)
    keys = Parameter(f"{name}.keys", (N_HEADS, inner, n_stored))
    scores = graph.add("MatMul", query, keys, output=(BATCH, N_HEADS, 1, n_stored))
    weights = graph.add("Softmax", scores, output=(BATCH, N_HEADS, 1, n_stored), axis=-1)
    gathered = graph.add("MatMul", weights, Parameter(f"{name}.values", (N_HEADS, n_stored, inner)), output=heads)
    joined = graph.add("Flatten", gathered, output=(BATCH, ROW_WIDTH), axis=1)
    out = emit_projection(graph, joined, f"{name}.out", flat_width)
    back = graph.add("Reshape", out, constant(0, n_tokens, width, name="shape"), output=shape)
    return graph.add("Add", x, back, output=shape)
