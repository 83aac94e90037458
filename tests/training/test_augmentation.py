"""Augmented images are what the recipe's fields say, each drawn on its own."""

import functools

import keras
import numpy as np
import pytest

from edgecifar.data import shipped
from edgecifar.training import augmentation
from edgecifar.training.batches import one_hot
from edgecifar.training.recipes import Augmentation

OFF = Augmentation(crop_padding=0, flip=False)


@pytest.fixture(scope="module")
def images():
    """Noise without the gray of a cutout."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 32, 32, 3), np.uint8)
    return noise + (noise >= augmentation.GRAY)


@pytest.fixture(scope="module")
def maps():
    """64 times the image whose red is 7 times the column, and whose green 7 times the row."""
    row, column = np.mgrid[:32, :32]
    image = np.stack([7 * column, 7 * row, np.full((32, 32), 99)], axis=-1)
    return np.repeat(image[None].astype(np.uint8), 64, axis=0)


def looked_up(images, rows, fields, seed=1):
    random = keras.random.SeedGenerator(seed)
    pixels = images.reshape(-1, 3)
    return np.asarray(augmentation.look_up(pixels, rows.astype(np.int32), fields, random))


def distorted(images, fields, seed=1):
    random = keras.random.SeedGenerator(seed)
    return np.asarray(augmentation.distort(keras.ops.convert_to_tensor(images), fields, random))


def mixed(images, targets, fields, seed=1):
    random = keras.random.SeedGenerator(seed)
    parts = (keras.ops.convert_to_tensor(part) for part in (images, targets))
    return tuple(np.asarray(part) for part in augmentation.mix(*parts, fields, random))


def windows(image: np.ndarray, pad: int) -> list[bytes]:
    """Every crop that an image may become."""
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    offsets = range(2 * pad + 1)
    return [padded[y : y + 32, x : x + 32].tobytes() for y in offsets for x in offsets]


def places(moved):
    """Where each pixel of a moved map came from, as column and row; float, shape (n, 32, 32, 2)."""
    return moved[..., :2] / 7


INNER = (slice(None), slice(8, 24), slice(8, 24))  # what a small movement draws from inside alone


def test_nothing_switched_on_gives_the_images_asked_for(images):
    rows = np.array([5, 0, 63, 5])
    taken = looked_up(images, rows, OFF)
    np.testing.assert_array_equal(taken, images[rows])
    assert taken.dtype == np.uint8


def test_a_flip_mirrors_left_and_right_of_about_half_of_the_images(images):
    taken = looked_up(images, np.arange(64), Augmentation(crop_padding=0, flip=True))
    same = (taken == images).all(axis=(1, 2, 3))
    mirrored = (taken == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_a_crop_is_a_window_of_its_own_reflected_image_and_every_window_comes(images):
    rows = np.tile(np.arange(64), 10)
    seen = set()
    taken = looked_up(images, rows, Augmentation(crop_padding=2, flip=False))
    for row, crop in zip(rows, taken, strict=True):
        seen.add(windows(images[row], 2).index(crop.tobytes()))
    assert seen == set(range(25))


def test_by_default_it_is_one_of_81_windows_or_its_mirror(images):
    rows = np.random.default_rng(1).permutation(64)
    taken = looked_up(images, rows, Augmentation())
    kinds = []
    for row, crop in zip(rows, taken, strict=True):
        may_be = windows(images[row], 4)
        assert len(set(may_be)) == 81
        kinds.append(crop.tobytes() in may_be)
        assert kinds[-1] or np.ascontiguousarray(crop[:, ::-1]).tobytes() in may_be
    assert 16 < sum(kinds) < 48


def test_crops_of_photos_are_drawn_evenly_and_on_each_axis_on_its_own():
    images = shipped.calibration_set().images(slice(0, 200))
    rows = np.arange(200)
    crops = looked_up(images, rows, Augmentation(), seed=5)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    places = []
    for crop, whole in zip(crops, padded, strict=True):
        places.append(
            next(
                (top, left, mirrored)
                for top in range(9)
                for left in range(9)
                for mirrored in (False, True)
                if np.array_equal(
                    crop[:, ::-1] if mirrored else crop, whole[top : top + 32, left : left + 32]
                )
            )
        )
    tops, lefts, mirrored = (np.array(column) for column in zip(*places, strict=True))
    assert set(tops) == set(lefts) == set(range(9))
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.3
    assert 0.35 < mirrored.mean() < 0.65
    again, other = (looked_up(images, rows, Augmentation(), seed=seed) for seed in (5, 6))
    np.testing.assert_array_equal(crops, again)
    assert not np.array_equal(crops, other)


def test_the_widest_crop_is_a_window_too(images):
    rows = np.arange(8)
    taken = looked_up(images, rows, Augmentation(crop_padding=31, flip=False))
    for row, crop in zip(rows, taken, strict=True):
        assert crop.tobytes() in windows(images[row], 31)


def test_the_same_image_is_drawn_anew_each_time(images):
    taken = looked_up(images, np.zeros(64), Augmentation())
    assert len({image.tobytes() for image in taken}) > 32


@pytest.mark.parametrize(
    "fields",
    [
        OFF,
        Augmentation(rotation=0, shift=0),
        Augmentation(rotation=20, shift=0.1),
        Augmentation(cutout=8),
    ],
)
def test_distorted_images_are_of_the_same_shape_and_type(images, fields):
    after = distorted(images, fields)
    assert after.shape == images.shape
    assert after.dtype == np.uint8
    assert np.array_equal(after, images) != any((fields.rotation, fields.shift, fields.cutout))


def test_a_shift_moves_the_whole_image_and_no_further_than_it_may(maps):
    came_from = places(distorted(maps, Augmentation(shift=0.1)))[INNER]
    moved = came_from - places(maps)[INNER]
    by = moved.mean(axis=(1, 2))
    np.testing.assert_allclose(moved, np.broadcast_to(by[:, None, None], moved.shape), atol=0.15)
    assert np.abs(by).max() <= 3.2 + 0.1
    assert len({tuple(move) for move in by.round(2)}) > 32
    for axis in by.T:
        assert axis.min() < -2
        assert axis.max() > 2


def test_a_rotation_turns_about_the_centre_and_no_further_than_it_may(maps):
    came_from = places(distorted(maps, Augmentation(rotation=20)))
    centre = came_from[:, 15:17, 15:17].mean(axis=(1, 2))
    np.testing.assert_allclose(centre, 15.5, atol=0.1)
    # From the left to the right of the centre, 14 pixels: how far across, and how far down.
    across, down = (came_from[:, 15:17, 22] - came_from[:, 15:17, 8]).mean(axis=1).T
    np.testing.assert_allclose(np.hypot(across, down), 14, atol=0.2)
    angles = np.degrees(np.arctan2(down, across))
    assert np.abs(angles).max() <= 20 + 0.5
    assert len(set(angles.round(2))) > 32
    assert angles.min() < -10
    assert angles.max() > 10


def test_what_comes_in_from_outside_is_of_the_image():
    even = np.full((16, 32, 32, 3), 200, np.uint8)
    moved = distorted(even, Augmentation(rotation=45, shift=0.5))
    np.testing.assert_array_equal(moved, even)


@pytest.mark.parametrize("side", [1, 7, 8, 32])
def test_a_cutout_is_one_gray_square_and_nothing_else(images, side):
    many = np.tile(images, (4, 1, 1, 1))
    extents = []
    for before, image in zip(many, distorted(many, Augmentation(cutout=side)), strict=True):
        covered = (image == augmentation.GRAY).all(axis=-1)
        rows, columns = (np.flatnonzero(covered.any(axis=axis))[[0, -1]] for axis in (1, 0))
        expected = before.copy()
        expected[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = augmentation.GRAY
        np.testing.assert_array_equal(image, expected)
        extents.append((rows, columns))
    extents = np.array(extents)
    lengths = extents[..., 1] - extents[..., 0] + 1
    assert lengths.max() == side or side == 32
    assert lengths.max() <= side
    assert lengths.min() >= side // 2  # the centre is inside the image
    if side > 1:  # and may be at any border
        for axis in (0, 1):
            cut = extents[lengths[:, axis] < side, axis]
            assert (cut[:, 0] == 0).any()
            assert (cut[:, 1] == 31).any()


def test_each_image_has_its_own_cutout(images):
    after = distorted(images, Augmentation(cutout=8))
    assert len({image.tobytes() for image in after == augmentation.GRAY}) > 32


@pytest.fixture(scope="module")
def targets():
    return one_hot(np.arange(64) % 10)


def test_no_mixup_leaves_images_and_targets(images, targets):
    after, after_targets = mixed(images, targets, Augmentation())
    np.testing.assert_array_equal(after, images)
    np.testing.assert_array_equal(after_targets, targets)


def test_images_and_targets_are_mixed_by_the_same_share_with_a_neighbour(images, targets):
    after, after_targets = mixed(images, targets, Augmentation(mixup=1.0))
    assert after.dtype == np.uint8
    np.testing.assert_allclose(after_targets.sum(axis=1), 1, rtol=1e-6)
    share = after_targets[0, 0]
    assert 0.01 < share < 0.99
    for own, theirs, got in (
        (images.astype(np.float32), np.roll(images, 1, axis=0), after),
        (targets, np.roll(targets, 1, axis=0), after_targets),
    ):
        rounded = 0.51 if got is after else 1e-6
        np.testing.assert_allclose(got, share * own + (1 - share) * theirs, atol=rounded)
        assert (got >= np.minimum(own, theirs)).all()
        assert (got <= np.maximum(own, theirs)).all()


def test_the_share_is_drawn_from_a_beta_distribution(images, targets):
    """Its variance is 1 / (8 a + 4): 0.0192 of a = 6, and 0.119 of a = 0.55."""
    for parameter, variance in ((6.0, 0.0192), (0.55, 0.119)):
        random = keras.random.SeedGenerator(1)
        few = images[:2], keras.ops.convert_to_tensor(targets[:2])
        fields = Augmentation(mixup=parameter)
        shares = [float(augmentation.mix(*few, fields, random)[1][0, 0]) for _ in range(200)]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.1)
        assert np.var(shares) == pytest.approx(variance, rel=0.35)


@pytest.mark.parametrize(
    "change",
    [
        lambda images, targets: functools.partial(looked_up, images, np.arange(64), Augmentation()),
        lambda images, targets: functools.partial(
            distorted, images, Augmentation(rotation=15, shift=0.1, cutout=8)
        ),
        lambda images, targets: (
            lambda seed: mixed(images, targets, Augmentation(mixup=0.4), seed)[0]
        ),
    ],
    ids=["look_up", "distort", "mix"],
)
def test_the_same_seed_gives_the_same_and_another_gives_others(images, targets, change):
    changed = change(images, targets)
    first, again, other = (changed(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
