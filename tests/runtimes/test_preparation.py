import numpy as np
import pytest

from edgecifar.errors import UserError
from edgecifar.runtimes import Tensor, labels, normalization, preparation
from edgecifar.runtimes.preparation import Preparation


def tensor(dtype: str, size: int = 32, scale: float | None = None, zero_point: int = 0) -> Tensor:
    return Tensor("image", (None, size, size, 3), dtype, scale, zero_point)


def prepared(images, name, *, layout="NHWC", size=32, **arguments) -> np.ndarray:
    taken = tensor(arguments.pop("dtype", "float32"), size, **arguments)
    return Preparation(taken, layout, size, normalization.parse(name))(images)


def test_pixels_that_are_taken_as_they_are_are_not_touched(images):
    assert prepared(images, "raw", dtype="uint8") is images
    assert prepared(images, "unit", dtype="uint8", scale=1 / 255) is images


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32", "float16"])
@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_shape_dtype_and_memory_are_the_inputs(images, dtype, size, layout):
    found = prepared(images, "raw", dtype=dtype, size=size, layout=layout)
    square = (3, size, size) if layout == "NCHW" else (size, size, 3)
    assert (found.shape, found.dtype) == ((len(images), *square), dtype)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_raw_pixels_stay_exact(images, layout):
    expected = images if layout == "NHWC" else images.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(prepared(images, "raw", layout=layout), expected)
    as_int8 = prepared(images, "raw", layout=layout, dtype="int8", scale=0.02, zero_point=3)
    np.testing.assert_array_equal(as_int8, expected.astype(int) - 128)


def test_what_a_quantized_input_cannot_hold_is_cut_off(images):
    found = prepared(images, "symmetric", dtype="int8", scale=0.001, zero_point=5)
    expected = np.clip(np.rint((images / 127.5 - 1) / 0.001) + 5, -128, 127)
    np.testing.assert_array_equal(found, expected)
    assert {-128, 127} <= set(np.unique(found))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", ["raw", "imagenet"])
def test_images_of_the_inputs_own_size_are_normalized_and_not_resized(layout, name):
    large = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    chosen = normalization.parse(name)
    expected = (large / 255 - chosen.mean) / chosen.deviation
    if layout == "NCHW":
        expected = expected.transpose(0, 3, 1, 2)
    found = prepared(large, name, layout=layout, size=48)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("size", [8, 31, 48, 64, 224])
def test_resizing_is_that_of_the_frameworks(images, size):
    """ONNX's Resize at half-pixel centres is what TensorFlow and Keras do by default."""
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"],
        mode="linear", coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "resize",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3, 32, 32]),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    planes = images[:4].transpose(0, 3, 1, 2).astype(np.float32)
    (expected,) = session.run(None, {"x": planes, "sizes": np.array([4, 3, size, size])})
    for layout, axes in ("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1)):
        found = prepared(images[:4], "raw", size=size, layout=layout)
        np.testing.assert_allclose(found, expected.transpose(axes), atol=1e-3)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_what_is_interpolated_is_rounded_once(images, layout):
    """Not cut off, and not rounded before: 32-bit sums may part at an exact half alone."""
    exact = prepared(images, "raw", size=51, layout=layout)
    found = prepared(images, "symmetric", size=51, layout=layout, dtype="int8", scale=0.01)
    expected = np.clip(np.rint((exact / 127.5 - 1) / 0.01), -128, 127)
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found == expected) > 0.999


def test_the_matrix_of_a_resize_keeps_an_even_image_even():
    for size in 1, 16, 100:
        np.testing.assert_allclose(preparation.bilinear(size).sum(axis=1), 1, rtol=1e-6)


def test_numbers_are_normalizations_too():
    assert normalization.parse("auto") is None
    assert normalization.parse("unit") is normalization.NAMED["unit"]
    assert normalization.parse("none") is normalization.parse("raw") is normalization.RAW
    one, three = normalization.parse("0.5,0.25"), normalization.parse(".1,.2,.3, .4,.5,.6")
    assert (one.mean, one.deviation) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert (three.mean, three.deviation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    "text", ["", "Unit", "0.5", "1,2,3", "a,b", "0.5,0", "0.5,-1", "nan,1", "0,inf", "1,1,1,1,1,0"]
)
def test_other_text_is_no_normalization(text):
    with pytest.raises(UserError) as caught:
        normalization.parse(text)
    assert f"`normalization={text}`" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*normalization.NAMED, "0.5,0.25", ".1,.2,.3,.4,.5,.6"])
def test_scale_and_offset_give_the_same_values(name):
    parsed = normalization.parse(name)
    scaled = np.arange(256)[:, None] * np.array(parsed.scale) + np.array(parsed.offset)
    np.testing.assert_allclose(np.broadcast_to(scaled, (256, 3)), parsed.values(), atol=1e-9)


TEN = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "boat", "lorry"]


def test_labels_go_by_the_usual_synonyms():
    assert labels.canonical([name.title() for name in TEN])[-3:] == ["horse", "ship", "truck"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([*TEN[:9], "zebra"], "'zebra' is not a class"),
        ([*TEN[:9], "automobile"], "automobile is there 2 times"),
        (TEN[:8], "ship, truck is missing"),
    ],
)
def test_other_names_are_refused(given, complaint):
    with pytest.raises(UserError, match=complaint):
        labels.canonical(given)
