"""Recipes and a network small enough to train in a test, on the 1,000 images that ship."""

import contextlib

from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.training.recipes import Recipe, Stage

# All layers first: a frozen backbone of random weights would teach the head nothing.
MOBILENETV2 = Recipe(
    name="tiny",
    summary="a narrow MobileNetV2 from scratch",
    source="the tests",
    stages=(
        Stage("all", "all", epochs=10, batch=25, learning_rate=2e-3, warmup_epochs=0.5),
        Stage("head", "head", epochs=2, batch=50, learning_rate=3e-3),
    ),
    size=48,
    alpha=0.35,
    dropout=0.0,
    batch_norm_momentum=0.9,
    weights="none",
    label_smoothing=0.0,
    validation_images=100,
)
CONVOLUTION = Recipe(
    name="convolution",
    summary="one convolution",
    source="the tests",
    stages=(
        Stage("head", "head", epochs=1, batch=100, learning_rate=1e-3, size=24),
        Stage("finetune", "all", epochs=3, batch=50, learning_rate=3e-3, warmup_epochs=0.5),
    ),
    size=32,
    batch_norm_momentum=0.8,
    weights="none",
    validation_images=100,
)


def convolution_network(size, alpha, dropout, hidden, batch_norm_momentum, weights):
    """Stands where MobileNetV2 does: one convolution with batch norm."""
    keras = load_keras()
    image, pixels = contract.image_input(size)
    x = keras.layers.Conv2D(16, 5, strides=2, use_bias=False, name="convolution")(pixels)
    x = keras.layers.BatchNormalization(momentum=batch_norm_momentum, name="norm")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.Conv2D(32, 3, strides=2, activation="relu", name="second")(x)
    return keras.Model(image, contract.classifier_head(x, dropout, hidden))


@contextlib.contextmanager
def no_progress(label, total):
    yield lambda done, total=None, label=None: None


def ignore(epoch):
    """Told of an epoch, does nothing."""
