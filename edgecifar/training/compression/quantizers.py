"""Fake quantization of a tf-keras network, on the same steps as the exporter's int8 files.

tfmot's default scheme has one step for all of a depthwise kernel and for all of a dense one, where
the files have one for each output channel. The scheme here has the steps of the files. It does not
fold batch norm; the files fold it into the kernel, which scales the weights of an output channel
and their step equally, so that the int8 values are the same.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edgecifar.errors import UserError, first_line
from edgecifar.graphs import overflow
from edgecifar.models import int8_steps
from edgecifar.training.compression.tf_keras_bridge import is_depthwise, load_tfmot

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


def quantized(legacy: "tf_keras.Model", batches: Iterable["tf.Tensor"]) -> "tf_keras.Model":
    """Wrap a network for quantization-aware training.

    Args:
        legacy: float32 (n, size, size, 3) to probabilities (n, 10).
        batches: of inputs, to start the ranges of the activations with.

    Returns:
        A network with fake quantization: weights of 8 bits per output channel, activations of 8
        bits per tensor, whose ranges are a moving average. Its wrappers share no weight with
        `legacy`.

    Raises:
        UserError: tfmot cannot quantize the network.
    """
    _, tfmot = load_tfmot()
    annotated = tfmot.quantization.keras.quantize_annotate_model(legacy)
    try:
        network = tfmot.quantization.keras.quantize_apply(annotated, _scheme())
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"this network cannot be trained quantization-aware: {reason}") from error
    _start_ranges(network, legacy, batches)
    return network


def _scheme() -> Any:
    """tfmot's default 8-bit scheme, with a step for each output channel of every kernel."""
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs as configs,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_scheme as scheme,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantizers as quantizers,
    )

    tf_keras, _ = load_tfmot()

    class WeightsQuantizer(quantizers.Default8BitConvWeightsQuantizer):
        """Fake quantization of kernels, those of two axes (taps, outputs) included."""

        def build(self, tensor_shape: tuple[int, ...], name: str, layer: Any) -> Any:
            return super().build((_outputs(layer.layer, tensor_shape),), name, layer)

        def __call__(self, inputs: Any, training: Any, weights: dict, **kwargs: Any) -> Any:
            outputs = weights["max_var"].shape[0]
            taps = tf.reshape(inputs, (-1, outputs))
            # The largest weight of a channel sets its step: these stand for a wider one.
            widest = _overflow_bounds(taps, is_depthwise(inputs.shape, outputs))
            widened = tf.concat([taps, widest], axis=0)
            rounded = super().__call__(widened, training, weights, **kwargs)
            return tf.reshape(rounded[: taps.shape[0]], inputs.shape)

    class KernelConfig(registry.Default8BitConvQuantizeConfig):
        def __init__(
            self, weight_attrs: list[str], activation_attrs: list[str], quantize_output: bool
        ) -> None:
            super().__init__(weight_attrs, activation_attrs, quantize_output)
            self.weight_quantizer = WeightsQuantizer()

    class Registry(registry.Default8BitQuantizeRegistry):
        def __init__(self) -> None:
            super().__init__()
            self._layer_quantize_map |= {
                tf_keras.layers.Conv2D: KernelConfig(["kernel"], ["activation"], False),
                tf_keras.layers.DepthwiseConv2D: KernelConfig(
                    ["depthwise_kernel"], ["activation"], False
                ),
                tf_keras.layers.Dense: KernelConfig(["kernel"], ["activation"], False),
                # Only for one that follows no convolution: the layout's transforms handle the
                # others.
                tf_keras.layers.BatchNormalization: configs.Default8BitOutputQuantizeConfig(),
            }

    class Scheme(scheme.Default8BitQuantizeScheme):
        def get_quantize_registry(self) -> Registry:
            return Registry()

    return Scheme()


def _outputs(layer: "tf_keras.layers.Layer", shape: tuple[int, ...]) -> int:
    """How many output channels a layer's kernel of that shape has."""
    tf_keras, _ = load_tfmot()
    if isinstance(layer, tf_keras.layers.DepthwiseConv2D):
        return shape[-2] * shape[-1]
    return shape[-1]


def _overflow_bounds(taps: "tf.Tensor", depthwise: bool) -> "tf.Tensor":
    """The least value of 127 steps where two weights must not overflow; see `int8_steps.steps`.

    Args:
        taps: float32, shape (taps, outputs).
        depthwise: see there.

    Returns:
        float32, shape (1, outputs), or (0, outputs) where there are no such pairs.
    """
    import tensorflow as tf

    if depthwise or taps.shape[0] < 2:
        return taps[:0]
    by_channel = tf.transpose(tf.stop_gradient(taps))
    pairs = [tf.nn.relu(tf.math.top_k(side, 2).values) for side in (by_channel, -by_channel)]
    largest = tf.maximum(*(tf.reduce_sum(pair, axis=1) for pair in pairs))
    return (largest * int8_steps.INT8_MAX / overflow.PAIR_LIMIT)[None]


def _start_ranges(
    network: "tf_keras.Model", legacy: "tf_keras.Model", batches: Iterable["tf.Tensor"]
) -> None:
    """Start the range of each activation at the range of the float network.

    tfmot starts them at -6 to 6, and a moving average of 0.999 still remembers that after an epoch.
    """
    import tensorflow as tf

    tf_keras, _ = load_tfmot()
    outputs = {layer.name: _before_softmax(layer) for layer in legacy.layers}
    probe = tf_keras.Model(
        legacy.input,
        {
            name: tf.stack([tf.reduce_min(output), tf.reduce_max(output)])
            for name, output in outputs.items()
        },
    )
    seen = [probe(batch, training=False) for batch in batches]
    for layer in network.layers:
        wrapped = isinstance(layer, tf_keras.layers.Wrapper)
        name = layer.layer.name if wrapped else legacy.layers[0].name
        low, high = tf.reduce_mean([ranges[name] for ranges in seen], axis=0)
        for weight in layer.weights:
            if weight.shape.rank == 0 and "_min" in weight.name:
                weight.assign(tf.minimum(low, 0.0))
            elif weight.shape.rank == 0 and "_max" in weight.name:
                weight.assign(tf.maximum(high, 0.0))


def _before_softmax(layer: "tf_keras.layers.Layer") -> "tf_keras.KerasTensor":
    """What tfmot quantizes in a layer: its output, or the input of a softmax."""
    tf_keras, _ = load_tfmot()
    if getattr(layer, "activation", None) is not tf_keras.activations.softmax:
        return layer.output
    if isinstance(layer, tf_keras.layers.Activation):
        return layer.input
    changed = {"name": f"{layer.name}_logits", "activation": None}
    linear = type(layer).from_config(layer.get_config() | changed)
    logits = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return logits
