"""Augmented images are shifted windows of the padded image, mirrored or not."""

import numpy as np
import pytest

from edgecifar.training.augmentation import augment
from edgecifar.training.recipes import Augmentation


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)


def windows(image: np.ndarray, pad: int) -> list[bytes]:
    """Every crop that an image may become."""
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    offsets = range(2 * pad + 1)
    return [padded[y : y + 32, x : x + 32].tobytes() for y in offsets for x in offsets]


def test_shape_and_dtype_stay_and_the_input_is_untouched(images):
    before = images.copy()
    augmented = augment(images, Augmentation(), np.random.default_rng(1))
    assert augmented.shape == images.shape
    assert augmented.dtype == np.uint8
    assert augmented.flags.c_contiguous
    assert augmented.flags.owndata
    np.testing.assert_array_equal(images, before)
    assert not np.array_equal(augmented, images)


def test_the_same_seed_gives_the_same_images_and_another_gives_others(images):
    first, again, other = (
        augment(images, Augmentation(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_switched_on_changes_nothing(images):
    off = Augmentation(crop_padding=0, flip=False)
    np.testing.assert_array_equal(augment(images, off, np.random.default_rng(1)), images)


def test_a_flip_mirrors_left_and_right_of_about_half_of_the_images(images):
    flips = Augmentation(crop_padding=0, flip=True)
    augmented = augment(images, flips, np.random.default_rng(1))
    same = (augmented == images).all(axis=(1, 2, 3))
    mirrored = (augmented == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_a_crop_is_a_window_of_the_reflected_image_and_every_window_comes(images):
    crops = Augmentation(crop_padding=2, flip=False)
    random = np.random.default_rng(1)
    seen = set()
    for _ in range(5):
        augmented = augment(images, crops, random)
        for image, crop in zip(images, augmented, strict=True):
            seen.add(windows(image, 2).index(crop.tobytes()))
    assert seen == set(range(25))


def test_an_image_in_the_middle_of_its_batch_is_drawn_on_its_own(images):
    one = np.repeat(images[:1], 64, axis=0)
    augmented = augment(one, Augmentation(), np.random.default_rng(1))
    assert len({image.tobytes() for image in augmented}) > 32
