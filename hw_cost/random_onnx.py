"""ONNX models with random constants: what is timed when only the shapes matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from hw_cost.graph import BATCH, Operation, OpGraph, Parameter, Shape
from hw_cost.onnx_writer import to_model

_NUMPY = {"double": np.float64, "int64": np.int64}


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
    shape = parameter.shape
    dtype = str(operation.attributes.get("dtype", "float"))
    values: np.ndarray = random.random(size=shape, dtype=np.float32) + np.float32(0.5)
    if len(shape) == 2:
        values /= np.float32(shape[-1])
    elif len(shape) > 2:
        values /= np.float32(np.prod(shape[1:]))
    if operation.op == "Gather" and position == 1:
        values = random.integers(0, max(1, operation.inputs[0][operation.attributes.get("axis", 0)]), size=shape)
    elif operation.op == "Clip":
        values = np.full(shape, -1e6 if position == 1 else 1e6, dtype=_NUMPY.get(dtype, np.float32))
    elif operation.op == "Reshape":
        values = np.array([0 if length == BATCH else length for length in operation.output], dtype=np.int64)
    elif operation.op == "Sub":
        values = (values - 1).astype(
            _NUMPY.get(dtype, np.float32)
        )  # data centred about 0: else most rows would go the same way in trees
    elif operation.op == "Slice":
        values = np.array([(0, operation.output[-1], len(operation.output) - 1)[position - 1]], dtype=np.int64)
    elif operation.op == "Squeeze" or operation.op == "Unsqueeze":
        values = np.array([2], dtype=np.int64)
    elif operation.op.startswith("Reduce"):
        values = np.ones(shape, dtype=np.int64)
    elif dtype == "int64":
        values = np.zeros(shape, dtype=np.int64)
    elif dtype == "double":
        values = values.astype(np.float64)
    return np.asarray(values)


def dictionary(n_keys: int) -> dict[str, Any]:
    """Return the ONNX attributes of a ``LabelEncoder`` from ``n_keys`` words to numbers."""
    keys = [f"category {k}" for k in range(n_keys)]
    return {"keys_strings": keys, "values_int64s": list(range(n_keys)), "default_int64": n_keys}


def random_trees(operation: Operation, random: np.random.Generator) -> dict[str, Any]:
    """Return the ONNX attributes of trees whose leaves are split in random order; tree k adds to output k mod n."""
    n_trees, n_leaves = int(operation.attributes["n_trees"]), int(operation.attributes["n_leaves"])
    n_out, n_features = _last(operation.output), _last(operation.inputs[0])
    columns: dict[str, list[np.ndarray]] = {}
    share = np.diff(np.linspace(0, n_leaves, n_trees + 1).round().astype(int))
    for tree in range(n_trees):
        for name, values in _random_tree(tree, max(2, int(share[tree])), n_features, tree % n_out, random).items():
            columns.setdefault(name, []).append(values)
    attributes = {name: np.concatenate(parts).tolist() for name, parts in columns.items()}
    return {**attributes, "n_targets": n_out, "post_transform": "NONE"}


def _random_tree(
    tree: int, n_leaves: int, n_features: int, target: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    n_nodes = 2 * n_leaves - 1
    true, false = np.zeros(n_nodes, dtype=np.int64), np.zeros(n_nodes, dtype=np.int64)
    leaves = [0]
    for child in range(1, n_nodes, 2):
        parent = leaves.pop(int(random.integers(len(leaves))))
        true[parent], false[parent] = child, child + 1
        leaves += [child, child + 1]
    ids, is_leaf = np.arange(n_nodes), true == 0
    ends = ids[is_leaf]
    return {
        "nodes_treeids": np.full(n_nodes, tree),
        "nodes_nodeids": ids,
        "nodes_featureids": np.where(is_leaf, 0, random.integers(0, n_features, size=n_nodes)),
        "nodes_values": np.where(is_leaf, 0.0, random.normal(size=n_nodes)),
        "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ"),
        "nodes_truenodeids": true,
        "nodes_falsenodeids": false,
        "target_treeids": np.full(n_leaves, tree),
        "target_nodeids": ends,
        "target_ids": np.full(n_leaves, target),
        "target_weights": random.normal(size=n_leaves) / 10,
    }


def _last(shape: Shape) -> int:
    return shape[-1] if shape and shape[-1] != BATCH else 1
