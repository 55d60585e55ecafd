"""The training loop: equal to what it was, deterministic, stopped in time, and every optional part in closed form."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metaml.data import make_splits, make_task
from metaml.evaluation import Evaluator
from metaml.metrics import metric_for
from metaml.models import FAMILIES, TabularShape, TorchFamily
from metaml.models.torch_family import Batch
from metaml.preprocessing import TableFeatures
from metaml.space import SPACES
from metaml.training import DivergedError, Pauses, Rows, agreed_epochs, fit_model, loop
from metaml.training.averaging import ExponentialAverage
from metaml.training.checkpoint import Checkpoint
from metaml.training.deadline import Foresight, TooLongError
from metaml.training.devices import device_for
from metaml.training.dropout import Dropout, hasten
from metaml.training.loop import Training
from metaml.training.losses import prediction_of, training_loss, validation_loss
from metaml.training.networks import finished
from metaml.training.optimisers import MOMENTUM, OPTIMISERS, Stepper
from metaml.training.parameters import FlatParameters
from metaml.training.schedules import CYCLE_START, SCHEDULES
from metaml.training.stopping import BestEpoch

SPACE = SPACES["tabular"]
EXPECTED = json.loads((Path(__file__).parents[1] / "assets" / "training_tabular1.json").read_text())
SHAPE = TabularShape(4, (3, 2), n_outputs=3, is_regression=False)
VARIANTS = [
    {"optimiser": "sgd"},
    {"schedule": "constant"},
    {"schedule": "one_cycle"},
    {"label_smoothing": 0.1},
    {"gradient_clipping": "norm"},
    {"averaging": "exponential"},
    {"early_stopping": "best_epoch"},
]


def table(n: int = 120, *, is_regression: bool = False) -> Rows:
    """The rows on which space tabular-1 was trained for the stored predictions."""
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(n, 4)).astype(np.float32)
    codes = np.stack([rng.integers(0, 3, n), 3 + rng.integers(0, 2, n)], 1).astype(np.int64)
    value = numeric[:, 0] + (codes[:, 0] == 1) + 0.1 * rng.normal(size=n)
    y = (value - value.mean()) / value.std() if is_regression else np.digitize(value, [-0.5, 1]).astype(np.int64)
    return Rows(TableFeatures(numeric, codes), y)


def first(rows: Rows, n: int) -> Rows:
    return Rows(rows.features.rows(np.arange(n)), rows.y[:n])


def configuration(**changes) -> dict:
    return SPACE.default("mlp") | {"width": 24, "epochs": 6, "batch_size": 32} | changes


@pytest.mark.parametrize("name", EXPECTED)
def test_an_upgraded_configuration_is_trained_as_the_old_one_was(name):
    """The stored predictions are those of the loop before it had the hyperparameters of space tabular-2.

    They are without dropout, whose chance is drawn in another way since.
    """
    is_regression = name.endswith("regression")
    rows, shape = (
        table(is_regression=is_regression),
        TabularShape(4, (3, 2), n_outputs=1 if is_regression else 3, is_regression=is_regression),
    )
    config = SPACE.upgrade(EXPECTED[name]["configuration"])
    model = fit_model(config, shape, rows, seed=3, seconds=60)
    scores = model.scores(first(rows, 5).features)
    np.testing.assert_allclose(scores, EXPECTED[name]["scores"], atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_choice_learns_and_is_deterministic(changes):
    rows = table()
    config = configuration(epochs=30, **changes)
    assert SPACE.is_legal(config)
    models = [fit_model(config, SHAPE, rows, seed=1, seconds=60, validation=rows) for _ in range(2)]
    scores = [model.scores(rows.features) for model in models]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.mean(scores[0].argmax(axis=1) == rows.y) > 0.8
    assert models[0].curve == models[1].curve
    assert models[0].curve[-1][1] < models[0].curve[0][1]


def test_the_callers_random_numbers_are_untouched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_model(configuration(), SHAPE, table(), seed=1, seconds=60)
    torch.testing.assert_close(torch.rand(3), expected)


def test_watching_a_validation_set_changes_nothing():
    rows = table()
    plain, watched = (
        fit_model(configuration(), SHAPE, rows, seed=1, seconds=60, validation=validation)
        for validation in (None, first(rows, 30))
    )
    np.testing.assert_array_equal(plain.scores(rows.features), watched.scores(rows.features))
    assert plain.curve == () and [epoch for epoch, _ in watched.curve] == [1, 2, 3, 4, 5, 6]


class TestEarlyStopping:
    def test_the_weights_are_those_of_the_best_epoch(self):
        """A refit that stops there, on the same rows, is the same network."""
        rows = table()
        noise = Rows(rows.features, np.random.default_rng(1).permutation(rows.y))
        config = configuration(epochs=40, early_stopping="best_epoch", schedule="constant")
        model = fit_model(config, SHAPE, rows, seed=1, seconds=60, validation=noise)
        epoch, loss = min(model.curve, key=lambda point: point[1])
        assert model.epochs == epoch < 40 and len(model.curve) < 40
        again = fit_model(config, SHAPE, rows, seed=1, seconds=60, epochs=epoch)
        np.testing.assert_array_equal(model.scores(rows.features), again.scores(rows.features))
        log_loss = -np.log(again.scores(rows.features)[np.arange(120), noise.y]).mean()
        assert log_loss == pytest.approx(loss, abs=1e-5)

    def test_patience(self):
        best, module = BestEpoch(40), nn.Linear(1, 1)
        for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.0], start=1):
            best.see(epoch, loss, module)
        assert best.epoch == 2
        assert [best.is_past(epoch) for epoch in (11, 12)] == [False, True]

    def test_each_fold_is_judged_at_the_epoch_that_the_others_agree_on(self):
        losses = [[3.0, 1.0, 2.0, 5.0], [2.0, 3.0, 1.0], [4.0, 2.0, 1.0, 3.0]]
        of_folds, of_all = agreed_epochs(losses)  # the second fold stays at 1.0 after it stopped
        assert of_folds.tolist() == [3, 2, 3] and of_all == 3

    def test_predictions_of_all_epochs_are_kept_of_few_rows_only(self, monkeypatch):
        rows, config = table(), configuration(early_stopping="best_epoch")
        kept = fit_model(config, SHAPE, rows, seed=0, seconds=60, validation=first(rows, 30)).by_epoch
        assert len(kept) == 6 and kept[0].shape == (30, 3)
        monkeypatch.setattr(loop, "MOST_KEPT", 6 * 30 * 3 - 1)
        many = fit_model(config, SHAPE, rows, seed=0, seconds=60, validation=first(rows, 30))
        assert many.by_epoch == () and many.epochs is not None

    def test_noise_has_no_best_epoch(self):
        """Nothing can be learned here: an error below a constant's would be of the rows that chose the epoch."""
        random, honest, optimistic = np.random.default_rng(0), [], []
        config = configuration(epochs=30, early_stopping="best_epoch", learning_rate=0.01)
        for seed in range(5):
            task = make_task(random.normal(size=(100, 3)), random.permutation(np.arange(100) % 2).astype(str))
            splits, metric = make_splits(task.y, task.type, seed=seed), metric_for(task.type)
            found = Evaluator(task, splits, metric).evaluate(config, seconds=60)
            own = [min(loss for _, loss in pipeline.model.curve) for pipeline in found.pipelines]
            optimistic.append(np.mean(own))
            honest.append(found.metrics["log_loss"])
            assert 1 <= found.epochs <= 30
        assert np.mean(optimistic) < math.log(2) < np.mean(honest)


