"""What is asked of a runtime is what it does, or a line says why not."""

import ctypes.util
import importlib.util
import shutil
import subprocess

import numpy as np
import pytest
import tiny_graphs
import tiny_models
from tflite_writer import Writer, schema

from edgecifar import runtimes
from edgecifar.errors import UserError
from edgecifar.runtimes import Options, environments

LITERT = runtimes.named("litert")
ONNX = runtimes.named("onnxruntime")

# A delegate that takes no operator, and leaves a file where it has been asked.
DELEGATE = """
#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>
typedef struct Delegate {
  void* data;
  int (*prepare)(void* context, struct Delegate* self);
  void *from, *to, *release;
  int64_t flags;
  void* builder;
} Delegate;
static int prepare(void* context, Delegate* self) {
  FILE* file = fopen("WITNESS", "w");
  return file ? fclose(file) : 1;
}
Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t n, void (*say)(char*)) {
  Delegate* made = calloc(1, sizeof *made);
  made->prepare = prepare;
  return made;
}
void tflite_plugin_destroy_delegate(Delegate* made) { free(made); }
"""

needs_onnx = pytest.mark.skipif(
    not (environments.importable(ONNX) and importlib.util.find_spec("onnx")),
    reason="onnxruntime and onnx are not installed",
)


@pytest.fixture
def tiny(tmp_path):
    return tiny_models.write_tflite(tmp_path / "tiny.tflite")


def kernels(session) -> list[str]:
    return [step["op_name"] for step in session._interpreter._get_ops_details()]


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("litert", {"xnnpack": True, "delegate": "x.so"}, None),
        ("onnxruntime", {"graph_level": "basic", "spinning": False}, None),
        ("keras", {"threads": 4, "batch": 8}, None),
        ("onnxruntime", {"xnnpack": False}, "onnxruntime has no option `xnnpack`"),
        ("tflite-runtime", {"graph_level": "all"}, "tflite-runtime has no option `graph_level`"),
        (
            "openvino",
            {"delegate": "x.so", "spinning": True},
            "openvino has no option `delegate` and no option `spinning`",
        ),
    ],
)
def test_an_option_that_a_runtime_does_not_know_is_refused(name, options, refused):
    assert runtimes.refusal(runtimes.named(name), Options(**options)) == refused


def test_an_unknown_graph_level_lists_the_known_ones():
    with pytest.raises(UserError, match=r"`graph_level=most`: .*disable, basic, extended, all"):
        Options(graph_level="most")


@pytest.mark.parametrize(("xnnpack", "delegated"), [(None, 1), (True, 1), (False, 0)])
def test_xnnpack_is_on_until_it_is_off(tiny, images, xnnpack, delegated):
    found = runtimes.open_classifier(tiny, Options(xnnpack=xnnpack), LITERT)
    assert kernels(found.session).count("DELEGATE") == delegated
    np.testing.assert_allclose(found.classify(images), tiny_models.probabilities(images), atol=1e-4)


def test_a_missing_delegate_is_one_line(tiny, tmp_path):
    with pytest.raises(
        UserError, match=r"tiny\.tflite: .*none\.so cannot be loaded as a delegate.*No such file"
    ):
        LITERT.session(tiny, Options(delegate=str(tmp_path / "none.so")))


def test_a_file_that_is_no_library_is_no_delegate(tiny):
    with pytest.raises(UserError, match=r"tiny\.tflite cannot be loaded as a delegate: ") as caught:
        LITERT.session(tiny, Options(delegate=str(tiny)))
    assert "\n" not in str(caught.value)


def test_another_library_is_no_delegate(tiny, capfd):
    library = ctypes.util.find_library("m")
    with pytest.raises(
        UserError, match=r"cannot be loaded as a delegate: .*tflite_plugin_create_delegate"
    ):
        LITERT.session(tiny, Options(delegate=library))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_a_delegate_is_asked_which_operators_it_takes(tiny, tmp_path, images):
    witness, library = tmp_path / "asked", tmp_path / "delegate.so"
    source = tmp_path / "delegate.c"
    source.write_text(DELEGATE.replace("WITNESS", str(witness)))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    found = runtimes.open_classifier(tiny, Options(delegate=str(library)), LITERT)
    assert witness.exists()
    np.testing.assert_allclose(found.classify(images), tiny_models.probabilities(images), atol=1e-4)
    # One that cannot do its work is named, not the file that it was to run.
    source.write_text(DELEGATE.replace("WITNESS", str(tmp_path / "no" / "folder")))
    broken = tmp_path / "broken.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", broken, source], check=True)
    with pytest.raises(UserError, match=r"tiny\.tflite: does not open with .*broken\.so: "):
        LITERT.session(tiny, Options(delegate=str(broken)))


