"""The gate: what keeps a file from being published, to the last image."""

import dataclasses

import foreign_models
import keras
import numpy as np
import pytest
import tiny_models

from edgecifar import runtimes
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.export import tflite
from edgecifar.export import verification as verification_module
from edgecifar.export.batching import with_batch
from edgecifar.export.verification import (
    Rounding,
    Verification,
    batch_defects,
    kernels_of,
    probabilities_of,
    verify,
)
from edgecifar.metrics.divergence import Divergence, divergence, kl_divergences
from edgecifar.models import contract


def verification(
    precision,
    *,
    top1=0.9,
    agreement=1.0,
    difference=0.0,
    apart=0.1,
    defects=(),
    counterpart=None,
):
    labelled = (None, None) if top1 is None else (top1, 0.9)
    return Verification(
        "model.tflite",
        precision,
        10_000,
        *labelled,
        agreement,
        difference,
        apart,
        defects=defects,
        counterpart=counterpart,
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
    assert verification(precision, top1=top1, agreement=0.8).failure == reason


@pytest.mark.parametrize("precision", ["int8", "int16x8", "dynamic"])
def test_accuracy_that_stays_by_luck_is_not_enough(precision):
    failure = verification(precision, agreement=0.7999).failure
    assert failure == "agreement 79.99% is below 80.0%"


@pytest.mark.parametrize("top1", [0.9, None])
def test_classes_may_change_where_the_probabilities_hardly_do(top1):
    assert verification("int8", top1=top1, agreement=0.5, apart=0.02).failure is None
    failure = verification("int8", top1=top1, agreement=0.5, apart=0.021).failure
    assert failure.startswith("agreement 50.00% is below ")
    assert verification("int8", top1=top1, agreement=0.5, apart=float("nan")).failure == failure
    assert "agreement" in verification("float32", top1=top1, agreement=0.5, apart=0.0).failure


@pytest.mark.parametrize(
    ("counterpart", "reason"),
    [
        (Divergence(0.5, 0.5, 0.03), None),
        (Divergence(1.0, 0.0, 0.031), "it is 0.031 nats from the TFLite file, more than 0.03"),
    ],
)
@pytest.mark.parametrize("top1", [0.9, None])
def test_the_files_of_one_precision_must_be_near_each_other(counterpart, reason, top1):
    assert verification("int8", top1=top1, counterpart=counterpart).failure == reason


@pytest.mark.parametrize(
    ("agreement", "divergence", "harmless"),
    [(0.99, 5e-4, True), (0.989, 0.0, False), (1.0, 6e-4, False), (1.0, float("nan"), False)],
)
def test_a_checkpoint_is_rounded_only_where_that_is_harmless(agreement, divergence, harmless):
    assert Rounding("", 1000, 0.9, 0.9, agreement, 0.0, divergence).harmless is harmless


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


def test_a_file_that_fails_where_kernels_overflow_is_not_to_blame():
    exact = Divergence(0.93, 0.4, 0.02)
    failed = dataclasses.replace(verification("int8", top1=0.88), kernels=exact)
    assert failed.failure.startswith(
        "top-1 is 2.00 points lower, more than 1; the cause is this processor"
    )
    assert "agree on 93.0% of the images" in failed.failure
    assert "session.x64quantprecision=1" in failed.failure
    # Kernels that give what the exact ones give: then it is the file.
    same = dataclasses.replace(failed, kernels=Divergence(1.0, 0.0, 0.0))
    assert same.failure == "top-1 is 2.00 points lower, more than 1"
    right = dataclasses.replace(verification("int8"), kernels=exact)
    assert right.failure is None


def test_a_file_runs_on_the_threads_that_may_be_used(monkeypatch):
    asked = []

    def opened(file, options):
        asked.append(options.threads)
        raise UserError("enough")

    monkeypatch.setattr(verification_module, "usable_cores", lambda: 7)
    monkeypatch.setattr(runtimes, "open_classifier", opened)
    with pytest.raises(UserError, match="enough"):
        probabilities_of("model.tflite", None)
    assert asked == [7]


def test_kernels_are_compared_on_the_first_images(tmp_path):
    pytest.importorskip("onnx")
    import tiny_graphs

    images = shipped.test_set().images(slice(20))
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_graphs.onnx("int8"))
    found = kernels_of(path, images, probabilities_of(path, images))
    assert found.agreement == 1.0
    assert found.kl_divergence < 1e-9
    other = kernels_of(path, images, probabilities_of(path, images[::-1].copy()))
    assert other.largest_difference > 0.01


