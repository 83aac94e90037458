"""Batch norm by TensorFlow's fused kernel, under TensorFlow.

Keras computes batch norm from its parts, each a pass over memory of its own, forward and backward.
In a depthwise network on a CPU that is a third of the time of a training step, and a fifth of an
inference, where TensorFlow folds the fused kernel into the convolution before it
(benchmarks/README.md).
"""

from typing import TYPE_CHECKING, Any

from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras


def with_fused_batch_norm(network: "keras.Model") -> "keras.Model":
    """Copy a network with every batch norm computed by the fused kernel.

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

    def copied(layer: "keras.Layer") -> "keras.Layer":
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization) and len(layer.output.shape) == 4:
            return FusedBatchNormalization.from_config(config)
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy
