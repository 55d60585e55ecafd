"""SAINT (Somepalli et al. 2021): attention between the columns of a row, and between rows.

Two things differ from the paper. There a row attends to the other rows of its batch, so that a prediction depends on
which rows come with it. Here every row attends to the same rows, a sample of the training rows without their targets
that is drawn before the training and stays: predictions are those of one row, whatever the batch. As these rows never
change, the deployed network holds their keys and values, not the rows. And a row is represented by its own token, not
by all its tokens side by side, which would need dense layers of thousands of inputs; what it gathers is added to all
its tokens. Without attention between rows this would be the `ft_transformer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter
from torch import Tensor, nn

from hw_cost.graph import BATCH, OpGraph, Parameter, constant
from metaml.models.base import TabularShape, Tensors
from metaml.models.ft_transformer import transformer_space
from metaml.models.layers import Prepared, emit_norm, emit_projection
from metaml.models.numeric_embedding import numeric_embedding_space
from metaml.models.tokens import (
    FIRST,
    N_HEADS,
    Attention,
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
)
from metaml.models.torch_family import EmbeddedNetwork, TorchFamily, optimiser_space, preprocessing_choice


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
            *optimiser_space(learning_rate=3e-3, epochs=20, dropout=0.1),
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
            emit_columns = emit_block if block < last else emit_last_block
            node = emit_columns(graph, node, f"blocks.{block}", config, is_first=block == 0)
            node = _emit_row_attention(graph, node, f"rows.{block}", int(config["n_stored_rows"]))
        return emit_row_head(graph, node, shape.n_outputs)

    def tensors(self, module: Any) -> Tensors:
        """Return the module's arrays, with the last block's attention folded, and what is kept of the stored rows."""
        own = super().tensors(module)
        memories: Tensors = module.memories()
        return scaled_queries(own) | fold_last(own, f"blocks.{len(module.blocks) - 1}") | memories

    def folded(self, config: Mapping[str, Any], shape: TabularShape) -> Sequence[str]:
        """Return the parameters of the last block's attention, and those that make keys and values of rows."""
        n = int(config["n_blocks"])
        rows = [f"rows.{block}.attention.{part}." for block in range(n) for part in ("key", "value")]
        return (f"blocks.{n - 1}.attention.", *rows)


class RowAttention(nn.Module):
    """Attention of each row's own token to those of the first rows; it begins as the identity.

    **Shape**
    - Input: ``(batch, n_tokens, width)``, the row's own token in front
    - Output: the same
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, dropout)
        for parameter in self.attention.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, n_stored: int) -> Tensor:
        """Return the rows with what they gather from the first `n_stored` of them added to each token."""
        rows = self.norm(x[:, 0]).unsqueeze(0)
        added: Tensor = x + self.attention(rows, rows[:, :n_stored]).transpose(0, 1)
        return added

    def memory(self, stored: Tensor) -> dict[str, Tensor]:
        """Return keys ``(heads, width / heads, n)`` and values ``(heads, n, width / heads)`` of n rows of tokens."""
        rows = self.norm(stored[:, 0]).unsqueeze(0)
        key, value = (split_heads(part(rows))[0] for part in (self.attention.key, self.attention.value))
        return {"keys": key.transpose(1, 2).contiguous(), "values": value.contiguous()}


class RowTransformer(EmbeddedNetwork, Prepared):
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
        self.blocks = nn.ModuleList(Block(config, is_first=block == 0) for block in n_blocks)
        self.rows = nn.ModuleList(RowAttention(width, config["dropout"]) for _ in n_blocks)
        self.head = RowHead(width, shape.n_outputs)

    def prepare(self, *inputs: Tensor) -> None:
        """Draw the rows that are stored; of few rows each comes several times."""
        numeric, codes = inputs
        n = len(self.stored_numeric)
        order = torch.randperm(len(numeric)).repeat(-(-n // len(numeric)))[:n]
        self.stored_numeric.copy_(numeric[order])
        self.stored_codes.copy_(codes[order])

    def embed(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return the tokens of the stored rows and then those of the rows."""
        rows = torch.cat([self.stored_numeric, numeric]), torch.cat([self.stored_codes, codes])
        tokens: Tensor = self.tokens(*rows)
        return tokens

    def read(self, embedded: Tensor) -> Tensor:
        """Return scores of the rows behind the stored ones."""
        x, n = embedded, len(self.stored_numeric)
        for position, (block, rows) in enumerate(zip(self.blocks, self.rows, strict=True), start=1):
            x = rows(block(x, only_row=position == len(self.blocks)), n)
        scores: Tensor = self.head(x[:, 0])
        return scores[n:]

    @torch.no_grad()
    def memories(self) -> Tensors:
        """Return keys and values of the stored rows in each block."""
        tensors, n = Tensors(), len(self.stored_numeric)
        x = self.tokens(self.stored_numeric, self.stored_codes)
        attentions = [layer for layer in self.rows if isinstance(layer, RowAttention)]
        for k, (block, rows) in enumerate(zip(self.blocks, attentions, strict=True)):
            x = block(x)
            tensors |= {f"rows.{k}.{name}": tensor.cpu().numpy() for name, tensor in rows.memory(x).items()}
            x = rows(x, n)
        return tensors


def _emit_row_attention(graph: OpGraph, x: str, name: str, n_stored: int) -> str:
    """Append a `RowAttention` on ``(batch, n_tokens, width)``, or on the row's own token ``(batch, width)`` alone."""
    shape = graph.network.nodes[x]["shape"]
    width = shape[-1]
    inner, is_row = width // N_HEADS, len(shape) == 2
    row = x if is_row else graph.add("Gather", x, FIRST, output=(BATCH, width), axis=1)
    query = emit_projection(graph, emit_norm(graph, row, f"{name}.norm"), f"{name}.attention.query", width)
    heads = (BATCH, N_HEADS, 1, inner)
    query = graph.add("Reshape", query, constant(0, N_HEADS, 1, inner, name="shape"), output=heads)
    keys = Parameter(f"{name}.keys", (N_HEADS, inner, n_stored))
    scores = graph.add("MatMul", query, keys, output=(BATCH, N_HEADS, 1, n_stored))
    weights = graph.add("Softmax", scores, output=(BATCH, N_HEADS, 1, n_stored), axis=-1)
    gathered = graph.add("MatMul", weights, Parameter(f"{name}.values", (N_HEADS, n_stored, inner)), output=heads)
    joined = graph.add("Flatten", gathered, output=(BATCH, width), axis=1)
    out = emit_projection(graph, joined, f"{name}.attention.out", width)
    if not is_row:
        out = graph.add("Unsqueeze", out, constant(1), output=(BATCH, 1, width), at=1)
    return graph.add("Add", x, out, output=shape)
