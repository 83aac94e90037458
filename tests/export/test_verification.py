"""The gate: what keeps a file from being published, to the last image."""

import numpy as np
import pytest
import tiny_models

from edgecifar.data import shipped
from edgecifar.export.verification import Verification, verify


def verification(precision, *, top1=0.9, agreement=1.0):
    return Verification("model.tflite", precision, 10_000, top1, 0.9, agreement, 0.0)


@pytest.mark.parametrize(
    ("agreement", "reason"),
    [(1.0, None), (0.999, None), (0.9989, "agreement 99.89% is below 99.9%")],
)
def test_a_float_file_must_agree(agreement, reason):
    assert verification("float32", agreement=agreement, top1=0.0).failure == reason


@pytest.mark.parametrize(
    ("top1", "reason"),
    [
        (0.95, None),
        (0.9, None),
        (0.89, None),
        (0.8899, "top-1 is 1.01 points lower, more than 1"),
        (0.1, "top-1 is 80.00 points lower, more than 1"),
    ],
)
def test_an_int8_file_must_not_lose_more_than_a_point(top1, reason):
    assert verification("int8", top1=top1, agreement=0.5).failure == reason


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("difference", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_never_published(precision, difference):
    # argmax calls the first NaN the largest, so that two broken models agree on every image.
    broken = Verification("model.tflite", precision, 10, 0.1, 0.1, 1.0, difference)
    assert "not numbers" in broken.failure


def test_a_file_is_compared_on_every_image(tmp_path):
    test = shipped.test_set()
    images, labels = test.images(slice(0, 600)), test.labels[:600]
    expected = tiny_models.probabilities(images)
    right = expected.argmax(axis=1) == labels
    expected[:60] = np.roll(expected[:60], 1, axis=1)  # 60 answers that the file will not give
    told = []
    path = tiny_models.write_tflite(tmp_path / "model.tflite")
    found = verify(path, "float32", images, labels, expected, told.append)
    assert found.file == "model.tflite"
    assert found.images == 600
    assert found.agreement == pytest.approx(0.9)
    assert found.top1 == pytest.approx(right.mean(), abs=1e-9)
    assert found.checkpoint_top1 == pytest.approx(np.mean(expected.argmax(axis=1) == labels))
    differences = np.abs(tiny_models.probabilities(images) - expected)
    assert found.largest_difference == pytest.approx(differences.max(), abs=1e-5)
    assert told == [250, 500, 600]
    assert found.failure == "agreement 90.00% is below 99.9%"
