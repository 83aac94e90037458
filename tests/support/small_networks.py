"""Networks of the kinds of layers that compression takes, small enough to train in a test."""

import keras
import numpy as np
import tiny_training

from edgecifar.models import contract
from edgecifar.training import recipes

RECIPE = recipes.as_dict(tiny_training.CONVOLUTION)


def depthwise_network():
    """A convolution with bias, a depthwise one with batch norm, one by one, and the head; 24 px."""
    layers = keras.layers
    image, pixels = contract.image_input(24)
    x = layers.Conv2D(16, 3, strides=2, activation="relu", name="stem")(pixels)
    x = layers.ZeroPadding2D(1, name="pad")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(momentum=0.8, name="depthwise_bn")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(x)
    x = layers.Conv2D(32, 1, use_bias=False, name="project")(x)
    x = layers.BatchNormalization(momentum=0.8, name="project_bn")(x)
    return keras.Model(image, contract.classifier_head(x, 0.1))


def residual_network():
    """Two residual blocks of the other kinds of layers, and a head of many layers; 32 px."""
    layers = keras.layers
    image, x = contract.image_input(32)
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    for number in (1, 2):
        skip = x
        x = layers.BatchNormalization(name=f"bn{number}", scale=number == 1)(x)
        x = layers.Activation("relu", name=f"relu{number}")(x)
        x = layers.Conv2D(8, 3, padding="same", groups=number, name=f"conv{number}")(x)
        x = layers.Add(name=f"sum{number}")([skip, x])
    x = layers.MaxPooling2D(2, name="largest")(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same", name="mean")(x)
    x = layers.Flatten(name="features")(x)
    x = layers.Dense(20, activation="relu", name="hidden")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    x = layers.Dense(10, name="logits")(x)
    return keras.Model(image, layers.Activation("softmax", name="probabilities")(x))


def settle(model):
    """Give a network the statistics of a trained one, so that its answers differ by image."""
    random = np.random.default_rng(0)
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0  # what the next batch has is kept whole
        layer.beta.assign(random.uniform(-0.5, 0.5, layer.beta.shape))
        if layer.scale:
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
    model(random.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8), training=True)
    return model
