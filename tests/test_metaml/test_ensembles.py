"""Ensembles: chosen from validation predictions, merged into one file, delivered whatever goes wrong."""

import numpy as np
import onnx
import pytest

from metaml.context import prepare
from metaml.data import make_splits, make_task
from metaml.delivery import Finisher, Workbench
from metaml.ensembles import Judge, average, choose
from metaml.evaluation import Evaluator
from metaml.export import deployed_graph, to_onnx
from metaml.latency import Latency, open_device
from metaml.membership import Membership
from metaml.merge import Foretold, check_merged, ensemble_graph, merge_models, run_model
from metaml.metrics import metric_for
from metaml.predictions import drop_predictions, read_predictions, write_predictions
from metaml.refits import Refitter
from metaml.request import SearchRequest
from metaml.run_folder import RunFolder
from metaml.runners import Assignment, WorkerPool
from metaml.space import SPACES
from metaml.trial import Trial
from tests.conftest import mixed_table

SPACE = SPACES["tabular"]
QUICK = {"epochs": 4, "max_iter": 8, "width": 24}


def quick(family: str) -> dict:
    return {name: min(value, QUICK[name]) if name in QUICK else value for name, value in SPACE.default(family).items()}


def judge_of(y: np.ndarray) -> Judge:
    return Judge(metric_for("regression"), (y,), 1)


class TestChoice:
    y = np.linspace(-1, 1, 400)

    def test_errors_that_cancel_are_found(self):
        noise = np.where(np.arange(400) % 4 < 2, 0.1, -0.1)
        predictions = {7: (self.y + noise,), 8: (self.y - 1.1 * noise,), 9: (self.y + 5 * noise,)}
        choice = choose(judge_of(self.y), predictions, max_members=3)
        assert set(choice.weights) == {7, 8}
        assert sum(choice.weights.values()) == pytest.approx(1)
        assert choice.error < 0.06 * judge_of(self.y).error(predictions[7])
        assert choice.confirmed_gain > 0.9
        assert choice.error == judge_of(self.y).error(average(predictions, choice.weights))

    def test_copies_add_nothing(self):
        one = self.y + np.random.default_rng(0).normal(0, 0.2, 400)
        choice = choose(judge_of(self.y), {1: (one,), 2: (one.copy(),)}, max_members=2)
        assert choice.confirmed_gain == pytest.approx(0, abs=1e-12)
        assert choice.error == pytest.approx(judge_of(self.y).error([one]))

    def test_chance_is_not_taken_for_a_gain(self):
        """Useless predictions beside a good one: what they seem to add must not be confirmed on other rows."""
        rng = np.random.default_rng(1)
        gains = []
        for _ in range(20):
            good = self.y + rng.normal(0, 0.05, 400)
            noise = {n: (rng.normal(0, 1.0, 400),) for n in range(1, 15)}
            gains.append(choose(judge_of(self.y), {0: (good,)} | noise, max_members=5).confirmed_gain)
        assert np.mean(gains) < 0.002

    def test_members_and_rule_are_kept(self):
        rng = np.random.default_rng(2)
        predictions = {n: (self.y + rng.normal(0, 0.3, 400),) for n in range(12)}
        assert len(choose(judge_of(self.y), predictions, max_members=3).weights) == 3
        even = choose(judge_of(self.y), predictions, max_members=9, allowed=lambda ns: all(n % 2 == 0 for n in ns))
        assert all(number % 2 == 0 for number in even.weights)
        assert choose(judge_of(self.y), predictions, max_members=9, allowed=lambda _: False) is None

    def test_no_time_gives_no_ensemble_but_no_error(self):
        choice = choose(judge_of(self.y), {1: (self.y + 0.1,), 2: (self.y - 0.1,)}, max_members=2, seconds=0.0)
        assert choice is None or len(choice.weights) == 1

    def test_a_trial_is_judged_exactly_as_it_was_scored(self, task):
        splits = make_splits(task.y, task.type, seed=0)
        metric = metric_for(task.type)
        evaluation = Evaluator(task, splits, metric).evaluate(quick("linear"), seconds=60)
        judge = Judge(metric, tuple(task.y[split.valid] for split in splits), task.n_outputs)
        assert judge.error(evaluation.predictions) == evaluation.error


