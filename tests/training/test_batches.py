"""The split is even and seeded, and an epoch is every image once."""

import numpy as np
import pytest

from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.training.batches import Split, epoch_batches, hold_out, one_hot
from edgecifar.training.recipes import Augmentation


@pytest.fixture(scope="module")
def numbered():
    """1,000 images that carry their number in two pixels, ten classes in turn."""
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(1000), 256)
    return Split(images, (np.arange(1000) % 10).astype(np.uint8))


def numbers(images: np.ndarray) -> list[int]:
    return (images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]).tolist()


@pytest.fixture(scope="module")
def numbered_set(numbered, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "numbered.bin"
    path.write_bytes(cifar10.records_of(numbered.images, numbered.labels).tobytes())
    return cifar10.ImageSet([path])


def test_what_is_held_out_is_even_over_the_classes_and_nothing_is_lost(numbered_set):
    training, validation = hold_out(numbered_set, 200, seed=1)
    assert np.bincount(validation.labels).tolist() == [20] * 10
    assert len(training) == 800
    assert sorted(numbers(training.images) + numbers(validation.images)) == list(range(1000))
    for part in (training, validation):
        np.testing.assert_array_equal(part.labels, np.array(numbers(part.images)) % 10)


def test_the_seed_chooses_who_is_held_out(numbered_set):
    first, again, other = (
        numbers(hold_out(numbered_set, 200, seed)[1].images) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first != list(range(200))


@pytest.mark.parametrize("count", [0, 1000, 5000])
def test_holding_out_nothing_or_everything_is_one_line(count):
    with pytest.raises(UserError, match=f"validation_images={count}: expected 1 to 999"):
        hold_out(shipped.calibration_set(), count, seed=1)


def test_an_epoch_is_whole_batches_of_every_image_once(numbered):
    batches = epoch_batches(numbered, 100, None, (1, 1))
    seen = []
    for i in range(len(batches)):
        images, targets = batches[i]
        assert images.shape == (100, 32, 32, 3)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(targets, one_hot(np.array(numbers(images)) % 10))
        seen += numbers(images)
    assert sorted(seen) == list(range(1000))
    assert seen != sorted(seen)


def test_the_last_part_of_a_batch_is_left_out(numbered):
    batches = epoch_batches(numbered, 300, None, (1, 1))
    seen = [number for i in range(len(batches)) for number in numbers(batches[i][0])]
    assert len(batches) == 3
    assert len(set(seen)) == 900


def test_the_same_seed_gives_the_same_batches_in_whatever_order(numbered):
    first, again, next_epoch, other_run = (
        epoch_batches(numbered, 100, Augmentation(), seed)
        for seed in ((1, 1), (1, 1), (1, 2), (2, 1))
    )
    forward = [first[i][0] for i in range(10)]
    backward = [again[i][0] for i in reversed(range(10))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(forward[0], next_epoch[0][0])
    assert not np.array_equal(forward[0], other_run[0][0])


def test_features_go_through_unaugmented():
    features = Split(np.arange(20, dtype=np.float32)[:, None], np.zeros(20, np.uint8))
    values = np.concatenate([epoch_batches(features, 5, None, (1, 1))[i][0] for i in range(4)])
    assert values.dtype == np.float32
    assert sorted(values[:, 0].tolist()) == list(range(20))


def test_targets_are_one_hot():
    targets = one_hot(np.array([3, 0], np.uint8))
    assert targets.dtype == np.float32
    assert targets.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
