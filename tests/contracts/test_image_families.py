"""What every family of networks on images must do, as `test_families` says it of tables."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hw_cost.ops import flops
from hw_cost.runtimes import OnnxRuntime
from metaml.data import ImageTask, make_image_task, make_splits
from metaml.evaluation import Evaluator
from metaml.export import check_parity, deployed_graph, to_onnx
from metaml.latency import LatencyModel, open_device
from metaml.metrics import metric_for
from metaml.models import FAMILIES, ImageShape
from metaml.models.cell import EDGES, OPERATIONS, cell_graph, edge_name
from metaml.models.image_layers import Stem
from metaml.models.mbconv import plan
from metaml.runners import Job
from metaml.runners.worker import run_job
from metaml.space import SPACES
from metaml.training.deadline import Foresight, TooLongError
from tests.conftest import striped_images

SPACE = SPACES["image"]
CONFIGURATIONS = [SPACE.default(name) for name in SPACE.families] + SPACE.sample(4 * len(SPACE.families), seed=3)
SHAPES = {
    "colour": ImageShape(3, 32, 32, n_outputs=10, is_regression=False),
    "tiny": ImageShape(1, 8, 8, n_outputs=2, is_regression=False),
    "oblong": ImageShape(3, 50, 37, n_outputs=1, is_regression=True),
}
NOT_TRAINED = (".region", ".factors")


def small(configuration: dict) -> dict:
    limits = {"epochs": 2, "width": 8, "channels": 8}
    return {key: min(value, limits[key]) if key in limits else value for key, value in configuration.items()}


def make(kind: str) -> ImageTask:
    images, y = striped_images(channels=1 if kind == "grey" else 3)
    return make_image_task(images, y + 0.5 if kind == "regression" else y)


def evaluator_of(task: ImageTask) -> Evaluator:
    return Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c["family"])
class TestModule:
    def test_output_and_gradients(self, configuration, shape):
        module = FAMILIES[configuration["family"]].build(configuration, shape)
        scores = module(torch.randn(3, shape.channels, shape.height, shape.width))
        assert scores.shape == (3, shape.n_outputs)
        scores.square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)

    def test_graph_has_the_parameters_that_are_left_when_normalisation_is_folded_in(self, configuration, shape):
        """A normalisation has a factor and an addend for each channel; the factor disappears in the weights."""
        family = FAMILIES[configuration["family"]]
        module, graph = family.build(configuration, shape), family.graph(configuration, shape)
        channels = sum(layer.num_features for layer in module.modules() if isinstance(layer, nn.BatchNorm2d))
        shapes = {name: shape for operation in graph for name, shape in operation.parameters.items()}
        constants = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith(NOT_TRAINED))
        assert graph.n_parameters - constants == sum(p.numel() for p in module.parameters()) - channels
        tensors = family.tensors(module.eval())
        assert {name: tensors[name].shape for name in shapes} == shapes


@pytest.mark.parametrize("kind", ["colour", "grey", "regression"])
@pytest.mark.parametrize("family", SPACE.families)
class TestExport:
    def configuration(self, family: str) -> dict:
        return small(SPACE.default(family))

    def test_file_predicts_what_the_model_predicts(self, family, kind):
        task = make(kind)
        pipeline = evaluator_of(task).refit(self.configuration(family), seconds=60)
        model = to_onnx(pipeline, task)
        onnx.checker.check_model(model, full_check=True)
        assert check_parity(model.SerializeToString(), pipeline, task.inputs) <= 1e-4
        extreme = {"pixels": np.stack([np.zeros_like(task.images[0]), np.full_like(task.images[0], 255)])}
        assert check_parity(model.SerializeToString(), pipeline, extreme) <= 1e-4

    def test_graph_foretold_before_training_is_the_graph_of_the_file(self, family, kind):
        task, configuration = make(kind), self.configuration(family)
        pipeline = evaluator_of(task).refit(configuration, seconds=60)
        foretold = deployed_graph(configuration, pipeline.preprocessor, pipeline.model.shape)
        model = to_onnx(pipeline, task)
        assert [op.op for op in foretold] == [node.op_type for node in model.graph.node]
        kernels = (OnnxRuntime().kernels(network, 1) for network in (foretold, model.SerializeToString()))
        first, second = (sorted(map(str, found)) for found in kernels)
        assert first == second

    def test_same_seed_same_model(self, family, kind):
        if kind != "colour":
            pytest.skip("one kind is enough")
        task, configuration = make(kind), self.configuration(family)
        predictions = [
            evaluator_of(task).refit(configuration, seed=3, seconds=60).predict(task.inputs) for _ in range(2)
        ]
        np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize(
    "change",
    [
        {"block": "depthwise"},
        {"block": "fused_first", "attention": "squeeze_excite"},
        {"block": "grouped", "activation": "silu"},
        {"block": "fused", "expansion": 1, "activation": "hardswish"},
        {"resolution": 0.75, "scale": 1},
    ],
    ids=str,
)
def test_every_block_agrees_with_onnxruntime(change):
    task = make("colour")
    configuration = small(SPACE.default("mbconv") | change)
    pipeline = evaluator_of(task).refit(configuration, seconds=60)
    assert check_parity(to_onnx(pipeline, task).SerializeToString(), pipeline, task.inputs) <= 1e-4


def test_the_first_filters_make_the_windows_of_training_images_white():
    rough = torch.randn(300, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = nn.functional.interpolate(rough, size=(32, 32), mode="bilinear")
    images = (images - images.mean()) / images.std()
    stem = Stem(3, 10, 3)
    stem.prepare(images)
    with torch.no_grad():
        channels = stem.convolution(images).transpose(0, 1).flatten(1)
    np.testing.assert_allclose(torch.cov(channels[:5]), np.eye(5), atol=0.1)
    torch.testing.assert_close(channels[5:], -channels[:5])


def test_latency_is_that_of_the_architecture_and_is_told_once(device_table):
    model = LatencyModel(open_device(device_table), make("colour"))
    for name in SPACE.families:
        configuration = small(SPACE.default(name))
        told = model.predict(configuration)
        assert model.predict(configuration | {"learning_rate": 0.01, "epochs": 9, "mixup": 0.5, "dropout": 0.4}) is told
        assert model.predict(configuration | {"stem_stride": 1}).latency_ms != told.latency_ms


class TestCell:
    def test_only_edges_on_paths_from_input_to_output_remain(self):
        config = {edge_name(*edge): "none" for edge in EDGES}
        config |= {"edge_01": "nor_conv_3x3", "edge_13": "avg_pool_3x3", "edge_02": "skip_connect"}  # 2 leads nowhere
        assert sorted(cell_graph(config).edges(data="operation")) == [
            (0, 1, "nor_conv_3x3"),
            (1, 3, "avg_pool_3x3"),
        ]

    def test_a_cell_that_leads_nowhere_passes_its_input_on(self):
        assert list(cell_graph({"edge_01": "nor_conv_3x3"}).edges(data="operation")) == [(0, 3, "skip_connect")]

    def test_all_operations_in_one_cell_are_computed_as_they_are_emitted(self):
        task = make("colour")
        edges = dict(zip(EDGES, (*OPERATIONS[1:], "nor_conv_3x3", "avg_pool_3x3"), strict=True))
        configuration = small(SPACE.default("cell") | {edge_name(*edge): name for edge, name in edges.items()})
        pipeline = evaluator_of(task).refit(configuration, seconds=60)
        assert check_parity(to_onnx(pipeline, task).SerializeToString(), pipeline, task.inputs) <= 1e-4


class TestCompoundScaling:
    def test_sizes_follow_the_paper(self):
        """Tan & Le 2019, section 3.3: depth 1.2^2 = 1.44, width 1.1^2 = 1.21, resolution 1.15^2 = 1.32."""
        shape = ImageShape(3, 64, 64, n_outputs=10, is_regression=False)
        large = SPACE.default("mbconv") | {"width": 80, "depth": 5, "n_stages": 2, "stem_stride": 1, "growth": 1.5}
        first, second = plan(large, shape), plan(large | {"scale": 2}, shape)
        assert (first.height, second.height) == (64, 85)
        assert (first.stem, second.stem) == (80, 96)
        assert (len(first.blocks), len(second.blocks)) == (10, 14)

    def test_cost_about_doubles_with_each_step(self):
        shape = ImageShape(3, 64, 64, n_outputs=10, is_regression=False)
        large = SPACE.default("mbconv") | {"width": 160, "depth": 5, "n_stages": 3, "stem_stride": 1}
        costs = [flops(FAMILIES["mbconv"].graph(large | {"scale": scale}, shape)) for scale in (0, 1, 2)]
        assert costs[2] / costs[0] == pytest.approx(1.92**2, rel=0.1)


class TestShortened:
    def test_there_are_as_many_epochs_as_there_is_time_for_with_some_to_spare(self):
        family, config = FAMILIES["mbconv"], SPACE.default("mbconv") | {"epochs": 100}
        assert family.shortened(config, 0.5) == config | {"epochs": 40}
        assert SPACE.is_legal(family.shortened(config, 0.1))
        assert family.shortened(config, 0.05) is None  # fewer epochs than the space has

    def test_longer_trainings_have_more_epochs_than_the_space(self):
        family, config = FAMILIES["cell"], SPACE.default("cell") | {"epochs": 100}
        assert family.lengthened(config, 4.5) == config | {"epochs": 450}
        assert family.lengthened(config, 1.0) is None
        assert FAMILIES["resnet"].lengthened({"epochs": 100}, 4.5) is None

    def test_a_training_that_would_take_too_long_is_done_in_a_shorter_form(self, monkeypatch):
        def check(self: Foresight, step: int, n_steps: int) -> None:
            if n_steps > 100:  # of 10 steps for each epoch
                raise TooLongError(foreseen=400.0, allowed=200.0)

        monkeypatch.setattr(Foresight, "check", check)
        config = small(SPACE.default("mbconv")) | {"epochs": 20}
        outcome = run_job(evaluator_of(make("grey")), Job(0, "evaluate", config, seconds=600.0))
        assert (outcome.status, outcome.configuration) == ("ok", config | {"epochs": 8})
        trial = outcome.as_trial(config, "default")
        assert (trial.configuration["epochs"], trial.epochs) == (8, 8)
