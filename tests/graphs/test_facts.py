import importlib.util
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_graphs

from edgecifar.errors import UserError
from edgecifar.graphs import facts
from edgecifar.graphs.facts import Port
from edgecifar.graphs.products import Product
from edgecifar.graphs.tflite import Graph

SHIPPED = Path(__file__).parents[2] / "exported"
needs_onnx = pytest.mark.skipif(
    not importlib.util.find_spec("onnx"), reason="onnx is not installed"
)


@pytest.fixture
def of(tmp_path):
    """The facts of a file's bytes under a name."""

    def facts_of(file: bytes, name: str = "model.tflite") -> facts.Facts:
        path = tmp_path / name
        path.write_bytes(file)
        return facts.of(path)

    return facts_of


def test_importing_it_imports_no_framework():
    heavy = "ai_edge_litert", "tensorflow", "keras", "onnx"
    program = f"import sys, edgecifar.graphs.facts; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_float_tflite_file(of):
    file = tiny_graphs.tflite()
    found = of(file)
    assert (found.format, found.producer) == ("TFLite", "written by a test")
    assert found.version == {"schema": 3, "minimum_runtime": None}
    assert found.size_bytes == len(file)
    assert found.inputs == (Port("image", "uint8", (1, 32, 32, 3)),)
    assert found.outputs == (Port("probabilities", "float32", (1, 10)),)
    assert found.operators["CONV_2D"] == found.operators["CAST"] == 1
    assert found.dtypes == {"float32": 11, "uint8": 1, "int32": 1}
    assert found.metadata == {}


@pytest.mark.parametrize(
    ("precision", "share"), [("float32", 0), ("float16", 0), ("dynamic", 1), ("int8", 1)]
)
def test_every_precision_costs_the_same_and_has_its_name(of, precision, share):
    found = of(tiny_graphs.tflite(precision))
    assert found.precision == precision
    assert found.integer_share == share
    assert found.parameters == tiny_graphs.PARAMETERS
    assert found.multiply_accumulates == tiny_graphs.MULTIPLY_ACCUMULATES


@needs_onnx
@pytest.mark.parametrize(
    ("kind", "precision", "share"),
    [("float32", "float32", 0), ("int8", "int8", 1), ("qoperator", "int8", 1)],
)
def test_onnx_files_cost_what_tflite_files_do(of, kind, precision, share):
    found = of(tiny_graphs.onnx(kind), "model.onnx")
    assert found.format == "ONNX"
    assert (found.precision, found.integer_share) == (precision, share)
    assert found.parameters == tiny_graphs.PARAMETERS
    assert found.multiply_accumulates == tiny_graphs.MULTIPLY_ACCUMULATES
    assert found.outputs == (Port("probabilities", "float32", (1, 10)),)


def test_quantization_of_input_and_output(of):
    found = of(tiny_graphs.tflite("int8"))
    scale = float(np.float32(1 / 127.5))
    assert found.inputs == (Port("image", "uint8", (1, 32, 32, 3), scale, 127),)
    assert found.outputs == (Port("probabilities", "uint8", (1, 10), 1 / 256, 0),)


@needs_onnx
@pytest.mark.parametrize("kind", ["int8", "qoperator"])
def test_quantization_of_an_onnx_input_is_behind_what_moves_it(of, kind):
    (image,) = of(tiny_graphs.onnx(kind), "model.onnx").inputs
    assert (image.scale, image.zero_point) == (float(np.float32(1 / 127.5)), 127)


@needs_onnx
def test_versions_domains_and_operators_of_onnx(of):
    found = of(tiny_graphs.onnx("qoperator"), "model.ONNX")
    assert found.version == {"opset": 17, "ir": 8, "domains": {"com.microsoft": 1}}
    assert found.producer == "a test"
    assert found.operators["QGemm (com.microsoft)"] == found.operators["QLinearConv"] == 1
    assert of(tiny_graphs.onnx(), "model.onnx").version["domains"] == {}


