"""Transformers on the columns of a table: tokens, attention between them, and what the last block is exported as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hw_cost.graph import BATCH, OpGraph, Parameter, constant, number
from metaml.models.base import TabularShape, Tensors
from metaml.models.layers import Projection, emit_norm, emit_projection
from metaml.models.numeric_embedding import NumericEmbedding, embedding_width, emit_numeric_embedding

N_HEADS = 4
"""Heads of every attention; widths are multiples of it."""


FIRST = number(0)
"""Position of a row's own token."""


class Tokenizer(nn.Module):
    """One token for each column, and one in front that stands for the row (Gorishniy et al. 2021, section 3.3).

    **Shape**
    - Input: float32 ``(batch, n_numeric)`` and int64 ``(batch, n_categorical)``
    - Output: ``(batch, 1 + n_numeric + n_categorical, width)``
    """

    def __init__(self, config: Mapping[str, Any], shape: TabularShape) -> None:
        super().__init__()
        width, n_tokens = int(config["width"]), token_count(shape)
        bound = width**-0.5
        self.numeric = NumericEmbedding(config, shape.n_numeric) if shape.n_numeric else None
        if self.numeric is not None:
            n_in = embedding_width(config)
            sizes = (shape.n_numeric, width) if n_in == 1 else (shape.n_numeric, n_in, width)
            self.weight = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))
        self.embedding = nn.Embedding(shape.n_codes, width) if shape.n_categorical else None
        if self.embedding is not None:
            nn.init.uniform_(self.embedding.weight, -bound, bound)
        self.bias = nn.Parameter(torch.empty(n_tokens, width).uniform_(-bound, bound))

    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        """Return the tokens."""
        parts = []
        if self.numeric is not None:
            embedded = self.numeric(numeric)
            is_scalar = self.weight.ndim == 2
            each = embedded * self.weight if is_scalar else (embedded.unsqueeze(2) @ self.weight).squeeze(2)
            parts.append(each)
        if self.embedding is not None:
            parts.append(self.embedding(codes))
        columns = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return functional.pad(columns, (0, 0, 1, 0)) + self.bias


def token_count(shape: TabularShape) -> int:
    """Number of tokens, the row's own included."""
    return 1 + shape.n_numeric + shape.n_categorical