class TestPredictionFiles:
    folds = (np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([[0.5, 0.5]]))
    shapes = ((2, 2), (1, 2))

    def test_round_trip(self, tmp_path):
        path = tmp_path / "p.npz"
        write_predictions(path, self.folds)
        for read, written in zip(read_predictions(path, self.shapes), self.folds, strict=True):
            np.testing.assert_array_equal(read, written)

    @pytest.mark.parametrize("shapes", [((2, 2),), ((2, 2), (1, 3)), ((2, 2), (1, 2), (4, 2))])
    def test_predictions_of_other_rows_are_none(self, tmp_path, shapes):
        write_predictions(tmp_path / "p.npz", self.folds)
        assert read_predictions(tmp_path / "p.npz", shapes) is None

    def test_damaged_files_are_none(self, tmp_path):
        path = tmp_path / "p.npz"
        assert read_predictions(path, self.shapes) is None
        write_predictions(path, self.folds)
        whole = path.read_bytes()
        for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:100] + bytes(40) + whole[140:]):
            path.write_bytes(content)
            assert read_predictions(path, self.shapes) is None
        np.savez(path, fold0=np.array([{"a": "pickle"}], dtype=object), fold1=self.folds[1])
        assert read_predictions(path, self.shapes) is None
        write_predictions(path, (np.full((2, 2), np.nan), self.folds[1]))
        assert read_predictions(path, self.shapes) is None

    def test_only_the_best_are_kept_within_the_size(self, tmp_path):
        paths = [tmp_path / f"{i}.npz" for i in range(6)]
        for path in paths[:5]:
            path.write_bytes(bytes(100))
        drop_predictions(paths, max_kept=4, max_bytes=250)
        assert [path.exists() for path in paths] == [True, True, False, False, False, False]


@pytest.fixture(scope="module")
def task():
    return make_task(mixed_table(n_classes=3)[["age", "income", "city", "member"]], mixed_table(n_classes=3)["label"])


@pytest.fixture(scope="module")
def regression():
    return make_task(mixed_table()[["age", "income", "city"]], 1000 + 20 * mixed_table()["value"])


FAMILIES = ("mlp", "linear", "hist_gradient_boosting")


class TestMerge:
    @pytest.mark.parametrize("kind", ["task", "regression"])
    def test_file_is_the_weighted_mean_and_what_was_foretold(self, kind, request):
        task = request.getfixturevalue(kind)
        evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
        configurations = [*map(quick, FAMILIES), quick("mlp") | {"width": 16}]
        pipelines = [evaluator.refit(configuration, seconds=60) for configuration in configurations]
        weights = [0.4, 0.3, 0.2, 0.1]
        merged = merge_models([to_onnx(pipeline, task) for pipeline in pipelines], weights)
        expected = [pipeline.predict(task.inputs).reshape(-1, task.n_outputs) for pipeline in pipelines]
        unit = float(task.y.std()) if kind == "regression" else 1.0
        assert check_merged(merged.SerializeToString(), task.inputs, expected, weights, scale=unit) < 1e-4
        members = [
            Foretold(deployed_graph(p.model.config, p.preprocessor, p.model.shape), p.preprocessor.tensors())
            for p in pipelines
        ]
        foretold = ensemble_graph(members)
        assert sorted(op.op for op in foretold) == sorted(node.op_type for node in merged.graph.node)

    def test_preprocessing_is_shared(self, task):
        evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
        models = [to_onnx(evaluator.refit(quick(family), seconds=60), task) for family in FAMILIES]
        count = [node.op_type for node in merge_models(models, [1, 1, 1]).graph.node].count
        assert count("LabelEncoder") == count("IsNaN") == 1
        assert count("Sqrt") == 1  # the squash of both networks

    def test_wrong_members_are_noticed(self, task):
        evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
        models = [to_onnx(evaluator.refit(quick(family), seconds=60), task) for family in ("linear", "mlp")]
        members = [run_model(model.SerializeToString(), task.inputs) for model in models]
        merged = merge_models(models, [0.75, 0.25]).SerializeToString()
        with pytest.raises(Exception, match="differs from the mean of its 2 members"):
            check_merged(merged, task.inputs, members, [0.25, 0.75])


class Council(Membership):
    """Takes any ensemble whose validation error is lower, confirmed or not, to have one in a quick test."""

    def _is_better(self, choice, best):
        return len(choice.weights) > 1


@pytest.fixture(scope="module")
def pool(task):
    with WorkerPool(1) as pool:
        pool.assign(Assignment(task, make_splits(task.y, task.type, seed=0), "log_loss"))
        yield pool