@needs_onnx
def test_an_open_batch_counts_as_one_image(of):
    found = of(tiny_graphs.onnx(batch="n"), "model.onnx")
    assert found.inputs[0].shape == (None, 32, 32, 3)
    assert found.inputs[0].shape_text == "(any, 32, 32, 3)"
    assert found.multiply_accumulates == tiny_graphs.MULTIPLY_ACCUMULATES


@needs_onnx
def test_open_sides_leave_the_cost_unknown(of):
    import onnx

    model = onnx.load_model_from_string(tiny_graphs.onnx())
    for side in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        side.dim_param = "side"
    found = of(model.SerializeToString(), "model.onnx")
    assert (found.multiply_accumulates, found.integer_share) == (None, None)
    assert found.inputs[0].shape == (1, None, None, 3)


def test_an_open_batch_of_tflite(of):
    graph = Graph(tiny_graphs.tflite())
    graph.inputs[0].raw.shapeSignature = [-1, 32, 32, 3]
    assert of(graph.to_bytes()).inputs[0].shape == (None, 32, 32, 3)


def test_operators_of_others_are_marked(of):
    assert of(tiny_graphs.tflite(custom="FlexErf")).operators["FlexErf (Flex)"] == 1
    assert of(tiny_graphs.tflite(custom="Mine")).operators["Mine (custom)"] == 1


def test_one_float_layer_makes_it_mixed(of):
    graph = Graph(tiny_graphs.tflite("int8"))
    float_graph = Graph(tiny_graphs.tflite())
    dense = graph.operators[3]
    for tensor, other in zip(dense.inputs[:2], float_graph.operators[4].inputs[:2], strict=True):
        tensor.raw.type = other.raw.type
        if other.constant is not None:
            graph.model.buffers[tensor.raw.buffer].data = float_graph.model.buffers[
                other.raw.buffer
            ].data
    found = of(graph.to_bytes())
    assert found.precision == "mixed"
    assert found.integer_share == 1 - 80 / tiny_graphs.MULTIPLY_ACCUMULATES


@pytest.mark.parametrize(
    ("activations", "weights", "precision"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float16", "float16"),
        ("float16", "float16", "float16"),
        ("float32", "int8", "dynamic"),
        ("int8", "int8", "int8"),
        ("uint8", "int8", "int8"),
        ("uint8", "uint8", "int8"),
        ("int16", "int8", "int16x8"),
        ("int8", "float32", "mixed"),
        ("int8", "int4", "mixed"),
    ],
)
def test_precision_in_a_word(activations, weights, precision):
    assert Product("CONV_2D", "", 1, activations, weights, False).precision == precision


def test_edgecifars_own_metadata_is_read_and_others_is_shown(of):
    graph = Graph(tiny_graphs.tflite())
    graph.set_metadata("edgecifar", json.dumps({"top1": 0.9}).encode())
    graph.set_metadata("min_runtime_version", b"2.3.0" + bytes(11))
    graph.set_metadata("blob", b"\xff\xfe\0")
    found = of(graph.to_bytes())
    assert found.metadata == {
        "edgecifar": {"top1": 0.9}, "min_runtime_version": "2.3.0", "blob": 3,
    }  # fmt: skip
    assert found.version["minimum_runtime"] == "2.3.0"
    graph = Graph(tiny_graphs.tflite())
    graph.set_metadata("edgecifar", b"no JSON")
    assert of(graph.to_bytes()).metadata == {"edgecifar": "no JSON"}


def test_facts_are_plain_json(of):
    plain = of(tiny_graphs.tflite("int8")).as_dict()
    assert json.loads(json.dumps(plain)) == plain | {
        "inputs": [plain["inputs"][0] | {"shape": [1, 32, 32, 3]}],
        "outputs": [plain["outputs"][0] | {"shape": [1, 10]}],
    }
    assert next(iter(plain["operators"])) == "QUANTIZE"
    assert plain["operators"]["QUANTIZE"] == 2


