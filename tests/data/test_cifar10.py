"""The official records: layout, order, laziness, and what a damaged file says."""

import hashlib
import time
import tracemalloc

import numpy as np
import pytest

from edgecifar.data import cifar10
from edgecifar.data.cifar10 import ImageSet
from edgecifar.errors import UserError


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)


@pytest.fixture
def two_files(tmp_path, images):
    labels = np.arange(30) % 10
    for number, part in enumerate((slice(0, 20), slice(20, 30))):
        records = cifar10.records_of(images[part], labels[part])
        (tmp_path / f"{number}.bin").write_bytes(records.tobytes())
    return [tmp_path / "0.bin", tmp_path / "1.bin"]


def test_a_record_is_a_label_then_the_red_green_and_blue_planes(images):
    record = cifar10.records_of(images[:1], [7])[0]
    assert record[0] == 7
    for channel in range(3):
        plane = record[1 + 1024 * channel : 1 + 1024 * (channel + 1)]
        np.testing.assert_array_equal(plane, images[0, :, :, channel].ravel())


def test_pixels_of_inverts_records_of(images):
    records = cifar10.records_of(images, np.zeros(len(images)))
    np.testing.assert_array_equal(cifar10.pixels_of(records), images)


def test_a_set_reads_its_files_in_order(two_files, images):
    dataset = ImageSet(two_files)
    assert len(dataset) == 30
    np.testing.assert_array_equal(dataset.labels, np.arange(30) % 10)
    np.testing.assert_array_equal(dataset.images(), images)
    np.testing.assert_array_equal(dataset.images(slice(18, 22)), images[18:22])
    chosen = np.array([29, 0, 20, 19, 0])
    np.testing.assert_array_equal(dataset.images(chosen), images[chosen])
    assert dataset.images(slice(0, 0)).shape == (0, 32, 32, 3)


def test_balanced_takes_the_first_of_each_class_in_the_order_of_the_set():
    labels = np.array([3, 3, 3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 0], np.uint8)
    assert cifar10.balanced(labels, 10).tolist() == [0, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert cifar10.balanced(labels, 11).tolist() == [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("size", [0, 1, cifar10.RECORD_BYTES - 1, cifar10.RECORD_BYTES + 1])
def test_a_file_that_is_not_whole_records_is_refused(tmp_path, size):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(UserError, match=r"data_batch_1\.bin is damaged") as error:
        ImageSet([path])
    assert "\n" not in str(error.value)


def test_without_the_training_files_the_message_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="edgecifar data download"):
        cifar10.training_set()


@pytest.mark.timing
def test_opening_a_set_reads_none_of_its_images(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path))
    for name in cifar10.TRAIN_FILES:  # sparse files: full size, no disk
        with (tmp_path / name).open("wb") as file:
            file.truncate(cifar10.FILE_BYTES)
    zeros = hashlib.sha256(bytes(cifar10.FILE_BYTES)).hexdigest()
    monkeypatch.setattr(cifar10, "SHA256", dict.fromkeys(cifar10.TRAIN_FILES, zeros))
    cifar10.training_set()  # their hashes are checked here, and remembered
    tracemalloc.start()
    start = time.perf_counter()
    dataset = cifar10.training_set()
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset) == 50_000
    assert peak < 1_000_000
    assert seconds < 0.5  # it takes about a millisecond; the rest is room for a busy machine


def test_training_images_that_changed_are_refused_and_say_what_to_do(little_data):
    assert len(cifar10.training_set()) == 1000
    path = little_data / "data_batch_3.bin"
    with path.open("rb+") as file:
        file.write(bytes(300_000))
    with pytest.raises(UserError, match=r"data_batch_3\.bin is damaged .*data download") as error:
        cifar10.training_set()
    assert "\n" not in str(error.value)


def test_the_training_set_has_the_published_mean_and_deviation(full_data):
    dataset = cifar10.training_set()
    assert np.bincount(dataset.labels).tolist() == [5000] * 10
    pixels = dataset.images(slice(0, 50_000, 10)) / np.float32(255)
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), [0.4914, 0.4822, 0.4465], atol=0.005)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), [0.2470, 0.2435, 0.2616], atol=0.005)
