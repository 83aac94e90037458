"""A file of one image at a time becomes one of several, and gives the same answers."""

import foreign_models
import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgecifar.data import shipped
from edgecifar.export import tflite
from edgecifar.export.batching import with_batch
from edgecifar.graphs.tflite import Graph
from edgecifar.models import contract

layers = keras.layers


@pytest.fixture(scope="module")
def squeezing():
    """A flattened feature map that was weighed by a squeeze-and-excite block."""
    image, x = contract.image_input(32)
    x = layers.Conv2D(8, 3, strides=4, activation="relu", name="conv")(x)
    weights = layers.Reshape((1, 1, 8), name="spread")(layers.GlobalAveragePooling2D()(x))
    weights = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(weights)
    x = layers.Flatten(name="flatten")(layers.Multiply(name="weighed")([x, weights]))
    return foreign_models.shaken(keras.Model(image, contract.probabilities(x)))


def answers(file, images):
    """The answers to one batch, its size being the input's unless that is left open."""
    interpreter = Interpreter(model_content=file)
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    if image["shape_signature"][0] == -1:
        interpreter.resize_tensor_input(image["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(output["index"])


@pytest.fixture(scope="module")
def file(squeezing):
    return tflite.float_tflite(squeezing)


def check(file, model, count):
    images = shipped.test_set().images(slice(count))
    expected = model.predict_on_batch(images)
    np.testing.assert_allclose(answers(file, images), expected, rtol=0, atol=1e-5)


def test_a_batch_of_one_is_the_file_itself(file):
    assert with_batch(file, 1) is file


def test_a_batch_of_a_given_size(file, squeezing):
    three = with_batch(file, 3)
    assert Graph(three).inputs[0].shape == (3, 32, 32, 3)
    check(three, squeezing, 3)


@pytest.mark.parametrize("count", [1, 5])
def test_a_batch_of_any_size(file, squeezing, count):
    dynamic = with_batch(file, "dynamic")
    graph = Graph(dynamic)
    assert list(graph.inputs[0].raw.shapeSignature) == [-1, 32, 32, 3]
    assert list(graph.outputs[0].raw.shapeSignature) == [-1, 10]
    check(dynamic, squeezing, count)


def test_no_operator_is_added(file):
    names = [operator.name for operator in Graph(file).operators]
    assert "RESHAPE" in names
    assert [operator.name for operator in Graph(with_batch(file, "dynamic")).operators] == names