@needs_onnx
@pytest.mark.parametrize(
    ("options", "level", "spins"),
    [
        ({}, "ORT_ENABLE_ALL", None),
        ({"graph_level": "disable"}, "ORT_DISABLE_ALL", None),
        ({"graph_level": "basic", "spinning": False}, "ORT_ENABLE_BASIC", "0"),
        ({"graph_level": "extended", "spinning": True}, "ORT_ENABLE_EXTENDED", "1"),
        ({"graph_level": "all"}, "ORT_ENABLE_ALL", None),
    ],
)
def test_onnx_runtime_is_told_its_graph_level_and_whether_to_spin(
    tmp_path, images, options, level, spins
):
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    found = runtimes.open_classifier(path, Options(**options), ONNX)
    told = found.session._session.get_session_options()
    assert told.graph_optimization_level.name == level
    if spins is None:
        with pytest.raises(RuntimeError):
            told.get_session_config_entry("session.intra_op.allow_spinning")
    else:
        assert told.get_session_config_entry("session.intra_op.allow_spinning") == spins
    np.testing.assert_allclose(found.classify(images), tiny_models.probabilities(images), atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_tflite_file_is_resized_to_a_batch(tmp_path, images, precision):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_graphs.tflite(precision))
    one = runtimes.open_classifier(path, Options(), LITERT)
    many = runtimes.open_classifier(path, Options(batch=16), LITERT)
    assert (one.batch, many.batch) == (1, 16)
    np.testing.assert_allclose(many.classify(images), one.classify(images), atol=1e-5)


def test_a_tflite_file_that_cannot_be_resized_is_one_line(tiny):
    with pytest.raises(UserError, match=r"tiny\.tflite: cannot take 4 images a call: ") as caught:
        LITERT.session(tiny, Options(batch=4))
    assert "\n" not in str(caught.value)


def test_a_tflite_file_that_puts_a_batch_into_one_row_is_one_line(tmp_path):
    """As some converters write it: RESHAPE to (1, -1)."""
    writer = Writer()
    image = writer.tensor("image", (1, 32, 32, 3))
    axes = writer.constant("axes", np.array([1, 2], np.int32))
    means = writer.tensor("means", (1, 3))
    writer.operator("MEAN", [image, axes], means, schema.ReducerOptionsT())
    row = writer.constant("row", np.array([1, -1], np.int32))
    last = writer.operator("RESHAPE", [means, row], writer.tensor("flat", (1, 3)))
    path = tmp_path / "row.tflite"
    path.write_bytes(writer.to_bytes(image, last))
    assert LITERT.session(path, Options()).outputs[0].shape == (1, 3)
    with pytest.raises(UserError, match=r"row\.tflite: its batch is fixed at 1, .* become 4"):
        LITERT.session(path, Options(batch=4))


@needs_onnx
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_onnx_file_keeps_its_fixed_batch(tmp_path, name):
    runtime = runtimes.named(name)
    if not environments.importable(runtime):
        pytest.skip(f"{name} is not installed")
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    with pytest.raises(UserError, match=r"tiny\.onnx: its batch is fixed at 1, .* become 4"):
        runtime.session(path, Options(batch=4))
    assert runtime.session(path, Options(batch=1)).inputs[0].shape[0] == 1
    open_batch = tiny_models.write_onnx(tmp_path / "open.onnx", batch="n")
    assert runtime.session(open_batch, Options(batch=4)).inputs[0].shape[0] in (None, 4)


def exact_and_plain(path, runtime):
    """What a runtime's exact kernels give, and what ONNX Runtime's unoptimized graph does."""
    images = np.random.default_rng(2).integers(0, 256, (20, 32, 32, 3), np.uint8)
    asked = [(Options(exact_int8=True), runtime), (Options(graph_level="basic"), ONNX)]
    return [runtimes.open_classifier(path, *one).classify(images) for one in asked]


@needs_onnx
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_exact_kernels_give_what_the_integers_do(runtime, tmp_path):
    """The same as a file whose weights cannot overflow, on every processor."""
    chosen = runtimes.named(runtime)
    if not environments.importable(chosen):
        pytest.skip(f"{runtime} is not installed")
    path = tmp_path / "overflows.onnx"
    path.write_bytes(tiny_graphs.onnx("int8", reduce_range=False))
    found, plain = exact_and_plain(path, chosen)
    np.testing.assert_allclose(found, plain, atol=0.01)


@needs_onnx
def test_exact_kernels_of_weights_that_share_a_zero_point(tmp_path):
    """ONNX Runtime does not open such a file so: it is computed by the graph as it stands."""
    import onnx

    model = onnx.load_model_from_string(tiny_graphs.onnx("int8", reduce_range=False))
    weights = [n for n in model.graph.node if n.input[0] in ("k_steps", "d_steps")]
    shared = onnx.numpy_helper.from_array(np.int8(0), "shared_zero")
    scale = onnx.numpy_helper.from_array(np.float32(0.01), "shared_scale")
    model.graph.initializer.extend([shared, scale])
    for node in weights:
        node.input[1:] = ["shared_scale", "shared_zero"]
    path = tmp_path / "shared.onnx"
    onnx.save(model, path)
    assert len(weights) == 2
    np.testing.assert_allclose(*exact_and_plain(path, ONNX), atol=1e-6)
