"""The gate: what keeps a file from being published, to the last image."""

import numpy as np
import pytest
import tiny_models

from edgecifar.data import cifar10, shipped
from edgecifar.export.verification import Verification, kl_divergences, verify


def verification(precision, *, top1=0.9, agreement=1.0, difference=0.0, defects=()):
    labelled = (None, None) if top1 is None else (top1, 0.9)
    return Verification(
        "model.tflite", precision, 10_000, *labelled, agreement, difference, 0.0, defects=defects
    )


@pytest.mark.parametrize(
    ("agreement", "reason"),
    [(1.0, None), (0.999, None), (0.9989, "agreement 99.89% is below 99.9%")],
)
def test_a_float_file_must_agree(agreement, reason):
    assert verification("float32", agreement=agreement, top1=0.0).failure == reason


@pytest.mark.parametrize(
    ("difference", "reason"),
    [(1e-4, None), (1.1e-4, "a probability differs by 0.00011, more than 0.0001")],
)
def test_a_float_file_must_give_the_same_probabilities(difference, reason):
    assert verification("float32", difference=difference).failure == reason
    assert verification("int8", difference=difference).failure is None


def test_a_float16_file_must_nearly_agree():
    failure = verification("float16", agreement=0.9899).failure
    assert failure == "agreement 98.99% is below 99.0%"
    assert verification("float16", agreement=0.99).failure is None


@pytest.mark.parametrize("precision", ["int8", "int16x8", "dynamic"])
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
def test_another_file_must_not_lose_more_than_a_point(precision, top1, reason):
    assert verification(precision, top1=top1, agreement=0.5).failure == reason


@pytest.mark.parametrize(
    ("agreement", "reason"), [(0.9, None), (0.8999, "agreement 89.99% is below 90.0%")]
)
def test_without_labels_agreement_stands_for_accuracy(agreement, reason):
    assert verification("int8", top1=None, agreement=agreement).failure == reason


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("difference", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_never_published(precision, difference):
    # argmax calls the first NaN the largest, so that two broken models agree on every image.
    assert "not numbers" in verification(precision, difference=difference).failure


def test_a_defect_of_the_file_itself_is_never_published():
    failure = verification("int8", defects=("a float tensor", "a custom operator")).failure
    assert failure == "a float tensor; a custom operator"


def test_divergence_is_that_of_the_definition():
    expected, found = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.5, 0.5], [0.6, 0.4]])
    divergence = 0.9 * np.log(0.9 / 0.6) + 0.1 * np.log(0.1 / 0.4)
    np.testing.assert_allclose(kl_divergences(expected, found), [0, divergence])
    # An int8 file says 0 for what is less than half a step: that is no infinite divergence.
    assert np.isfinite(kl_divergences(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))).all()


def test_a_file_is_compared_on_every_image(tmp_path):
    test = shipped.test_set()
    images, labels = test.images(slice(0, 600)), test.labels[:600]
    expected = tiny_models.probabilities(images)
    right = expected.argmax(axis=1) == labels
    expected[:60] = np.roll(expected[:60], 1, axis=1)  # 60 answers that the file will not give
    told = []
    path = tiny_models.write_tflite(tmp_path / "model.tflite")
    found = verify(path, "float32", images, labels, expected, told.append, cifar10.CLASSES)
    assert found.file == "model.tflite"
    assert found.images == 600
    assert found.agreement == pytest.approx(0.9)
    assert found.top1 == pytest.approx(right.mean(), abs=1e-9)
    assert found.checkpoint_top1 == pytest.approx(np.mean(expected.argmax(axis=1) == labels))
    differences = np.abs(tiny_models.probabilities(images) - expected)
    assert found.largest_difference == pytest.approx(differences.max(), abs=1e-5)
    divergences = kl_divergences(expected, tiny_models.probabilities(images))
    assert found.kl_divergence == pytest.approx(divergences.mean(), rel=1e-3)
    assert told == [250, 500, 600]
    assert found.failure == "agreement 90.00% is below 99.9%"

    assert [worst.image for worst in found.worst] == np.argsort(-divergences)[:10].tolist()
    worst = found.worst[0]
    assert worst.kl_divergence == pytest.approx(divergences.max(), rel=1e-3)
    assert worst.checkpoint_chosen == expected[worst.image].argmax()
    assert worst.label == labels[worst.image]
    assert worst.chosen != worst.checkpoint_chosen

    (frogs,) = [row for row in found.per_class if row.label == "frog"]
    frog = cifar10.CLASSES.index("frog")
    assert frogs.top1 == pytest.approx(right[labels == frog].mean(), abs=1e-9)
    assert len(found.per_class) == 10


def test_without_labels_there_is_no_accuracy(tmp_path):
    images = shipped.test_set().images(slice(0, 20))
    path = tiny_models.write_tflite(tmp_path / "model.tflite")
    found = verify(path, "float32", images, None, tiny_models.probabilities(images))
    assert found.top1 is found.checkpoint_top1 is found.worst[0].label is None
    assert found.per_class == ()
    assert found.agreement == 1
