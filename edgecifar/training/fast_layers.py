"""Layers that compute what Keras's do, in less time, under TensorFlow.

Keras computes batch norm from its parts, each a pass over memory of its own, forward and backward.
In a depthwise network on a CPU that is a third of the time of a training step, and a fifth of an
inference, where TensorFlow folds the fused kernel into the convolution before it.

oneDNN, which TensorFlow uses on x86-64 (see `models.keras_loader`), is much faster than
TensorFlow's own kernels, with one exception: the gradient of a depthwise kernel that is larger than
its feature map, such as 5x5 on 4x4 pixels, for which it has only a reference implementation. Here
each weight's gradient is a product and a sum (benchmarks/README.md).
"""

import os
import platform
from typing import TYPE_CHECKING, Any

from edgecifar.hardware import X86
from edgecifar.models.keras_loader import ONEDNN, load_keras

if TYPE_CHECKING:
    import keras


def with_fast_layers(network: "keras.Model") -> "keras.Model":
    """Copy a network with faster layers: batch norms, and depthwise layers on small maps.

    Args:
        network: a functional model whose batch norms are over the last axis of four.

    Returns:
        A copy that computes the same, with the same weights; the network itself where the backend
        is not TensorFlow.
    """
    load_keras()
    import keras

    if keras.backend.backend() != "tensorflow":
        return network
    import tensorflow as tf

    class FusedBatchNormalization(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            learns = bool(training and self.trainable)
            output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=tf.cast(self.gamma, tf.float32),
                offset=tf.cast(self.beta, tf.float32),
                mean=[] if learns else tf.cast(self.moving_mean, tf.float32),
                variance=[] if learns else tf.cast(self.moving_variance, tf.float32),
                epsilon=self.epsilon,
                is_training=learns,
                exponential_avg_factor=1.0,
            )
            if not learns:
                return output
            # The kernel gives the unbiased variance, Keras keeps the biased one.
            count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
            for moving, now in (
                (self.moving_mean, mean),
                (self.moving_variance, variance * (count - 1) / count),
            ):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
            return output

    class SmallMapDepthwiseConv2D(keras.layers.DepthwiseConv2D):
        def call(self, inputs: Any) -> Any:
            strides = (1, *self.strides, 1)

            def convolve(x: Any, kernel: Any) -> tuple[Any, Any]:
                def gradients(upstream: Any) -> tuple[Any, Any]:
                    to_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                        input_sizes=tf.shape(x),
                        filter=kernel,
                        out_backprop=upstream,
                        strides=strides,
                        padding="SAME",
                    )
                    to_kernel = _kernel_gradient(x, upstream, self.kernel_size, self.strides)
                    return to_x, tf.cast(to_kernel, kernel.dtype)

                return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME"), gradients

            convolved = tf.custom_gradient(convolve)
            output = convolved(inputs, tf.convert_to_tensor(self.kernel))
            return self.activation(output + self.bias if self.use_bias else output)

    def copied(layer: "keras.Layer") -> "keras.Layer":
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization) and len(layer.output.shape) == 4:
            return FusedBatchNormalization.from_config(config)
        if _uses_onednn() and _is_larger_than_its_map(layer):
            return SmallMapDepthwiseConv2D.from_config(config)
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy


def _uses_onednn() -> bool:
    import tensorflow as tf

    is_on_cpu = platform.machine() in X86 and not tf.config.list_physical_devices("GPU")
    return is_on_cpu and os.environ.get(ONEDNN) != "0"


def _is_larger_than_its_map(layer: "keras.Layer") -> bool:
    """Whether it is a plain depthwise layer whose kernel is larger than what it is moved over."""
    import keras

    if type(layer) is not keras.layers.DepthwiseConv2D:
        return False
    side = layer.input.shape[1]
    is_plain = (layer.padding, layer.depth_multiplier, layer.dilation_rate) == ("same", 1, (1, 1))
    return is_plain and side is not None and max(layer.kernel_size) > side


def _kernel_gradient(
    x: Any, upstream: Any, kernel_size: tuple[int, int], strides: tuple[int, int]
) -> Any:
    """The gradient of a depthwise kernel from what went in and the gradient of what came out.

    Args:
        x: shape (n, height, width, channels).
        upstream: shape (n, new height, new width, channels).
        kernel_size: of a kernel that pads with zeros as "same" does.
        strides: vertical and horizontal.

    Returns:
        float32, shape (*kernel_size, channels, 1).
    """
    import tensorflow as tf

    x, upstream = tf.cast(x, tf.float32), tf.cast(upstream, tf.float32)
    rows, columns = (
        _reached(size, taps, stride)
        for size, taps, stride in zip(x.shape[1:3], kernel_size, strides, strict=True)
    )
    gradients = [
        tf.reduce_sum(x[:, row, column] * upstream[:, to_row, to_column], [0, 1, 2])
        for row, to_row in rows
        for column, to_column in columns
    ]
    return tf.reshape(tf.stack(gradients), (*kernel_size, x.shape[-1], 1))


def _reached(size: int, taps: int, stride: int) -> list[tuple[slice, slice]]:
    """For each tap of a kernel along one axis: which inputs it meets, and for which outputs."""
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + taps - size, 0) // 2
    met = []
    for tap in range(taps):
        first = max(0, -((tap - padding) // stride))
        count = max(0, min(outputs, (size - 1 - tap + padding) // stride + 1) - first)
        start = first * stride + tap - padding
        met.append((slice(start, start + count * stride, stride), slice(first, first + count)))
    return met