def emit_tokens(graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
    """Append a `Tokenizer` called ``tokens``; node of ``(batch, n_tokens, width)``."""
    width, n_tokens, parts = int(config["width"]), token_count(shape), []
    if "numeric_features" in inputs:
        parts.append(_emit_numeric(graph, inputs["numeric_features"], config, shape.n_numeric))
    if "codes" in inputs:
        table = Parameter("tokens.embedding.weight", (shape.n_codes, width))
        parts.append(graph.add("Gather", table, inputs["codes"], output=(BATCH, shape.n_categorical, width), axis=0))
    columns = parts[0]
    if len(parts) > 1:
        columns = graph.add("Concat", *parts, output=(BATCH, n_tokens - 1, width), axis=1)
    padded = graph.add("Pad", columns, constant(0, 1, 0, 0, 0, 0, name="pads"), output=(BATCH, n_tokens, width))
    return graph.add("Add", padded, Parameter("tokens.bias", (n_tokens, width)), output=(BATCH, n_tokens, width))


def _emit_numeric(graph: OpGraph, numeric: str, config: Mapping[str, Any], n: int) -> str:
    width, n_in = int(config["width"]), embedding_width(config)
    embedded = emit_numeric_embedding(graph, numeric, "tokens.numeric", config, n)
    if n_in == 1:
        columns = graph.add("Unsqueeze", embedded, constant(2), output=(BATCH, n, 1), at=2)
        return graph.add("Mul", columns, Parameter("tokens.weight", (n, width)), output=(BATCH, n, width))
    columns = graph.add("Unsqueeze", embedded, constant(2), output=(BATCH, n, 1, n_in), at=2)
    weight = Parameter("tokens.weight", (n, n_in, width))
    tokens = graph.add("MatMul", columns, weight, output=(BATCH, n, 1, width))
    return graph.add("Squeeze", tokens, constant(2), output=(BATCH, n, width), at=2)


class Attention(nn.Module):
    """Attention of some tokens to all tokens of a row (Vaswani et al. 2017, section 3.2).

    Keys have no bias: it would add the same number to all scores of a query, which the softmax takes away.

    **Shape**
    - Input: ``(batch, n_queries, width)`` and ``(batch, n_tokens, width)``
    - Output: ``(batch, n_queries, width)``
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.query, self.value, self.out = (Projection(width, width) for _ in range(3))
        self.key = Projection(width, width, bias=False)
        self.dropout = dropout

    def forward(self, some: Tensor, tokens: Tensor) -> Tensor:
        """Return what the queries gather."""
        query, key, value = (split_heads(x) for x in (self.query(some), self.key(tokens), self.value(tokens)))
        dropout = self.dropout if self.training else 0.0
        gathered = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        out: Tensor = self.out(gathered.transpose(1, 2).flatten(2))
        return out


def split_heads(x: Tensor) -> Tensor:
    """Return ``(batch, heads, n, width / heads)`` of ``(batch, n, width)``."""
    return x.view(*x.shape[:-1], N_HEADS, x.shape[-1] // N_HEADS).transpose(1, 2)


class FeedForward(nn.Module):
    """A perceptron on each token with one hidden layer: ReLU, or ReGLU (Shazeer 2020)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, hidden = int(config["width"]), hidden_width(config)
        self.gate = Projection(width, hidden)
        self.activation = nn.ReLU()
        self.value = Projection(width, hidden) if config["feed_forward"] == "reglu" else None
        self.dropout = nn.Dropout(config["dropout"])
        self.out = Projection(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return as many features of each token."""
        hidden: Tensor = self.activation(self.gate(x))
        if self.value is not None:
            hidden = hidden * self.value(x)
        out: Tensor = self.out(self.dropout(hidden))
        return out


def hidden_width(config: Mapping[str, Any]) -> int:
    """Hidden width of `FeedForward`; of ReGLU two thirds, so that both kinds have as many weights."""
    hidden = int(config["width"]) * float(config["hidden_factor"])
    return max(4, 4 * round((hidden * 2 / 3 if config["feed_forward"] == "reglu" else hidden) / 4))


class Block(nn.Module):
    """Attention and a perceptron, each normalised before and added; the first block's attention is not normalised.

    **Shape**
    - Input: ``(batch, n_tokens, width)``
    - Output: the same, or ``(batch, 1, width)`` with `only_row`
    """

    def __init__(self, config: Mapping[str, Any], *, is_first: bool) -> None:
        super().__init__()
        width = int(config["width"])
        self.norm = None if is_first else nn.LayerNorm(width)
        self.attention = Attention(width, config["dropout"])
        self.norm_forward = nn.LayerNorm(width)
        self.forward_part = FeedForward(config)

    def forward(self, x: Tensor, *, only_row: bool = False) -> Tensor:
        """Return the tokens, or the row's token alone, which is all that a network's last block is asked for."""
        normed = x if self.norm is None else self.norm(x)
        some = normed[:, :1] if only_row else normed
        x = (x[:, :1] if only_row else x) + self.attention(some, normed)
        added: Tensor = x + self.forward_part(self.norm_forward(x))
        return added


def emit_block(graph: OpGraph, x: str, name: str, config: Mapping[str, Any], *, is_first: bool) -> str:
    """Append a `Block`; its arrays are those of `scaled_queries`."""
    shape = graph.network.nodes[x]["shape"]
    normed = x if is_first else emit_norm(graph, x, f"{name}.norm")
    _, n, width = shape
    inner = width // N_HEADS

    def split(part: str, order: list[int], output: tuple[int, ...]) -> str:
        flat = emit_projection(graph, normed, f"{name}.attention.{part}", width, bias=part != "key")
        heads = constant(0, n, N_HEADS, inner, name="shape")
        parts = graph.add("Reshape", flat, heads, output=(BATCH, n, N_HEADS, inner))
        return graph.add("Transpose", parts, output=(BATCH, *output), perm=order)

    query = split("query", [0, 2, 1, 3], (N_HEADS, n, inner))
    key = split("key", [0, 2, 3, 1], (N_HEADS, inner, n))
    value = split("value", [0, 2, 1, 3], (N_HEADS, n, inner))
    scores = graph.add("MatMul", query, key, output=(BATCH, N_HEADS, n, n))
    weights = graph.add("Softmax", scores, output=(BATCH, N_HEADS, n, n), axis=-1)
    gathered = graph.add("MatMul", weights, value, output=(BATCH, N_HEADS, n, inner))
    turned = graph.add("Transpose", gathered, output=(BATCH, n, N_HEADS, inner), perm=[0, 2, 1, 3])
    flat = graph.add("Reshape", turned, constant(0, n, width, name="shape"), output=shape)
    out = emit_projection(graph, flat, f"{name}.attention.out", width)
    x = graph.add("Add", x, out, output=shape)
    return _emit_feed_forward(graph, x, name, config)


def emit_last_block(graph: OpGraph, x: str, name: str, config: Mapping[str, Any], *, is_first: bool) -> str:
    """Append a `Block` of which only the row's token is asked for; node of ``(batch, width)``.

    There is one query, so that keys need not be computed: the query is brought to where the tokens are, and the values
    are taken after they are summed up. `fold_last` makes the arrays.
    """
    _, n, width = graph.network.nodes[x]["shape"]
    normed = x if is_first else emit_norm(graph, x, f"{name}.norm")
    wide = N_HEADS * width
    row = (BATCH, width)
    some = graph.add("Gather", normed, FIRST, output=row, axis=1)
    query = emit_projection(graph, some, f"{name}.folded.query", wide)
    heads = (BATCH, N_HEADS, width)
    query = graph.add("Reshape", query, constant(0, N_HEADS, width, name="shape"), output=heads)
    turned = graph.add("Transpose", normed, output=(BATCH, width, n), perm=[0, 2, 1])
    scores = graph.add("MatMul", query, turned, output=(BATCH, N_HEADS, n))
    weights = graph.add("Softmax", scores, output=(BATCH, N_HEADS, n), axis=-1)
    gathered = graph.add("MatMul", weights, normed, output=heads)
    flat = graph.add("Flatten", gathered, output=(BATCH, wide), axis=1)
    out = emit_projection(graph, flat, f"{name}.folded.out", width)
    before = some if is_first else graph.add("Gather", x, FIRST, output=row, axis=1)
    return _emit_feed_forward(graph, graph.add("Add", before, out, output=row), name, config)


def _emit_feed_forward(graph: OpGraph, x: str, name: str, config: Mapping[str, Any]) -> str:
    shape, hidden = graph.network.nodes[x]["shape"], hidden_width(config)
    inner = (*shape[:-1], hidden)
    normed = emit_norm(graph, x, f"{name}.norm_forward")
    node = graph.add("Relu", emit_projection(graph, normed, f"{name}.forward_part.gate", hidden), output=inner)
    if config["feed_forward"] == "reglu":
        value = emit_projection(graph, normed, f"{name}.forward_part.value", hidden)
        node = graph.add("Mul", node, value, output=inner)
    out = emit_projection(graph, node, f"{name}.forward_part.out", shape[-1])
    return graph.add("Add", x, out, output=shape)


def scaled_queries(tensors: Tensors) -> Tensors:
    """Return the arrays with queries that are divided by the root of a head's width already."""
    parts = (".attention.query.weight", ".attention.query.bias")
    return {name: array * root_of(array) if name.endswith(parts) else array for name, array in tensors.items()}


def root_of(query: np.ndarray) -> np.float32:
    """Return the factor of the scores of attention: 1 / sqrt(width / heads)."""
    return np.float32((query.shape[-1] // N_HEADS) ** -0.5)


def fold_last(tensors: Tensors, name: str) -> Tensors:
    """Return the arrays of `emit_last_block` for the block `name`, from those of its attention.

    With the weights of head h in columns (of queries, keys, values) and rows (of the output), a score is
    ``(c Wq_h + bq_h) Wk_h^T x`` and the output is ``sum_h a_h X Wv_h Wo_h + bv Wo + bo``, as the weights a_h sum to 1.
    """

    def heads(part: str, axis: int) -> list[np.ndarray]:
        return np.split(tensors[f"{name}.attention.{part}"].astype(np.float64), N_HEADS, axis=axis)

    query, bias, key = heads("query.weight", 1), heads("query.bias", 0), heads("key.weight", 1)
    value, out = heads("value.weight", 1), heads("out.weight", 0)
    whole = np.concatenate(out)
    factor = root_of(tensors[f"{name}.attention.query.weight"])
    folded = {
        "query.weight": factor * np.hstack([q @ k.T for q, k in zip(query, key, strict=True)]),
        "query.bias": factor * np.concatenate([b @ k.T for b, k in zip(bias, key, strict=True)]),
        "out.weight": np.vstack([v @ o for v, o in zip(value, out, strict=True)]),
        "out.bias": tensors[f"{name}.attention.value.bias"] @ whole + tensors[f"{name}.attention.out.bias"],
    }
    return {f"{name}.folded.{part}": np.ascontiguousarray(array, np.float32) for part, array in folded.items()}


class RowHead(nn.Module):
    """Normalisation, ReLU and a dense layer on the row's token; ``(batch, width)`` in, ``(batch, n_outputs)`` out."""

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.activation = nn.ReLU()
        self.dense = Projection(width, n_outputs)

    def forward(self, row: Tensor) -> Tensor:
        """Return scores."""
        scores: Tensor = self.dense(self.activation(self.norm(row)))
        return scores


def emit_row_head(graph: OpGraph, row: str, n_outputs: int) -> str:
    """Append a `RowHead` called ``head``."""
    normed = emit_norm(graph, row, "head.norm")
    active = graph.add("Relu", normed, output=graph.network.nodes[row]["shape"])
    return emit_projection(graph, active, "head.dense", n_outputs)
