"""A prediction is the model's, image by image, in whole batches of one shape."""

import keras
import numpy as np
import pytest

from edgecifar.training import prediction
from edgecifar.training.prediction import predict, predicted_blocks


@pytest.fixture(scope="module")
def doubling():
    """Gives each image's number, and twice that."""
    first = keras.Input((1,))
    return keras.Model(first, keras.layers.concatenate([first, first + first]))


@pytest.fixture
def shapes(monkeypatch, doubling):
    """The shapes of the batches that the model is given."""
    found = []
    predict_on_batch = doubling.predict_on_batch
    monkeypatch.setattr(
        doubling, "predict_on_batch", lambda x: (found.append(x.shape), predict_on_batch(x))[1]
    )
    return found


def numbered(count):
    return np.arange(count, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, [1]), (255, [255]), (256, [256]), (257, [256, 257]), (600, [256, 512, 600])],
)
def test_each_image_has_its_own_output_and_progress_counts_images(doubling, shapes, count, told):
    updates = []
    outputs = predict(doubling, numbered(count), updates.append)
    expected = np.concatenate([numbered(count), 2 * numbered(count)], axis=1)
    np.testing.assert_array_equal(outputs, expected)
    assert updates == told
    assert shapes == [(prediction.BATCH, 1)] * len(told)


def test_blocks_come_one_at_a_time(doubling):
    updates = []
    blocks = predicted_blocks(doubling, numbered(600), updates.append)
    assert [len(next(blocks)), *updates] == [256]
    assert [len(block) for block in blocks] == [256, 88]
    assert updates == [256, 512, 600]


def test_inference_is_not_training():
    first = keras.Input((1,))
    model = keras.Model(first, keras.layers.Dropout(0.9)(first))
    outputs = predict(model, np.ones((300, 1), np.float32), lambda done: None)
    np.testing.assert_array_equal(outputs, np.ones((300, 1)))


def test_images_of_a_memory_map_and_outputs_of_any_shape(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((270, 3, 2, 1), np.float32))
    images = np.load(tmp_path / "x.npy", mmap_mode="r")
    first = keras.Input((3, 2, 1))
    outputs = predict(keras.Model(first, first + 1.0), images, lambda done: None)
    np.testing.assert_array_equal(outputs, images + 1)
