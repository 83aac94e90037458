"""The shipped images: the official bytes, decoded once, whole or not at all."""

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgecifar import files
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_test_set_has_the_official_hash(session_cache):
    test = shipped.test_set()
    path = session_cache / "test_batch.bin"
    assert files.sha256(path) == cifar10.SHA256["test_batch.bin"]
    assert len(test) == 10_000
    assert np.bincount(test.labels).tolist() == [1000] * 10


def test_the_calibration_set_has_100_images_of_each_class():
    calibration = shipped.calibration_set()
    assert len(calibration) == 1000
    assert np.bincount(calibration.labels).tolist() == [100] * 10


def test_the_calibration_images_are_their_records_in_the_official_files(full_data):
    training = cifar10.training_set()
    chosen = cifar10.balanced(training.labels, 1000)
    records = cifar10.records_of(training.images(chosen), training.labels[chosen])
    np.testing.assert_array_equal(shipped.decode("train"), records)


def test_images_go_through_strips_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "STRIP_IMAGES", 8)
    calibration = shipped.calibration_set()
    images, labels = calibration.images(slice(0, 20)), calibration.labels[:20]
    shipped.encode(images, labels, tmp_path, "some")
    assert len(list(tmp_path.glob("some_*.webp"))) == 3
    records = shipped.decode("some", tmp_path)
    np.testing.assert_array_equal(records, cifar10.records_of(images, labels))


def test_a_decoded_file_is_not_decoded_again(cache, monkeypatch):
    shipped.calibration_set()
    monkeypatch.setattr(shipped, "decode", lambda split: pytest.fail("decoded again"))
    assert len(shipped.calibration_set()) == 1000


@pytest.mark.parametrize("size", [0, 1000, 3073])
def test_a_cached_file_of_the_wrong_size_is_decoded_again(cache, size):
    cache.mkdir()
    (cache / "train_shipped.bin").write_bytes(bytes(size))
    assert len(shipped.calibration_set()) == 1000
    assert files.sha256(cache / "train_shipped.bin") == shipped.SHA256["train"]


def test_a_half_zeroed_file_is_decoded_again_even_if_it_was_checked_before(cache):
    shipped.calibration_set()
    shipped.calibration_set()  # it is checked and remembered here
    with (cache / "train_shipped.bin").open("rb+") as file:
        file.write(bytes(1_500_000))
    shipped.calibration_set()
    assert files.sha256(cache / "train_shipped.bin") == shipped.SHA256["train"]


def test_a_checked_file_is_not_read_again(cache, monkeypatch):
    shipped.calibration_set()
    shipped.calibration_set()
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("read again"))
    assert len(shipped.calibration_set()) == 1000


def _shorten(folder):
    path = folder / "train_01.webp"
    path.write_bytes(path.read_bytes()[:-1000])


def _flip(folder):
    path = folder / "train_01.webp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _flip_label(folder):
    path = folder / "train_labels.bin"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def _lose_strip(folder):
    (folder / "train_00.webp").unlink()


def _lose_all(folder):
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", [_shorten, _flip, _flip_label, _lose_strip, _lose_all])
def test_damaged_package_data_is_one_line_and_leaves_nothing(cache, tmp_path, monkeypatch, damage):
    folder = tmp_path / "shipped"
    folder.mkdir()
    for path in shipped.FOLDER.glob("train_*"):
        shutil.copy(path, folder)
    damage(folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    with pytest.raises(UserError, match="install edgecifar again") as error:
        shipped.calibration_set()
    assert "\n" not in str(error.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_two_processes_may_decode_at_the_same_time(cache):
    code = "from edgecifar.data import shipped; print(len(shipped.calibration_set()))"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["1000", "1000"]
    # The one that comes later may find the images, and remembers that they are right.
    assert {path.name for path in cache.iterdir()} - {"checked"} == {"train_shipped.bin"}
    content = (cache / "train_shipped.bin").read_bytes()
    assert hashlib.sha256(content).hexdigest() == shipped.SHA256["train"]
