"""Measures of similarity: analytic distances, what they support, and that names and order mean nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_iris, load_wine

import metafeatures
from metafeatures.similarity import (
    SIMILARITIES,
    ClassNormals,
    Cloud,
    NormalsDistance,
    PerformanceDistance,
    StatisticalDistance,
    TaskView,
    TextDistance,
    TransportDistance,
    class_normals,
    cloud_of,
    dataset2vec,
    squared_otdd,
)
from metafeatures.similarity.normals import squared_wasserstein
from metafeatures.similarity.sinkhorn import entropic_cost, entropic_self_cost, sinkhorn_divergence
from metafeatures.similarity.statistical import non_negative_weights, performance_distances


def normal_cloud(seed, n=100, d=3, k=3):
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % k
    return Cloud(rng.normal(size=(n, d)) + classes[:, None], classes)


def vector(**values):
    return TaskView(metafeatures=pd.Series(values))


def full_view(seed):
    rng = np.random.default_rng(seed)
    X, y = pd.DataFrame(rng.normal(size=(60, 2 + seed))), pd.Series(rng.integers(0, 2, 60))
    table = metafeatures.Table(X, y)
    fisher = pd.Series(rng.uniform(size=5))
    cloud = cloud_of(table)
    return TaskView(
        metafeatures=metafeatures.describe(X, y),
        cloud=cloud,
        vectors={
            "normals": class_normals(cloud).to_vector(),
            "dataset2vec": dataset2vec.embed(table),
            "task2vec": fisher,
        },
        text=f"table number {seed}",
        errors={"a": 0.1 * seed},
    )


class TestTransport:
    def test_a_cloud_is_at_distance_zero_of_itself_in_any_order_and_under_any_class_numbers(self):
        cloud = normal_cloud(0)
        shuffled = np.random.default_rng(1).permutation(100)
        renamed = Cloud(cloud.points[shuffled], np.array([2, 0, 1])[cloud.classes[shuffled]])
        assert squared_otdd(cloud, cloud) == pytest.approx(0, abs=1e-9)
        assert squared_otdd(cloud, renamed) == pytest.approx(0, abs=1e-9)

    def test_a_translation_by_t_costs_twice_its_square(self):
        cloud, t = normal_cloud(0), np.array([0.6, -0.8, 2.0])
        moved = Cloud(cloud.points + t, cloud.classes)
        assert squared_otdd(cloud, moved) == pytest.approx(2 * t @ t, rel=1e-9)

    def test_class_distances_of_one_dimensional_normals_have_a_closed_form(self):
        one, other = (
            Cloud(np.array([[0.0], [2.0]]), np.zeros(2, int)),
            Cloud(np.array([[4.0], [10.0]]), np.zeros(2, int)),
        )
        assert squared_wasserstein(class_normals(one), class_normals(other))[0, 0] == pytest.approx(
            (7 - 1) ** 2 + (3 - 1) ** 2
        )  # means, deviations

    def test_it_is_a_distance(self):
        a, b, c = (normal_cloud(seed) for seed in (0, 1, 2))
        ab, bc, ac = (np.sqrt(squared_otdd(x, z)) for x, z in ((a, b), (b, c), (a, c)))
        assert ac <= ab + bc
        assert squared_otdd(a, b) == pytest.approx(squared_otdd(b, a))

    def test_clouds_of_tables_do_not_depend_on_order_or_names(self):
        X, y = load_iris(return_X_y=True, as_frame=True)
        cloud = cloud_of(metafeatures.Table(X, y))
        Z = X.iloc[::-1, ::-1].set_axis(list("abcd"), axis=1)
        same = cloud_of(metafeatures.Table(Z, y.iloc[::-1].map({0: "x", 1: "y", 2: "z"})))
        np.testing.assert_array_equal(cloud.points, same.points)
        np.testing.assert_array_equal(cloud.classes, same.classes)
        assert np.mean(np.sum(cloud.points**2, axis=1)) == pytest.approx(1)

    def test_half_of_a_table_is_nearer_than_another_table(self):
        X, y = load_iris(return_X_y=True, as_frame=True)
        W, w = load_wine(return_X_y=True, as_frame=True)
        half, rest, wine = (cloud_of(metafeatures.Table(*t)) for t in ((X[::2], y[::2]), (X[1::2], y[1::2]), (W, w)))
        measure = TransportDistance().fit({"rest": TaskView(cloud=rest), "wine": TaskView(cloud=wine)})
        assert measure.distances(TaskView(cloud=half)).idxmin() == "rest"

    def test_transport_of_labels_and_points_is_the_exact_plan_on_a_small_example(self):
        one = Cloud(np.array([[0.0], [2.0], [10.0]]), np.array([0, 0, 1]))
        other = Cloud(np.array([[1.0], [3.0], [10.0]]), np.array([1, 1, 0]))
        # classes N(1, 1) and 10 against N(2, 1) and 10: each point moves by 1 or 0, each class by 1 or 0
        assert squared_otdd(one, other) == pytest.approx((1 + 1 + 0) * 2 / 3)

    def test_distributions_of_classes_pay_twice_the_mixture_distance(self):
        cloud, t = normal_cloud(0), np.array([0.6, -0.8, 2.0])
        own, moved = class_normals(cloud), class_normals(Cloud(cloud.points + t, cloud.classes))
        measure = NormalsDistance().fit({"moved": TaskView(vectors={"normals": moved.to_vector()})})
        distances = measure.distances(TaskView(vectors={"normals": own.to_vector()}))
        assert distances["moved"] ** 2 == pytest.approx(2 * t @ t, rel=1e-6)

    def test_class_normals_survive_being_written_down_beside_those_of_more_classes(self):
        few, many = class_normals(normal_cloud(0, k=2)), class_normals(normal_cloud(1, k=5))
        frame = pd.DataFrame({"few": few.to_vector(), "many": many.to_vector()}).T
        for name, normals in (("few", few), ("many", many)):
            read = ClassNormals.from_vector(frame.loc[name, many.to_vector().index])
            np.testing.assert_array_equal(read.weights, normals.weights)
            np.testing.assert_array_equal(read.means, normals.means)
            np.testing.assert_allclose(read.covariances, normals.covariances, atol=1e-15)


class TestSinkhorn:
    """More than a thousand points, which `squared_otdd` moves with entropy."""

    def test_equal_clouds_are_at_distance_zero_and_a_translation_costs_twice_its_square(self):
        cloud, t = normal_cloud(0, n=1010), np.array([0.6, -0.8, 0.5])
        shuffled = np.random.default_rng(1).permutation(1010)
        renamed = Cloud(cloud.points[shuffled], np.array([2, 0, 1])[cloud.classes[shuffled]])
        moved = Cloud(cloud.points + t, cloud.classes)
        assert squared_otdd(cloud, renamed, max_points=2000, epsilon=1) == pytest.approx(0, abs=1e-6)
        assert squared_otdd(cloud, moved, max_points=2000, epsilon=1) == pytest.approx(2 * t @ t, rel=1e-5)

    def test_with_little_entropy_it_is_the_exact_cost(self):
        rng = np.random.default_rng(0)
        x, z = rng.normal(size=(2, 40, 2))
        between, source, target = (((a[:, None] - b) ** 2).sum(axis=2) for a, b in ((x, z), (x, x), (z, z)))
        exact = between[linear_sum_assignment(between)].mean()
        assert sinkhorn_divergence(between, source, target, epsilon=0.01) == pytest.approx(exact, rel=0.01)

    def test_with_much_entropy_only_the_means_count(self):
        x, z = np.linspace(-1, 1, 50), np.linspace(2, 4, 60)
        between, source, target = ((a[:, None] - b) ** 2 for a, b in ((x, z), (x, x), (z, z)))
        assert sinkhorn_divergence(between, source, target, epsilon=1e6) == pytest.approx(9, rel=1e-3)

    def test_a_set_to_itself_is_the_same_by_either_way(self):
        x = np.random.default_rng(0).normal(size=(60, 2))
        costs = ((x[:, None] - x) ** 2).sum(axis=2)
        assert entropic_self_cost(costs, epsilon=0.3) == pytest.approx(entropic_cost(costs, epsilon=0.3), rel=1e-6)

    def test_large_costs_do_not_overflow(self):
        costs = np.random.default_rng(0).uniform(size=(30, 40)) * 1e6
        assert 0 < entropic_cost(costs, epsilon=1.0) < 1e6


class TestStatistical:
    def test_an_equal_task_is_at_distance_zero_and_nan_is_left_out(self):
        tasks = {f"t{i}": vector(a=float(i), b=float(i % 3), c=1.0) for i in range(7)}
        measure = StatisticalDistance().fit(tasks)
        assert measure.features == ["a", "b"]  # c is the same everywhere
        assert measure.distances(vector(a=2.0, b=2.0, c=9.0))["t2"] == 0
        assert measure.distances(vector(a=2.0, b=np.nan))["t2"] == 0
        assert measure.distances(vector(a=np.nan)).isna().all()

    def test_features_that_are_often_missing_are_not_used(self):
        tasks = {f"t{i}": vector(a=float(i), b=float(i) if i > 4 else np.nan) for i in range(9)}
        assert StatisticalDistance().fit(tasks).features == ["a"]

    def test_weights_go_to_the_feature_that_drives_performance(self):
        rng = np.random.default_rng(0)
        F = rng.normal(size=(40, 3))
        optimum = F[:, :1]
        errors = pd.DataFrame((np.linspace(-2, 2, 20) - optimum) ** 2, index=[f"t{i}" for i in range(40)])
        tasks = {f"t{i}": vector(a=a, b=b, c=c) for i, (a, b, c) in enumerate(F)}
        weights = StatisticalDistance().fit(tasks, errors).weights
        assert weights.idxmax() == "a"
        assert weights.sum() == pytest.approx(1)
        assert weights["a"] > 0.6
        assert (weights >= 0).all()

    def test_the_target_does_not_move_the_scales(self):
        tasks = {f"t{i}": vector(a=float(i)) for i in range(5)}
        measure = StatisticalDistance().fit(tasks)
        before = measure.distances(vector(a=1.0))
        measure.distances(vector(a=1e9))
        pd.testing.assert_series_equal(before, measure.distances(vector(a=1.0)))

    def test_it_says_which_features_make_the_difference(self):
        tasks = {f"t{i}": vector(a=float(i), b=float(-i)) for i in range(5)}
        measure = StatisticalDistance().fit(tasks)
        reasons = measure.reasons(vector(a=0.0, b=-4.0), "t0")
        assert reasons["difference"].idxmax() == "b"
        assert reasons["surprise"].idxmax() == "a"
        assert reasons.loc["a", "difference"] == 0
        assert reasons["difference"].sum() == pytest.approx(measure.distances(vector(a=0.0, b=-4.0))["t0"])

    def test_performance_distance_of_equal_and_opposite_rankings(self):
        errors = pd.DataFrame([[0.1, 0.2, 0.3], [0.4, 0.5, 0.9], [0.9, 0.8, 0.7], [0.5, 0.5, 0.5]])
        distances = performance_distances(errors)
        assert distances[0, 1] == pytest.approx(0)
        assert distances[0, 2] == pytest.approx(2)
        assert np.isnan(distances[0, 3])

    def test_weights_of_an_exact_combination_are_found(self):
        A = np.random.default_rng(0).uniform(size=(500, 3))
        found = non_negative_weights(A, A @ [3.0, 0.0, 1.0] + 5, 0.0)
        np.testing.assert_allclose(found, [0.75, 0, 0.25], atol=1e-4)


class TestText:
    TEXTS = {
        "hearts": "Predict heart disease of patients from blood pressure and cholesterol",
        "cars": "Price of used cars by make, engine size and mileage",
        "digits": "Images of handwritten digits, one column per pixel",
    }

    def measure(self):
        return TextDistance().fit({name: TaskView(text=text) for name, text in self.TEXTS.items()})

    def test_a_paraphrase_is_nearest(self):
        distances = self.measure().distances(TaskView(text="cardiac patients: does the heart have a disease?"))
        assert distances.idxmin() == "hearts"

    def test_the_same_text_is_at_distance_zero(self):
        assert self.measure().distances(TaskView(text=self.TEXTS["cars"]))["cars"] == pytest.approx(0)

    def test_without_text_there_is_no_distance(self):
        assert self.measure().distances(TaskView(text=" - ")).isna().all()

    def test_any_embedding_can_be_used(self):
        measure = TextDistance(embed=lambda texts: np.array([[len(t), 1.0] for t in texts]))
        measure.fit({"short": TaskView(text="a"), "long": TaskView(text="a" * 50)})
        assert measure.distances(TaskView(text="b" * 49)).idxmin() == "long"


def test_performance_compares_shared_configurations_only():
    tasks = {"near": TaskView(errors={"a": 0.1, "b": 0.9}), "far": TaskView(errors={"a": 0.8}), "none": TaskView()}
    distances = PerformanceDistance().fit(tasks).distances(TaskView(errors={"a": 0.2, "c": 0.5}))
    assert distances["near"] == pytest.approx(0.1)
    assert distances["far"] == pytest.approx(0.6)
    assert np.isnan(distances["none"])


@pytest.mark.parametrize("name", list(SIMILARITIES))
class TestEveryMeasure:
    def test_own_task_is_nearest_and_unsupported_ones_are_nan(self, name):
        tasks = {f"t{seed}": full_view(seed) for seed in range(4)} | {"empty": TaskView()}
        distances = SIMILARITIES[name]().fit(tasks).distances(full_view(2))
        assert list(distances.index) == list(tasks)
        assert np.isnan(distances["empty"])
        assert distances.idxmin() == "t2"
        assert distances["t2"] == pytest.approx(0, abs=1e-6)

    def test_order_of_the_store_does_not_matter(self, name):
        tasks = {f"t{seed}": full_view(seed) for seed in range(4)}
        backwards = dict(reversed(tasks.items()))
        one, other = (SIMILARITIES[name]().fit(t).distances(full_view(5)) for t in (tasks, backwards))
        pd.testing.assert_series_equal(one, other[one.index])

    def test_an_empty_store_and_an_empty_target_give_nothing(self, name):
        assert SIMILARITIES[name]().fit({}).distances(full_view(0)).empty
        assert SIMILARITIES[name]().fit({"t": full_view(0)}).distances(TaskView()).isna().all()

    def test_it_says_what_it_is(self, name):
        assert SIMILARITIES[name].key() == f"{name}-{SIMILARITIES[name].version}"