def test_a_file_is_compared_on_every_image(tmp_path):
    test = shipped.test_set()
    images, labels = test.images(slice(0, 600)), test.labels[:600]
    expected = tiny_models.probabilities(images)
    right = expected.argmax(axis=1) == labels
    expected[:60] = np.roll(expected[:60], 1, axis=1)  # 60 answers that the file will not give
    told = []
    path = tiny_models.write_tflite(tmp_path / "model.tflite")
    answers = probabilities_of(path, images, told.append)
    found = verify("model.tflite", "float32", answers, expected, labels, cifar10.CLASSES)
    assert found.counterpart is None
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
    (differ,) = np.nonzero(answers.argmax(axis=1) != expected.argmax(axis=1))
    assert len(differ) == 60
    by_divergence = differ[np.argsort(-divergences[differ], kind="stable")]
    assert [one.image for one in found.changed] == by_divergence[:36].tolist()
    assert all(one.chosen != one.checkpoint_chosen for one in found.changed)

    (frogs,) = [row for row in found.per_class if row.label == "frog"]
    frog = cifar10.CLASSES.index("frog")
    assert frogs.top1 == pytest.approx(right[labels == frog].mean(), abs=1e-9)
    assert len(found.per_class) == 10


def test_without_labels_there_is_no_accuracy(tmp_path):
    images = shipped.test_set().images(slice(0, 20))
    answers = probabilities_of(tiny_models.write_tflite(tmp_path / "model.tflite"), images)
    found = verify("model.tflite", "float32", answers, tiny_models.probabilities(images))
    assert found.top1 is found.checkpoint_top1 is found.worst[0].label is None
    assert found.per_class == ()
    assert found.agreement == 1


def test_an_onnx_file_is_compared_with_the_tflite_file_too():
    expected = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    of_tflite = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    of_onnx = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    found = verify("model.onnx", "int8", of_onnx, expected, counterpart=of_tflite)
    assert found.counterpart == divergence(of_tflite, of_onnx)
    assert found.counterpart.agreement == 0.5
    assert found.counterpart.largest_difference == pytest.approx(0.3)
    assert found.counterpart.kl_divergence == pytest.approx(
        kl_divergences(of_tflite, of_onnx).mean()
    )
    assert found.agreement == 0.5


def _network(of_batch=None):
    image, x = contract.image_input(32)
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if of_batch:
        x = of_batch(x)
    return foreign_models.shaken(keras.Model(image, contract.probabilities(x)))


@pytest.fixture(scope="module")
def network():
    return tflite.float_tflite(_network())


@pytest.fixture(scope="module")
def batch_mixing():
    """A network that turns its batch round: right for one image only."""
    return tflite.float_tflite(_network(lambda x: keras.ops.flip(x, axis=0)))


def defects(file, batch, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(with_batch(file, batch))
    images = shipped.test_set().images(slice(40))
    return batch_defects(path, batch, images, probabilities_of(path, images))


@pytest.mark.parametrize("batch", [3, "dynamic"])
def test_an_image_gets_the_same_answer_in_any_batch(network, batch, tmp_path):
    assert defects(network, batch, tmp_path) == []


@pytest.mark.parametrize(
    ("batch", "place"), [(3, "at another place in its batch"), ("dynamic", "in a batch of 8")]
)
def test_an_answer_that_depends_on_the_other_images(batch_mixing, batch, place, tmp_path):
    (line,) = defects(batch_mixing, batch, tmp_path)
    assert line.startswith(f"{place} an image gets probabilities that differ by ")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_onnx_file_of_any_batch_is_run_alone_and_together(network, precision, tmp_path):
    onnx = pytest.importorskip("onnx")
    import tiny_graphs

    images = shipped.test_set().images(slice(10))
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_graphs.onnx(precision, batch="batch"))
    answers = probabilities_of(path, images)
    assert batch_defects(path, "dynamic", images, answers) == []
    model = onnx.load(path)
    average = next(one for one in model.graph.node if one.op_type == "Flatten")
    of_batch = onnx.helper.make_node("ReduceMean", [average.output[0]], ["of_batch"], axes=[0])
    mixed = onnx.helper.make_node("Sub", [average.output[0], "of_batch"], ["mixed"])
    for node in model.graph.node:
        node.input[:] = ["mixed" if name == average.output[0] else name for name in node.input]
    at = list(model.graph.node).index(average) + 1
    model.graph.node.insert(at, mixed)
    model.graph.node.insert(at, of_batch)
    onnx.save(model, path)
    answers = probabilities_of(path, images)
    lines = batch_defects(path, "dynamic", images, answers)
    assert [line.partition(" an image")[0] for line in lines] == ["alone", "in a batch of 8"]
