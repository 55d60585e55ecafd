"""ONNX models with random constants: what is timed when only the shapes matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper
from scipy.special import ndtri

from hw_cost.graph import BATCH, Operation, OpGraph, Parameter, Shape
from hw_cost.onnx_writer import to_model, value_of

_NUMPY = {"double": np.float64, "int64": np.int64, "uint8": np.uint8}
DENSE = {"Gemm", "FusedGemm", "MatMul"}
SCALE, ZERO = 0.02, 128
"""Of the random constants of quantised operators: activations are unsigned, weights signed and symmetric."""


def write_onnx(graph: OpGraph, *, seed: int = 0, outputs: list[str] | None = None) -> bytes:
    """Return an ONNX file of the graph with random constants, random trees and a random dictionary.

    Args:
        graph: operations; inputs carry their dtype, or it is told from what reads them.
        seed: of the constants.
        outputs: nodes to return; by default those that nothing reads.
    """
    random = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}
    attributes: dict[str, dict[str, Any]] = {}
    for name, data in graph.network.nodes(data=True):
        if "operation" not in data:
            continue
        operation: Operation = data["operation"]
        for position, source in enumerate(data["sources"]):
            if isinstance(source, Parameter) and source.name not in constants:
                constants[source.name] = _constant(operation, position, source, random)
        if operation.op == "LabelEncoder":
            attributes[name] = dictionary(int(operation.attributes["n_keys"]))
        if operation.op == "TreeEnsembleRegressor":
            attributes[name] = random_trees(operation, random)
    ends = {name: helper.make_empty_tensor_value_info(name) for name in outputs} if outputs else None
    content: bytes = to_model(graph, constants, attributes, ends).SerializeToString()
    return content


def _constant(operation: Operation, position: int, parameter: Parameter, random: np.random.Generator) -> np.ndarray:
    if parameter.value is not None:
        return value_of(parameter)
    shape = parameter.shape
    if operation.op in QUANTISED:
        return _quantised(QUANTISED[operation.op][position], shape, random)
    dtype = str(operation.attributes.get("dtype", "float"))
    values: np.ndarray = random.random(size=shape, dtype=np.float32) + np.float32(0.5)
    if len(shape) == 2 and operation.op in DENSE:  # of both signs: else the same stored rows are nearest to all
        values = random.standard_normal(size=shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))
    elif len(shape) == 2:
        values /= np.float32(shape[-1])
    elif len(shape) > 2:
        values /= np.float32(np.prod(shape[1:]))
    if operation.op == "Gather" and position == 0 and dtype == "int64":
        values = random.integers(-1, 2, size=shape)  # codes that trees can tell apart, and that count rows from the end
    elif operation.op == "Gather" and position == 1:
        values = random.integers(0, max(1, operation.inputs[0][operation.attributes.get("axis", 0)]), size=shape)
    elif operation.op == "Clip":
        values = np.full(shape, -1e6 if position == 1 else 1e6, dtype=_NUMPY.get(dtype, np.float32))
    elif operation.op == "Reshape":
        values = np.array([0 if length == BATCH else length for length in operation.output], dtype=np.int64)
    elif operation.op in {"Sub", "Mul"} and dtype == "double":  # the numbers of a table stay standard normal
        values = np.full(shape, float(operation.op == "Mul"))
    elif operation.op == "Slice":
        values = np.array([(0, operation.output[-1], len(operation.output) - 1)[position - 1]], dtype=np.int64)
    elif operation.op == "Squeeze" or operation.op == "Unsqueeze":
        values = np.array([operation.attributes.get("at", 2)], dtype=np.int64)
    elif operation.op == "TopK":
        values = np.array([operation.output[-1]], dtype=np.int64)
    elif operation.op == "Expand":
        values = np.array([1, *operation.output[1:]], dtype=np.int64)
    elif operation.op == "Resize" and position == 2:  # the length is rounded down
        sides = zip(operation.output[2:], operation.inputs[0][2:], strict=True)
        values = np.array([1, 1, *((after + 0.1) / before for after, before in sides)], dtype=np.float32)
    elif operation.op.startswith("Reduce"):
        values = np.ones(shape, dtype=np.int64)
    elif dtype == "int64":
        values = np.zeros(shape, dtype=np.int64)
    elif dtype == "double":
        values = values.astype(np.float64)
    return np.asarray(values)


QUANTISED = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "xsz"),
    "QGemm": "xszwsyisz",
    "QLinearMatMul": "xszwsysz",
    "QLinearConv": "xszwsyszi",
    "QLinearAdd": "xszxszsz",
    **dict.fromkeys(("QLinearSoftmax", "QLinearLeakyRelu", "QLinearAveragePool"), "xszsz"),
}
"""Operator -> its inputs: an activation x or weights w, scales s, zeros z of activations and y of weights, a bias i."""


def _quantised(role: str, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """Return the constant of a quantised operator that plays a role of `QUANTISED`."""
    if role == "w":
        return random.integers(-127, 128, size=shape, dtype=np.int8)
    if role == "i":
        return random.integers(-1000, 1000, size=shape, dtype=np.int32)
    known = {"s": np.float32(SCALE), "z": np.uint8(ZERO), "y": np.int8(0)}
    return np.full(shape, known[role])


def dictionary(n_keys: int) -> dict[str, Any]:
    """Return the ONNX attributes of a ``LabelEncoder`` from ``n_keys`` words to numbers."""
    keys = [f"category {k}" for k in range(n_keys)]
    return {"keys_strings": keys, "values_int64s": list(range(n_keys)), "default_int64": n_keys}


def random_trees(operation: Operation, random: np.random.Generator) -> dict[str, Any]:
    """Return the ONNX attributes of random trees; a leaf of tree k adds to output k mod n, or to several from there on.

    A node sends rows to the left in proportion to the leaves there, so that all leaves are reached equally often, as in
    trees that were grown on such rows. Each way to share leaves between left and right is equally likely. The first
    ``n_features`` features, all by default, are split: those that are standard normal.
    """
    n_trees, n_leaves = int(operation.attributes["n_trees"]), int(operation.attributes["n_leaves"])
    n_votes = int(operation.attributes.get("n_votes", 1))
    n_out = _last(operation.output)
    n_features = int(operation.attributes.get("n_features", _last(operation.inputs[0])))
    share = np.maximum(2, np.diff(np.linspace(0, n_leaves, n_trees + 1).round().astype(int)))
    grown = _grow(share, n_features, random)
    tree, true, is_leaf = grown["tree"], grown["true"], grown["true"] == 0
    ends = np.repeat(np.flatnonzero(is_leaf), n_votes)
    targets = (tree[ends] + np.tile(np.arange(n_votes), is_leaf.sum())) % n_out
    columns: dict[str, np.ndarray] = {
        "nodes_treeids": tree,
        "nodes_nodeids": grown["node"],
        "nodes_featureids": np.where(is_leaf, 0, grown["feature"]),
        "nodes_values": np.where(is_leaf, 0.0, ndtri(grown["quantile"])),
        "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ"),
        "nodes_truenodeids": true,
        "nodes_falsenodeids": np.where(is_leaf, 0, true + 1),
        "target_treeids": tree[ends],
        "target_nodeids": grown["node"][ends],
        "target_ids": targets,
        "target_weights": random.normal(size=len(ends)) / 10,
    }
    return {**{name: values.tolist() for name, values in columns.items()}, "n_targets": n_out, "post_transform": "NONE"}


def _grow(share: np.ndarray, n_features: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Grow trees with `share` leaves each, level by level.

    Returns:
        Of each node its tree, its number in the tree, the number of its left child (0 of a leaf; the right one is the
        next), and the feature that it splits at a quantile; ``(n_nodes,)`` each, tree by tree.
    """
    n_trees = len(share)
    tree, node, leaves = np.arange(n_trees), np.zeros(n_trees, dtype=np.int64), share
    used = np.ones(n_trees, dtype=np.int64)
    levels: list[dict[str, np.ndarray]] = []
    above = np.zeros(n_trees, dtype=np.int64)
    while len(tree):
        left = np.where(leaves > 1, random.integers(1, np.maximum(2, leaves)), 1)
        inner = leaves > 1
        parents = tree[inner]
        nth = np.arange(len(parents)) - np.searchsorted(parents, parents)  # of the parents of its tree
        true = np.zeros(len(tree), dtype=np.int64)
        true[inner] = used[parents] + 2 * nth
        feature = random.integers(0, n_features, size=len(tree))
        low, high = _bounds(levels, above, feature)
        quantile = low + (high - low) * left / np.maximum(2, leaves)
        levels.append(
            {"tree": tree, "node": node, "true": true, "feature": feature, "quantile": quantile} | {"above": above}
        )
        used += 2 * np.bincount(parents, minlength=n_trees)
        above = np.repeat(np.flatnonzero(inner), 2)
        node = np.stack([true[inner], true[inner] + 1], axis=1).ravel()
        leaves = np.stack([left[inner], leaves[inner] - left[inner]], axis=1).ravel()
        tree = np.repeat(parents, 2)
    columns = {name: np.concatenate([level[name] for level in levels]) for name in levels[0]}
    order = np.lexsort((columns["node"], columns["tree"]))
    return {name: column[order] for name, column in columns.items()}


def _bounds(
    levels: list[dict[str, np.ndarray]], above: np.ndarray, feature: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return between which quantiles of its feature lie the rows that reach each node of the next level.

    Args:
        levels: the nodes so far.
        above: position of each node's parent in the last level; left and right children take turns.
        feature: what each node splits.
    """
    low, high = np.zeros(len(above)), np.ones(len(above))
    is_left = np.arange(len(above)) % 2 == 0
    for level in reversed(levels):
        same, quantile = level["feature"][above] == feature, level["quantile"][above]
        high = np.where(same & is_left, np.minimum(high, quantile), high)
        low = np.where(same & ~is_left, np.maximum(low, quantile), low)
        is_left, above = above % 2 == 0, level["above"][above]
    return low, high


def _last(shape: Shape) -> int:
    return shape[-1] if shape and shape[-1] != BATCH else 1
