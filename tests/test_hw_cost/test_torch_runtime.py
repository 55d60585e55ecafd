"""Operators of torch against onnxruntime, and what its compiler says it does."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime
from hw_cost.runtimes.torch import Torch, TorchCompiled, read_events

from .conftest import perceptron

IMAGE, ODD, ROW = (2, 3, 8, 8), (2, 3, 7, 7), (2, 12)
CASES = [
    ("Conv", IMAGE, [(4, 3, 3, 3), (4,)], {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("Conv", IMAGE, [(3, 1, 5, 5)], {"group": 3, "dilations": [1, 1]}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [1, 1]}),
    ("AveragePool", ODD, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", ODD, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("GlobalAveragePool", IMAGE, [], {}),
    ("Pad", IMAGE, [np.array([0, 1, 0, 0, 0, 0, 2, 0])], {}),
    ("Slice", IMAGE, [np.array([1, -4]), np.array([3, 100]), np.array([1, 3]), np.array([1, 2])], {}),
    ("Resize", IMAGE, [np.zeros(0, np.float32), np.array([1, 1, 0.7, 0.5], np.float32)], {"mode": "linear"}),
    ("HardSigmoid", ROW, [], {}),
    ("HardSigmoid", ROW, [], {"alpha": 1 / 6}),
    ("BatchNormalization", IMAGE, [(3,)] * 4, {"epsilon": 0.1}),
    ("LayerNormalization", ROW, [(12,), (12,)], {"axis": -1}),
    ("Gemm", ROW, [(5, 12), (5,)], {"transB": 1}),
    ("Gemm", ROW, [(12, 5), (5,)], {"alpha": 0.5, "beta": 2.0}),
    ("MatMul", IMAGE, [(8, 5)], {}),
    ("Flatten", IMAGE, [], {"axis": 2}),
    ("Flatten", IMAGE, [], {}),
    ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}),
    ("Reshape", IMAGE, [np.array([0, -1, 4])], {}),
    ("Unsqueeze", ROW, [np.array([1, 3])], {}),
    ("ReduceSum", IMAGE, [np.array([1, 2])], {"keepdims": 0}),
    ("ReduceMean", IMAGE, [], {}),
    ("Gather", IMAGE, [np.array([0, -1])], {"axis": 2}),
    ("Softmax", IMAGE, [], {"axis": 1}),
    ("Gelu", ROW, [], {"approximate": "tanh"}),
    *(
        (op, ROW, [], {})
        for op in ("Sin", "Cos", "Round", "Gelu", "Erf", "HardSwish", "Mish", "Selu", "Elu", "LeakyRelu", "Softplus")
    ),
    ("Clip", ROW, [np.float32(-0.5), np.float32(0.5)], {}),
    ("Div", ROW, [(12,)], {}),
]


def model(op, shape, constants, attributes):
    random = np.random.default_rng(0)
    arrays = [c if not isinstance(c, tuple) else (random.random(c) + 0.5).astype(np.float32) for c in constants]
    tensors = [numpy_helper.from_array(np.asarray(array), f"c{k}") for k, array in enumerate(arrays)]
    node = helper.make_node(op, ["x", *(tensor.name for tensor in tensors)], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape[1:]])
    y = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph([node], "one", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(("op", "shape", "constants", "attributes"), CASES, ids=lambda value: str(value)[:30])
def test_an_operator_computes_what_onnx_says(op, shape, constants, attributes):
    proto = model(op, shape, constants, attributes)
    feeds = {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    (output,), (expected,) = Torch().open(proto).run(feeds), OnnxRuntime().open(proto).run(feeds)
    assert output.shape == expected.shape and np.allclose(output, expected, atol=1e-5)


def test_operators_that_torch_does_not_run_are_all_named():
    graph = perceptron(8)
    graph.add("Einsum", "gelu_3", output=(8,))
    graph.add("LabelEncoder", "gelu_3", output=(8,), n_keys=2)
    assert Torch().unsupported(graph) == ["Einsum", "LabelEncoder"]
    with pytest.raises(ValueError, match="torch cannot run Einsum, LabelEncoder"):
        Torch().open(write_onnx(graph))


def event(name, parent, us, shapes=()):
    program = SimpleNamespace(name=parent)
    return SimpleNamespace(
        name=name, cpu_parent=program, input_shapes=shapes, time_range=SimpleNamespace(elapsed_us=lambda: us)
    )


def test_a_compiled_program_is_read_from_the_events_of_the_profiler():
    program = "## Call CompiledFxGraph abc ##"
    events = [
        event("aten::addmm", program, 4.0, [[64], [2, 32], [32, 64]]),
        event("aten::copy_", "aten::addmm", 1.0, [[2, 64]]),
        event("graph_0_cpp_fused_gelu_native_layer_norm_0", program, 1.5),
        event("TorchDynamo Cache Lookup", "", 9.0),
    ]
    (extern, extern_us), (written, written_us) = read_events(events)
    assert (extern.op, list(extern.sizes.values()), extern_us) == ("aten::addmm", [64, 2, 32, 32, 64], 4.0)
    assert (written.op, written_us) == ("cpp_fused_gelu_native_layer_norm", 1.5)


@pytest.mark.slow
def test_the_compiler_fuses_what_eager_runs_one_by_one():
    proto, runtime = write_onnx(perceptron(16, layers=2)), TorchCompiled()
    several_rows = [step.kernel.op for step in runtime.profile(proto, batch=4, runs=2).kernels]
    assert several_rows == ["Call", *["aten::addmm", "cpp_fused_gelu"] * 2]
    assert len(runtime.profile(proto, runs=2).kernels) == 2, "one row: all layers in one kernel"
    opened = runtime.open(proto)
    feeds = {"x": np.ones((1, 16), np.float32)}
    assert np.allclose(opened.run(feeds)[0], Torch().open(proto).run(feeds)[0], atol=1e-5)