@needs_onnx
@pytest.mark.skipif(not SHIPPED.exists(), reason="the shipped exports are not in this checkout")
def test_the_shipped_files_agree_with_each_other_and_with_the_recipe_table():
    from edgecifar.training import recipe_results

    expected = recipe_results.results()["mobilenetv2"]["multiply_accumulates"]
    names = ("model.tflite", "model.float.tflite", "model.onnx", "model.float.onnx")
    found = [facts.of(SHIPPED / name) for name in names]
    assert [known.multiply_accumulates for known in found] == [expected] * 4
    assert len({known.parameters for known in found}) == 1
    assert [known.precision for known in found] == ["int8", "float32"] * 2
    assert [known.integer_share for known in found] == [1, 0] * 2
    assert all(known.metadata["edgecifar"]["labels"] for known in found)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("none.tflite", None, "cannot be read: No such file"),
        ("empty.tflite", b"", "is empty"),
        ("empty.onnx", b"", "is empty"),
        ("text.tflite", b"not a model at all", "cannot be opened as TFLite"),
        ("text.bin", b"not a model at all", r"give a \.tflite, \.onnx, \.keras or \.h5 file"),
        ("named_so.onnx", b"\0\0\0\0TFL3", "cannot be opened as TFLite"),
    ],
)
def test_what_is_no_model_is_one_line(tmp_path, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as caught:
        facts.of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@needs_onnx
@pytest.mark.parametrize("content", [b"not a model at all", b"\0" * 100, b"\x08\x08"])
def test_what_is_no_onnx_is_one_line(of, content):
    with pytest.raises(UserError, match="cannot be opened as ONNX, it may be damaged: "):
        of(content, "bad.onnx")


@needs_onnx
@pytest.mark.parametrize("kind", ["float32", "int8", "qoperator"])
def test_without_the_onnx_package_the_file_itself_is_read(of, monkeypatch, kind):
    file = tiny_graphs.onnx(kind)
    whole = of(file, "model.onnx")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else find_spec(name)
    )
    found = of(file, "model.onnx")
    assert found.needs == "onnx"
    assert (found.multiply_accumulates, found.precision, found.integer_share) == (None, None, None)
    for name in ("version", "producer", "size_bytes", "operators", "parameters", "metadata"):
        assert getattr(found, name) == getattr(whole, name)
    for ports in ("inputs", "outputs"):
        assert [(port.name, port.dtype, port.shape) for port in getattr(found, ports)] == [
            (port.name, port.dtype, port.shape) for port in getattr(whole, ports)
        ]
    assert whole.needs is None


def damaged(file: bytes, count: int) -> list[bytes]:
    """Copies cut short, and copies with one to eight bits turned over, most near the front."""
    generator = random.Random(3)
    copies = [file[: generator.randrange(1, len(file))] for _ in range(count // 4)]
    for _ in range(count - len(copies)):
        copy = bytearray(file)
        for _ in range(generator.randrange(1, 9)):
            place = int(len(file) * generator.random() ** 2)
            copy[place] ^= 1 << generator.randrange(8)
        copies.append(bytes(copy))
    return copies


FILES = {
    "int8.tflite": lambda: Graph(tiny_graphs.tflite("int8")).to_bytes(),
    "float.tflite": lambda: tiny_graphs.tflite(custom="FlexErf"),
    "float.onnx": tiny_graphs.onnx,
    "int8.onnx": lambda: tiny_graphs.onnx("int8"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_gives_facts_or_one_line_within_a_second(of, name):
    if name.endswith(".onnx") and not importlib.util.find_spec("onnx"):
        pytest.skip("onnx is not installed")
    lines, slowest = [], 0.0
    for copy in damaged(FILES[name](), 300):
        start = time.process_time()
        try:
            json.dumps(of(copy, name).as_dict())
        except UserError as error:
            lines.append(str(error))
        slowest = max(slowest, time.process_time() - start)
    assert not any("\n" in line for line in lines)
    assert len(lines) > 75  # all that were cut short, and more
    assert slowest < 1
