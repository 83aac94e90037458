"""Checkpoints of plain Keras: the exported file answers as the network does."""

import dataclasses
import json
from collections import Counter

import foreign_models
import keras
import legacy_models
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgecifar import runtimes
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.export import tflite
from edgecifar.export.checkpoint import Checkpoint, open_checkpoint
from edgecifar.export.compact_copy import write_compact
from edgecifar.export.exporter import export
from edgecifar.export.settings import ExportSettings
from edgecifar.graphs import facts
from edgecifar.graphs.tflite import Graph
from edgecifar.runtimes import normalization as normalizations

IMAGES = 40


@dataclasses.dataclass
class Foreign:
    """A foreign network, its opened checkpoint and its float file."""

    network: keras.Model
    checkpoint: Checkpoint
    file: bytes


def opened(network, folder, normalization="auto"):
    path = folder / "foreign.keras"
    network.save(path)
    checkpoint = open_checkpoint(path, normalization)
    return Foreign(network, checkpoint, tflite.float_tflite(checkpoint.model))


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    return opened(foreign_models.sequential(), tmp_path_factory.mktemp("sequential"), "unit")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return opened(foreign_models.resnet(), tmp_path_factory.mktemp("resnet"), "imagenet")


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory):
    return opened(foreign_models.efficientnet(), tmp_path_factory.mktemp("efficientnet"))


@pytest.fixture(scope="module")
def hundred_classes(tmp_path_factory):
    return opened(foreign_models.hundred_classes(), tmp_path_factory.mktemp("many"), "symmetric")


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory):
    return opened(foreign_models.of_bytes(), tmp_path_factory.mktemp("bytes"))


def images():
    return shipped.test_set().images(slice(IMAGES))


def resized(pixels, size):
    """Bilinear between pixel centers, as every framework but old TensorFlow does it; float64."""
    at = np.clip((np.arange(size) + 0.5) * 32 / size - 0.5, 0, 31)
    low = np.floor(at).astype(int)
    share = at - low
    high = np.minimum(low + 1, 31)

    def along(axis, values):
        shape = [1] * 4
        shape[axis] = size
        part = share.reshape(shape)
        return values.take(low, axis) * (1 - part) + values.take(high, axis) * part

    return along(2, along(1, pixels.astype(np.float64)))


def answers(file, pixels):
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["dtype"] == np.uint8
    assert image["shape"].tolist() == [1, 32, 32, 3]
    assert (image["name"], output["name"]) == ("image", "probabilities")
    rows = []
    for pixel in pixels:
        interpreter.set_tensor(image["index"], pixel[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output["index"])[0].copy())
    return np.stack(rows)


def assert_answers_as(foreign, prepared, after=lambda outputs: outputs):
    """The file and the opened checkpoint give what the network gives for images prepared here."""
    expected = after(foreign.network.predict_on_batch(prepared))
    assert np.std(expected, axis=0).max() > 0.01  # it tells images apart
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answers(foreign.file, images()), expected, rtol=0, atol=1e-4)
    model = foreign.checkpoint.model
    np.testing.assert_allclose(model.predict_on_batch(images()), expected, rtol=0, atol=1e-4)
    assert (model.inputs[0].dtype, model.inputs[0].shape) == ("uint8", (None, 32, 32, 3))


def operators(foreign):
    return [operator.name for operator in Graph(foreign.file).operators]


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_a_sequential_network_with_its_scaling_outside(sequential):
    assert_answers_as(sequential, images() / 255)
    assert sequential.checkpoint.normalization == "unit"
    assert sequential.checkpoint.training is None


