"""Smaller models: each way against what it must be exactly, and the file that comes of it against the pipeline."""

import math

import numpy as np
import pytest
import torch

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.compression import COMPRESSIONS, GraphModel, Terms, agreement, compress, distil_into, to_int8
from metaml.compression.accept import rows_of, with_network
from metaml.compression.factorise import factorise_layer, factors
from metaml.compression.prune import groups_of, importance, remove_units
from metaml.compression.tuning import Teacher, distillation_loss, tune
from metaml.data import make_splits, make_task
from metaml.evaluation import Evaluator
from metaml.export import check_parity, to_onnx
from metaml.merge import run_model
from metaml.metrics import metric_for
from metaml.models import Exported
from metaml.space import SPACES
from tests.conftest import mixed_table

SPACE = SPACES["tabular"]
FAMILIES = ("mlp", "resnet")


@pytest.fixture(scope="module")
def evaluator():
    table = mixed_table(n=1200, n_classes=3)
    task = make_task(table[["age", "income", "city", "member"]], table["label"])
    return Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))


@pytest.fixture(scope="module")
def pipelines(evaluator):
    return {name: evaluator.refit(SPACE.default(name) | {"epochs": 5}, seconds=60) for name in FAMILIES}


def scores(pipeline, network, features):
    return GraphModel(pipeline.model.config, pipeline.model.shape, network).scores(features)


def dense_network(weights: list[np.ndarray]) -> Exported:
    """Dense layers with a ReLU between each two, biases 0."""
    graph, tensors = OpGraph(), {}
    node = graph.input("numeric_features", (BATCH, weights[0].shape[1]))
    for i, weight in enumerate(weights):
        parameters = Parameter(f"w{i}", weight.shape), Parameter(f"b{i}", (len(weight),))
        tensors |= {f"w{i}": weight.astype(np.float32), f"b{i}": np.zeros(len(weight), np.float32)}
        node = graph.add("Gemm", node, *parameters, output=(BATCH, len(weight)), transB=1)
        if i < len(weights) - 1:
            node = graph.add("Relu", node, output=(BATCH, len(weight)))
    return Exported(graph, tensors, {})


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("family", FAMILIES)
class TestContract:
    """What every compression must do on every network."""

    def test_identity_changes_nothing(self, name, family, pipelines):
        network = pipelines[family].model.export()
        assert COMPRESSIONS[name].shrink(network, COMPRESSIONS[name].identity, lambda g: g.n_parameters) is network

    def test_stronger_is_smaller_and_what_is_left_is_a_file(self, name, family, pipelines, evaluator):
        pipeline, compression = pipelines[family], COMPRESSIONS[name]
        network = low_rank(pipeline.model.export()) if name == "svd" else pipeline.model.export()
        before = {key: array.copy() for key, array in network.tensors.items()}
        sizes = [network.graph.n_parameters]
        for amount in compression.amounts:
            smaller = compression.shrink(network, amount, lambda g: g.n_parameters)
            sizes.append(smaller.graph.n_parameters)
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-1] < 0.8 * sizes[0]
        assert all(np.array_equal(array, network.tensors[key]) for key, array in before.items())
        small = with_network(
            pipeline, tune(smaller, rows_of(pipeline, evaluator.everything(pipeline.model.config), 0, 60))
        )
        model = to_onnx(small, evaluator.task).SerializeToString()
        assert check_parity(model, small, evaluator.task.inputs) < 1e-4
        assert len(model) < len(to_onnx(pipeline, evaluator.task).SerializeToString())


def low_rank(network: Exported) -> Exported:
    """Nearly all of the energy of every wide layer in a few directions, as after a long training with weight decay."""
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.normal(size=(len(a), 6)) @ rng.normal(size=(6, a.shape[1])) + 0.01 * a).astype(np.float32)
        if a.ndim == 2 and min(a.shape) > 24
        else a
        for name, a in network.tensors.items()
    }
    return Exported(network.graph, tensors, network.attributes)


