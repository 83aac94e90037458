"""The accuracy of a row, beside its figures worked out by hand."""

import json

import numpy as np
import pytest

from edgecifar.data.cifar10 import CLASSES
from edgecifar.metrics.accuracy import accuracy
from edgecifar.metrics.classification import assess
from edgecifar.metrics.share_intervals import wilson_interval


def test_the_accuracy_of_three_answers():
    probabilities = np.zeros((3, 10), np.float32)
    probabilities[0, 3] = 1.0
    probabilities[1, [4, 3]] = 0.75, 0.25
    probabilities[2] = 0.1  # all equal: the first class is the answer, and the sixth is sixth
    found = accuracy(probabilities, np.array([3, 3, 5], np.uint8))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["images"], found["top1"], found["top5"]) == (3, 1 / 3, 2 / 3)
    assert found["top1_interval"] == list(wilson_interval(1, 3))
    assert found["top5_interval"] == list(wilson_interval(2, 3))
    assert found["ece"] == pytest.approx((0 + 0.75 + 0.1) / 3)
    assert found["per_class"][3] == {
        "label": "cat",
        "images": 2,
        "top1": 0.5,
        "top1_interval": list(wilson_interval(1, 2)),
    }
    assert [row["label"] for row in found["per_class"]] == list(CLASSES)
    assert [(i, j) for i, j in np.argwhere(found["confusion"]).tolist()] == [(3, 3), (3, 4), (5, 0)]


def test_any_number_of_classes_has_an_accuracy():
    found = accuracy(np.eye(3, dtype=np.float32), np.array([0, 1, 1]), ("dog", "fox", "owl"))
    assert (found["top1"], found["top5"]) == (2 / 3, 1)
    assert [row["images"] for row in found["per_class"]] == [1, 2, 0]
    assert found["confusion"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_a_row_and_a_training_run_agree_on_the_same_answers():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(10), 500).astype(np.float32).round(2)
    labels = rng.integers(0, 10, 500).astype(np.uint8)
    found, assessed = accuracy(probabilities, labels), assess(probabilities, labels)
    for name in ("images", "top1", "top1_interval", "top5", "confusion"):
        assert found[name] == assessed[name]
    assert found["ece"] == assessed["expected_calibration_error"]
