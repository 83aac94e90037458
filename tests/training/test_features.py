"""Features are computed once, for these images and this backbone, and never half kept."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from listing import names_in
from tiny_training import no_progress

from edgecifar.errors import UserError
from edgecifar.models import contract, mobilenetv2
from edgecifar.training.features import cached_features, key

COUNT = 300  # more than a batch of a prediction


def build(size=32, filters=4, flat=False):
    """A convolution with batch norm, and what the contract calls the features."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image, x = contract.image_input(size)
    x = layers.Conv2D(filters, 5, strides=8, name="convolution")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    if flat:
        return keras.Model(image, layers.Activation("linear", name=contract.FEATURES)(x))
    return keras.Model(image, layers.GlobalAveragePooling2D(name=contract.FEATURES)(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the features go."""
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path))
    return tmp_path / "features"


@contextlib.contextmanager
def not_expected(label, total):
    pytest.fail("features are computed again")
    yield


@pytest.mark.parametrize(("flat", "shape"), [(False, (4,)), (True, (4, 4, 4))])
def test_features_are_the_extractors_in_half_precision(folder, images, flat, shape):
    extractor = build(flat=flat)
    features = cached_features(extractor, images, "features", no_progress)
    assert isinstance(features, np.memmap)
    assert features.dtype == np.float16
    assert features.shape == (COUNT, *shape)
    expected = extractor.predict(images, verbose=0)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_progress_is_told_of_all_images(folder, images):
    told = []

    @contextlib.contextmanager
    def progress(label, total):
        told.append((label, total))
        yield told.append

    cached_features(build(), images, "head: features", progress)
    assert told == [("head: features", COUNT), 256, COUNT]


def test_a_second_call_computes_nothing(folder, images):
    first = cached_features(build(), images, "features", no_progress)
    again = cached_features(build(), images, "features", not_expected)
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, first)
    assert len(names_in(folder)) == 1


def test_features_that_changed_on_the_disk_are_computed_again(folder, images):
    first = np.array(cached_features(build(), images, "features", no_progress))
    (name,) = names_in(folder)
    with (folder / name).open("rb+") as file:
        file.seek(200)
        file.write(bytes(1000))
    again = cached_features(build(), images, "features", no_progress)
    np.testing.assert_array_equal(again, first)
    assert names_in(folder) == [name]


def test_other_images_weights_sizes_and_layers_are_other_files(folder, images):
    cached_features(build(), images, "features", no_progress)
    other_weights = build()
    kernel, bias = other_weights.get_layer("convolution").get_weights()
    other_weights.get_layer("convolution").set_weights([kernel, bias + 1e-3])
    other_pixel = images.copy()
    other_pixel[-1, -1, -1, -1] ^= 1
    for number, (extractor, given) in enumerate(
        [
            (build(), other_pixel),
            (build(), images[:-1]),
            (build(), images[::-1]),
            (other_weights, images),
            (build(size=40), images),
            (build(filters=5), images),
            (build(flat=True), images),
        ],
        2,
    ):
        features = cached_features(extractor, given, "features", no_progress)
        assert len(names_in(folder)) == number
        expected = extractor.predict(given, verbose=0)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_mobilenetv2_built_anew_has_the_same_key(images):
    """No name in it depends on what else the process has built."""
    networks = [mobilenetv2.mobilenetv2(32, alpha=0.35, weights="none") for _ in range(2)]
    networks[1].set_weights(networks[0].get_weights())
    first, again = (key(contract.feature_extractor(network), images[:1]) for network in networks)
    assert first == again


@pytest.mark.parametrize("reason", [ValueError, KeyboardInterrupt])
def test_what_is_raised_half_way_leaves_no_file(folder, images, reason):
    @contextlib.contextmanager
    def stop(label, total):
        def update(done):
            raise reason

        yield update

    with pytest.raises(reason):
        cached_features(build(), images, "features", stop)
    assert names_in(folder) == []
    assert len(cached_features(build(), images, "features", no_progress)) == COUNT


def test_what_a_process_killed_half_way_leaves_is_cleared_by_the_next(folder, images):
    script = f"""
import contextlib, os, signal, sys
import numpy as np
sys.path += [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "support")!r}]
import test_features

@contextlib.contextmanager
def killed(label, total):
    yield lambda done: os.kill(os.getpid(), signal.SIGKILL)

images = np.random.default_rng(0).integers(0, 256, ({COUNT}, 32, 32, 3), np.uint8)
test_features.cached_features(test_features.build(), images, "features", killed)
"""
    ended = subprocess.run([sys.executable, "-c", script], env=os.environ, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    (left_over,) = names_in(folder)
    assert left_over.startswith(".partial-")
    assert len(cached_features(build(), images, "features", no_progress)) == COUNT
    (kept,) = names_in(folder)
    assert kept.endswith(".npy")


def test_a_cache_that_cannot_be_written_is_one_line_before_any_work(tmp_path, monkeypatch, images):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write in .*file is not a folder") as error:
        cached_features(build(), images, "features", not_expected)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_and_leaves_no_file(folder, images, file_size_limit):
    extractor = build()
    refused = pytest.raises(UserError, match=r"cannot write in .*features: File too large")
    with refused as error, file_size_limit(1000):
        cached_features(extractor, images, "features", no_progress)
    assert "\n" not in str(error.value)
    assert names_in(folder) == []