def test_an_untouched_network_predicts_the_same_as_graph(pipelines, evaluator):
    features = evaluator.everything(SPACE.default("mlp")).train
    for pipeline in pipelines.values():
        found = scores(pipeline, pipeline.model.export(), features)
        np.testing.assert_allclose(found, pipeline.model.scores(features), atol=1e-6)


class TestPruning:
    def test_removed_units_are_as_good_as_masked(self):
        rng = np.random.default_rng(0)
        network = dense_network([rng.normal(size=(16, 5)), rng.normal(size=(24, 16)), rng.normal(size=(3, 24))])
        first, second = groups_of(network.graph)
        kept = [np.array([0, 3, 4, 9, 11, 12, 13, 15]), np.arange(0, 24, 3)]
        chosen = {node: units for g, units in zip((first, second), kept, strict=True) for node in (g.maker, *g.between)}
        small = remove_units(network, chosen)
        masked = {name: array.copy() for name, array in network.tensors.items()}
        for i, units in enumerate(kept):
            gone = np.setdiff1d(np.arange(len(masked[f"w{i}"])), units)
            masked[f"w{i}"][gone] = 0
        x = rng.normal(size=(50, 5)).astype(np.float32)
        np.testing.assert_allclose(run(small, x), run(Exported(network.graph, masked, {}), x), rtol=1e-4, atol=1e-4)
        assert [op.output[1] for op in small.graph if op.op == "Gemm"] == [8, 8, 3]

    def test_units_without_weight_go_first_and_are_not_missed(self):
        rng = np.random.default_rng(1)
        weights = [rng.normal(size=(16, 5)), rng.normal(size=(3, 16))]
        weights[0][::2] = 0
        network = dense_network(weights)
        (group,) = groups_of(network.graph)
        assert set(np.argsort(importance(network, group))[:8]) == set(range(0, 16, 2))
        half = COMPRESSIONS["prune"].shrink(network, 0.5, lambda _: 0.0)
        x = rng.normal(size=(20, 5)).astype(np.float32)
        np.testing.assert_allclose(run(half, x), run(network, x), rtol=1e-4, atol=1e-4)

    def test_a_residual_stream_is_left_whole(self, pipelines):
        graph = pipelines["resnet"].model.export().graph
        assert {group.n_units for group in groups_of(graph)} == {192}  # inside the blocks, not the stream of 96

    def test_channels_of_convolutions_go_with_their_depthwise_and_dense_readers(self):
        rng = np.random.default_rng(2)
        graph = OpGraph()
        x = graph.input("pixels", (BATCH, 3, 8, 8))
        shapes = {"expand": (16, 3, 1, 1), "depth": (16, 1, 3, 3), "dense": (4, 16), "bias": (4,)}
        tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        part = {name: Parameter(name, shape) for name, shape in shapes.items()}
        planes = (BATCH, 16, 8, 8)
        h = graph.add("Conv", x, part["expand"], output=planes, kernel_shape=[1, 1])
        h = graph.add("Relu", h, output=planes)
        h = graph.add("Conv", h, part["depth"], output=planes, group=16, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        h = graph.add("GlobalAveragePool", h, output=(BATCH, 16, 1, 1))
        h = graph.add("Flatten", h, output=(BATCH, 16), axis=1)
        graph.add("Gemm", h, part["dense"], part["bias"], output=(BATCH, 4), transB=1)
        tensors["dense"][:, 8:] = 0
        network = Exported(graph, tensors, {})
        small = COMPRESSIONS["prune"].shrink(network, 0.5, lambda _: 0.0)
        assert small.tensors["depth"].shape == (8, 1, 3, 3)
        image = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
        np.testing.assert_allclose(run(small, image), run(network, image), rtol=1e-4, atol=1e-4)


def run(network: Exported, x: np.ndarray) -> np.ndarray:
    from hw_cost.onnx_writer import to_model

    model = to_model(network.graph, network.tensors, {}).SerializeToString()
    return run_model(model, {name: x for name in ("numeric_features", "pixels")})


class TestFactorisation:
    def test_error_is_that_of_the_singular_values_left_out(self):
        weight = np.random.default_rng(0).normal(size=(20, 30))
        singular = np.linalg.svd(weight, compute_uv=False)
        for rank in (1, 5, 20):
            a, b = factors(weight, rank)
            assert np.linalg.norm(weight - a @ b) == pytest.approx(math.sqrt((singular[rank:] ** 2).sum()), abs=1e-5)

    def test_full_rank_is_the_same_function(self):
        rng = np.random.default_rng(1)
        network = dense_network([rng.normal(size=(12, 8)), rng.normal(size=(3, 12))])
        x = rng.normal(size=(40, 8)).astype(np.float32)
        two = factorise_layer(network, "w0", 8)
        np.testing.assert_allclose(run(two, x), run(network, x), rtol=1e-4, atol=1e-4)
        assert [op.output[1] for op in two.graph if op.op == "Gemm"] == [8, 12, 3]

    def test_a_layer_that_would_not_be_cheaper_stays(self, pipelines):
        network = low_rank(pipelines["mlp"].model.export())
        svd = COMPRESSIONS["svd"]
        assert svd.shrink(network, 0.9, lambda g: sum(op.op == "Gemm" for op in g)) is network
        assert svd.shrink(network, 0.9, lambda g: g.n_parameters) is not network


class TestDistillation:
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(rng.normal(size=(6, 3)))
    said = torch.from_numpy(rng.normal(size=(6, 3)))
    y = torch.tensor([0, 1, 2, 0, 1, 2])

    def test_without_weight_the_teacher_is_not_heard(self):
        plain = distillation_loss(self.raw, self.y, None, None)
        mute = distillation_loss(self.raw, self.y, self.said, Teacher(self.said.numpy(), alpha=0.0))
        assert torch.equal(plain, mute)

    def test_a_student_that_says_the_same_has_nothing_to_learn(self):
        loss = distillation_loss(self.said, self.y, self.said, Teacher(self.said.numpy(), alpha=1.0, temperature=3.0))
        assert float(loss) == pytest.approx(0, abs=1e-12)

    def test_it_is_the_formula_of_hinton(self):
        t, alpha = 2.5, 0.3
        found = distillation_loss(self.raw, self.y, self.said, Teacher(self.said.numpy(), alpha, t))
        p, q = (torch.softmax(x / t, dim=1) for x in (self.said, self.raw))
        divergence = (p * (p.log() - q.log())).sum(dim=1).mean()
        hard = torch.nn.functional.cross_entropy(self.raw, self.y)
        assert float(found) == pytest.approx(float((1 - alpha) * hard + alpha * t * t * divergence))

    def test_hot_teachers_gradient_is_the_difference_of_centred_scores(self):
        raw = self.raw.clone().requires_grad_()
        t, k, n = 1e4, 3, 6
        distillation_loss(raw, self.y, self.said, Teacher(self.said.numpy(), 1.0, t)).backward()
        centred = [x - x.mean(dim=1, keepdim=True) for x in (self.raw, self.said)]
        torch.testing.assert_close(raw.grad, (centred[0] - centred[1]) / (n * k), rtol=1e-3, atol=1e-6)

    def test_a_small_student_is_taught(self, evaluator):
        student = SPACE.default("mlp") | {"width": 16, "n_layers": 1, "epochs": 8}
        terms = Terms(lambda g: g.n_parameters, tolerance=0.5)
        found = distil_into(evaluator, student, SPACE.default("hist_gradient_boosting"), 0.9, terms)
        assert found is not None
        assert found.error < 0.9 * 1.5
        assert distil_into(evaluator, student, SPACE.default("linear"), 1e-6, terms) is None


@pytest.mark.parametrize("columns", [["age", "income"], ["city"]], ids=["numbers", "categories"])
@pytest.mark.parametrize("name", ["prune", "distill"])
def test_tables_of_one_kind_of_columns_and_regression(columns, name):
    table = mixed_table(n=1100)
    task = make_task(table[columns], table["value"])
    evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
    config = SPACE.default("mlp") | {"width": 32, "epochs": 4}
    terms = Terms(lambda _: 0.0, tolerance=10.0)
    if name == "prune":
        found = compress(evaluator, config, COMPRESSIONS[name], terms)
    else:
        found = distil_into(evaluator, config, SPACE.default("linear"), 1.0, terms)
    assert found is not None
    model = to_onnx(found.refit, task).SerializeToString()
    assert check_parity(model, found.refit, task.inputs) < 1e-4


class TestAcceptance:
    def test_what_is_accepted_is_within_the_tolerance_and_smaller(self, evaluator):
        config = SPACE.default("mlp") | {"epochs": 8}
        base = evaluator.evaluate(config, seconds=60)
        found = compress(evaluator, config, COMPRESSIONS["prune"], Terms(lambda _: 0.0, tolerance=0.05))
        assert found is not None
        assert found.error <= 1.05 * base.error
        assert found.n_parameters < found.n_before
        assert found.metrics.keys() == base.metrics.keys()
        assert found.refit.predict(evaluator.task.inputs).shape == (1200, 3)

    def test_nothing_is_accepted_when_nothing_may_be_lost(self, evaluator):
        config = SPACE.default("mlp") | {"epochs": 2}
        assert compress(evaluator, config, COMPRESSIONS["prune"], Terms(lambda _: 0.0, tolerance=-1.0)) is None

    def test_trees_have_no_layers(self, evaluator):
        terms = Terms(lambda _: 0.0)
        assert compress(evaluator, SPACE.default("hist_gradient_boosting"), COMPRESSIONS["prune"], terms) is None

    def test_no_time_is_a_timeout(self, evaluator):
        config = SPACE.default("mlp") | {"epochs": 500}
        with pytest.raises(TimeoutError):
            compress(evaluator, config, COMPRESSIONS["prune"], Terms(lambda _: 0.0, seconds=0.5))


class TestInt8:
    def test_size_and_agreement(self, evaluator):
        pipeline = evaluator.refit(SPACE.default("mlp") | {"width": 256, "epochs": 16}, seconds=60)
        plain = to_onnx(pipeline, evaluator.task).SerializeToString()
        small = to_int8(plain, evaluator.task.inputs)
        assert len(small) <= 0.35 * len(plain)
        outputs = [run_model(file, evaluator.task.inputs) for file in (plain, small)]
        assert agreement(*outputs) >= 0.99
        assert not np.array_equal(*outputs)

    def test_description_stays(self, evaluator, pipelines):
        import onnx

        plain = to_onnx(pipelines["mlp"], evaluator.task)
        small = onnx.load_model_from_string(to_int8(plain.SerializeToString(), evaluator.task.inputs))
        assert {p.key: p.value for p in small.metadata_props} == {p.key: p.value for p in plain.metadata_props}


def test_tuning_is_the_same_every_time(pipelines, evaluator):
    pipeline = pipelines["mlp"]
    rows = rows_of(pipeline, evaluator.everything(pipeline.model.config), 3, 60)
    a, b = (tune(pipeline.model.export(), rows) for _ in range(2))
    assert all(np.array_equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def test_training_that_is_out_of_time_says_so(pipelines, evaluator):
    pipeline = pipelines["mlp"]
    rows = rows_of(pipeline, evaluator.everything(pipeline.model.config), 0, 0.0)
    with pytest.raises(TimeoutError):
        tune(pipeline.model.export(), rows)
