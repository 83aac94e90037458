"""Round the weights to what int8 can hold, and take the mean error that this makes out again.

A depthwise channel whose input hardly varies has weights that are large and nearly cancel. Rounding
them adds a constant to the channel, and the layers behind it suffer. Bias correction measures that
constant on calibration images and subtracts it. Source: Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.2, with means that are
measured instead of derived.

Both converters quantize the weights of an output channel symmetrically, to -127 ... 127, and find
them on these steps already: both formats get the same int8 weights and the same corrected biases.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgecifar.models import int8_steps
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

BATCH = 50


def with_rounded_weights(model: "keras.Model", images: np.ndarray) -> "keras.Model":
    """Round the weights of every convolution, and correct its bias.

    Args:
        model: left as it is.
        images: to measure the means with, uint8, shape (n, 32, 32, 3).

    Returns:
        A copy. The weights of its convolutions, times the gain of the batch norm behind them, are
        on int8 steps; the batch norm's offset, or the bias where there is no batch norm, makes up
        for the mean error. Convolutions with neither are as they were.
    """
    keras = load_keras()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    convolutions = {
        layer.name: _batch_norm_after(layer)
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
        and (layer.use_bias or _batch_norm_after(layer))
    }
    mean_errors = {}
    for name, norm in convolutions.items():
        layer = model.get_layer(name)
        gain = _gain(norm)
        kernel = np.asarray(layer.kernel)
        folded = kernel.reshape(-1, layer.output.shape[-1]) * gain
        rounded = int8_steps.rounded(folded)
        copy.get_layer(name).kernel.assign(
            (rounded / np.where(gain == 0, 1, gain)).reshape(kernel.shape)
        )
        mean_errors[name] = _mean_output(layer, (folded - rounded).reshape(kernel.shape))

    probe = keras.Model(model.input, mean_errors)
    blocks = [
        probe.predict_on_batch(images[start : start + BATCH])
        for start in range(0, len(images), BATCH)
    ]
    for name, norm in convolutions.items():
        offset = copy.get_layer(norm.name).beta if norm else copy.get_layer(name).bias
        error = np.concatenate([block[name] for block in blocks]).mean(axis=0)
        offset.assign_add(error)
    return copy


def _batch_norm_after(layer: "keras.Layer") -> "keras.layers.BatchNormalization | None":
    """The batch norm that is the only reader of a layer's output, and so is folded into it."""
    readers = [node.operation for node in layer._outbound_nodes]
    if len(readers) == 1 and isinstance(readers[0], load_keras().layers.BatchNormalization):
        return readers[0]
    return None


def _gain(norm: "keras.layers.BatchNormalization | None") -> np.ndarray | float:
    """What a batch norm multiplies each channel by, float32 (channels,); 1 without one."""
    if norm is None:
        return 1.0
    gamma = np.asarray(norm.gamma) if norm.scale else 1.0
    return gamma / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)


def _mean_output(layer: "keras.Layer", kernel: np.ndarray) -> "keras.KerasTensor":
    """The mean over the pixels of what a convolution makes of its input with another kernel."""
    keras = load_keras()
    config = layer.get_config() | {"use_bias": False, "activation": None}
    other = type(layer).from_config(config | {"name": f"{layer.name}_error"})
    output = other(layer.input)
    other.kernel.assign(kernel)
    return keras.layers.GlobalAveragePooling2D()(output)
