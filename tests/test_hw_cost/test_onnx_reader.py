import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.onnx_reader import ModelError, read_onnx
from hw_cost.ops import flops
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime


def test_what_is_no_model_says_so(tmp_path):
    (tmp_path / "junk.onnx").write_text("hello")
    for junk in (tmp_path / "junk.onnx", b"hello"):
        with pytest.raises(ModelError, match="not an ONNX model"):
            read_onnx(junk)


def test_what_onnxruntime_cannot_open_or_run_is_said_in_its_words():
    strange = model([helper.make_node("Frob", ["x"], ["y"], domain="acme")], {})
    strange.opset_import.append(helper.make_opsetid("acme", 1))
    with pytest.raises(ModelError, match="cannot open the model: .*acme:Frob.* is not a registered function"):
        OnnxRuntime().kernels(strange)
    weights = numpy_helper.from_array(np.zeros((8, 3, 3, 3), dtype=np.float32), "w")
    sized = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "height", "width"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [sized], [out], [weights])
    open_sizes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match="Axes of x have no fixed length .*make_dynamic_shape_fixed"):
        OnnxRuntime().kernels(open_sizes)


def test_sizes_of_trees_and_dictionaries_survive_a_file():
    graph = OpGraph()
    text = graph.input("text", (BATCH, 3), dtype="string")
    codes = graph.add("LabelEncoder", text, output=(BATCH, 3), n_keys=7)
    x = graph.add("Cast", codes, output=(BATCH, 3), dtype="int64", to=1)
    graph.add("TreeEnsembleRegressor", x, output=(BATCH, 2), n_trees=6, n_leaves=48, depth=9)
    again = {operation.op: operation for operation in read_onnx(write_onnx(graph))}
    assert again["LabelEncoder"].attributes["n_keys"] == 7
    trees = again["TreeEnsembleRegressor"].attributes
    assert (trees["n_trees"], trees["n_leaves"]) == (6, 48)
    assert 3 <= trees["depth"] <= 7
    assert again["TreeEnsembleRegressor"].output == (BATCH, 2)


def test_a_tree_whose_children_stand_before_their_parents_has_the_same_depth():
    columns = {
        "nodes_treeids": [0] * 5,
        "nodes_nodeids": [4, 3, 2, 1, 0],  # 0 -> (1, 2), 1 -> (3, 4)
        "nodes_modes": ["LEAF", "LEAF", "LEAF", "BRANCH_LEQ", "BRANCH_LEQ"],
        "nodes_truenodeids": [0, 0, 0, 3, 1],
        "nodes_falsenodeids": [0, 0, 0, 4, 2],
    }
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **columns)
    assert read_onnx(model([node], {})).network.nodes["treeensembleregressor_0"]["operation"].attributes == {
        "n_trees": 1,
        "n_leaves": 3,
        "n_votes": 1,
        "depth": 2,
    }


def model(nodes, constants, width: int = 4) -> onnx.ModelProto:
    initialisers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], initialisers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("far.away", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_constant_nodes_are_parameters():
    value = numpy_helper.from_array(np.zeros((4, 6), dtype=np.float32))
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = read_onnx(model(nodes, {}))
    assert [operation.op for operation in graph] == ["MatMul"]
    assert graph.n_parameters == 24
    assert flops(graph, batch=5) == 2 * 5 * 24


def test_optimised_models_are_understood():
    graph = OpGraph()
    x = graph.input("x", (BATCH, 4))
    for k in range(2):
        x = graph.add("Gemm", x, Parameter(f"w{k}", (4, 4)), Parameter(f"b{k}", (4,)), output=(BATCH, 4), transB=1)
        x = graph.add("Relu", x, output=(BATCH, 4))
    operations = list(read_onnx(OnnxRuntime().optimised(write_onnx(graph))))
    assert [(o.op, o.output, o.attributes["activation"]) for o in operations] == [("FusedGemm", (BATCH, 4), "Relu")] * 2


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "model"])
def test_models_come_in_four_ways(tmp_path, kind):
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {})
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    forms = {"path": path, "text": str(path), "bytes": path.read_bytes(), "model": proto}
    assert [o.output for o in read_onnx(forms[kind])] == [(BATCH, 4)]


def test_an_operator_nobody_knows_keeps_the_shape_of_its_input():
    proto = model(
        [helper.make_node("Mystery", ["x"], ["h"], domain="far.away"), helper.make_node("Relu", ["h"], ["y"])], {}
    )
    assert [(o.op, o.output) for o in read_onnx(proto)] == [("Mystery", (BATCH, 4)), ("Relu", (BATCH, 4))]