class TestDeadlineAndDivergence:
    def test_divergence_is_caught_within_an_epoch(self):
        started = time.monotonic()
        with pytest.raises(DivergedError, match="in step 10 of"):
            fit_model(configuration(learning_rate=1e30, epochs=100_000), SHAPE, table(), seed=0, seconds=60)
        assert time.monotonic() - started < 5

    def test_a_training_that_is_too_long_ends_early(self):
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="training would take about"):
            fit_model(configuration(epochs=1_000_000), SHAPE, table(), seed=0, seconds=4)
        assert time.monotonic() - started < 3

    @pytest.mark.parametrize(("share", "is_kept"), [(0.5, False), (0.85, True)])
    def test_a_training_that_is_nearly_done_when_its_time_is_up_ends_there(self, monkeypatch, share, is_kept):
        def check(_, step: int, n_steps: int) -> None:
            if step > share * n_steps:
                raise TooLongError(1.0, 1.0)

        monkeypatch.setattr(Foresight, "check", check)
        fit = partial(fit_model, configuration(epochs=20), SHAPE, table(), seed=0, seconds=60.0, validation=table(40))
        if not is_kept:
            with pytest.raises(TimeoutError):
                fit()
            return
        model = fit()
        assert model.epochs == 17
        monkeypatch.undo()
        again = fit_model(configuration(epochs=20), SHAPE, table(), seed=0, seconds=60.0, epochs=model.epochs)
        assert again.epochs == 17


