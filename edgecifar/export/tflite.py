"""TFLite files from a Keras model, by TensorFlow's converter."""

import tempfile
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data.cifar10 import IMAGE_SHAPE
from edgecifar.export.calibration import scaled
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

METADATA = "edgecifar"


def float_tflite(model: "keras.Model") -> bytes:
    """Convert with float32 weights and activations.

    Args:
        model: one input of shape (n, 32, 32, 3), of any dtype, which the file's input gets.

    Returns:
        The file: `image` (1, 32, 32, 3) to `probabilities` float32 (1, 10).
    """
    return _named(_convert(model, lambda converter: None))


def int8_tflite(model: "keras.Model", images: np.ndarray) -> bytes:
    """Convert with int8 weights, per channel, and int8 activations.

    The graph starts after the model's scaling layer. The quantization of its input (scale
    1/127.5, zero point 127) does the scaling, so that raw pixels go straight in, and no CAST, MUL
    or ADD stands at the head of the graph.

    Args:
        model: a checkpoint with a `scale` layer.
        images: to calibrate with, uint8, shape (n, 32, 32, 3).

    Returns:
        The file: `image` uint8 (1, 32, 32, 3) to `probabilities` uint8 (1, 10), of scale 1/256.
    """

    def quantized(converter) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in scaled(images))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8

    return _named(_convert(after_scaling(model), quantized))


def after_scaling(model: "keras.Model") -> "keras.Model":
    """The part of a checkpoint that takes images scaled to [-1, 1], float32 (n, 32, 32, 3)."""
    return load_keras().Model(model.get_layer(contract.SCALE).output, model.output)


def with_metadata(file: bytes, metadata: str) -> bytes:
    """Put a text into a TFLite file, as the metadata buffer named `edgecifar`."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(file))
    buffer = schema.BufferT()
    buffer.data = list(metadata.encode())
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _convert(model: "keras.Model", configure) -> bytes:
    import tensorflow as tf

    keras = load_keras()
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "classify",
        lambda image: {contract.OUTPUT: model(image, training=False)},
        input_signature=[
            tf.TensorSpec((1, *IMAGE_SHAPE), model.input.dtype, name=contract.INPUT),
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["classify"])
        configure(converter)
        return converter.convert()


def _named(file: bytes) -> bytes:
    """Name the input and output tensors as the contract does; the converter makes names up."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(file))
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = contract.INPUT
    graph.tensors[graph.outputs[0]].name = contract.OUTPUT
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
