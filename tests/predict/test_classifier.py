"""A model file as an object: photos in, probabilities and names out."""

import json
import subprocess
from pathlib import Path

import foreign_files
import loopback
import numpy as np
import pytest
import tiny_models
from PIL import Image

from edgecifar import runtimes
from edgecifar.data import cifar10, shipped
from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
from edgecifar.graphs import METADATA
from edgecifar.graphs.tflite import Graph
from edgecifar.predict.classifier import Classifier
from edgecifar.runtimes import environments

CHECKOUT = Path(__file__).parents[2]
EXPORTED = CHECKOUT / "exported"
OTHER_ORDER = CLASSES[::-1]
ONE_CLASSIFICATION = """
import json, sys
from edgecifar.predict.classifier import Classifier
with Classifier(sys.argv[1]) as classifier:
    print(json.dumps(classifier.top(sys.argv[2])))
loaded = {"psutil", "typer", "rich", "platformdirs"} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.fixture
def tiny(tmp_path) -> Path:
    return tiny_models.write_tflite(tmp_path / "tiny.tflite")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return shipped.test_set().images(slice(20))


def says(path: Path, metadata: object) -> Path:
    """Let a TFLite file carry that as what edgecifar knows of it."""
    graph = Graph(path.read_bytes())
    graph.set_metadata(METADATA, json.dumps(metadata).encode())
    path.write_bytes(graph.to_bytes())
    return path


def own(path: Path, **metadata: object) -> Path:
    return says(path, {"input": {"values": "raw RGB pixels, 0 to 255"}} | metadata)


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx"])
def test_the_shipped_model_classifies_the_test_images(name):
    test = shipped.test_set()
    with Classifier(EXPORTED / name) as classifier:
        probabilities = classifier.predict(test.images(slice(200)))
    assert classifier.labels == CLASSES
    assert classifier.normalization == "raw"
    assert (probabilities.shape, probabilities.dtype) == ((200, 10), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=0.05)
    assert np.mean(probabilities.argmax(axis=1) == test.labels[:200]) > 0.9


@pytest.mark.parametrize("runtime", [r.name for r in runtimes.for_file(Path("x.tflite"))])
def test_every_runtime_gives_what_the_model_computes(tiny, images, runtime):
    if not environments.importable(runtimes.named(runtime)):
        pytest.skip(f"{runtime} is not installed")
    with Classifier(tiny, runtime=runtime, threads=2) as classifier:
        assert classifier.runtime == runtime
        found = classifier.predict(images)
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-5)


def test_a_single_image_gives_one_row(tiny, images, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "photo.png")
    with Classifier(str(tiny)) as classifier:
        expected = classifier.predict(images)[:1]
        for single in (images[0], Image.fromarray(images[0]), tmp_path / "photo.png"):
            np.testing.assert_array_equal(classifier.predict(single), expected)


def test_no_image_gives_no_row(tiny):
    with Classifier(tiny) as classifier:
        assert classifier.predict([]).shape == (0, 10)


def test_a_photo_is_classified_by_its_reduced_centre(tiny, images, tmp_path):
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = images[3].repeat(2, axis=0).repeat(2, axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    with Classifier(tiny) as classifier:
        (found,) = classifier.predict(tmp_path / "wide.png")
    expected = tiny_models.probabilities(images[3:4])[0]
    assert np.abs(found - expected).max() < 0.02
    assert found.argmax() == expected.argmax()


def test_top_names_the_likeliest_classes_in_order(tiny, images):
    (expected,) = tiny_models.probabilities(images[:1])
    order = np.argsort(-expected)
    with Classifier(tiny) as classifier:
        found = classifier.top(images[0])
        assert [label for label, _ in found] == [CLASSES[index] for index in order[:3]]
        assert [value for _, value in found] == pytest.approx(expected[order[:3]], abs=1e-5)
        assert [type(value) for _, value in found] == [float] * 3
        assert len(classifier.top(images[0], k=1)) == 1
        assert len(classifier.top(images[0], k=50)) == 10


def test_top_takes_one_image(tiny, images):
    with Classifier(tiny) as classifier:
        with pytest.raises(UserError, match="20 images: give one"):
            classifier.top(images)
        with pytest.raises(UserError, match="k=0: give 1 or more"):
            classifier.top(images[0], k=0)


def test_it_is_closed_at_the_end_of_its_block_and_once_only(tiny, images):
    with Classifier(tiny) as classifier:
        pass
    classifier.close()
    with pytest.raises(UserError, match=r"tiny.tflite: is closed"):
        classifier.predict(images)


def test_nothing_runs_when_one_of_the_images_is_wrong(tiny, images, monkeypatch):
    with Classifier(tiny) as classifier:
        monkeypatch.setattr(classifier._file, "classify", lambda pixels: pytest.fail("it ran"))
        with pytest.raises(UserError, match=r"no-such.png: cannot be read"):
            classifier.predict([images[0], "no-such.png"])


def test_labels_are_those_inside_the_file(tiny):
    names = [f"flower {number}" for number in range(10)]
    with Classifier(own(tiny, labels=names)) as classifier:
        assert classifier.labels == tuple(names)


@pytest.mark.parametrize("labels", [None, ["one"], "airplane", [1] * 10, {"a": 1}])
def test_a_file_that_does_not_know_its_classes_has_numbers(tiny, labels):
    with Classifier(own(tiny, labels=labels)) as classifier:
        assert classifier.labels == tuple("0123456789")


@pytest.mark.parametrize("metadata", [{}, [], "x", {"input": {"values": "0 to 255"}}])
def test_ten_classes_that_nothing_is_said_of_are_cifar10s(tiny, metadata):
    with Classifier(says(tiny, metadata)) as classifier:
        assert classifier.labels == CLASSES


def test_another_number_of_classes_has_numbers(tmp_path):
    path = tiny_models.write_tflite(tmp_path / "seven.tflite", weights=tiny_models.WEIGHTS[:7])
    with Classifier(path) as classifier:
        assert classifier.labels == tuple("0123456")
        assert classifier.predict(np.zeros((32, 32, 3), np.uint8)).shape == (1, 7)
    with Classifier(path, labels=list("abcdefg")) as classifier:
        assert classifier.labels == tuple("abcdefg")
    with pytest.raises(UserError, match="labels: give the names of 7 classes, not 10"):
        Classifier(path, labels=CLASSES)


def test_given_labels_name_the_columns_as_the_file_has_them(tmp_path, images):
    values = images / 255
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(tmp_path / "foreign.tflite", network)
    with Classifier(path, normalization="unit", labels=OTHER_ORDER) as classifier:
        assert classifier.labels == OTHER_ORDER
        np.testing.assert_allclose(
            classifier.predict(images), network.probabilities(values), atol=1e-4
        )


def test_a_file_with_labels_inside_keeps_them(tiny):
    path = own(tiny, labels=list(CLASSES))
    with Classifier(path, labels=CLASSES) as classifier:
        assert classifier.labels == CLASSES
    with pytest.raises(UserError, match="has labels of its own inside: leave labels out"):
        Classifier(path, labels=OTHER_ORDER)


def foreign(path: Path, normalization: str, order=CLASSES, size: int = 32) -> Path:
    """A file that is right on CIFAR-10 when its pixels are normalized so; classes in that order."""
    training = shipped.calibration_set()
    pixels = training.images()
    if size != 32:
        pixels = np.stack([_resized(image, size) for image in pixels])
    values = {"unit": pixels / 255, "symmetric": pixels / 127.5 - 1}[normalization]
    numbers = np.array([order.index(name) for name in CLASSES])[training.labels]
    return foreign_files.write_tflite(path, foreign_files.fitted(values, numbers))


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("order", [CLASSES, OTHER_ORDER])
def test_what_a_foreign_file_expects_of_pixels_is_found_out(tmp_path, order):
    labels = None if order is CLASSES else order
    path = foreign(tmp_path / "foreign.tflite", "symmetric", order)
    training = shipped.calibration_set()
    with Classifier(path, labels=labels) as classifier:
        assert classifier.normalization == "symmetric"
        found = classifier.predict(training.images(slice(200))).argmax(axis=1)
    names = [order[index] for index in found]
    right = [CLASSES[label] for label in training.labels[:200]]
    assert np.mean([name == label for name, label in zip(names, right, strict=True)]) > 0.3


@pytest.mark.parametrize(
    ("classes", "labels"), [(7, None), (10, [f"flower {number}" for number in range(10)])]
)
def test_what_a_file_of_other_classes_expects_has_to_be_said(tmp_path, images, classes, labels):
    network = foreign_files.untrained(images / 255, classes)
    path = foreign_files.write_tflite(tmp_path / "foreign.tflite", network)
    with pytest.raises(UserError, match="does not say how they are scaled"):
        Classifier(path, labels=labels)
    with Classifier(path, labels=labels, normalization="unit") as classifier:
        np.testing.assert_allclose(
            classifier.predict(images), network.probabilities(images / 255), atol=1e-4
        )


def test_an_image_is_brought_to_the_size_that_the_file_takes(tmp_path):
    """Not to 32 pixels and back: details that only the larger square has decide here."""
    generator = np.random.default_rng(0)
    photos = generator.integers(0, 256, (10, 96, 96, 3)).astype(np.uint8)
    network = foreign_files.untrained(photos / 255)
    path = foreign_files.write_tflite(tmp_path / "large.tflite", network)
    with Classifier(path, normalization="unit") as classifier:
        assert classifier.side == 96
        found = classifier.predict(photos)
    np.testing.assert_allclose(found, network.probabilities(photos / 255), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"runtime": "no-such"}, "no-such"),
        ({"runtime": "onnxruntime"}, "onnxruntime opens .onnx files"),
        ({"threads": 0}, "threads=0: give 1 or more"),
        ({"normalization": "no-such"}, "`normalization=no-such`: expected auto"),
        ({"labels": "cat"}, "labels='cat': give a list of names"),
        ({"labels": ["cat"]}, "labels: give the names of 10 classes, not 1"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(tiny, arguments, words):
    with pytest.raises(UserError, match=words) as refused:
        Classifier(tiny, **arguments)
    assert "\n" not in str(refused.value)


def test_a_wrong_file_is_refused_in_one_line(tmp_path, tiny):
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "damaged.tflite").write_bytes(tiny.read_bytes()[:200])
    (tmp_path / "folder.tflite").mkdir()
    for name, words in {
        "missing.tflite": "there is no such file",
        "folder.tflite": "is not a file",
        "empty.tflite": "is not a TFLite model",
        "damaged.tflite": "it may be damaged",
        "model.pb": "is not a model by its name",
    }.items():
        with pytest.raises(UserError, match=f"{name}: {words}|{name}: .*{words}") as refused:
            Classifier(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_a_file_without_an_installed_runtime_says_how_to_get_one(tiny, monkeypatch):
    monkeypatch.setattr(environments, "importable", lambda runtime: False)
    with pytest.raises(UserError, match=r"litert, .*not installed here: get it with `pip install"):
        Classifier(tiny)


def test_it_needs_numpy_pillow_and_one_runtime_only(tmp_path):
    packages = ["numpy", "PIL", "pillow.libs", "ai_edge_litert", "flatbuffers"]
    programs = loopback.make_python(tmp_path / "python", packages)
    Image.fromarray(shipped.test_set().images(slice(1))[0]).save(tmp_path / "cat.png")
    run = subprocess.run(
        [
            programs / "python",
            "-c",
            ONE_CLASSIFICATION,
            EXPORTED / "model.tflite",
            tmp_path / "cat.png",
        ],
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    top = json.loads(run.stdout)
    assert (len(top), top[0][0]) == (3, CLASSES[cifar10.CLASSES.index("cat")])


@pytest.mark.parametrize(("suffix", "quality"), [(".png", None), (".jpg", 95)])
def test_photographs_of_test_images_agree_with_them(tmp_path, suffix, quality):
    """200 test images, enlarged to 500 px and saved, are classified as they themselves are."""
    images = shipped.test_set().images(slice(200))
    options = {"quality": quality} if quality else {"compress_level": 1}
    photos = []
    for number, image in enumerate(images):
        photos.append(tmp_path / f"{number}{suffix}")
        large = Image.fromarray(image).resize((500, 500), Image.Resampling.BICUBIC)
        large.save(photos[-1], **options)
    with Classifier(EXPORTED / "model.tflite") as classifier:
        expected = classifier.predict(images).argmax(axis=1)
        found = classifier.predict(photos).argmax(axis=1)
    assert (found == expected).mean() >= 0.99