class TestSchedules:
    @given(st.sampled_from(list(SCHEDULES)), st.integers(1, 3000))
    def test_shares_are_positive_at_most_one_and_reach_the_peak(self, name, n):
        shares = [SCHEDULES[name](step, n) for step in range(n)]
        assert all(0 <= share <= 1 for share in shares)
        assert max(shares) > 0.97 or n < 30

    @given(st.integers(40, 3000))
    def test_closed_forms(self, n):
        rise = round(0.05 * n)
        middle = rise + (n - rise) // 2 - 1
        for name in ("cosine", "constant"):
            assert SCHEDULES[name](0, n) == pytest.approx(1 / rise)
            assert SCHEDULES[name](rise - 1, n) == 1
        assert SCHEDULES["constant"](n - 1, n) == 1
        assert SCHEDULES["cosine"](middle, n) == pytest.approx(0.5, abs=2 / (n - rise))
        assert SCHEDULES["cosine"](n - 1, n) == pytest.approx(0, abs=1e-12)
        assert SCHEDULES["one_cycle"](0, n) == pytest.approx(CYCLE_START)
        assert SCHEDULES["one_cycle"](n - 1, n) == pytest.approx(CYCLE_START / 1e4)

    def test_one_cycle_is_torchs(self):
        n, rates = 50, []
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, total_steps=n, cycle_momentum=False)
        for _ in range(n):
            rates.append(schedule.get_last_lr()[0])
            optimiser.step()
            schedule.step()
        np.testing.assert_allclose([SCHEDULES["one_cycle"](step, n) for step in range(n)], rates, atol=1e-12)


class TestOptimisers:
    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))

    def stepper(self, module: nn.Module, name: str, *, decay: float = 0.0, clip: bool = False) -> Stepper:
        parameters = FlatParameters(module, FAMILIES["mlp"].decayed(module))
        return Stepper(name, parameters, rate=0.01, decay=decay, clip=clip)

    def test_adamw_is_torchs(self):
        mine, theirs = self.network(), self.network()
        stepper = self.stepper(mine, "adamw", decay=0.1)
        weights = [p for p in theirs.parameters() if p.ndim == 2]
        groups = [
            {"params": weights, "weight_decay": 0.1},
            {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=0.01)
        x = torch.randn(7, 3)
        for t in range(20):
            mine(x).square().mean().backward()
            stepper.step(t, 1.0)
            optimiser.zero_grad()
            theirs(x).square().mean().backward()
            optimiser.step()
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)

    def test_sgd_on_a_quadratic(self):
        """f(x) = x^2/2 with Nesterov's momentum m: v <- m v + x; x <- x - r (x + m v)."""
        module = nn.Linear(1, 1, bias=False)
        module.weight.data.fill_(1.0)
        stepper = self.stepper(module, "sgd")
        rate, x, v = 0.01 * OPTIMISERS["sgd"].rate_factor, 1.0, 0.0
        for t in range(15):
            (module.weight.square().sum() / 2).backward()
            stepper.step(t, 1.0)
            gradient, v = x, MOMENTUM * v + x
            x -= rate * (gradient + MOMENTUM * v)
            assert module.weight.item() == pytest.approx(x, abs=1e-6)

    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_decay_alone_shrinks_alike(self, name):
        module = self.network()
        before = [p.detach().clone() for p in module.parameters()]
        stepper = self.stepper(module, name, decay=0.5)
        stepper.step(0, 0.5)
        factors = [1 - 0.01 * 0.5 * 0.5 if p.ndim == 2 else 1.0 for p in before]
        for p, old, factor in zip(module.parameters(), before, factors, strict=True):
            torch.testing.assert_close(p.detach(), factor * old)

    def test_clipping_bounds_the_step_of_sgd(self):
        module = self.network()
        before = torch.cat([p.detach().flatten() for p in module.parameters()])
        stepper = self.stepper(module, "sgd", clip=True)
        (1e6 * module(torch.randn(7, 3)).square().mean()).backward()
        stepper.step(0, 1.0)
        after = torch.cat([p.detach().flatten() for p in module.parameters()])
        rate = 0.01 * OPTIMISERS["sgd"].rate_factor
        assert (after - before).norm().item() == pytest.approx(rate * (1 + MOMENTUM), rel=1e-4)

    def test_parameters_are_views_and_all_there(self):
        module = self.network()
        expected = {name: value.clone() for name, value in module.state_dict().items()}
        parameters = FlatParameters(module, FAMILIES["mlp"].decayed(module))
        assert {n: v.tolist() for n, v in module.state_dict().items()} == {n: v.tolist() for n, v in expected.items()}
        assert parameters.values.numel() == sum(value.numel() for value in expected.values())
        parameters.values.fill_(2.0)
        parameters.decayed.fill_(3.0)
        assert {float(p.detach().min()) for p in module.parameters() if p.ndim == 2} == {3.0}
        assert {float(p.detach().max()) for p in module.parameters() if p.ndim == 1} == {2.0}


