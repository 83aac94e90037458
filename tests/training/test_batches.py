"""The split is even and seeded, and an epoch is every training image once."""

import numpy as np
import pytest

from edgecifar.data import cifar10
from edgecifar.training.batches import feature_batches, hold_out, in_epoch_order, one_hot


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """1,000 images that carry their number in two pixels, ten classes in turn."""
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(1000), 256)
    path = tmp_path_factory.mktemp("records") / "numbered.bin"
    path.write_bytes(cifar10.records_of(images, np.arange(1000) % 10).tobytes())
    return cifar10.ImageSet([path])


def numbers(images: np.ndarray) -> list[int]:
    return (images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]).tolist()


def test_a_split_has_all_images_and_labels_in_their_order(numbered):
    split = hold_out(numbered, 200, seed=1)
    assert numbers(split.images) == list(range(1000))
    assert split.images.dtype == split.labels.dtype == np.uint8
    np.testing.assert_array_equal(split.labels, np.arange(1000) % 10)


def test_what_is_held_out_is_even_over_the_classes_and_nothing_is_lost(numbered):
    split = hold_out(numbered, 200, seed=1)
    assert np.bincount(split.labels[split.validation]).tolist() == [20] * 10
    for part, count in ((split.training, 800), (split.validation, 200)):
        assert part.shape == (count,)
        assert part.dtype == np.int32
        assert (np.diff(part) > 0).all()
    assert sorted([*split.training, *split.validation]) == list(range(1000))


def test_a_count_that_ten_does_not_divide_is_even_but_for_one(numbered):
    split = hold_out(numbered, 105, seed=1)
    assert sorted(np.bincount(split.labels[split.validation])) == [10] * 5 + [11] * 5


def test_the_seed_chooses_who_is_held_out(numbered):
    first, again, other = (hold_out(numbered, 200, seed).validation.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != list(range(200))


@pytest.mark.parametrize(("batch", "count"), [(100, 1000), (300, 900), (1000, 1000), (1001, 0)])
def test_an_epoch_is_whole_batches_of_rows_that_come_once(batch, count):
    rows = np.arange(5, 2005, 2, dtype=np.int32)
    order = in_epoch_order(rows, batch, (1, 1))
    assert order.shape == (count,)
    assert order.dtype == np.int32
    assert len(set(order)) == count
    assert set(order) <= set(rows)
    assert not count or order.tolist() != sorted(order)


def test_other_images_are_left_over_in_another_epoch():
    rows = np.arange(1000, dtype=np.int32)
    left_over = [set(rows) - set(in_epoch_order(rows, 300, (1, epoch))) for epoch in (1, 2)]
    assert len(left_over[0] & left_over[1]) < 50


def test_seed_and_epoch_decide_the_order():
    rows = np.arange(1000, dtype=np.int32)
    first, again, next_epoch, other_run = (
        in_epoch_order(rows, 100, seed).tolist() for seed in ((1, 1), (1, 1), (1, 2), (2, 1))
    )
    assert first == again
    assert first != next_epoch
    assert first != other_run
    assert next_epoch != other_run
    np.testing.assert_array_equal(rows, np.arange(1000))


def test_feature_batches_follow_the_order():
    features = (np.arange(40).reshape(20, 2) / 8).astype(np.float16)
    labels = (np.arange(20) % 10).astype(np.uint8)
    order = np.array([3, 19, 0, 7, 5, 12], np.int32)
    batches = feature_batches(features, labels, order, 2)
    assert len(batches) == 3
    for i, rows in enumerate(([3, 19], [0, 7], [5, 12])):
        values, targets = batches[i]
        assert values.dtype == targets.dtype == np.float32
        np.testing.assert_array_equal(values, features[rows])
        np.testing.assert_array_equal(targets, one_hot(labels[rows]))


def test_features_of_any_shape_come_from_a_memory_map(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 3, 3, 4)).astype(np.float16)
    np.save(tmp_path / "features.npy", values)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    batch, _ = feature_batches(mapped, np.zeros(6, np.uint8), np.array([4, 1]), 2)[0]
    np.testing.assert_array_equal(batch, values[[4, 1]])
    assert not isinstance(batch, np.memmap)


def test_targets_are_one_hot():
    targets = one_hot(np.array([3, 0], np.uint8))
    assert targets.dtype == np.float32
    assert targets.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
