"""What every family must do: build, fit, export, agree with onnxruntime, and cost what its graph says."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
import pytest
import torch

from hw_cost.fusion import rules_hold
from hw_cost.graph import PART, OpGraph
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.onnx_writer import to_model
from hw_cost.ops import uncounted
from hw_cost.runtimes import OnnxRuntime
from metaml.data import Task, make_splits, make_task
from metaml.evaluation import Evaluator
from metaml.export import check_parity, deployed_graph, to_onnx
from metaml.metrics import metric_for
from metaml.models import FAMILIES, TabularShape, TorchFamily
from metaml.models.torch_family import prepare
from metaml.space import SPACES
from metaml.training import DivergedError
from tests.conftest import mixed_table

SHAPES = {
    "both": TabularShape(7, (5, 3), n_outputs=3, is_regression=False),
    "numeric": TabularShape(4, (), n_outputs=2, is_regression=False),
    "categorical": TabularShape(0, (4, 6), n_outputs=1, is_regression=True),
}
MORE_SHAPES = {
    "one number": TabularShape(1, (), n_outputs=1, is_regression=True),
    "one category": TabularShape(0, (3,), n_outputs=2, is_regression=False),
    "wide": TabularShape(90, (4,) * 10, n_outputs=5, is_regression=False),
}
SPACE = SPACES["tabular"]
CONFIGURATIONS = SPACE.defaults() + SPACE.sample(2 * len(SPACE.families), seed=5)


def small(configuration: dict) -> dict:
    """The same configuration with few epochs and trees, to be quick."""
    limits = {"epochs": 3, "max_iter": 16, "n_estimators": 16, "width": 48, "n_members": 8}
    return {key: min(value, limits[key]) if key in limits else value for key, value in configuration.items()}


def is_network(configuration: dict) -> bool:
    return isinstance(FAMILIES[configuration["family"]], TorchFamily)


def variants() -> list[dict]:
    """Every family of networks with every choice that changes the file: preprocessing and numeric embeddings."""
    found = []
    for configuration in SPACE.sample(40 * len(SPACE.families), seed=7):
        key = tuple(configuration.get(name) for name in ("family", "preprocessing", "numeric_embedding"))
        if is_network(configuration) and key not in {k for k, _ in found}:
            found.append((key, small(configuration)))
    return [configuration for _, configuration in found if configuration["preprocessing"] == "quantile"]


def make(kind: str) -> Task:
    table = mixed_table(n_classes=3 if kind == "multiclass" else 2)
    inputs = table.drop(columns=["value", "label"])
    if kind == "numeric only":
        return make_task(inputs[["age", "income", "stamp"]], table["label"])
    if kind == "wide":
        noise = np.random.default_rng(0).normal(size=(len(table), 100))
        return make_task(pd.DataFrame(noise).add_prefix("x").join(inputs), table["label"])
    if kind == "categorical only":
        return make_task(inputs[["city"]], table["label"])
    return make_task(inputs, table["value"] if kind == "regression" else table["label"])


def evaluator_of(task: Task) -> Evaluator:
    return Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))


class Trained:
    """A module after one step of training, and what is exported of it."""

    def __init__(self, configuration: dict, shape: TabularShape) -> None:
        torch.manual_seed(0)
        self.family = FAMILIES[configuration["family"]]
        self.configuration, self.shape = configuration, shape
        numbers = torch.randn(40, shape.n_numeric)
        numbers[:20, 1:] = numbers[:20, 1:].round()  # some columns have few values
        offsets = torch.tensor([sum(shape.cardinalities[:j]) for j in range(shape.n_categorical)], dtype=torch.int64)
        choices = torch.tensor(shape.cardinalities, dtype=torch.float32)
        codes = (torch.rand(40, shape.n_categorical) * choices).to(torch.int64) + offsets
        self.inputs = (numbers, codes)
        self.module = self.family.build(configuration, shape)
        prepare(self.module, self.inputs)
        self.module(*self.inputs).square().mean().backward()
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter -= 0.01 * parameter.grad
        self.module.eval()
        self.graph = self.family.graph(configuration, shape)
        self.tensors = self.family.tensors(self.module)
        self.model = to_model(self.graph, self.tensors, {}).SerializeToString()

    def prediction(self) -> np.ndarray:
        """What the module predicts, heads averaged: values, or logarithms of probabilities up to a constant."""
        with torch.inference_mode():
            scores = self.module(*self.inputs)
        if scores.ndim == 2:
            return scores.numpy()
        return (scores.mean(1) if self.shape.is_regression else scores.softmax(-1).mean(1).log()).numpy()

    def exported_prediction(self) -> np.ndarray:
        session = ort.InferenceSession(self.model, providers=["CPUExecutionProvider"])
        feeds = {"numeric_features": self.inputs[0].numpy(), "codes": self.inputs[1].numpy()}
        return session.run(None, {node.name: feeds[node.name] for node in session.get_inputs()})[0]


def check_network(configuration: dict, shape: TabularShape) -> None:
    """Every promise of a torch family on one configuration."""
    trained = Trained(configuration, shape)
    family, module = trained.family, trained.module
    scores = module(*trained.inputs)
    assert scores.shape[0] == 40
    assert scores.shape[-1] == shape.n_outputs
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
    check_parameters(family, configuration, trained)
    np.testing.assert_allclose(trained.exported_prediction(), trained.prediction(), atol=1e-4, rtol=1e-4)
    assert rules_hold(trained.graph)  # else every prediction of a latency opens a session
    assert count(kernels_of(trained.graph, 1)) == count(OnnxRuntime().kernels(trained.model, 1))
    assert not uncounted(trained.graph)


def check_parameters(family: TorchFamily, configuration: dict, trained: Trained) -> None:
    """The graph's parameters are the module's, but for those that are multiplied into others at export."""
    sources = {s for _, data in trained.graph.network.nodes(data=True) for s in data.get("sources", ())}
    parameters = {s.name: s for s in sources if not isinstance(s, str) and s.value is None}
    for name, parameter in parameters.items():
        assert trained.tensors[name].shape == parameter.shape, name
    own = {name: tuple(p.shape) for name, p in trained.module.named_parameters()}
    folded = tuple(family.folded(configuration, trained.shape))
    assert {name for name in own if name not in parameters} == {n for n in own if folded and n.startswith(folded)}
    kept = sum(int(np.prod(shape)) for name, shape in own.items() if name in parameters)
    made = sum(int(np.prod(p.shape)) for n, p in parameters.items() if p.is_trained and n not in own)
    assert trained.graph.n_parameters == kept + made
    assert bool(made) == bool(folded)


@pytest.mark.parametrize("configuration", [c for c in CONFIGURATIONS if is_network(c)], ids=lambda c: c["family"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_network_keeps_its_promises(configuration, shape):
    check_network(configuration, shape)


@pytest.mark.parametrize("shape", MORE_SHAPES.values(), ids=MORE_SHAPES)
@pytest.mark.parametrize("family", [name for name in SPACE.families if isinstance(FAMILIES[name], TorchFamily)])
def test_network_of_unusual_tables(family, shape):
    check_network(small(SPACE.default(family)), shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", (SHAPES | MORE_SHAPES).values(), ids=SHAPES | MORE_SHAPES)
@pytest.mark.parametrize("family", [name for name in SPACE.families if isinstance(FAMILIES[name], TorchFamily)])
def test_many_networks(family, shape):
    """Random configurations of the whole space."""
    n = len(SPACE.families)
    for configuration in [c for c in SPACE.sample(30 * n, seed=11) if c["family"] == family]:
        check_network(configuration, shape)


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
        assert check_parity(model.SerializeToString(), pipeline, spoilt(task.inputs)) <= 1e-4

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


def spoilt(inputs: dict) -> dict:
    """The same rows, some of them with what training rows never have."""
    inputs = {name: array.copy() for name, array in inputs.items()}
    numeric, categorical = inputs.values()
    if numeric.size:
        numeric[0], numeric[1], numeric[2], numeric[4], numeric[5] = np.nan, np.inf, -1e300, -np.inf, 1e9
    if categorical.size:
        categorical[0], categorical[1] = "", "never seen"
    return inputs


@pytest.mark.parametrize("configuration", variants(), ids=lambda c: f"{c['family']}-{c['numeric_embedding']}")
def test_quantiles_and_embeddings_are_in_the_file(configuration):
    task = make("multiclass")
    pipeline = evaluator_of(task).refit(configuration, seconds=60)
    model = to_onnx(pipeline, task)
    assert check_parity(model.SerializeToString(), pipeline, spoilt(task.inputs)) <= 1e-4
    foretold = deployed_graph(configuration, pipeline.preprocessor, pipeline.model.shape)
    assert [op.op for op in foretold] == [node.op_type for node in model.graph.node]
    assert count(kernels_of(foretold, 1)) == count(OnnxRuntime().kernels(model, 1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "numeric only", "categorical only", "wide"])
@pytest.mark.parametrize("family", SPACE.families)
def test_many_files(family, kind):
    """Random configurations, trained for a moment on tables with missing values, exported and compared."""
    task = make(kind)
    evaluator = evaluator_of(task)
    checked = 0
    for configuration in [c for c in SPACE.sample(10 * len(SPACE.families), seed=13) if c["family"] == family]:
        try:
            pipeline = evaluator.refit(small(configuration), seconds=120)
        except DivergedError:  # plain gradient descent at a high rate may
            continue
        assert check_parity(to_onnx(pipeline, task).SerializeToString(), pipeline, spoilt(task.inputs)) <= 1e-4
        checked += 1
    assert checked >= 5


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
