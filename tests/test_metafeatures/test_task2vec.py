"""Task2Vec: Fisher information with a closed form, distances that are ones, and digits that resemble each other."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from metafeatures.similarity import Task2VecDistance, TaskView
from metafeatures.similarity.task2vec import CHANNELS, as_tensor, embed, fisher_diagonal, fit_head
from metafeatures.similarity.task2vec_training import accuracy, train

TASKS = list(combinations(range(6), 2))


def digits(classes, n=50):
    images, labels = load_digits(return_X_y=True)
    chosen = np.concatenate([np.flatnonzero(labels == c)[:n] for c in classes])
    return images[chosen].reshape(-1, 8, 8), labels[chosen]


@pytest.fixture(scope="module")
def embeddings():
    return {str(task): embed(*digits(task)) for task in TASKS}


def distances(embeddings):
    views = {name: TaskView(vectors={"task2vec": vector}) for name, vector in embeddings.items()}
    measure = Task2VecDistance().fit(views)
    return pd.DataFrame({name: measure.distances(view) for name, view in views.items()})


def logistic(parameters, x):
    score = x @ parameters["w"]
    return torch.stack([torch.zeros_like(score), score])


class TestFisher:
    x = torch.tensor(np.random.default_rng(0).normal(size=(250, 3)))
    w = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)

    def closed_form(self):
        p = torch.sigmoid(self.x @ self.w)
        return (self.x.square() * (p * (1 - p))[:, None]).mean(dim=0)

    def test_of_logistic_regression_is_known(self):
        fisher = fisher_diagonal(logistic, {"w": self.w}, self.x)["w"]
        torch.testing.assert_close(fisher, self.closed_form())

    def test_labels_drawn_at_random_come_to_the_same(self):
        many = self.x.repeat(200, 1)
        errors = []
        for n in (250, len(many)):
            drawn = fisher_diagonal(logistic, {"w": self.w}, many[:n], draws=1)["w"]
            errors.append(float((drawn / self.closed_form() - 1).abs().max()))
        assert errors[1] < 0.03 < errors[0]

    def test_gradients_of_single_inputs_are_squared_not_their_mean(self):
        x = torch.tensor([[1.0], [-1.0]])  # the gradients of the two cancel, their squares do not
        fisher = fisher_diagonal(logistic, {"w": torch.zeros(1)}, x)["w"]
        assert fisher.item() == pytest.approx(0.25)


class TestEmbedding:
    def test_neither_order_nor_names_of_classes_matter(self, embeddings):
        images, labels = digits(TASKS[0])
        order = np.random.default_rng(0).permutation(len(images))
        renamed = np.array(["one", "nought"])[(labels[order] == 0).astype(int)]
        pd.testing.assert_series_equal(embed(images[order], renamed), embeddings[str(TASKS[0])], check_exact=True)

    def test_one_number_a_filter_and_none_negative(self, embeddings):
        vector = embeddings[str(TASKS[0])]
        assert len(vector) == sum(CHANNELS)
        assert (vector >= 0).all() and vector.sum() > 0

    def test_brightness_and_contrast_do_not_matter(self, embeddings):
        images, labels = digits(TASKS[0])
        assert np.allclose(as_tensor(images * 10 + 3), as_tensor(images), atol=1e-5)

    def test_more_classes_than_draws_are_sampled(self):
        images, labels = digits(range(10), n=6)
        pd.testing.assert_series_equal(embed(images, labels), embed(images, labels), check_exact=True)
        assert not np.allclose(embed(images, labels, seed=1), embed(images, labels))

    @pytest.mark.parametrize("shape", [(4, 5), (4, 5, 5, 2), (4,)])
    def test_images_of_another_shape_are_refused(self, shape):
        with pytest.raises(ValueError, match="images must be of shape"):
            embed(np.zeros(shape), np.arange(4) % 2)

    def test_mistakes_in_labels(self):
        images = np.zeros((4, 5, 5))
        with pytest.raises(ValueError, match="4 images, 3 labels"):
            embed(images, np.zeros(3))
        with pytest.raises(ValueError, match="two classes or more"):
            embed(images, np.zeros(4))

    def test_colours_and_sizes(self):
        rng = np.random.default_rng(0)
        assert embed(rng.integers(0, 256, (8, 40, 20, 3), dtype=np.uint8), np.arange(8) % 2).gt(0).any()
        assert as_tensor(rng.uniform(size=(2, 3, 3))).shape == (2, 3, 32, 32)


class TestDistance:
    def test_it_is_zero_to_itself_and_symmetric(self, embeddings):
        table = distances(embeddings).to_numpy()
        np.testing.assert_allclose(np.diag(table), 0, atol=1e-12)
        np.testing.assert_allclose(table, table.T, atol=1e-12)
        assert (table[~np.eye(len(table), dtype=bool)] > 0).all()

    def test_tasks_that_share_a_digit_are_nearer(self, embeddings):
        table = distances(embeddings)
        pairs = list(combinations(TASKS, 2))  # 60 that share a digit, 45 that do not
        shared = [table.loc[str(a), str(b)] for a, b in pairs if set(a) & set(b)]
        apart = [table.loc[str(a), str(b)] for a, b in pairs if not set(a) & set(b)]
        assert np.mean(np.array(shared)[:, None] < np.array(apart)) > 0.6

    def test_a_filter_that_neither_task_needs_says_nothing(self):
        one, other = pd.Series([1.0, 0.0, 2.0]), pd.Series([1.0, 0.0, 2.0])
        assert distances({"a": one, "b": other}).loc["a", "b"] == pytest.approx(0)


def test_the_last_layer_separates_what_can_be_separated():
    features = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert (fit_head(features, labels, 2)(features).argmax(dim=1) == labels).all()


def test_the_probe_learns():
    images, labels = digits((0, 1), n=40)
    x, y = as_tensor(images), torch.tensor(labels)
    assert accuracy(*train(x, y, epochs=4), x, y) > 0.8
