from hw_cost.kernels import Kernel
from hw_cost.runtimes.threads import threaded

CALL = Kernel("Call", {"inputs": 1, "strings": 0})


def dense(n: int) -> Kernel:
    return Kernel("Gemm", {"rows": 1, "n_in": n, "n_out": n, "working_set": 4 * n * n})


def trees(n: int, rows: int = 1) -> Kernel:
    return Kernel("TreeEnsembleRegressor", {"rows": rows, "trees": n, "leaves": n, "outputs": 1, "working_set": 0})


def test_one_thread_splits_nothing():
    kernels = [CALL, dense(4096), trees(500)]
    assert threaded(kernels, 1) == kernels


def test_small_kernels_stay_on_one_thread_and_wake_none():
    kernels = [CALL, dense(255), trees(80), Kernel("Relu", {"bytes": 4, "spans": 1, "inner": 0})]
    assert threaded(kernels, 2) == kernels


def test_large_ones_are_named_and_the_first_of_them_wakes_threads():
    named = threaded([CALL, dense(256), dense(16), trees(81), trees(1, rows=51)], 2)
    ops = [kernel.op for kernel in named]
    assert ops == ["Call", "Call:split", "Gemm:split", "Gemm", *["TreeEnsembleRegressor:split"] * 2]
    assert [kernel.kind for kernel in named] == ["call", "call", "dense", "dense", "trees", "trees"]