def test_augmentation_and_dropout_leave_no_operator(sequential):
    # Scaling without an offset goes into the first convolution. The batch norm behind that one's
    # ReLU cannot be folded into it, the one right behind the second convolution is.
    first, second = ["CONV_2D", "MUL", "ADD", "MAX_POOL_2D"], ["CONV_2D", "MAX_POOL_2D"]
    end = ["RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert operators(sequential) == ["CAST", *first, *second, *end]


def test_a_functional_network_with_logits_gets_a_softmax(resnet):
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert_answers_as(resnet, (images() / 255 - mean) / deviation, softmax)
    assert operators(resnet)[-1] == "SOFTMAX"


def test_a_nested_backbone_that_normalizes_inside_at_another_size(efficientnet):
    assert_answers_as(efficientnet, resized(images(), 64))
    assert efficientnet.checkpoint.normalization == "raw"
    counts = Counter(operators(efficientnet))
    assert not counts.keys() & {"PAD", "RESHAPE", "TRANSPOSE", "BATCH_MATMUL", "CUSTOM"}
    assert operators(efficientnet)[:2] == ["CAST", "RESIZE_BILINEAR"]


def test_a_hundred_classes_at_another_size(hundred_classes):
    assert_answers_as(hundred_classes, resized(images(), 64) / 127.5 - 1)
    assert hundred_classes.checkpoint.classes == 100
    assert hundred_classes.checkpoint.labels is None
    assert not hundred_classes.checkpoint.knows_cifar10


def test_a_network_that_takes_bytes(of_bytes):
    assert_answers_as(of_bytes, images())
    assert operators(of_bytes)[:2] == ["CAST", "CONV_2D"]


def test_a_network_that_takes_bytes_of_another_size_sees_whole_resized_pixels(tmp_path):
    of_bytes = opened(foreign_models.of_bytes(48), tmp_path)
    prepared = np.round(resized(images(), 48)).astype(np.uint8)
    expected = of_bytes.network.predict_on_batch(prepared)
    # Half a gray level is what rounding them first makes out.
    np.testing.assert_allclose(answers(of_bytes.file, images()), expected, rtol=0, atol=2e-3)


def test_pixels_are_refused_a_second_scaling(of_bytes):
    with pytest.raises(Exception, match="takes uint8 pixels and scales them inside") as error:
        open_checkpoint(of_bytes.checkpoint.path, "unit")
    assert type(error.value).__name__ == "UserError"
    assert open_checkpoint(of_bytes.checkpoint.path, "none").normalization == "raw"


def test_a_compact_copy_opens_the_same(resnet, tmp_path):
    write_compact(resnet.checkpoint.path, tmp_path / "compact.keras")
    compact = open_checkpoint(tmp_path / "compact.keras", "imagenet")
    np.testing.assert_allclose(
        compact.model.predict_on_batch(images()),
        resnet.checkpoint.model.predict_on_batch(images()),
        rtol=0,
        atol=0.01,
    )


def test_a_network_trained_in_half_precision_answers_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = foreign_models.resnet()
    finally:
        keras.config.set_dtype_policy("float32")
    whole = foreign_models.resnet()
    whole.set_weights(network.get_weights())
    half = opened(network, tmp_path, "unit")
    assert {tensor.dtype for tensor in Graph(half.file).tensors} <= {"uint8", "int32", "float32"}
    half.network = whole
    assert_answers_as(half, images() / 255, softmax)


def test_a_network_that_knows_cifar10_gets_its_labels_and_another_does_not(resnet, tmp_path):
    assert resnet.checkpoint.classes == 10
    assert resnet.checkpoint.labels is None
    network = _knowing_cifar10()
    network.save(tmp_path / "knowing.keras")
    assert open_checkpoint(tmp_path / "knowing.keras", "unit").labels == cifar10.CLASSES
    assert open_checkpoint(tmp_path / "knowing.keras", "unit").knows_cifar10


def _knowing_cifar10(name="unit"):
    """Logistic regression on the training images that ship, some steps long."""
    keras.utils.set_random_seed(0)
    train = shipped.calibration_set()
    network = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    normalization = normalizations.parse(name)
    pixels = (train.images() / 255 - normalization.mean) / normalization.deviation
    network.fit(pixels, train.labels, batch_size=100, epochs=10, verbose=0)
    return network


@pytest.mark.parametrize("name", ["cifar10", "0.5,0.25"])
def test_every_normalization_of_the_bench_may_be_named(tmp_path, name):
    network = foreign_models.resnet()
    normalization = normalizations.parse(name)
    prepared = (images() / 255 - normalization.mean) / normalization.deviation
    resnet = opened(network, tmp_path, name)
    assert_answers_as(resnet, prepared, softmax)
    assert resnet.checkpoint.normalization == name
    assert resnet.checkpoint.normalization_tried is None


@pytest.mark.parametrize("name", ["unit", "cifar10"])
def test_the_normalization_that_a_network_was_trained_with_is_found_out(
    tmp_path, few_test_images, name
):
    keras.utils.set_random_seed(0)
    train, normalization = shipped.calibration_set(), normalizations.parse(name)
    network = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    pixels = (train.images() / 255 - normalization.mean) / normalization.deviation
    network.fit(pixels, train.labels, batch_size=50, epochs=15, verbose=0)
    network.save(tmp_path / "theirs.keras")

    made = export(tmp_path / "theirs.keras", tmp_path / "out", ExportSettings(formats=("tflite",)))
    assert made.published, [row.failure for row in made.verifications]
    assert made.normalization == name
    tried = {row["normalization"] for row in made.normalization_tried}
    assert {one for one in tried if not one.endswith("-bgr")} == set(normalizations.NAMED)
    assert f"{name}-bgr" in tried
    best = made.found_normalization
    assert best["top1"] == max(row["top1"] for row in made.normalization_tried) > 0.3
    assert made.verifications[0].top1 is not None  # it knows CIFAR-10's classes
    prepared = (images() / 255 - normalization.mean) / normalization.deviation
    found = answers((tmp_path / "out/model.float.tflite").read_bytes(), images())
    np.testing.assert_allclose(found, network.predict_on_batch(prepared), rtol=0, atol=0.02)
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["normalization"] == name
    assert card["normalization_tried"] == made.normalization_tried
    words = f"classifies {best['top1']:.1%} of {best['images']} training images correctly"
    assert words in (tmp_path / "out/card.md").read_text()


def test_the_winner_of_the_trial_is_taken_though_its_lead_is_small_as_the_bench_takes_it(tmp_path):
    _knowing_cifar10().save(tmp_path / "linear.keras")  # the scale hardly changes its choices
    opened = open_checkpoint(tmp_path / "linear.keras")
    train = shipped.calibration_set()
    sample = train.images(), train.labels
    benched = runtimes.open_classifier(tmp_path / "linear.keras", sample=sample)
    assert opened.normalization == benched.normalization
    assert opened.normalization_tried
    assert opened.labels == cifar10.CLASSES
    assert opened.doubt is None


def test_a_given_normalization_that_is_clearly_wrong_is_doubted(tmp_path):
    _knowing_cifar10("0.9,0.1").save(tmp_path / "theirs.keras")
    opened = open_checkpoint(tmp_path / "theirs.keras", "0.9,0.1")
    assert (opened.normalization, opened.doubt) == ("0.9,0.1", None)
    _scaling_inside().save(tmp_path / "inside.keras")
    opened = open_checkpoint(tmp_path / "inside.keras", "unit")
    assert opened.normalization == "unit"
    assert opened.labels == cifar10.CLASSES  # so that the export shows how wrong it is
    assert "with the normalization unit, and on" in opened.doubt
    assert opened.doubt.endswith("with raw: use that one")


def _scaling_inside():
    """A network that puts pixels of 0 to 255 into its hidden units' range."""
    inner = _knowing_cifar10()
    image = keras.Input((32, 32, 3))
    centred = keras.layers.Rescaling(1 / 255)(image)
    sharp = keras.layers.Rescaling(4.0)(inner(centred))
    return keras.Model(image, keras.layers.Softmax()(sharp))


def test_swapped_channels_are_swapped_inside_the_file(tmp_path):
    network = foreign_models.sequential()
    swapped = opened(network, tmp_path, "unit-bgr")
    assert_answers_as(swapped, images()[..., ::-1] / 255)
    assert swapped.checkpoint.normalization == "unit-bgr"


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_a_smaller_frame_is_reduced_or_cropped(tmp_path, resize):
    network = foreign_models.sequential(24)
    network.save(tmp_path / "small.keras")
    checkpoint = open_checkpoint(tmp_path / "small.keras", "unit", resize=resize)
    small = Foreign(network, checkpoint, tflite.float_tflite(checkpoint.model))
    seen = images()[:, 4:28, 4:28] if resize == "crop" else resized(images(), 24)
    assert_answers_as(small, seen / 255)


def test_of_other_classes_no_normalization_is_found_out(tmp_path):
    _knowing_cifar10("cifar10").save(tmp_path / "ten.keras")
    # Which one wins is left open: those with nearly the same mean are within a few images.
    tried = open_checkpoint(tmp_path / "ten.keras").normalization_tried
    assert tried
    assert max(row["top1"] for row in tried) > 0.3
    others = open_checkpoint(tmp_path / "ten.keras", labels=[f"class {n}" for n in range(10)])
    assert (others.normalization, others.normalization_tried) == ("raw", None)


def test_labels_may_be_given(hundred_classes):
    path = hundred_classes.checkpoint.path
    names = [f"class {number}" for number in range(100)]
    labelled = open_checkpoint(path, "symmetric", names)
    assert labelled.labels == tuple(names)
    assert not labelled.knows_cifar10
    with pytest.raises(Exception, match=f"10 labels for the 100 classes of {path}"):
        open_checkpoint(path, labels=cifar10.CLASSES)


def test_the_same_checkpoint_gives_the_same_bytes(hundred_classes):
    again = open_checkpoint(hundred_classes.checkpoint.path, "symmetric")
    assert tflite.float_tflite(again.model) == hundred_classes.file
    assert str(hundred_classes.checkpoint.path).encode() not in hundred_classes.file


@pytest.mark.parametrize("name", ["sequential", "resnet", "hundred_classes", "of_bytes"])
def test_it_is_exported_verified_and_benched(name, request, tmp_path, few_test_images):
    foreign = request.getfixturevalue(name)
    # Random weights leave many answers nearly undecided, which int8 may turn round.
    labels = tuple(f"class {number}" for number in range(foreign.checkpoint.classes))
    settings = ExportSettings(
        ("float32", "dynamic"), normalization=foreign.checkpoint.normalization, labels=labels
    )
    made = export(foreign.checkpoint.path, tmp_path, settings)
    assert made.published, [row.failure for row in made.verifications]
    assert all(row.top1 is None for row in made.verifications)
    quick = BenchSettings(samples=10, max_seconds=0.1)
    (row,) = bench([tmp_path / "model.dynamic.tflite"], ["litert"], quick)["rows"]
    assert row["error"] is None
    assert row["latency_ms"]["p50"] > 0
    card = (tmp_path / "card.md").read_text()
    assert f"{foreign.checkpoint.classes} classes" in card
    assert facts.of(tmp_path / "model.float.onnx").metadata["edgecifar"]["labels"] == list(labels)


@pytest.mark.parametrize(
    ("network", "normalization", "scaling"),
    [
        (foreign_models.sequential, "unit", (1 / 255,)),
        (foreign_models.resnet, "symmetric", (1 / 127.5, -1.0)),
        (foreign_models.hundred_classes, "symmetric", (1 / 127.5, -1.0)),
    ],
)
def test_a_trained_one_is_exported_to_int8(
    network, normalization, scaling, tmp_path, few_test_images
):
    model = foreign_models.trained(network(), *scaling)
    model.save(tmp_path / "trained.keras")
    labels = tuple(f"class {number}" for number in range(model.output_shape[-1]))
    settings = ExportSettings(
        ("int8",), calibration="minmax", normalization=normalization, labels=labels
    )
    made = export(tmp_path / "trained.keras", tmp_path / "out", settings)
    assert made.published, [row.failure for row in made.verifications]
    assert [row.file for row in made.verifications] == ["model.tflite", "model.onnx"]
    for row in made.verifications:
        assert facts.of(tmp_path / "out" / row.file).integer_share == 1.0


def test_a_layer_without_an_int8_form_is_refused_by_name_and_may_be_kept_float(
    tmp_path, few_test_images
):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv")(image)
    x = keras.layers.Activation("softplus", name="bend")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax", name="end")(x))
    path = tmp_path / "model.keras"
    foreign_models.trained(foreign_models.shaken(model), 1 / 127.5, -1.0).save(path)
    settings = ExportSettings(("int8",), calibration="minmax", normalization="symmetric")
    with pytest.raises(UserError, match=r"bend cannot be int8: .* `keep_float=bend`") as refused:
        export(path, tmp_path / "out", settings)
    assert "\n" not in str(refused.value)
    settings = dataclasses.replace(
        settings, keep_float=("bend",), labels=tuple(f"class {number}" for number in range(10))
    )
    made = export(path, tmp_path / "out", settings)
    assert made.published, [row.failure for row in made.verifications]


def test_a_model_of_keras_2_is_exported_and_published_for_keras_3(tmp_path, few_test_images):
    model = legacy_models.sequential()
    path = legacy_models.saved(model, tmp_path, "h5")
    settings = ExportSettings(formats=("tflite",), normalization="unit")
    made = export(path, tmp_path / "out", settings)
    assert made.published, [row.failure for row in made.verifications]
    expected = model.predict(images() / 255, verbose=0)
    found = answers((tmp_path / "out/model.float.tflite").read_bytes(), images())
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)
    published = keras.saving.load_model(tmp_path / "out/model.keras")
    np.testing.assert_allclose(published.predict(images() / 255, verbose=0), expected, atol=0.01)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "card.json", "card.md", "export.log", "model.float.tflite", "model.keras",
    ]  # fmt: skip
