"""A checkpoint as a legacy model, of Keras 2, for tensorflow-model-optimization, and the way back.

tensorflow-model-optimization (tfmot) wraps the layers of tf-keras, not those of Keras 3. So a
network is rebuilt in tf-keras and trained there with the wrappers, and its weights are copied back
by the names of the layers: the checkpoint stays plain Keras 3.
"""

import os
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.errors import UserError
from edgecifar.models import contract, int8_steps
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras
    import tf_keras

LEGACY = "TF_USE_LEGACY_KERAS"
# The layers that have a counterpart in tf-keras, and the part of their configuration that decides
# what they compute.
LAYERS = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": ("pool_size", "strides", "padding"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Conv2D": (
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "dilation_rate",
        "groups",
        "activation",
        "use_bias",
    ),
    "Dense": ("units", "activation", "use_bias"),
    "DepthwiseConv2D": (
        "kernel_size",
        "strides",
        "padding",
        "depth_multiplier",
        "dilation_rate",
        "activation",
        "use_bias",
    ),
    "Dropout": ("rate",),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "ZeroPadding2D": ("padding",),
}


def load_tfmot() -> tuple[ModuleType, ModuleType]:
    """Import tf-keras and tfmot beside Keras 3.

    tfmot sets `TF_USE_LEGACY_KERAS` when it is imported, and that decides what `tf.keras` is when
    it is first touched. So it is touched before, which leaves it Keras 3 in this process; tfmot
    sees that and takes the package tf_keras. The variable is then restored, because it would affect
    the processes that this one starts.

    Returns:
        The modules `tf_keras` and `tensorflow_model_optimization`.

    Raises:
        UserError: one of them is not installed.
    """
    load_keras()
    before = os.environ.get(LEGACY)
    try:
        import tensorflow as tf

        tf.keras.__version__  # noqa: B018
        import tensorflow_model_optimization as tfmot
        import tf_keras
    except ImportError as error:
        raise UserError(
            f"compression needs TensorFlow, tf-keras and tensorflow-model-optimization ({error}): "
            "in edgecifar's clone, pip install -e '.[train]'"
        ) from error
    finally:
        if before is None:
            os.environ.pop(LEGACY, None)
        else:
            os.environ[LEGACY] = before
    return tf_keras, tfmot


def legacy_model(model: "keras.Model") -> "tf_keras.Model":
    """Build a network in tf-keras that computes what a checkpoint does, with its weights.

    Args:
        model: a flat functional network of this project, as loaded.

    Returns:
        A flat functional model from what follows the scaling and resizing, float32
        (n, size, size, 3) in [-1, 1], to probabilities (n, 10). Its layers have the names of the
        checkpoint's.

    Raises:
        UserError: a layer has no counterpart in tf-keras.
    """
    tf_keras, _ = load_tfmot()
    keras = load_keras()
    kinds = {getattr(keras.layers, name): name for name in LAYERS}
    built, start = {}, None
    for layer in model.operations:
        if isinstance(layer, keras.layers.InputLayer) or layer.name in (
            contract.SCALE,
            contract.RESIZE,
        ):
            start = tf_keras.Input(layer.output.shape[1:], name="pixels")
            built = {id(layer.output): start}
            continue
        kind, taken = kinds.get(type(layer)), keras.tree.flatten(layer.input)
        if kind is None or any(id(tensor) not in built for tensor in taken):
            raise UserError(
                f"layer {layer.name!r} ({type(layer).__name__}) has no counterpart in tf-keras: "
                f"compression takes flat networks of {', '.join(LAYERS)}"
            )
        config = layer.get_config()
        made = getattr(tf_keras.layers, kind)(
            name=layer.name, **{field: config[field] for field in LAYERS[kind]}
        )
        inputs = [built[id(tensor)] for tensor in taken]
        built[id(layer.output)] = made(inputs if len(inputs) > 1 else inputs[0])
        made.set_weights(layer.get_weights())
    return tf_keras.Model(start, built[id(model.output)])


def copy_back(legacy: "tf_keras.Model", model: "keras.Model") -> None:
    """Give a checkpoint's network the weights of its legacy model, without tfmot's wrappers.

    Pruned weights come back as zeros, clustered ones as their centroids, and those trained
    quantization-aware on the int8 steps that the training saw them on.

    Args:
        legacy: of `legacy_model`, or what tfmot made of it; left as it is.
        model: the network that it was built from; its weights are replaced.
    """
    tf_keras, tfmot = load_tfmot()
    wrappers = {type(layer).__name__ for layer in legacy.layers}
    if "PruneLowMagnitude" in wrappers:
        legacy = tfmot.sparsity.keras.strip_pruning(legacy)
    elif "ClusterWeights" in wrappers:
        legacy = tfmot.clustering.keras.strip_clustering(legacy)
    for layer in legacy.layers:
        wrapped = isinstance(layer, tf_keras.layers.Wrapper)
        name = layer.layer.name if wrapped else layer.name
        values = {_leaf(weight.name): weight.numpy() for weight in layer.weights}
        if not values or name not in {own.name for own in model.layers}:
            continue  # tfmot's own, as the layer that quantizes the input
        for weight in model.get_layer(name).weights:
            value = values[weight.name]
            if wrapped and weight.name == "kernel":
                value = on_int8_steps(value, model.get_layer(name).output.shape[-1])
            weight.assign(value)


def on_int8_steps(kernel: np.ndarray, outputs: int) -> np.ndarray:
    """Round a kernel to the steps that its output channels have in int8 files.

    Args:
        kernel: float32, whose last axes make up the output channels.
        outputs: how many there are.

    Returns:
        float32 of the same shape. A positive or negative gain of a channel, such as a batch norm's,
        scales the steps and leaves the int8 values as they are.
    """
    taps = kernel.reshape(-1, outputs)
    return int8_steps.rounded(taps, is_depthwise(kernel.shape, outputs)).reshape(kernel.shape)


def is_depthwise(shape: tuple[int, ...], outputs: int) -> bool:
    """Whether a kernel of that shape makes one output channel of each input channel."""
    return len(shape) == 4 and shape[2:] == (outputs, 1)


def _leaf(name: str) -> str:
    """The last part of a tf-keras weight's name, as Keras 3 calls it."""
    return name.rpartition("/")[2].partition(":")[0].replace("depthwise_kernel", "kernel")
