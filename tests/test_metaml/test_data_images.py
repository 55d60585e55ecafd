"""Images as users have them: folders and .npz files in all usual forms, and mistakes that are told in one sentence."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from metaml.data import ImageSize, ImageTask, as_pixels, load_task, make_image_task, read_images
from metaml.data.pixels import MAX_SIDE, channels_last
from metaml.errors import DataError
from tests.conftest import striped_images


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    (picture.convert(mode) if mode else picture).save(path)


def save_folder(folder, images, y, *, mode=None, ending="png"):
    for i, (image, label) in enumerate(zip(images, y, strict=True)):
        save(folder / f"class {label}" / f"{i:03d}.{ending}", image, mode)
    return folder


class TestFolder:
    def test_subfolders_are_classes(self, tmp_path):
        images, y = striped_images(30)
        task = load_task(save_folder(tmp_path / "stripes", images, y))
        assert isinstance(task, ImageTask)
        assert (task.name, task.type, task.target) == ("stripes", "multiclass", "class")
        assert task.classes == ("class 0", "class 1", "class 2")
        assert task.images.shape == (30, 12, 12, 3)
        np.testing.assert_array_equal(task.images[0], images[0])
        assert task.extent == "30 images of 12 × 12 pixels, colour"
        assert task.notes == ()

    def test_fingerprint_is_of_the_content(self, tmp_path):
        images, y = striped_images(30)
        first = load_task(save_folder(tmp_path / "a", images, y))
        again = load_task(save_folder(tmp_path / "b", images, y, ending="bmp"))
        other = load_task(save_folder(tmp_path / "c", 255 - images, y))
        assert first.fingerprint == again.fingerprint != other.fingerprint
        assert dataclasses.replace(first, type="binary").fingerprint != first.fingerprint

    def test_train_and_test_subfolders_are_the_tasks_own_split(self, tmp_path):
        images, y = striped_images(40)
        save_folder(tmp_path / "train", images[:30], y[:30])
        save_folder(tmp_path / "test", images[30:], y[30:])
        task = load_task(tmp_path)
        (split,) = task.splits
        assert (split.train.tolist(), split.valid.tolist()) == (list(range(30)), list(range(30, 40)))
        save_folder(tmp_path / "val", images[:10], y[:10])
        task = load_task(tmp_path)
        assert (len(task.y), len(task.splits[0].valid)) == (40, 10)
        assert "test/ is left aside." in task.notes

    def test_images_of_all_kinds_become_one_size(self, tmp_path):
        images, y = striped_images(24, side=20)
        save_folder(tmp_path, images[:12], y[:12])
        save(tmp_path / "class 0" / "small.jpg", images[0][:10, :15])
        save(tmp_path / "class 1" / "palette.gif", images[1], "P")
        save(tmp_path / "class 1" / "grey.png", images[1], "L")
        save(tmp_path / "class 2" / "bits.png", images[2], "1")
        clear = np.dstack([images[2], np.zeros((20, 20), np.uint8)])  # transparent everywhere: seen as white
        save(tmp_path / "class 2" / "clear.png", clear)
        task = load_task(tmp_path)
        assert task.images.shape == (17, 20, 20, 3)
        assert (task.images == 255).all(axis=(1, 2, 3)).sum() == 1
        assert any("2 different sizes" in note for note in task.notes)

    def test_grey_folders_have_one_channel(self, tmp_path):
        images, y = striped_images(30, channels=1)
        assert load_task(save_folder(tmp_path / "a", images, y)).images.shape == (30, 12, 12, 1)
        colour = load_task(save_folder(tmp_path / "b", images, y, mode="RGB"))
        assert colour.images.shape == (30, 12, 12, 1)
        assert any("grey" in note for note in colour.notes)

    def test_large_images_are_made_smaller(self, tmp_path):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (12, 60, 240, 3), dtype=np.uint8)
        task = load_task(save_folder(tmp_path, images, np.arange(12) % 2))
        assert task.images.shape == (12, 24, MAX_SIDE, 3)
        assert any("resized to 24 × 96" in note for note in task.notes)

    def test_sixteen_bits_keep_their_upper_half(self, tmp_path):
        wide = (np.arange(12 * 64).reshape(12, 8, 8) * 80).astype(np.uint16)
        for i, image in enumerate(wide):
            save(tmp_path / f"{i % 2}" / f"{i:02d}.png", image)
        task = load_task(tmp_path)
        assert task.images.shape == (12, 8, 8, 1)
        assert task.images.max() == round(wide[-1].max() / 257)


def broken(folder):
    (folder / "class 1" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")


def truncated(folder):
    path = folder / "class 1" / "001.png"
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(("spoil", "named"), [(broken, "torn.png"), (truncated, "001.png")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, spoil, named):
    images, y = striped_images(30)
    save_folder(tmp_path, images, y)
    spoil(tmp_path)
    with pytest.raises(DataError, match=f"{named} cannot be read as an image"):
        load_task(tmp_path)


class TestWrongFolders:
    def test_empty(self, tmp_path):
        with pytest.raises(DataError, match="one subfolder of images .* holds no images"):
            load_task(tmp_path)

    def test_images_outside_of_subfolders(self, tmp_path):
        for i, image in enumerate(striped_images(12)[0]):
            save(tmp_path / f"{i}.png", image)
        with pytest.raises(DataError, match="12 images outside of any"):
            load_task(tmp_path)

    def test_one_class(self, tmp_path):
        save_folder(tmp_path, striped_images(12)[0], [0] * 12)
        with pytest.raises(DataError, match='one class only, "class 0"'):
            load_task(tmp_path)

    def test_too_few(self, tmp_path):
        save_folder(tmp_path, *striped_images(6))
        with pytest.raises(DataError, match="at least 10"):
            load_task(tmp_path)

    def test_as_many_classes_as_images(self, tmp_path):
        save_folder(tmp_path, striped_images(12)[0], range(12))
        with pytest.raises(DataError, match="12 classes, too few of each"):
            load_task(tmp_path)

    def test_a_target_or_a_regression_makes_no_sense(self, tmp_path):
        save_folder(tmp_path, *striped_images(12))
        with pytest.raises(DataError, match="leave out the target"):
            load_task(tmp_path, "price")
        with pytest.raises(DataError, match="regression is not possible"):
            load_task(tmp_path, type="regression")


class TestArrays:
    @pytest.mark.parametrize(
        ("shape", "expected"),
        [((5, 7, 8), (5, 7, 8, 1)), ((5, 7, 8, 3), (5, 7, 8, 3)), ((5, 3, 7, 8), (5, 7, 8, 3)), ((5, 3, 8, 3), None)],
    )
    def test_layout_is_told_from_the_shape(self, shape, expected):
        assert channels_last(np.zeros(shape)).shape == (expected or shape)

    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 8, 9), (2, 5, 7, 8, 3)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(DataError, match="must be of shape"):
            channels_last(np.zeros(shape))

    @pytest.mark.parametrize(
        ("dtype", "factor"), [(np.float32, 1 / 255), (np.float64, 1.0), (np.uint16, 257), (np.int64, 1)]
    )
    def test_ranges_become_pixels_and_a_prediction_uses_the_same_scale(self, dtype, factor):
        images, y = striped_images(30)
        task = make_image_task((images * dtype(factor)).astype(dtype), y)
        np.testing.assert_array_equal(task.images, images)
        few = (images[:2] * dtype(factor)).astype(dtype)
        np.testing.assert_array_equal(as_pixels(few, task.size), images[:2])

    def test_whole_numbers_are_classes_and_floats_may_be_a_quantity(self):
        images, _ = striped_images(60)
        assert make_image_task(images, np.arange(60) % 30).type == "multiclass"
        assert make_image_task(images, np.arange(60) / 7).type == "regression"

    def test_rows_without_a_target_are_left_out(self):
        images, y = striped_images(30)
        labels = np.array([None if i == 4 else f"c{c}" for i, c in enumerate(y)], dtype=object)
        task = make_image_task(images, labels)
        assert len(task.images) == 29
        assert "1 images without a target left out." in task.notes

    @pytest.mark.parametrize(
        ("images", "reason"),
        [
            (np.full((20, 4, 4), -1.0), "must lie in"),
            (np.full((20, 4, 4), np.nan), "finite"),
            (np.zeros((20, 4, 4)), "All images are the same"),
            (np.full((20, 4, 4), "x"), "must be numbers"),
        ],
    )
    def test_what_is_no_image_is_refused(self, images, reason):
        with pytest.raises(DataError, match=reason):
            make_image_task(images, np.arange(20) % 2)


class TestNpz:
    def save(self, path, **arrays):
        np.savez(path / "data.npz", **arrays)
        return path / "data.npz"

    @pytest.mark.parametrize(("images_name", "labels_name"), [("images", "labels"), ("X", "y"), ("data", "target")])
    def test_usual_names(self, tmp_path, images_name, labels_name):
        images, y = striped_images(30)
        task = load_task(self.save(tmp_path, **{images_name: images, labels_name: y[:, None]}))
        assert (task.images.shape, task.classes, task.splits) == ((30, 12, 12, 3), (0, 1, 2), ())

    @pytest.mark.parametrize(
        "names", ["x_train y_train x_test y_test", "train_images train_labels val_images val_labels"]
    )
    def test_parts_are_the_tasks_own_split(self, tmp_path, names):
        images, y = striped_images(30)
        arrays = dict(zip(names.split(), (images[:20], y[:20], images[20:], y[20:]), strict=True))
        task = load_task(self.save(tmp_path, **arrays))
        np.testing.assert_array_equal(task.images, images)
        assert task.splits[0].valid.tolist() == list(range(20, 30))

    def test_names_of_classes_and_a_column_of_parts(self, tmp_path):
        images, y = striped_images(30)
        part = np.where(np.arange(30) < 20, "train", "test")
        task = load_task(self.save(tmp_path, X=images, y=y, split=part, classes=np.array(["sky", "grass", "sand"])))
        assert task.classes == ("grass", "sand", "sky")
        assert task.classes[task.y[0]] == "sky"
        assert len(task.splits[0].train) == 20

    def test_a_target_names_the_array_of_labels(self, tmp_path):
        images, y = striped_images(30)
        path = self.save(tmp_path, images=images, fine=y, coarse=y // 2)
        assert len(load_task(path, "coarse").classes) == 2
        with pytest.raises(DataError, match='no array "corse".*coarse'):
            load_task(path, "corse")
        with pytest.raises(DataError, match="no array of labels.*fine"):
            load_task(path)

    def test_the_only_images_and_labels_need_no_names(self, tmp_path):
        images, y = striped_images(30)
        task = load_task(self.save(tmp_path, foo=images, bar=y))
        assert (len(task.images), task.classes, task.target) == (30, (0, 1, 2), "bar")

    def test_mistakes_are_told(self, tmp_path):
        images, y = striped_images(30)
        with pytest.raises(DataError, match="30 images, but 29 labels"):
            load_task(self.save(tmp_path, images=images, labels=y[:29]))
        with pytest.raises(DataError, match="no array of images"):
            load_task(self.save(tmp_path, labels=y))
        with pytest.raises(DataError, match="Python objects"):
            load_task(self.save(tmp_path, images=images, labels=np.array([{}] * 30, dtype=object)))
        (tmp_path / "data.npz").write_bytes(b"PK\x03\x04 not a zip")
        with pytest.raises(DataError, match=r"cannot be read as \.npz"):
            load_task(tmp_path / "data.npz")
        with pytest.raises(DataError, match="There is no file"):
            load_task(tmp_path / "dat.npz")

    def test_real_images_load(self, real_data):
        task = load_task(real_data / "media" / "image" / "cifar10_subset3000.npz")
        assert task.images.shape == (3000, 32, 32, 3)
        assert len(task.classes) == 10
        assert [len(rows) for rows in (task.splits[0].train, task.splits[0].valid)] == [2000, 1000]


class TestReadingForAPrediction:
    def test_folders_files_and_arrays_come_in_the_models_size(self, tmp_path):
        images, y = striped_images(12)
        save_folder(tmp_path / "new", images, y)
        size = ImageSize(6, 8, 1)
        read = read_images(tmp_path / "new", size)
        assert read.pixels.shape == (12, 6, 8, 1)
        assert read.names[0] == "class 0/000.png"
        one = read_images(tmp_path / "new" / "class 0" / "000.png", size)
        np.testing.assert_array_equal(one.pixels[0], read.pixels[0])
        np.savez(tmp_path / "new.npz", images=images)
        assert read_images(tmp_path / "new.npz", size).pixels.shape == (12, 6, 8, 1)

    def test_a_folder_without_images_says_so(self, tmp_path):
        with pytest.raises(DataError, match="holds no images"):
            read_images(tmp_path, ImageSize(6, 8, 1))
