"""Files of others: every kind of input and output, and the normalization found out."""

import importlib.util
from pathlib import Path

import foreign_files
import numpy as np
import pytest
import tflite_writer

from edgecifar import runtimes
from edgecifar.data import shipped
from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
from edgecifar.runtimes import Options, environments, normalization, normalization_trial

needs_onnx = pytest.mark.skipif(
    not (
        environments.installed(runtimes.named("onnxruntime")) and importlib.util.find_spec("onnx")
    ),
    reason="onnxruntime and onnx are not installed",
)

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CIFAR10 = (
    np.array([0.49139968, 0.48215841, 0.44653091]),
    np.array([0.24703223, 0.24348513, 0.26158784]),
)
PYTORCH_CIFAR = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
# What the names mean, written out again.
REAL = {
    "raw": lambda pixels: pixels * 1.0,
    "unit": lambda pixels: pixels / 255,
    "symmetric": lambda pixels: pixels / 127.5 - 1,
    "centered": lambda pixels: pixels / 255 - 0.5,
    "imagenet": lambda pixels: (pixels / 255 - IMAGENET[0]) / IMAGENET[1],
    "cifar10": lambda pixels: (pixels / 255 - CIFAR10[0]) / CIFAR10[1],
    "pytorch-cifar": lambda pixels: (pixels / 255 - PYTORCH_CIFAR[0]) / PYTORCH_CIFAR[1],
    "0.4,0.3": lambda pixels: (pixels / 255 - 0.4) / 0.3,
    "0.1,0.2,0.3,0.4,0.5,0.6": lambda pixels: (pixels / 255 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6],
}


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, between the two nearest pixels of either axis; float64."""
    found = images.astype(np.float64)
    at = (np.arange(size) + 0.5) * 32 / size - 0.5
    low = np.floor(at).astype(int)
    for axis in 1, 2:
        left, right = (found.take(np.clip(low + i, 0, 31), axis) for i in (0, 1))
        weight = np.expand_dims(at - low, [i for i in range(4) if i != axis])
        found = left * (1 - weight) + right * weight
    return found


def taken(values: np.ndarray, dtype: str, scale: float, zero_point: int) -> np.ndarray:
    """The real values that are left of values in a quantized input."""
    limits = np.iinfo(dtype)
    integers = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max)
    return (integers - zero_point) * scale


def opened(path: Path, **arguments) -> runtimes.Classifier:
    return runtimes.open_classifier(path, **arguments)


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    train = shipped.calibration_set()
    return train.images(), train.labels


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size", [32, 48, 20])
@pytest.mark.parametrize("name", REAL)
def test_floats_are_normalized_resized_and_laid_out(tmp_path, images, name, size, layout):
    values = REAL[name](resized(images, size))
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(tmp_path / "float.tflite", network, layout=layout)
    found = opened(path, normalization=name)
    assert (found.layout, found.size, found.normalization) == (layout, size, name)
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=1e-4)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size", [32, 37])
@pytest.mark.parametrize(
    ("dtype", "quantization", "name"),
    [
        ("uint8", (1 / 255, 0), "unit"),
        ("int8", (0.0079, -2), "symmetric"),
        ("int8", (0.0187, -14), "imagenet"),
        ("uint8", (0.0187, 114), "cifar10"),
        ("int8", (0.9, -120), "0,0.00392156862745098"),
    ],
)
def test_quantized_inputs_take_the_nearest_integers(
    tmp_path, images, dtype, quantization, name, size, layout
):
    real = REAL.get(name, REAL["raw"])(resized(images, size))
    values = taken(real, dtype, *quantization)
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(
        tmp_path / "q.tflite",
        network,
        dtype=dtype.upper(),
        quantization=quantization,
        layout=layout,
    )
    found = opened(path, normalization=name)
    assert found.input.dtype == dtype
    # In 32-bit sums a few interpolated pixels land on the other side of a half.
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=5e-3)


@pytest.mark.parametrize("size", [32, 27])
@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 0), ("int8", -128)])
@pytest.mark.parametrize("scale", [1.0, 0.0178])
def test_raw_integers_are_the_pixels_whatever_the_scale(
    tmp_path, images, dtype, zero_point, scale, size
):
    values = np.rint(resized(images, size)) * scale
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(
        tmp_path / "q.tflite", network, dtype=dtype.upper(), quantization=(scale, zero_point)
    )
    found = opened(path, normalization="raw").classify(images)
    np.testing.assert_allclose(found, network.probabilities(values), atol=5e-3)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("shape", [None, (1, 10, 1, 1), (1, 1, 1, 10), (10,), (1, 1, 10)])
def test_outputs_of_any_shape_become_probabilities(tmp_path, images, shape, softmax):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(
        tmp_path / "shape.tflite", network, output_shape=shape, softmax=softmax
    )
    found = opened(path, normalization="unit")
    assert found.output == ("probabilities" if softmax else "logits")
    assert found.classes == 10
    rows = found.classify(images)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, network.probabilities(values), atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "quantization", "softmax", "within"),
    [
        ("INT8", (1 / 256, -128), True, 1 / 256),
        ("UINT8", (1 / 255, 0), True, 1 / 255),
        ("INT8", (0.1, 5), False, 0.06),
        ("UINT8", (0.1, 130), False, 0.06),
    ],
)
def test_quantized_outputs_are_read_before_they_are_judged(
    tmp_path, images, dtype, quantization, softmax, within
):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(
        tmp_path / "out.tflite",
        network,
        softmax=softmax,
        output_dtype=dtype,
        output_quantization=quantization,
    )
    found = opened(path, normalization="unit")
    assert found.output == ("probabilities" if softmax else "logits")
    rows = found.classify(images)
    np.testing.assert_allclose(rows, network.probabilities(values), atol=within)
    if not softmax:
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)


def test_a_tflite_file_of_open_sides_takes_the_images_as_they_are(tmp_path, images):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(tmp_path / "open.tflite", network, open_sides=True)
    found = opened(path, normalization="unit")
    assert found.size == 32
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=1e-4)


@needs_onnx
@pytest.mark.parametrize(
    ("layout", "shape", "batch", "size"),
    [
        ("NCHW", ("n", 3, 32, 32), None, 32),
        ("NCHW", (1, 3, 32, 32), 1, 32),
        ("NCHW", (7, 3, 32, 32), 7, 32),
        ("NCHW", ("n", 3, "height", "width"), None, 32),
        ("NCHW", ("n", "c", "height", "width"), None, 32),
        ("NCHW", ("n", 3, 28, "width"), None, 28),
        ("NHWC", ("n", "height", "width", 3), None, 32),
        ("NHWC", (16, 36, 36, 3), 16, 36),
    ],
)
def test_onnx_inputs_open_or_not(tmp_path, images, layout, shape, batch, size):
    values = REAL["imagenet"](resized(images, size))
    network = foreign_files.untrained(values)
    path = foreign_files.write_onnx(tmp_path / "in.onnx", network, layout=layout, shape=shape)
    found = opened(path, normalization="imagenet")
    assert (found.batch, found.layout, found.size) == (batch, layout, size)
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=1e-4)


@needs_onnx
@pytest.mark.parametrize(
    ("dtype", "name", "real"),
    [
        ("UINT8", "auto", REAL["raw"]),
        ("INT8", "auto", lambda pixels: pixels - 128.0),
        ("FLOAT16", "symmetric", lambda pixels: REAL["symmetric"](pixels).astype(np.float16)),
    ],
)
def test_onnx_dtypes(tmp_path, images, dtype, name, real):
    values = real(images)
    network = foreign_files.untrained(values)
    output = "FLOAT16" if dtype == "FLOAT16" else "FLOAT"
    path = foreign_files.write_onnx(tmp_path / "in.onnx", network, dtype=dtype, output_dtype=output)
    found = opened(path, normalization=name)
    assert found.normalization == ("raw" if name == "auto" else name)
    rows = found.classify(images)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, network.probabilities(values), atol=5e-3)


@needs_onnx
@pytest.mark.parametrize("shape", [("batch", 10, 1, 1), ("batch", "classes"), None, (10,)])
def test_onnx_outputs_that_say_little_are_looked_at(tmp_path, images, shape):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    path = foreign_files.write_onnx(
        tmp_path / "out.onnx", network, output_shape=shape, softmax=True
    )
    found = opened(path, normalization="unit")
    assert (found.classes, found.output) == (10, "probabilities")
    assert found.batch == (1 if shape == (10,) else None)
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=1e-4)


@needs_onnx
def test_of_several_outputs_the_one_of_ten_classes_is_read(tmp_path, images):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    onnx, tflite = tmp_path / "two.onnx", tmp_path / "two.tflite"
    foreign_files.write_onnx(onnx, network, outputs=("units", "classes"))
    foreign_files.write_tflite(tflite, network, further_output=True)
    for path in onnx, tflite:
        rows = opened(path, normalization="unit").classify(images)
        np.testing.assert_allclose(rows, network.probabilities(values), atol=1e-4)


@needs_onnx
def test_of_several_outputs_alike_none_is_guessed(tmp_path, images):
    network = foreign_files.untrained(REAL["unit"](images))
    path = foreign_files.write_onnx(tmp_path / "twice.onnx", network, outputs=("classes", "twice"))
    with pytest.raises(
        UserError, match=r"twice\.onnx: gives 2 outputs \(float32 \(any, 10\), "
    ) as e:
        opened(path, normalization="unit")
    assert "none of them give probabilities: name the one that gives the classes" in str(e.value)
    found = opened(path, normalization="unit", output="twice")
    assert found.output_name == "twice"
    expected = network.probabilities(REAL["unit"](images))
    np.testing.assert_allclose(found.classify(images), expected, atol=1e-4)
    with pytest.raises(UserError, match="has no output 'thrice': name one of classes, twice"):
        opened(path, normalization="unit", output="thrice")


@needs_onnx
def test_of_logits_and_probabilities_the_probabilities_are_read(tmp_path, images):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    path = foreign_files.write_onnx(
        tmp_path / "both.onnx", network, outputs=("logits", "classes"), softmax=True
    )
    found = opened(path, normalization="unit")
    assert (found.output_name, found.output) == ("classes", "probabilities")
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=1e-4)
    logits = opened(path, normalization="unit", output="logits")
    assert logits.output == "logits"
    np.testing.assert_allclose(logits.classify(images), network.probabilities(values), atol=1e-4)


@needs_onnx
def test_sigmoids_are_probabilities_as_they_are(tmp_path, images):
    values = REAL["unit"](images)
    network = foreign_files.untrained(values)
    path = foreign_files.write_onnx(tmp_path / "sigmoid.onnx", network, activation="Sigmoid")
    found = opened(path, normalization="unit")
    assert found.output == "sigmoids"
    expected = 1 / (1 + np.exp(-network.logits(values)))
    np.testing.assert_allclose(found.classify(images), expected, atol=1e-4)


@needs_onnx
def test_auto_finds_swapped_channels(tmp_path, sample):
    images, labels = sample
    values = REAL["cifar10"](images)[..., ::-1]
    network = foreign_files.fitted(values, labels)
    for layout in "NCHW", "NHWC":
        path = foreign_files.write_onnx(tmp_path / f"{layout}.onnx", network, layout=layout)
        found = opened(path, sample=sample)
        assert found.normalization == "cifar10-bgr"
        np.testing.assert_allclose(
            found.classify(images[:40]), network.probabilities(values[:40]), atol=1e-4
        )
        same = opened(path, normalization="cifar10-bgr").classify(images[:40])
        np.testing.assert_array_equal(same, found.classify(images[:40]))


def test_swapped_channels_of_bytes_and_of_another_size(tmp_path, images):
    for size in 32, 40:
        values = resized(images, size)[..., ::-1]
        network = foreign_files.untrained(values / 255)
        path = foreign_files.write_tflite(tmp_path / f"{size}.tflite", network)
        found = opened(path, normalization="unit-bgr").classify(images)
        np.testing.assert_allclose(found, network.probabilities(values / 255), atol=1e-4)


def test_smaller_frames_are_reduced_or_cropped(tmp_path, images):
    for size, begin in (24, 4), (28, 2):
        squashed, cropped = resized(images, size), images[:, begin:-begin, begin:-begin]
        for resize, seen in ("squash", squashed), ("crop", cropped):
            network = foreign_files.untrained(seen / 255)
            path = foreign_files.write_tflite(tmp_path / f"{resize}{size}.tflite", network)
            found = opened(path, normalization="unit", resize=resize)
            np.testing.assert_allclose(
                found.classify(images), network.probabilities(seen / 255), atol=1e-4
            )
            own = np.ascontiguousarray(cropped)
            np.testing.assert_allclose(
                found.classify(own), network.probabilities(own / 255), atol=1e-4
            )
    with pytest.raises(UserError, match="`resize=zoom`: expected squash or crop"):
        opened(path, normalization="unit", resize="zoom")


def test_a_given_normalization_that_is_clearly_wrong_is_doubted(tmp_path, sample):
    images, labels = sample
    network = foreign_files.fitted(REAL["imagenet"](images), labels)
    path = foreign_files.write_tflite(tmp_path / "f.tflite", network)
    right = opened(path, normalization="imagenet", sample=sample)
    assert (right.normalization, right.warning) == ("imagenet", None)
    wrong = opened(path, normalization="raw", sample=sample)
    assert wrong.normalization == "raw"
    assert wrong.normalization_tried is None
    assert "with the normalization raw, and on" in wrong.warning
    few = images[:40]
    np.testing.assert_allclose(wrong.classify(few), network.probabilities(few * 1.0), atol=1e-4)


def test_a_foreign_keras_network_is_resized_for_and_normalized(tmp_path, images):
    pytest.importorskip("keras")
    values = REAL["symmetric"](resized(images, 40))
    network = foreign_files.untrained(values)
    path = foreign_files.write_keras(tmp_path / "foreign.keras", network, softmax=False)
    found = opened(path, normalization="symmetric")
    assert str(found.input) == "float32 (any, 40, 40, 3)"
    assert (found.batch, found.output) == (None, "logits")
    np.testing.assert_allclose(found.classify(images), network.probabilities(values), atol=1e-4)


@needs_onnx
@pytest.mark.parametrize("name", normalization.NAMED)
def test_auto_finds_the_normalization_of_pytorchs_kind(tmp_path, sample, name):
    """NCHW floats in, logits out, the batch open."""
    images, labels = sample
    network = foreign_files.fitted(REAL[name](images), labels)
    path = foreign_files.write_onnx(tmp_path / "torch.onnx", network)
    found = opened(path, sample=sample)
    assert found.normalization == name
    tried = {row["normalization"] for row in found.normalization_tried}
    assert {name for name in tried if not name.endswith("-bgr")} == set(normalization.NAMED)
    assert f"{name}-bgr" in tried
    top1 = {row["normalization"]: row["top1"] for row in found.normalization_tried}
    assert top1[name] == max(top1.values()) > 0.5
    assert np.mean(found.classify(images).argmax(axis=1) == labels) > 0.5
    assert found.warning is None


@pytest.mark.parametrize(
    ("name", "dtype", "quantization"),
    [
        ("unit", "FLOAT32", None),  # most TensorFlow tutorials
        ("symmetric", "INT8", (0.009, 10)),
        ("cifar10", "UINT8", (0.0166, 119)),
        ("imagenet", "INT8", (0.0187, -14)),
    ],
)
def test_auto_finds_the_normalization_of_tensorflows_kind(
    tmp_path, sample, name, dtype, quantization
):
    """NHWC in, probabilities out, one image a call."""
    images, labels = sample
    network = foreign_files.fitted(REAL[name](images), labels)
    path = foreign_files.write_tflite(
        tmp_path / "tf.tflite", network, dtype=dtype, quantization=quantization
    )
    assert opened(path, sample=sample).normalization == name


def test_the_contract_of_mlperf_tiny_just_works(tmp_path, sample):
    """Its ResNet-8 takes pixels less 128 as int8, of scale 1, and gives int8 probabilities.

    https://github.com/mlcommons/tiny/tree/master/benchmark/training/image_classification
    """
    images, labels = sample
    network = foreign_files.fitted(REAL["raw"](images), labels)
    path = foreign_files.write_tflite(
        tmp_path / "pretrainedResnet_quant.tflite",
        network,
        dtype="INT8",
        quantization=(1.0, -128),
        output_dtype="INT8",
        output_quantization=(1 / 256, -128),
    )
    found = opened(path, sample=sample)
    assert (found.normalization, found.output) == ("raw", "probabilities")
    np.testing.assert_allclose(found.classify(images), network.probabilities(images), atol=1 / 256)


def test_normalizations_that_put_in_the_same_integers_are_tried_once(tmp_path, sample):
    """Of int8 with a scale of 1/255 and a zero point of -128, [0, 1] is the pixel less 128."""
    network = foreign_files.fitted(REAL["unit"](sample[0]), sample[1])
    path = foreign_files.write_tflite(
        tmp_path / "same.tflite", network, dtype="INT8", quantization=(1 / 255, -128)
    )
    found = opened(path, sample=sample)
    assert found.normalization == "raw"
    assert "unit" not in {row["normalization"] for row in found.normalization_tried}


def test_candidates_far_behind_are_left_early(tmp_path, sample):
    network = foreign_files.fitted(REAL["imagenet"](sample[0]), sample[1])
    path = foreign_files.write_tflite(tmp_path / "race.tflite", network)
    tried = opened(path, sample=sample).normalization_tried
    images = {row["normalization"]: row["images"] for row in tried}
    assert images["raw"] == images["unit"] == normalization_trial.SCREENED
    assert images["imagenet"] == images["cifar10"] == normalization_trial.TRIED


def test_of_equal_top1_the_lower_cross_entropy_is_taken(tmp_path, sample):
    """A network that says class 0 of all images, and of brighter values is less sure."""
    hidden, head = np.full((1, 3072), 1e-4, np.float32), -np.eye(10, 1, dtype=np.float32)
    bias = 3 * np.eye(10, dtype=np.float32)[0]
    dull = foreign_files.Network(32, hidden, np.zeros(1, np.float32), head, bias)
    path = foreign_files.write_tflite(tmp_path / "dull.tflite", dull)
    found = opened(path, sample=sample)
    assert {row["top1"] for row in found.normalization_tried} == {0.1}
    assert found.normalization == "raw"  # of 0 to 255
    assert "right on 10% of training images" in found.warning


ORDER = ["Truck", "ship", "horse", "frog", "dog", "deer", "cat", "bird", "Car", "aeroplane"]


def test_labels_put_the_classes_in_order(tmp_path, sample):
    images, labels = sample
    network = foreign_files.fitted(REAL["unit"](images), 9 - labels)
    path = foreign_files.write_tflite(tmp_path / "backwards.tflite", network)
    found = opened(path, sample=sample, labels=ORDER)
    assert found.labels == list(CLASSES[::-1])
    assert found.normalization == "unit"
    expected = network.probabilities(REAL["unit"](images))[:, ::-1]
    np.testing.assert_allclose(found.classify(images), expected, atol=1e-4)
    without = opened(path, sample=sample)
    assert without.labels is None
    assert "`labels`" in without.warning


def test_of_other_classes_no_normalization_is_found_out(tmp_path, sample):
    network = foreign_files.untrained(REAL["unit"](sample[0][:40]), classes=7)
    path = foreign_files.write_tflite(tmp_path / "seven.tflite", network)
    found = opened(path, sample=sample)
    assert (found.classes, found.normalization, found.normalization_tried) == (7, "raw", None)
    assert "7 classes" in found.warning
    with pytest.raises(UserError, match=r"seven\.tflite: gives 7 classes.*labels"):
        opened(path, sample=sample, labels=ORDER)


def test_one_image_and_many_get_the_same(tmp_path, images):
    network = foreign_files.untrained(REAL["unit"](images))
    path = foreign_files.write_tflite(tmp_path / "one.tflite", network, batch=6, softmax=False)
    found = opened(path, normalization="unit")
    np.testing.assert_allclose(found.classify(images)[3:4], found.classify(images[3:4]), atol=1e-6)


@needs_onnx
def test_a_network_that_fails_on_its_own_input_is_one_line(tmp_path, images):
    """It leaves its sides open, and its first matrix takes 40 x 40."""
    network = foreign_files.untrained(resized(images, 40))
    path = foreign_files.write_onnx(tmp_path / "odd.onnx", network, shape=("n", 3, "h", "w"))
    with pytest.raises(UserError, match=r"odd\.onnx: cannot be run: ") as caught:
        opened(path, normalization="raw")
    assert "\n" not in str(caught.value)


@needs_onnx
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"dtype": "INT32"}, r"takes int32 \(any, 3, 32, 32\).*uint8, int8 or float"),
        ({"output_dtype": "INT64"}, r"gives int64 outputs, and edgecifar reads float32"),
        ({"output_dtype": "INT8"}, r"gives int8 outputs without a scale"),
        ({"output_shape": ("batch", 5, 2)}, r"gives float32 \(any, 5, 2\).*\(1, 10\)"),
        ({"dtype": "INT8"}, r"takes int8 \(any, 3, 32, 32\) without a scale.*`normalization=unit`"),
    ],
)
def test_what_is_no_classifier_of_images_is_one_line(tmp_path, images, changes, complaint):
    network = foreign_files.untrained(REAL["unit"](images))
    path = foreign_files.write_onnx(tmp_path / "other.onnx", network, **changes)
    with pytest.raises(UserError, match=rf"other\.onnx: {complaint}") as caught:
        opened(path, normalization="unit")
    assert "\n" not in str(caught.value)


@needs_onnx
@pytest.mark.parametrize(
    "shape", [(1, 1, 32, 32), (1, 3, 32, 16), (1, 3072), (0, 32, 32, 3), (1, 32, 32, 4)]
)
def test_what_takes_no_square_rgb_images_is_one_line(tmp_path, shape):
    path = foreign_files.write_onnx_of_any_input(tmp_path / "other.onnx", shape)
    with pytest.raises(UserError, match=r"other\.onnx: takes float32 .*square RGB images"):
        opened(path, normalization="unit")


@pytest.mark.parametrize(
    "arguments", [{}, {"dtype": "INT8", "quantization": (0.0187, -14)}], ids=["float", "int8"]
)
def test_without_images_to_try_the_normalization_is_asked_for(tmp_path, images, arguments):
    network = foreign_files.untrained(REAL["unit"](images))
    path = foreign_files.write_tflite(tmp_path / "f.tflite", network, **arguments)
    with pytest.raises(UserError, match=r"f\.tflite: takes .*`normalization=raw\|unit"):
        opened(path)


@pytest.mark.parametrize("threads", [1, 2])
def test_uint8_without_images_to_try_takes_the_pixels(tmp_path, images, threads):
    network = foreign_files.untrained(images / 255)
    path = foreign_files.write_tflite(
        tmp_path / "u.tflite", network, dtype="UINT8", quantization=(1 / 255, 0)
    )
    found = opened(path, options=Options(threads=threads))
    assert found.prepare(images) is images
    np.testing.assert_allclose(
        found.classify(images), network.probabilities(images / 255), atol=1e-4
    )


@needs_onnx
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda model: setattr(model, "ir_version", 99),
            r"IR version 99, and .* reads \d+ at most",
        ),
        (lambda model: setattr(model.opset_import[0], "version", 99), r"opset 99, .* \d+ at most"),
        (
            lambda model: setattr(model.graph.node[1], "op_type", "Foo"),
            "has an operator Foo, which",
        ),
        (
            lambda model: setattr(model.graph.node[1], "domain", "ours"),
            "an operator ours:Transpose",
        ),
    ],
)
def test_a_whole_file_that_is_too_new_is_not_called_damaged(tmp_path, images, change, said):
    import onnx

    path = foreign_files.write_onnx(tmp_path / "new.onnx", foreign_files.untrained(images / 255))
    model = onnx.load(path)
    change(model)
    if model.graph.node[1].domain:
        model.opset_import.append(onnx.helper.make_opsetid("ours", 1))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=rf"new\.onnx: has .*{said.removeprefix('has ')}") as caught:
        opened(path, normalization="unit")
    for word in "damaged", "/onnxruntime", "std::", "\n":
        assert word not in str(caught.value)


@needs_onnx
def test_weights_beside_an_onnx_file_are_opened_and_missed_by_name(tmp_path, images):
    network = foreign_files.untrained(images / 255)
    path = foreign_files.write_onnx(tmp_path / "net.onnx", network)
    foreign_files.put_weights_beside(path)
    found = opened(path, normalization="unit").classify(images)
    np.testing.assert_allclose(found, network.probabilities(images / 255), atol=1e-4)
    path.with_name("net.onnx.data").unlink()
    with pytest.raises(UserError, match=r"keeps its weights in net\.onnx\.data, which is missing"):
        opened(path, normalization="unit")


def test_a_file_for_the_edge_tpu_is_named(tmp_path):
    writer = tflite_writer.Writer()
    image = writer.tensor("image", (1, 32, 32, 3), "uint8")
    output = writer.tensor("output", (1, 10), "uint8")
    writer.operator("CUSTOM", [image], output, custom="edgetpu-custom-op")
    path = tmp_path / "net_edgetpu.tflite"
    path.write_bytes(writer.to_bytes(image, output))
    with pytest.raises(UserError, match=r"was compiled for the Edge TPU: .*libedgetpu\.so\.1"):
        opened(path)