class TestDropout:
    @pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
    def test_share_scale_and_evaluation(self, p):
        module, x = hasten(nn.Sequential(nn.Dropout(p))), torch.ones(301, 333)
        torch.manual_seed(0)
        y = module(x)
        assert type(module[0]) is Dropout
        assert float((y == 0).float().mean()) == pytest.approx(p, abs=5 * (0.25 / y.numel()) ** 0.5)
        np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-4)
        assert module.eval()(x) is x

    def test_gradients_are_masked_alike(self):
        x = torch.randn(64, 8, requires_grad=True)
        y = Dropout(0.5)(x)
        y.sum().backward()
        torch.testing.assert_close(x.grad, (y != 0) * 2.0)


class TestAveraging:
    @given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
    def test_closed_form(self, values):
        """The average is the sum of values times (1 - d_t) times all later decays; the first weight is forgotten."""
        average = ExponentialAverage(torch.tensor([100.0], dtype=torch.float64), n_steps=400)  # horizon 20 steps
        for t, value in enumerate(values):
            average.update(torch.tensor([value], dtype=torch.float64), t)
        decays = [min(0.95, t / (t + 10)) for t in range(len(values))]
        terms = [(1 - decays[t]) * value * math.prod(decays[t + 1 :]) for t, value in enumerate(values)]
        assert average.vector.item() == pytest.approx(sum(terms), abs=1e-9)


class TestLosses:
    def test_probabilities_are_learned_as_codes_are(self):
        """One-hot rows of probabilities are the codes."""
        rows = table()
        soft = Rows(rows.features, np.eye(3)[rows.y])
        config = configuration(label_smoothing=0.1)
        hard_scores, soft_scores = (
            fit_model(config, SHAPE, some, seed=1, seconds=60, validation=some).scores(rows.features)
            for some in (rows, soft)
        )
        np.testing.assert_allclose(hard_scores, soft_scores, atol=1e-4)

    @pytest.mark.parametrize("is_regression", [False, True])
    def test_each_head_has_its_own_loss_and_the_prediction_is_their_mean(self, is_regression):
        scores = torch.randn(5, 4, 1 if is_regression else 3)
        target = torch.randn(5) if is_regression else torch.tensor([0, 1, 2, 0, 1])
        losses = [training_loss(scores[:, head], target, is_regression=is_regression) for head in range(4)]
        loss = training_loss(scores, target, is_regression=is_regression)
        torch.testing.assert_close(loss, torch.stack(losses).mean())
        parts = [prediction_of(scores[:, head], is_regression=is_regression) for head in range(4)]
        torch.testing.assert_close(prediction_of(scores, is_regression=is_regression), torch.stack(parts).mean(0))

    def test_validation_loss_is_the_log_loss(self):
        prediction = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
        expected = -(math.log(0.5) + math.log(0.9)) / 2
        for target in (torch.tensor([1, 0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])):
            assert validation_loss(prediction, target, is_regression=False) == pytest.approx(expected)


