"""ONNX files with weights in other files, and what damaged ones say."""

import foreign_files
import numpy as np
import pytest

from edgecifar.errors import UserError
from edgecifar.graphs import facts
from edgecifar.graphs.onnx_header import Header, check_onnx, external_files
from edgecifar.graphs.parts import parts, size_bytes

onnx = pytest.importorskip("onnx")


@pytest.fixture
def model(tmp_path):
    """A file with its weights beside it."""
    network = foreign_files.untrained(np.random.default_rng(0).random((8, 32, 32, 3)))
    path = foreign_files.write_onnx(tmp_path / "net.onnx", network)
    foreign_files.put_weights_beside(path)
    return path


def test_weights_beside_the_file_count(model):
    data = model.with_name("net.onnx.data")
    assert external_files(model) == [data]
    assert parts(model) == [model, data]
    assert size_bytes(model) == model.stat().st_size + data.stat().st_size
    assert data.stat().st_size > 100_000 > model.stat().st_size
    found = facts.of(model)
    assert found.size_bytes == size_bytes(model)
    assert found.parameters > 30_000


def test_missing_weights_are_named(model):
    model.with_name("net.onnx.data").unlink()
    for look in (check_onnx, facts.of):
        with pytest.raises(UserError, match=r"keeps its weights in net\.onnx\.data, which is miss"):
            look(model)
    assert parts(model) == [model]


@pytest.mark.parametrize("location", ["../else.data", "/tmp/else.data", "a/../../b"])
def test_weights_outside_the_folder_are_refused(model, location):
    content = onnx.load(model, load_external_data=False)
    for tensor in content.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    model.write_bytes(content.SerializeToString())
    with pytest.raises(UserError, match="outside its folder, which no runtime opens"):
        check_onnx(model)


def test_weights_of_graphs_inside_of_nodes_are_found(tmp_path):
    weights = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w")
    onnx.external_data_helper.set_external_data(weights, "inner.data")
    weights.ClearField("raw_data")
    output = onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [3])
    inner = onnx.helper.make_graph([], "inner", [], [output], [weights])
    node = onnx.helper.make_node("If", ["condition"], ["out"], then_branch=inner, else_branch=inner)
    outer = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [3])
    condition = onnx.helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, [])
    graph = onnx.helper.make_graph([node], "outer", [condition], [outer])
    header = Header(onnx.helper.make_model(graph).SerializeToString())
    assert header.external == ("inner.data",)
    assert header.inputs == ["condition"]
    assert header.shape("out") == (3,)
