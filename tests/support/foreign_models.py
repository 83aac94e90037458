"""Image classifiers of plain Keras, as somebody else would write them, with weights that matter."""

import keras
import numpy as np

from edgecifar.data import shipped

layers = keras.layers


def sequential(size: int = 32) -> keras.Sequential:
    """A Sequential CNN that augments inside and expects pixels in [0, 1]; softmax."""
    return shaken(
        keras.Sequential(
            [
                keras.Input((size, size, 3)),
                layers.RandomFlip("horizontal", name="flip"),
                layers.RandomRotation(0.1, name="rotation"),
                layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1"),
                layers.BatchNormalization(name="norm1"),
                layers.MaxPooling2D(name="pool1"),
                layers.Conv2D(16, 3, use_bias=False, name="conv2"),
                layers.BatchNormalization(name="norm2"),
                layers.ReLU(name="relu2"),
                layers.MaxPooling2D(name="pool2"),
                layers.Dropout(0.3, name="dropout"),
                layers.Flatten(name="flatten"),
                layers.Dense(10, activation="softmax", name="predictions"),
            ]
        )
    )


def resnet() -> keras.Model:
    """A functional residual network whose last layer gives logits."""
    image = keras.Input((32, 32, 3), name="picture")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    skip = x
    x = layers.Conv2D(8, 3, padding="same", name="block_conv1")(x)
    x = layers.BatchNormalization(name="block_norm1")(x)
    x = keras.ops.relu(x)
    x = layers.Conv2D(8, 3, padding="same", name="block_conv2")(x)
    x = layers.BatchNormalization(name="block_norm2")(x + skip)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Activation("relu", name="last")(x))
    return shaken(keras.Model(image, layers.Dense(10, name="logits")(x)))


def efficientnet() -> keras.Model:
    """EfficientNetB0, which normalizes inside, nested as transfer learning does it; 64 px."""
    backbone = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(64, 64, 3), name="backbone"
    )
    shaken(backbone)
    _settle(backbone)
    image = keras.Input((64, 64, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(backbone(image, training=False))
    x = layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="top")(x))


def hundred_classes() -> keras.Model:
    """A functional network of 100 classes at 64 px; its softmax is a layer, its class count too."""
    image = keras.Input((64, 64, 3))
    x = layers.SeparableConv2D(16, 3, strides=4, activation="relu", name="separable")(image)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    x = layers.Dense(100, name="fine_labels")(x)
    return shaken(keras.Model(image, layers.Activation("softmax", name="end")(x)))


def of_bytes(size: int = 32) -> keras.Model:
    """A functional network that takes uint8 pixels."""
    image = keras.Input((size, size, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255, name="to_unit")(image)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    x = layers.Reshape((8,), name="flat")(x)
    return shaken(keras.Model(image, layers.Dense(10, activation="softmax", name="end")(x)))


def trained(model: keras.Model, scale: float, offset: float = 0.0) -> keras.Model:
    """Fit a model to the training images that ship, so far that it decides: int8 can then follow.

    Args:
        model: of 10 classes or more, whose input takes scale * pixel + offset.
        scale: of the pixels.
        offset: of the pixels.
    """
    keras.utils.set_random_seed(0)
    data = shipped.calibration_set()
    pixels = keras.ops.image.resize(data.images().astype("float32"), model.input_shape[1:3])
    from_logits = getattr(model.layers[-1], "activation", None) is keras.activations.linear
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(pixels * scale + offset, data.labels, batch_size=50, epochs=8, verbose=0)
    return model


def shaken(model: keras.Model) -> keras.Model:
    """Give a model weights and statistics with which its answers differ from image to image."""
    random = np.random.default_rng(0)
    spreads = {"gamma": (1, 0.2), "beta": (0, 0.2), "bias": (0, 0.2), "moving_mean": (0, 0.2)}
    spreads |= {"moving_variance": (1, 0.2), "mean": (0.45, 0.05), "variance": (0.06, 0.01)}
    for variable in model.weights:
        if variable.name in spreads:
            mean, deviation = spreads[variable.name]
            variable.assign(random.normal(mean, deviation, variable.shape))
        elif "kernel" in variable.name:
            depthwise = "depthwise" in variable.path
            inputs = np.prod(variable.shape[: 2 if depthwise else -1])
            variable.assign(random.normal(0, (2 / inputs) ** 0.5, variable.shape))
    return model


def _settle(backbone: keras.Model) -> None:
    """Take the batch norms' statistics from some images: in a deep network random ones kill all."""
    for layer in backbone.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # else its new statistics count only once it is loaded
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    images = shipped.calibration_set().images(slice(20))
    resized = keras.ops.image.resize(images.astype("float32"), backbone.input_shape[1:3])
    backbone(resized, training=True)
