"""The parser on what an engine inspector writes; the rest needs a GPU (see test_runtimes)."""

import json

import pytest

from hw_cost.runtimes.tensorrt import read_layers


def tensor(name, dimensions, datatype="Row major linear FP32"):
    return {"Name": name, "Location": "Device", "Dimensions": dimensions, "Format/Datatype": datatype}


CONVOLUTION = {
    "Name": "conv_0 + relu_0",
    "LayerType": "CaskConvolution",
    "Inputs": [tensor("image", [4, 3, 32, 32])],
    "Outputs": [tensor("features", [4, 8, 16, 16], "Channel major FP16 format where channel % 8 == 0")],
    "ParameterType": "Convolution",
    "Kernel": [3, 3],
    "OutMaps": 8,
    "Weights": {"Type": "Half", "Count": 216},
    "Bias": {"Type": "Half", "Count": 8},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc",
}
POOL = {
    "Name": "mean_0",
    "LayerType": "Reduce",
    "Inputs": [tensor("features", [4, 8, 16, 16])],
    "Outputs": [tensor("pooled", [4, 8])],
}
DENSE = {
    "Name": "gemm_1",
    "LayerType": "gemm",
    "Inputs": [tensor("pooled", [4, 8])],
    "Outputs": [tensor("scores", [4, 10])],
    "Weights": {"Type": "Float", "Count": 80},
}
GENERATED = {
    "Name": "__myl_Softmax_myl0_1",
    "LayerType": "kgen",
    "Inputs": [tensor("scores", [4, 10])],
    "Outputs": [tensor("probabilities", [4, 10])],
}


def canned(*layers):
    return json.dumps({"Layers": list(layers), "Bindings": ["image", "probabilities"]})


def test_layers_become_kernels_with_sizes_times_and_precision():
    times = {"conv_0 + relu_0": 12.5, "gemm_1": 3.0}
    call, convolution, pool, dense, generated = read_layers(canned(CONVOLUTION, POOL, DENSE, GENERATED), times)
    assert str(call.kernel) == "Call(inputs=1, strings=0)"
    assert (convolution.kernel.op, convolution.latency_us, convolution.precision) == ("Conv", 12.5, "fp16")
    assert pool.latency_us is None and pool.precision == "fp32"
    sizes = dense.kernel.sizes
    assert (dense.kernel.kind, sizes["rows"], sizes["n_in"], sizes["n_out"]) == ("dense", 4, 8, 10)
    assert sizes["working_set"] == 4 * (216 + 80)
    assert generated.kernel.op == "kgen"


def test_an_engine_without_details_is_refused():
    with pytest.raises(ValueError, match="ProfilingVerbosity.DETAILED"):
        read_layers(canned("conv_0 + relu_0"), {})