def test_a_family_may_change_every_batch(monkeypatch):
    """Mixing rows and targets is a function of the batch and of a generator; the same seed mixes alike."""

    def mix(batch: Batch, generator: torch.Generator) -> Batch:
        order = torch.randperm(len(batch.target), generator=generator)
        target = nn.functional.one_hot(batch.target, 3).float()
        numeric, codes = batch.inputs
        return Batch(((numeric + numeric[order]) / 2, codes), (target + target[order]) / 2)

    rows = table()
    plain = fit_model(configuration(), SHAPE, rows, seed=1, seconds=60)
    monkeypatch.setattr(type(FAMILIES["mlp"]), "augment", lambda *_: mix)
    mixed = [fit_model(configuration(), SHAPE, rows, seed=1, seconds=60).scores(rows.features) for _ in range(2)]
    np.testing.assert_array_equal(mixed[0], mixed[1])
    assert np.abs(mixed[0] - plain.scores(rows.features)).max() > 0.01


@pytest.mark.gpu
class TestOnAGpu:
    """A training moves to a GPU only where that saves time; its model is that of the file that is exported."""

    GPU = torch.device("cuda")

    @pytest.mark.parametrize("family", [name for name in SPACE.families if isinstance(FAMILIES[name], TorchFamily)])
    def test_a_network_computes_there_what_it_computes_here(self, family):
        rows = table(400)
        config = SPACE.default(family) | {"epochs": 2, "averaging": "exponential", "early_stopping": "best_epoch"}
        training = Training(FAMILIES[family], config, SHAPE, rows, seed=0, validation=rows, device=self.GPU)
        training.run(2, seconds=60)
        model = finished(training)
        there = model.scores(rows.features)
        model.module.cpu()
        np.testing.assert_allclose(there, model.scores(rows.features), atol=1e-5)

    def test_it_goes_on_from_a_checkpoint(self, tmp_path):
        rows, config = table(), configuration(averaging="exponential")
        first_half = Training(FAMILIES["mlp"], config, SHAPE, rows, seed=0, device=self.GPU)
        first_half.run(3, seconds=60)
        first_half.state().write(tmp_path / "state")
        first_half.run(6, seconds=60)
        second_half = Training(FAMILIES["mlp"], config, SHAPE, rows, seed=0, device=self.GPU)
        second_half.restore(Checkpoint.read(tmp_path / "state"))
        second_half.run(6, seconds=60)
        scores = [finished(training).scores(rows.features) for training in (first_half, second_half)]
        np.testing.assert_allclose(*scores, atol=1e-5)

    def test_small_trainings_stay_on_the_processor(self):
        assert device_for(1e7, 10**6).type == device_for(1e9, 10).type == "cpu"
        assert device_for(1e9, 10**4).type == "cuda"


class LeftError(Exception):
    pass


BOTH = {"averaging": "exponential", "early_stopping": "best_epoch"}


class TestGoingOn:
    @pytest.mark.parametrize("changes", [{}, *VARIANTS, BOTH], ids=str)
    def test_a_training_that_was_left_goes_on_as_if_it_had_not_been(self, changes, tmp_path):
        rows, seen = table(), []

        def look(share, model):
            seen.append((share, len(model.curve)))
            raise LeftError

        config = configuration(epochs=9, dropout=0.3, **changes)
        pauses = Pauses((1 / 9, 1 / 3), look, tmp_path / "state.safetensors")
        fit = partial(fit_model, config, SHAPE, rows, seed=1, seconds=60, validation=first(rows, 30))
        for _ in pauses.shares:
            with pytest.raises(LeftError):
                fit(pauses=pauses)
        resumed, straight = fit(pauses=pauses), fit()
        assert [share for share, _ in seen] == [1 / 9, 1 / 3]
        np.testing.assert_array_equal(resumed.scores(rows.features), straight.scores(rows.features))
        assert (resumed.curve, resumed.epochs) == (straight.curve, straight.epochs)

    def test_being_looked_at_changes_nothing(self, tmp_path):
        rows, errors = table(), []
        pauses = Pauses((1 / 3,), lambda _, model: errors.append(model.scores(rows.features)), tmp_path / "state")
        for changes in ({"early_stopping": "best_epoch"}, {"averaging": "exponential"}):
            fit = partial(fit_model, configuration(**changes), SHAPE, rows, seed=1, seconds=60, validation=rows)
            looked, straight = fit(pauses=pauses), fit()
            np.testing.assert_array_equal(looked.scores(rows.features), straight.scores(rows.features))
        assert len(errors) == 2 and not pauses.checkpoint.exists()
