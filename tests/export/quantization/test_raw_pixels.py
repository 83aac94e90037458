"""The scaling comes off the head of a graph, and goes back on."""

import numpy as np
import pytest
import small_graph

from edgecifar.export.quantization import raw_pixels
from edgecifar.export.quantization.raw_pixels import Scaling
from edgecifar.graphs.tflite import Graph


def kinds(file):
    return [operator.name for operator in Graph(file).operators]


@pytest.mark.parametrize(
    ("scaling", "expected", "quantization"),
    [
        ((("MUL", 1 / 127.5), ("ADD", -1.0)), (1 / 127.5, -1), (1 / 127.5, 127)),
        ((("SUB", 127.5), ("DIV", 127.5)), (1 / 127.5, -1), (1 / 127.5, 127)),
        ((("DIV", 255.0),), (1 / 255, 0), (1 / 255, 0)),
        ((("MUL", [1 / 255] * 3),), (1 / 255, 0), (1 / 255, 0)),
        ((), (1, 0), (1, 0)),
    ],
)
def test_the_scaling_comes_off_and_the_graph_computes_the_same(
    scaling, expected, quantization, images
):
    whole = small_graph.network(scaling)
    file, found = raw_pixels.split(whole)
    assert (found.scale, found.offset) == pytest.approx(expected)
    assert found.quantization == pytest.approx(quantization)
    assert kinds(file)[0] == "CONV_2D"
    graph = Graph(file)
    assert [(tensor.name, tensor.dtype) for tensor in graph.inputs] == [("image", "float32")]
    assert not any(tensor.name.startswith(("cast", "scaled")) for tensor in graph.tensors)
    np.testing.assert_allclose(
        small_graph.run(file, found(images[:4])), small_graph.run(whole, images[:4]), atol=1e-5
    )


def test_a_scaling_behind_a_resize_comes_off_too(images):
    whole = small_graph.network(resize=40)
    file, scaling = raw_pixels.split(whole)
    assert kinds(file)[:2] == ["RESIZE_BILINEAR", "CONV_2D"]
    np.testing.assert_allclose(
        small_graph.run(file, scaling(images[:4])), small_graph.run(whole, images[:4]), atol=1e-5
    )


def test_constants_that_differ_by_channel_stay_in_the_graph(images):
    by_channel = (("DIV", 255.0), ("SUB", [0.485, 0.456, 0.406]), ("DIV", [0.229, 0.224, 0.225]))
    whole = small_graph.network(by_channel)
    file, scaling = raw_pixels.split(whole)
    assert scaling.scale == pytest.approx(1 / 255)
    assert kinds(file)[:3] == ["SUB", "DIV", "CONV_2D"]
    np.testing.assert_allclose(
        small_graph.run(file, scaling(images[:4])), small_graph.run(whole, images[:4]), atol=1e-5
    )


def test_what_no_uint8_quantization_can_say_stays_in_the_graph():
    file, scaling = raw_pixels.split(small_graph.network((("MUL", 1 / 255), ("ADD", 1.0))))
    assert (scaling.scale, scaling.offset) == (pytest.approx(1 / 255), 0)
    assert kinds(file)[0] == "ADD"
    file, scaling = raw_pixels.split(small_graph.network((("MUL", -1.0),)))
    assert scaling == Scaling()
    assert kinds(file)[0] == "MUL"


def test_a_graph_without_a_cast_is_refused(parts):
    with pytest.raises(ValueError, match="CAST"):
        raw_pixels.split(parts[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_scaling_goes_back_on(parts, float_file, images, dtype):
    file, scaling = parts
    again = raw_pixels.with_scaling(file, scaling, dtype)
    graph = Graph(again)
    assert [(tensor.name, tensor.dtype) for tensor in graph.inputs] == [
        ("image", np.dtype(dtype).name)
    ]
    np.testing.assert_allclose(
        small_graph.run(again, images[:4].astype(dtype)),
        small_graph.run(float_file, images[:4]),
        atol=1e-6,
    )


def test_nothing_is_added_for_a_scaling_of_nothing(images):
    whole = small_graph.network(())
    file, scaling = raw_pixels.split(whole)
    assert kinds(raw_pixels.with_scaling(file, scaling, np.float32)) == kinds(file)
    assert kinds(raw_pixels.with_scaling(file, scaling, np.uint8)) == ["CAST", *kinds(file)]
    bare = raw_pixels.with_scaling(file, scaling, np.float32)
    pixels = images[:2].astype(np.float32)
    np.testing.assert_array_equal(small_graph.run(bare, pixels), small_graph.run(file, pixels))
