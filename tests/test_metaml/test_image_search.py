"""The main job on images, end to end: a folder in, a model out that needs only onnxruntime."""

import json
import signal
import threading

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from click.testing import CliRunner

import metaml
from metafeatures.similarity import TextDistance, words_of
from metaml import refits, session
from metaml.cli import cli
from metaml.data import load_task, make_image_task, make_task
from metaml.events import Listener
from metaml.similar import similar_tasks
from metaml.store import Store
from metaml.views import DESCRIPTIONS, task_record
from tests.conftest import mixed_table, striped_images
from tests.test_metaml.test_data_images import save_folder

OPTIONS = {"time_limit": 600, "trials": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    images, y = striped_images(1000, side=8, channels=1)
    return save_folder(tmp_path_factory.mktemp("images") / "stripes", images, y)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, folder, device_table):
    runs = tmp_path_factory.mktemp("runs")
    return metaml.search(
        folder, device=device_table, max_latency_ms=5.0, store=runs / "store.sqlite", out=runs / "run", **OPTIONS
    )


def test_it_learns_and_keeps_the_limit(finished):
    assert finished.best["metrics"]["error_rate"] < 0.3
    assert finished.meets_limit
    assert finished.summary["task"]["extent"] == "1,000 images of 8 × 8 pixels, grey"
    assert (finished.folder / "report.html").read_text().count("1,000 images") == 1


@pytest.mark.slow
def test_what_failed_for_want_of_time_is_followed_by_one_with_all_the_time(device_table, tmp_path, monkeypatch):
    """On few images a quarter of the time, shared by the folds, may suffice for no network at all."""
    monkeypatch.setattr(session, "TRIAL_SHARE", 1e-4)
    monkeypatch.setattr(refits, "MOST_LENGTHENED", 1.0)  # the last training is not what is looked at
    task = make_image_task(*striped_images(36, side=8, channels=1))
    result = metaml.search(
        task, device=device_table, store=False, out=tmp_path / "run", time_limit=60, trials=2, workers=1
    )
    assert [trial["status"] for trial in result.summary["trials"]] == ["timeout", "ok"]
    assert result.summary["task"]["validation"] == "3-fold cross-validation"


def test_the_answer_is_trained_for_longer_than_its_trial(finished):
    (note,) = (note for note in finished.summary["notes"] if "epochs on all rows" in note)
    (trial,) = finished.summary["trials"]
    longer = int(note.split("trained for ")[1].split()[0])
    assert trial["configuration"]["epochs"] < longer


def test_the_model_takes_raw_pixels_and_needs_only_onnxruntime(finished):
    images, _ = striped_images(5, side=8, channels=1)
    session = ort.InferenceSession(finished.model_path)
    (node,) = session.get_inputs()
    assert (node.name, node.type, node.shape) == ("pixels", "tensor(uint8)", ["batch", 8, 8, 1])
    np.testing.assert_allclose(session.run(None, {"pixels": images})[0], finished.predictor.scores(images), atol=1e-6)


def test_predict_command_names_every_file(finished, tmp_path):
    images, y = striped_images(12, side=16, channels=3, seed=5)  # another size, in colour
    save_folder(tmp_path / "new", images, y)
    ran = run_cli("predict", finished.folder, tmp_path / "new", "-o", tmp_path / "out.csv")
    assert ran.exit_code == 0, ran.output
    predicted = pd.read_csv(tmp_path / "out.csv")
    assert list(predicted.columns[:2]) == ["image", "class"]
    assert predicted["image"].tolist()[0] == "class 0/000.png"
    np.testing.assert_allclose(predicted.iloc[:, 2:].sum(axis=1), 1, atol=1e-5)


def test_an_array_of_similar_images_starts_from_what_worked(finished, folder, device_table):
    task, store = load_task(folder), finished.folder.parent / "store.sqlite"
    with Store.open(store) as opened:
        assert {DESCRIPTIONS["image"], "task2vec-1"} <= set(opened.metafeatures_of(task.fingerprint))
    images, labels = (255 - task.images) / 255, np.array(["across", "along", "plain"])[task.y]
    clf = metaml.MetaClassifier(device=device_table, store=store, out=store.parent / "second", **OPTIONS)
    clf.fit(images, labels)
    trial = clf.result_.summary["trials"][0]
    assert trial["source"] in {"portfolio", "knn", "pmf"}
    assert trial["configuration"] in [t["configuration"] for t in finished.summary["trials"]]
    assert clf.n_features_in_ == 64
    assert clf.score(images, labels) > 0.6
    assert clf.predict_proba(images[:4]).shape == (4, 3)


def test_suggest_and_metafeatures_commands(finished, device_table):
    source, store = finished.summary["task"]["source"], finished.folder.parent / "store.sqlite"
    told = json.loads(run_cli("metafeatures", "--task", source, "--json").output)
    assert told["metafeatures"]["images.n_classes"] == 3
    ran = run_cli("suggest", "--task", source, "--device", device_table, "--store", store, "-n", 2)
    assert ran.output.startswith("1. mbconv")
    assert "never tried yet" in ran.output


def test_a_resumed_run_reads_its_answer(finished):
    assert metaml.resume(finished.folder).summary == finished.summary


def run_cli(*arguments: object):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_tasks_of_images_are_compared_with_images_only(tmp_path):
    table = make_task(mixed_table().drop(columns="value"), mixed_table()["label"], name="stripes")
    tasks = [make_image_task(*striped_images(40, seed=seed), name=f"stripes {seed}") for seed in range(3)]
    with Store.open(tmp_path / "store.sqlite") as store:
        for task in (*tasks[:2], table):
            store.add_task(task_record(task))
            store.add_metafeatures(task.fingerprint, words_of(task.name), TextDistance.key())
        found = similar_tasks(tasks[2], store, by="text")["tasks"]
    assert {task["name"] for task in found} == {"stripes 0", "stripes 1"}


def test_an_interrupted_long_training_delivers_what_its_trial_left(folder, device_table, tmp_path):
    class StopAtTheEnd(Listener):
        def finishing(self, text):
            assert "longer" in text
            main = threading.main_thread().ident  # a signal to another thread waits until this one is awake
            threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT]).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
    try:
        result = metaml.search(
            folder, device=device_table, store=False, out=tmp_path / "run", listener=StopAtTheEnd(), **OPTIONS
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.was_interrupted
    assert result.best["trained_on"] == "the training rows of the first split"
    assert any("interrupted" in note for note in result.summary["notes"])
