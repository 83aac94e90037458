import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgecifar import runtimes
from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.graphs.tflite import Graph
from edgecifar.runtimes import Classifier, Options, Runtime, classifier, environments

LITERT = runtimes.named("litert")
ONNX = runtimes.named("onnxruntime")

needs_onnx = pytest.mark.skipif(
    not (environments.installed(ONNX) and importlib.util.find_spec("onnx")),
    reason="onnxruntime and onnx are not installed",
)
needs_tensorflow = pytest.mark.skipif(
    not environments.installed(runtimes.named("keras")),
    reason="tensorflow and keras are not installed",
)


def opened(path: Path, runtime: Runtime, threads: int = 1) -> Classifier:
    return runtimes.open_classifier(path, Options(threads=threads), runtime)


def test_importing_runtimes_imports_none_of_them():
    heavy = "ai_edge_litert", "tflite_runtime", "tensorflow", "keras", "onnxruntime", "openvino"
    program = f"import sys, edgecifar.runtimes; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_worker_needs_numpy_and_its_runtime_only():
    """Whatever is imported before a runtime is in the standard library, numpy, or edgecifar."""
    program = (
        "import sys, numpy; before = set(sys.modules); "
        "import edgecifar.runtimes; "
        "new = {m for m, held in sys.modules.items() if held and m not in before}; "
        "print(sorted({m.partition('.')[0] for m in new} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "['edgecifar']", done.stderr


def test_files_find_their_runtimes_by_suffix():
    tflite = ["litert", "tflite-runtime", "tensorflow"]
    assert [r.name for r in runtimes.for_file(Path("a.tflite"))] == tflite
    assert [r.name for r in runtimes.for_file(Path("a.ONNX"))] == ["onnxruntime", "openvino"]
    assert [r.name for r in runtimes.for_file(Path("a.keras"))] == ["keras"]
    with pytest.raises(UserError, match=r"a\.pt: .*\.tflite, \.onnx, \.keras"):
        runtimes.for_file(Path("a.pt"))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'tflight'.*litert, tflite-runtime, tensorflow, onnx"):
        runtimes.named("tflight")


def test_not_installed_is_found_out_without_importing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not any(environments.installed(runtime) for runtime in runtimes.RUNTIMES)


def test_litert_gives_the_known_probabilities(tmp_path, images):
    session = opened(tiny_models.write_tflite(tmp_path / "tiny.tflite"), LITERT)
    assert str(session.input) == "uint8 (1, 32, 32, 3)"
    assert session.batch == 1
    found = session.classify(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-4)
    np.testing.assert_array_equal(session.classify(images[:1]), found[:1])
    session.close()


@pytest.mark.parametrize(("dtype", "zero_point"), [("UINT8", 0), ("INT8", -128)])
def test_a_quantized_output_is_read_by_its_own_scale_and_zero_point(
    tmp_path, images, dtype, zero_point
):
    path = tiny_models.write_tflite(
        tmp_path / "tiny.tflite", output_dtype=dtype, zero_point=zero_point
    )
    found = opened(path, LITERT).classify(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1 / 256)


def test_litert_gets_its_threads(tmp_path, monkeypatch):
    from ai_edge_litert import interpreter

    told = {}

    class Recorder(interpreter.Interpreter):
        def __init__(self, **arguments):
            told.update(arguments)
            super().__init__(**arguments)

    monkeypatch.setattr(interpreter, "Interpreter", Recorder)
    opened(tiny_models.write_tflite(tmp_path / "tiny.tflite"), LITERT, 3)
    assert told["num_threads"] == 3


@needs_onnx
@pytest.mark.parametrize("batch", [1, "n"])
def test_onnxruntime_gives_the_known_probabilities(tmp_path, images, batch):
    session = opened(tiny_models.write_onnx(tmp_path / "tiny.onnx", batch=batch), ONNX)
    assert session.batch == (1 if batch == 1 else None)
    found = session.classify(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-4)


@needs_onnx
def test_onnxruntime_gets_its_threads(tmp_path, monkeypatch):
    import onnxruntime

    told = {}
    real = onnxruntime.InferenceSession

    def recorder(path, options, **others):
        told["intra"], told["inter"] = options.intra_op_num_threads, options.inter_op_num_threads
        return real(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", recorder)
    opened(tiny_models.write_onnx(tmp_path / "tiny.onnx"), ONNX, 2)
    assert told == {"intra": 2, "inter": 1}


@needs_tensorflow
def test_keras_and_tensorflow_give_the_known_probabilities(tmp_path, images):
    """One process of its own, because the threads are set before TensorFlow begins."""
    keras_path, tflite_path = tmp_path / "tiny.keras", tmp_path / "tiny.tflite"
    np.save(tmp_path / "images.npy", images)
    tiny_models.write_tflite(tflite_path)
    program = f"""
import sys; sys.path.append({str(Path(tiny_models.__file__).parent)!r})
from pathlib import Path
import numpy as np, tiny_models
from edgecifar import runtimes
images = np.load({str(tmp_path / "images.npy")!r})
checkpoint = runtimes.named("keras")
import tensorflow
tensorflow.config.threading.set_intra_op_parallelism_threads(9)
tiny_models.write_keras(Path({str(keras_path)!r}))
for runtime, path in ("keras", {str(keras_path)!r}), ("tensorflow", {str(tflite_path)!r}):
    session = runtimes.open_classifier(Path(path), runtime=runtimes.named(runtime))
    assert session.batch == (None if runtime == "keras" else 1)
    found = session.classify(images)
    assert found.dtype == np.float32 and found.shape == (40, 10)
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-4)
options = runtimes.Options(xnnpack=False)
session = runtimes.named("tensorflow").session(Path({str(tflite_path)!r}), options)
assert "DELEGATE" not in [step["op_name"] for step in session._interpreter._get_ops_details()]
print("same")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"input_dtype": "INT32"}, r"takes int32 \(1, 32, 32, 3\).*as uint8, int8 or float"),
        ({"weights": np.ones((1, 3072), np.float32)}, r"gives float32 \(1, 1\).*\(1, 10\)"),
    ],
)
def test_another_contract_is_named_beside_the_expected_one(tmp_path, changes, complaint):
    path = tiny_models.write_tflite(tmp_path / "other.tflite", **changes)
    with pytest.raises(UserError, match=rf"other\.tflite: {complaint}"):
        opened(path, LITERT)


def test_any_number_of_classes_is_run(tmp_path, images):
    path = tiny_models.write_tflite(tmp_path / "tiny.tflite", weights=np.ones((7, 3072)) / 1e6)
    session = opened(path, LITERT)
    assert session.classes == 7
    np.testing.assert_allclose(session.classify(images), 1 / 7, atol=1e-6)


@pytest.mark.parametrize("metadata", [None, "{", "[]", '{"input": {"values": "0 to 1"}}'])
def test_of_the_floats_that_another_file_takes_nobody_knows_the_scale(metadata):
    assert not classifier.takes_raw_floats(metadata)


def test_a_float_input_that_says_that_it_takes_raw_pixels_is_run(tmp_path, images):
    path = tiny_models.write_tflite(tmp_path / "tiny.tflite", input_dtype="FLOAT32")
    graph = Graph(path.read_bytes())
    graph.set_metadata("edgecifar", b'{"input": {"values": "raw RGB pixels, 0 to 255"}}')
    path.write_bytes(graph.to_bytes())
    found = opened(path, LITERT).classify(images)
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-4)


@needs_onnx
def test_a_fixed_batch_is_filled_up(tmp_path, images):
    session = opened(tiny_models.write_onnx(tmp_path / "tiny.onnx", batch=16), ONNX)
    assert session.batch == 16
    found = session.classify(images)
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"not a model at all\n", b"\0" * 4000])
@pytest.mark.parametrize("runtime", runtimes.RUNTIMES, ids=lambda runtime: runtime.name)
def test_a_file_that_is_no_model_is_one_line(tmp_path, runtime, content):
    parsed = runtime.suffixes == (".onnx",)
    if parsed and not environments.importable(runtime):
        pytest.skip(f"{runtime.name} is not installed")
    path = tmp_path / f"bad{runtime.suffixes[0]}"
    path.write_bytes(content)
    # The files that the others look at themselves cost no import of TensorFlow.
    act = (lambda path: opened(path, runtime)) if parsed else runtime.check
    with pytest.raises(UserError) as caught:
        act(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_truncated_tflite_file_is_one_line(tmp_path, kept):
    path = tiny_models.write_tflite(tmp_path / "cut.tflite")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"cut\.tflite: cannot be opened as TFLite"):
        opened(path, LITERT)


@needs_onnx
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_truncated_onnx_file_is_one_line(tmp_path, kept):
    path = tiny_models.write_onnx(tmp_path / "cut.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"cut\.onnx: cannot be opened as ONNX") as caught:
        opened(path, ONNX)
    assert str(caught.value).count(str(path)) == 1


@needs_onnx
@pytest.mark.parametrize(("side", "most"), [(32, 32), (224, 5)])
def test_a_file_that_takes_any_number_gets_as_many_as_memory_bears(tmp_path, side, most):
    path = tiny_models.write_means_onnx(tmp_path / "means.onnx", ("n", 3, side, side))
    found = runtimes.open_classifier(path, normalization="unit")
    counts, invoke = [], found.session.set_input
    found.session.set_input = lambda values: (counts.append(len(values)), invoke(values))
    images = shipped.test_set().images(slice(70))
    given = found.classify(np.ascontiguousarray(images))
    assert max(counts) == most
    assert sum(counts) == 70
    one_by_one = [found.classify(np.ascontiguousarray(image[None]))[0] for image in images]
    np.testing.assert_allclose(given, one_by_one, atol=1e-6)
