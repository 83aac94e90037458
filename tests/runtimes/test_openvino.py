import subprocess
import sys

import numpy as np
import pytest
import tiny_graphs
import tiny_models

from edgecifar import runtimes
from edgecifar.errors import UserError
from edgecifar.runtimes import Options

pytest.importorskip("openvino")
pytest.importorskip("onnx")

OPENVINO = runtimes.named("openvino")


def opened(path, **options):
    return runtimes.open_classifier(path, Options(**options), OPENVINO)


@pytest.mark.parametrize(
    ("declared", "asked", "batch"), [(1, None, 1), ("n", None, None), ("n", 16, 16), (16, 16, 16)]
)
def test_it_gives_the_known_probabilities(tmp_path, images, declared, asked, batch):
    found = opened(tiny_models.write_onnx(tmp_path / "tiny.onnx", batch=declared), batch=asked)
    assert str(found.input) == f"uint8 ({batch or 'any'}, 32, 32, 3)"
    assert found.batch == batch
    given = found.classify(images)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, tiny_models.probabilities(images), atol=1e-4)
    found.session.close()


def test_an_open_batch_may_change_from_call_to_call(tmp_path, images):
    found = opened(tiny_models.write_onnx(tmp_path / "tiny.onnx", batch="n"))
    for count in (3, 40, 1):
        given = found.classify(images[:count])
        np.testing.assert_allclose(given, tiny_models.probabilities(images[:count]), atol=1e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("int8", 0.02)])
def test_it_agrees_with_onnx_runtime(tmp_path, images, precision, tolerance):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_graphs.onnx(precision))
    known = runtimes.open_classifier(path, runtime=runtimes.named("onnxruntime"))
    np.testing.assert_allclose(
        opened(path).classify(images), known.classify(images), atol=tolerance
    )


@pytest.mark.parametrize("threads", [1, 2])  # one of them is not what it takes by itself
def test_it_computes_in_float32_in_one_stream_with_its_threads(tmp_path, threads):
    session = OPENVINO.session(
        tiny_models.write_onnx(tmp_path / "tiny.onnx"), Options(threads=threads)
    )
    compiled = session._request.get_compiled_model()
    told = {
        name: str(compiled.get_property(name))
        for name in ("INFERENCE_PRECISION_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS")
    }
    assert told == {
        "INFERENCE_PRECISION_HINT": "<Type: 'float32'>",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }


def test_it_tells_what_the_file_says_of_itself(tmp_path):
    import onnx

    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    assert OPENVINO.session(path, Options()).metadata is None
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"edgecifar": '{"input": "é"}'})
    onnx.save(model, path)
    assert OPENVINO.session(path, Options()).metadata == '{"input": "é"}'


def test_a_wrong_dtype_is_not_converted_in_silence(tmp_path, images):
    session = OPENVINO.session(tiny_models.write_onnx(tmp_path / "tiny.onnx"), Options())
    with pytest.raises(TypeError, match="float32"):
        session.set_input(images[:1].astype(np.float32))


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_one_line(tmp_path, kept):
    path = tiny_models.write_onnx(tmp_path / "cut.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"cut\.onnx: cannot be opened as ONNX.*can't be parsed"):
        OPENVINO.session(path, Options())


def test_importing_it_sends_nothing_anywhere():
    program = (
        "import importlib, sys, threading; from edgecifar import runtimes; "
        "importlib.import_module(runtimes.named('openvino').module); "
        "print(sys.modules.get('openvino_telemetry'), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["None", "1"], done.stderr


def test_an_operator_that_it_does_not_know_is_named(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(tiny_graphs.onnx("qoperator"))
    with pytest.raises(
        UserError, match=r"other\.onnx: has operators that openvino .* does not know, .*QLinear"
    ) as caught:
        OPENVINO.session(path, Options())
    assert "\n" not in str(caught.value)