class TestDelivery:
    """A real pool, real files; trials whose validation predictions cancel out, so that all of them are wanted."""

    @pytest.fixture
    def run(self, tmp_path, task, device_table):
        return RunFolder.create(tmp_path / "run", "t", {})

    def finisher(self, run, pool, task, device_table, *, limit_ms=None, latency=lambda _: (0.1, 0.1)):
        judge = Judge(metric_for(task.type), tuple(task.y[s.valid] for s in make_splits(task.y, task.type)), 3)
        council = Council(judge, run, latency, limit_ms, max_members=3, workers=1)
        bench = Workbench(run, task.inputs, open_device(device_table), limit_ms)
        return Finisher(Refitter(pool, run, seed=0), bench, council)

    def trials(self, run, task, changes=({}, {}, {})):
        found = []
        splits = make_splits(task.y, task.type, seed=0)
        for number, (family, change) in enumerate(zip(FAMILIES, changes, strict=True)):
            folds = [self.guess(task.y[split.valid], number) for split in splits]
            write_predictions(run.predictions(number), folds)
            found.append(Trial(number, quick(family) | change, "smac", "ok", error=0.5 + number / 10, seconds=0.1))
        return found

    @staticmethod
    def guess(y, number):
        """Each trial is sure of two thirds of the rows and knows nothing of the others."""
        sure = np.arange(len(y)) % 3 != number
        return np.where(sure[:, None], 0.8 * np.eye(3)[y] + 0.2 / 3, 1 / 3)

    def test_members_are_trained_again_and_delivered_as_one_file(self, run, pool, task, device_table):
        model = self.finisher(run, pool, task, device_table).deliver(self.trials(run, task), lambda: 60.0)
        assert [member.trial.number for member in model.members] == [0, 1, 2]
        assert model.is_refit
        assert model.error < 0.5
        assert {"log_loss", "roc_auc", "error_rate"} <= set(model.metrics)
        assert run_model(run.model.read_bytes(), task.inputs).shape == (240, 3)
        assert [value.name for value in onnx.load(run.model).graph.output] == ["probabilities"]

    def test_a_member_that_cannot_be_trained_leaves_the_others(self, run, pool, task, device_table):
        trials = self.trials(run, task, ({}, {}, {"max_iter": -1}))
        finisher = self.finisher(run, pool, task, device_table)
        model = finisher.deliver(trials, lambda: 60.0)
        assert [member.trial.number for member in model.members] == [0, 1]
        assert sum(member.weight for member in model.members) == pytest.approx(1)
        assert any("trial 2 could not be trained again" in note for note in finisher.notes)

    def test_a_damaged_predictions_file_leaves_the_others(self, run, pool, task, device_table):
        trials = self.trials(run, task)
        run.predictions(1).write_bytes(run.predictions(1).read_bytes()[:200])
        model = self.finisher(run, pool, task, device_table).deliver(trials, lambda: 60.0)
        assert {member.trial.number for member in model.members} == {0, 2}

    def test_no_predictions_at_all_deliver_the_best_single_model(self, run, pool, task, device_table):
        trials = self.trials(run, task)
        for number in range(3):
            run.predictions(number).unlink()
        model = self.finisher(run, pool, task, device_table).deliver(trials, lambda: 60.0)
        assert [member.trial.number for member in model.members] == [0]

    def test_the_limit_holds_for_all_members_together(self, run, pool, task, device_table):
        def latency(configurations):
            return 0.3 * len(configurations), 0.4 * len(configurations)

        finisher = self.finisher(run, pool, task, device_table, limit_ms=1.0, latency=latency)
        assert len(finisher.deliver(self.trials(run, task), lambda: 60.0).members) == 2

    def test_a_file_that_cannot_be_merged_costs_the_ensemble_not_the_answer(
        self, run, pool, task, device_table, monkeypatch
    ):
        from metaml import delivery

        monkeypatch.setattr(delivery, "merge_models", lambda *_: (_ for _ in ()).throw(ValueError("broken")))
        finisher = self.finisher(run, pool, task, device_table)
        model = finisher.deliver(self.trials(run, task), lambda: 60.0)
        assert [member.trial.number for member in model.members] == [0]
        assert any("broken" in note for note in finisher.notes)

    def test_out_of_time_in_the_middle_of_refits(self, run, pool, task, device_table):
        """The second member would train for ever: what is there in time is delivered, and the pool is free again."""
        import time

        trials = self.trials(run, task, ({}, {"l2": 1e-2}, {"max_iter": 100_000}))
        assert Refitter(pool, run, seed=0).get(trials[:1], 60.0)  # the worker is up before the clock starts
        ends = time.monotonic() + 6.0
        finisher = self.finisher(run, pool, task, device_table)
        model = finisher.deliver(trials, lambda: ends - time.monotonic())
        assert time.monotonic() < ends + 0.5
        assert {member.trial.number for member in model.members} <= {0, 1}
        assert run.model.exists()
        assert pool.n_idle == 1


