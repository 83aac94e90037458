"""TensorFlow's converter as edgecifar uses it: names, bytes, and what it cannot take."""

import hashlib
import subprocess
import sys

import foreign_models
import keras
import numpy as np
import pytest
import tiny_training
from ai_edge_litert.interpreter import Interpreter

from edgecifar.data import shipped
from edgecifar.export import tflite
from edgecifar.export.checkpoint import open_checkpoint
from edgecifar.export.quantization.observing import outputs
from edgecifar.graphs.tflite import Graph
from edgecifar.models import contract

layers = keras.layers
HEAD = ["CAST", "MUL", "ADD", "RESIZE_BILINEAR"]
NETWORK = ["CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]


@pytest.fixture(scope="module")
def model():
    """One convolution with batch norm behind it, one with a bias."""
    return foreign_models.shaken(tiny_training.convolution_network(48, 1, 0.1, 0, 0.9, "none"))


def names(file):
    return [operator.name for operator in Graph(file).operators]


def test_batch_norm_is_folded_and_dropout_gone(model):
    assert names(tflite.float_tflite(model)) == HEAD + NETWORK


def test_scaling_right_before_a_convolution_without_padding_goes_into_it():
    model = tiny_training.convolution_network(32, 1, 0.1, 0, 0.9, "none")
    assert names(tflite.float_tflite(model)) == ["CAST", *NETWORK]


def test_tensors_are_named_by_layers_each_once(model):
    graph = Graph(tflite.float_tflite(model))
    assert (graph.inputs[0].name, graph.outputs[0].name) == ("image", "probabilities")
    outputs = [operator.outputs[0].name for operator in graph.operators]
    assert outputs[:4] == ["Cast", "scale/mul", "scale/add", "resize/resize/ResizeBilinear"]
    assert {"norm", "convolution"} <= {part.partition("/")[0] for part in outputs[4].split(";")}
    assert outputs[5].startswith("second/Relu;")
    everything = [tensor.name for tensor in graph.tensors]
    assert len(set(everything)) == len(everything)


def test_the_signature_names_both_ends(model):
    runner = Interpreter(model_content=tflite.float_tflite(model)).get_signature_runner("classify")
    image = shipped.test_set().images(slice(1))
    given = runner(image=image)
    np.testing.assert_allclose(given["probabilities"], model.predict_on_batch(image), atol=1e-5)


def test_two_conversions_in_two_processes_give_the_same_bytes(small_run):
    convert = (
        "import hashlib, sys; from pathlib import Path\n"
        "from edgecifar.export import checkpoint, tflite\n"
        "opened = checkpoint.open_checkpoint(Path(sys.argv[1]))\n"
        "print(hashlib.sha256(tflite.float_tflite(opened.model)).hexdigest())\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", convert, small_run.checkpoint],
        capture_output=True,
        text=True,
        check=True,
    )
    opened = open_checkpoint(small_run.checkpoint)
    first = tflite.float_tflite(opened.model)
    assert tflite.float_tflite(opened.model) == first
    assert hashlib.sha256(first).hexdigest() == other.stdout.split()[-1]


def _nested_bicubic(x):
    inner = keras.Sequential(
        [
            layers.Conv2D(4, 3, name="fine"),
            layers.UpSampling2D(2, interpolation="bicubic", name="enlarge"),
        ],
        name="inner",
    )
    return inner(x)


@pytest.mark.parametrize(
    ("unusual", "name", "kind", "lacking"),
    [
        (_nested_bicubic, "enlarge", "UpSampling2D", "ResizeBicubic"),
        (lambda x: keras.ops.fft2((x, x))[0], "fft2", "FFT2", "Complex, FFT2D"),
        (lambda x: keras.ops.erfinv(x / 300), "erfinv", "Erfinv", "Erfinv"),
    ],
)
def test_what_has_no_tflite_form_is_named(unusual, name, kind, lacking):
    image, x = contract.image_input(32)
    x = layers.Conv2D(4, 3, name="before")(x)
    x = layers.GlobalAveragePooling2D(name="after")(unusual(x))
    model = keras.Model(image, contract.probabilities(x))
    said = rf"^layer '{name}\w*' \({kind}\): TFLite has no {lacking}$"
    with pytest.raises(ValueError, match=said):
        tflite.float_tflite(model)


def test_a_text_inside_a_file_changes_nothing_else(model):
    file = tflite.float_tflite(model)
    stamped = tflite.with_metadata(file, "what is known")
    assert Graph(stamped).metadata[tflite.METADATA] == b"what is known"
    images = shipped.test_set().images(slice(1))
    np.testing.assert_array_equal(outputs(stamped, images), outputs(file, images))
    assert len(stamped) - len(file) < 1000
