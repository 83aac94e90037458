"""TFLite files from a Keras model, by TensorFlow's converter."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgecifar.errors import UserError, first_line
from edgecifar.graphs import METADATA
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

    from edgecifar.graphs.tflite import Graph

SIGNATURE = "classify"


def float_tflite(model: "keras.Model") -> bytes:
    """Convert with float32 weights and activations.

    The converter folds batch norm, drops what does nothing at inference and flattens nested
    models. The same model gives the same bytes. Tensors are named for the Keras layers that they
    come from, `expand/Relu6;expand_norm/add;expand_conv/convolution` for example, the last first.

    Args:
        model: one input of shape (n, 32, 32, 3), of any dtype, which the file's input gets.

    Returns:
        The file: `image` (1, 32, 32, 3) to `probabilities` float32 (1, classes).

    Raises:
        UserError: Keras does not run on TensorFlow.
        ValueError: a layer has no TFLite form; it is named.
    """
    from edgecifar.graphs.tflite import Graph

    if load_keras().backend.backend() != "tensorflow":
        raise UserError("TFLite files are made by Keras on TensorFlow: unset KERAS_BACKEND")
    graph = Graph(_convert(model))
    _name(graph)
    return graph.to_bytes()


def with_metadata(file: bytes, metadata: str) -> bytes:
    """Put a text into a TFLite file, as the metadata buffer named `edgecifar`."""
    from edgecifar.graphs.tflite import Graph

    graph = Graph(file)
    graph.set_metadata(METADATA, metadata.encode())
    return graph.to_bytes()


def _convert(model: "keras.Model") -> bytes:
    """Convert, and name the layer that is the reason when that fails."""
    try:
        return _converted(model)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the converter raises whatever its parts raise
        for layer in _leaves(model):
            reason = _refusal(layer)
            if reason:
                kind = type(layer).__name__
                raise ValueError(f"layer {layer.name!r} ({kind}): {reason}") from error
        raise


def _converted(model: "keras.Model") -> bytes:
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    signature = [
        tf.TensorSpec((1, *taken.shape[1:]), taken.dtype, name=contract.INPUT)
        for taken in model.inputs
    ]
    # Measured on the default model: 2.0 s, and 9.1 s through a SavedModel on the disk, which
    # gives the same graph. Unless its variables are constants first, batch norm is not folded.
    traced = tf.function(
        lambda *images: model(images[0] if len(images) == 1 else list(images), training=False),
        input_signature=signature,
        autograph=False,
    ).get_concrete_function()
    frozen = convert_to_constants.convert_variables_to_constants_v2(traced)
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()


def _leaves(model: "keras.Model") -> Iterator["keras.Operation"]:
    """The layers and operations of a model, those of nested models among them, in its order."""
    keras = load_keras()
    for operation in getattr(model, "operations", None) or model.layers:
        if isinstance(operation, keras.Model):
            yield from _leaves(operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            yield operation


def _refusal(operation: "keras.Operation") -> str | None:
    """Why the converter does not take an operation on its own, in one line; None if it does."""
    keras = load_keras()
    inputs = {id(taken): taken for taken in keras.tree.flatten(operation.input)}
    try:
        _converted(keras.Model(list(inputs.values()), operation.output))
    except (OSError, MemoryError):
        raise
    except Exception as error:
        lacking = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
        return f"TFLite has no {', '.join(lacking)}" if lacking else first_line(error)
    return None


def _name(graph: "Graph") -> None:
    """Name the ends as the contract does and the rest by layers, and sign the graph."""
    from ai_edge_litert import schema_py_generated as schema

    taken = set()
    for tensor in graph.tensors:
        name = ";".join(map(_by_layer, tensor.name.split(";")))
        while name in taken:
            name += "+"
        taken.add(name)
        tensor.raw.name = name.encode()
    (image,), (probabilities,) = graph.inputs, graph.outputs
    image.raw.name = contract.INPUT.encode()
    probabilities.raw.name = contract.OUTPUT.encode()

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    ends = ((signature.inputs[0], image), (signature.outputs[0], probabilities))
    for entry, tensor in ends:
        entry.name, entry.tensorIndex = tensor.raw.name, tensor.index
    graph.model.signatureDefs = [signature]


def _by_layer(name: str) -> str:
    """`model_1/conv_1/convolution` becomes `conv/convolution`.

    Keras opens a layer's name scope twice, once to build it, and TensorFlow numbers the second.
    """
    *scopes, operation = name.split("/")
    return "/".join([*(re.sub(r"_\d+$", "", scope) for scope in scopes[1:]), operation])