def test_foretold_latency_of_an_ensemble_is_less_than_that_of_its_members(task, device_table):
    context = prepare(SearchRequest(warm_start="cold"), task, None, open_device(device_table))
    configurations = [SPACE.default(family) for family in FAMILIES]
    together, high = context.ensemble_latency(configurations)
    alone = [context.latency.predict(configuration).latency_ms for configuration in configurations]
    assert max(alone) < together < sum(alone)
    assert high > together


class TestBagging:
    """Members of few rows are trained on the rows of each fold, as the limit and the time allow."""

    def council(self, run, task, latency=lambda c: (0.1 * len(c), 0.1 * len(c)), **changes):
        judge = Judge(metric_for(task.type), tuple(task.y[s.valid] for s in make_splits(task.y, task.type)), 3)
        settings = {"max_members": 3, "workers": 2, "limit_ms": None, **changes}
        limit_ms = settings.pop("limit_ms")
        return Membership(judge, run, latency, limit_ms, **settings)

    def trials(self):
        families = ("mlp", "hist_gradient_boosting", "extra_trees")
        return [Trial(n, quick(name), "smac", "ok", error=0.1, seconds=2.0) for n, name in enumerate(families)]

    def test_what_is_no_mean_already_is_bagged(self, tmp_path, task):
        assert self.council(tmp_path, task).bagged(self.trials(), 60.0) == {0, 1}
        assert self.council(tmp_path, task, bags=False).bagged(self.trials(), 60.0) == frozenset()

    def test_heaviest_first_as_far_as_the_limit_allows(self, tmp_path, task):
        """Three models take 0.3 ms; five more copies of the first one 0.7 ms, of both 1.1 ms."""
        council = self.council(tmp_path, task, limit_ms=0.8)
        assert council.bagged(self.trials(), 60.0) == {0}
        assert council.predicted(self.trials(), {0})[0] == pytest.approx(0.7)

    def test_as_far_as_the_time_allows(self, tmp_path, task):
        """Five fits take as long as a trial, 2 s, and one 0.6 s; each writes its file. Two are made side by side."""
        assert self.council(tmp_path, task).bagged(self.trials(), 3.9) == {0}
        assert self.council(tmp_path, task).bagged(self.trials(), 1.0) == frozenset()

    def test_a_bag_is_one_file_and_the_mean_of_fits_on_the_rows_of_each_fold(self, tmp_path, task, pool, device_table):
        run = RunFolder.create(tmp_path / "run", "t", {})
        trial = Trial(7, quick("mlp"), "smac", "ok", error=0.1, seconds=2.0)
        (part,) = Refitter(pool, run, seed=0, n_folds=5).get([trial], 60.0, bagged={7})
        assert part.is_refit and part.n_models == 5
        evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
        fits = evaluator.refit_bagged(trial.configuration, seed=0, seconds=60)
        expected = np.mean([fit.predict(task.inputs) for fit in fits], axis=0)
        np.testing.assert_allclose(run_model(part.path.read_bytes(), task.inputs), expected, atol=1e-5)
        assert np.abs(fits[0].predict(task.inputs) - expected).max() > 0.01
        assert [node.op_type for node in onnx.load(part.path).graph.node].count("IsNaN") == 1, "preprocessed once"

    def test_a_bag_above_the_limit_is_measured_and_left(self, tmp_path, task, pool, device_table):
        """It was foretold to keep the limit, and does not: the same configuration fitted once does."""
        run = RunFolder.create(tmp_path / "run", "t", {})
        times = iter([3.0, 0.5])

        class Slow(Workbench):
            def measure(self, path, seconds):
                ms = next(times)
                return Latency(ms, ms, ms)

        bench = Slow(run, task.inputs, open_device(device_table), 1.0)
        council = self.council(run, task, lambda _: (0.1, 0.1), limit_ms=1.0)
        finisher = Finisher(Refitter(pool, run, seed=0, n_folds=5), bench, council)
        trial = Trial(3, quick("mlp"), "smac", "ok", error=0.1, seconds=0.5, latency_ms=0.1)
        model = finisher.deliver([trial], lambda: 60.0)
        assert model.latency.ms == 0.5 and model.members[0].n_models == 1
        assert not any("mean of" in note for note in finisher.notes)
