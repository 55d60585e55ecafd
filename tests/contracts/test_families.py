"""What every family must do: build, fit, export, agree with onnxruntime, and cost what its graph says."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from hw_cost.graph import PART, OpGraph
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.runtimes import OnnxRuntime
from metaml.data import Task, make_splits, make_task
from metaml.evaluation import Evaluator
from metaml.export import check_parity, deployed_graph, to_onnx
from metaml.metrics import metric_for
from metaml.models import FAMILIES, TabularShape, TorchFamily
from metaml.space import SPACES
from tests.conftest import mixed_table

SHAPES = {
    "both": TabularShape(7, (5, 3), n_outputs=3, is_regression=False),
    "numeric": TabularShape(4, (), n_outputs=2, is_regression=False),
    "categorical": TabularShape(0, (4, 6), n_outputs=1, is_regression=True),
}
SPACE = SPACES["tabular"]
CONFIGURATIONS = SPACE.defaults() + SPACE.sample(2 * len(SPACE.families), seed=5)


def small(configuration: dict) -> dict:
    """The same configuration with few epochs and trees, to be quick."""
    limits = {"epochs": 3, "max_iter": 16, "n_estimators": 16, "width": 48}
    return {key: min(value, limits[key]) if key in limits else value for key, value in configuration.items()}


def make(kind: str) -> Task:
    table = mixed_table(n_classes=3 if kind == "multiclass" else 2)
    inputs = table.drop(columns=["value", "label"])
    if kind == "numeric only":
        return make_task(inputs[["age", "income", "stamp"]], table["label"])
    if kind == "categorical only":
        return make_task(inputs[["city"]], table["label"])
    return make_task(inputs, table["value"] if kind == "regression" else table["label"])


def evaluator_of(task: Task) -> Evaluator:
    return Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c["family"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
class TestTorchFamily:
    def test_output_gradients_and_parameter_count(self, configuration, shape):
        family = FAMILIES[configuration["family"]]
        if not isinstance(family, TorchFamily):
            pytest.skip("no module")
        module = family.build(configuration, shape)
        codes = torch.zeros((6, shape.n_categorical), dtype=torch.int64)
        scores = module(torch.randn(6, shape.n_numeric), codes)
        assert scores.shape == (6, shape.n_outputs)
        scores.square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
        constants = sum(
            name.startswith("squash.") for op in family.graph(configuration, shape) for name in op.parameters
        )
        n_module = sum(parameter.numel() for parameter in module.parameters())
        assert family.graph(configuration, shape).n_parameters - constants == n_module


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "numeric only", "categorical only"])
@pytest.mark.parametrize("family", SPACE.families)
class TestExport:
    def configuration(self, family: str) -> dict:
        return small(next(c for c in CONFIGURATIONS if c["family"] == family))

    def test_file_predicts_what_the_model_predicts(self, family, kind):
        task = make(kind)
        evaluator = evaluator_of(task)
        pipeline = evaluator.refit(self.configuration(family), seconds=60)
        model = to_onnx(pipeline, task)
        onnx.checker.check_model(model, full_check=True)
        inputs = {name: array.copy() for name, array in task.inputs.items()}
        numeric, categorical = inputs.values()
        if numeric.size:
            numeric[0], numeric[1], numeric[2] = np.nan, np.inf, -1e300
        if categorical.size:
            categorical[0], categorical[1] = "", "never seen"
        assert check_parity(model.SerializeToString(), pipeline, inputs) <= 1e-4

    def test_graph_foretold_before_training_is_the_graph_of_the_file(self, family, kind):
        """The latency that rejects a configuration is that of the file it would become."""
        task = make(kind)
        configuration = self.configuration(family)
        pipeline = evaluator_of(task).refit(configuration, seconds=60)
        foretold = deployed_graph(configuration, pipeline.preprocessor, pipeline.model.shape)
        model = to_onnx(pipeline, task)
        assert [op.op for op in foretold if op.op != PART] == [node.op_type for node in model.graph.node]
        expected, executed = kernels_of(foretold, 1), OnnxRuntime().kernels(model, 1)
        assert count(expected) == count(executed)
        for most, kernel in zip(by_name(expected), by_name(executed), strict=True):
            if kernel.kind == "trees":  # the foretold number of leaves is the most there can be
                assert kernel.sizes["leaves"] <= most.sizes["leaves"]
                assert {**kernel.sizes, "leaves": 0, "working_set": 0} == {**most.sizes, "leaves": 0, "working_set": 0}

    def test_same_seed_same_model(self, family, kind):
        if kind != "binary":
            pytest.skip("one kind is enough")
        task, configuration = make(kind), self.configuration(family)
        predictions = []
        for _ in range(2):
            evaluator = evaluator_of(task)
            pipeline = evaluator.refit(configuration, seed=3, seconds=60)
            predictions.append(pipeline.predict(task.inputs))
        np.testing.assert_array_equal(predictions[0], predictions[1])


def by_name(kernels) -> list[Kernel]:
    return sorted(kernels, key=lambda kernel: kernel.op)


def count(kernels) -> list[str]:
    return [kernel.op for kernel in by_name(kernels)]


def test_rare_class_absent_from_training_rows_is_predicted_with_small_probability():
    table = mixed_table(n=200)
    y = table["label"].to_numpy(dtype=object).copy()
    y[:6] = "rare"
    task = make_task(table[["age", "income", "city"]], y)
    rare = task.classes.index("rare")
    for configuration in SPACE.defaults():
        evaluator = evaluator_of(task)
        kept = np.flatnonzero(task.y != rare)
        fold = type(evaluator.splits[0])(train=kept, valid=np.arange(len(task.y)))
        evaluation = Evaluator(task, (fold,), metric_for(task.type)).evaluate(small(configuration), seconds=60)
        probabilities = evaluation.pipelines[0].predict(task.inputs)
        assert probabilities.shape == (200, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_graph_is_a_graph():
    assert isinstance(FAMILIES["mlp"].graph(SPACE.default("mlp"), SHAPES["both"]), OpGraph)
