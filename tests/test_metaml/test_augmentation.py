"""Augmentation: what it changes, and what it must leave alone."""

from dataclasses import replace

import pytest
import torch

from metaml.models.augmentation import Augmentation, cut_out, distort, flip, shift
from metaml.models.torch_family import Batch

NOTHING = Augmentation(flip=False, crop=0.0, cutout=0.0, mixup=0.0, distortion=0.0, n_outputs=3, is_regression=False)
EVERYTHING = Augmentation(
    flip=True, crop=0.125, cutout=0.5, mixup=0.5, distortion=1.0, n_outputs=3, is_regression=False
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch() -> Batch:
    images = torch.randn(16, 3, 12, 10, generator=generator(7))
    return Batch((images,), torch.arange(16) % 3)


def test_no_strength_is_the_identity(batch):
    changed = NOTHING(batch, generator())
    assert torch.equal(changed.inputs[0], batch.inputs[0])
    assert torch.equal(changed.target, batch.target)
    off = {"flip": "none", "crop": 0.0, "cutout": 0.0, "mixup": 0.0, "distortion": 0.0}
    assert Augmentation.of(off, n_outputs=3, is_regression=False) is None


def test_the_seed_decides(batch):
    once, again, other = (EVERYTHING(batch, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(once.inputs[0], again.inputs[0])
    assert torch.equal(once.target, again.target)
    assert not torch.equal(once.inputs[0], other.inputs[0])


def test_the_batch_itself_is_not_changed(batch):
    before = batch.inputs[0].clone()
    EVERYTHING(batch, generator())
    assert torch.equal(batch.inputs[0], before)
    assert batch.target.dtype == torch.int64


def test_mixed_targets_are_probabilities_that_remember_the_larger_share(batch):
    target = replace(NOTHING, mixup=0.4)(batch, generator()).target
    assert target.shape == (16, 3)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(16))
    assert torch.equal(target.argmax(dim=1), batch.target)
    assert (target.max(dim=1).values >= 0.6).all()


def test_mixed_values_and_images_are_mixed_by_the_same_share():
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    mixed = replace(NOTHING, mixup=0.5, is_regression=True)(Batch((images,), torch.arange(8.0)), generator())
    torch.testing.assert_close(mixed.inputs[0][:, 0, 0, 0], mixed.target)


def test_the_square_that_is_cut_out_has_its_full_area():
    changed = cut_out(torch.ones(50, 2, 12, 10), 0.5, generator())
    assert ((changed == 0).sum(dim=(1, 2, 3)) == 2 * 5 * 5).all()


def test_about_half_of_the_images_are_mirrored():
    images = torch.randn(400, 1, 2, 5, generator=generator(1))
    changed = flip(images, 1.0, generator())
    mirrored = (changed == images.flip(3)).all(dim=(1, 2, 3))
    assert torch.equal(changed[~mirrored], images[~mirrored])
    assert 150 < mirrored.sum() < 250


def test_a_shift_moves_whole_pixels_and_brings_in_mean_ones():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 4] = 1
    shifted = shift(image.expand(200, 1, 8, 8), 0.25, generator())
    assert (shifted.sum(dim=(1, 2, 3)) == 1).all()
    rows = shifted.sum(dim=(1, 3)).argmax(dim=1)
    assert set(rows.tolist()) == {2, 3, 4, 5, 6}


def test_distortions_grow_with_the_magnitude():
    images = torch.randn(64, 3, 16, 16, generator=generator(2))
    sizes = [(distort(images, m, generator()) - images).abs().mean() for m in (1e-6, 0.25, 1.0)]
    assert sizes[0] < 1e-3 < sizes[1] < sizes[2]
