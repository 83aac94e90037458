"""A float TFLite file of every kind of layer, written without Keras or TensorFlow."""

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tflite_writer import Writer

SYMMETRIC = (("MUL", 1 / 127.5), ("ADD", -1.0))


def network(
    scaling=SYMMETRIC,
    resize: int | None = None,
    dead_channel: bool = False,
    subject: Callable[["FloatWriter", int], int] | None = None,
) -> bytes:
    """`image` uint8 (1, 32, 32, 3) to `probabilities` (1, 10).

    Args:
        scaling: the operators behind the CAST, as (name, constant).
        resize: side that the pixels are resized to between CAST and scaling; None for not at all.
        dead_channel: give one channel of `first` no weights, but a bias.
        subject: adds operators behind `second`, of shape (1, 16, 16, 12): takes a writer and that
            tensor, and gives one of four sides and 12 channels.
    """
    generator = np.random.default_rng(5)
    writer = FloatWriter()
    image = writer.tensor("image", (1, 32, 32, 3), "uint8")
    last = writer.add("CAST", [image], (1, 32, 32, 3), "cast", schema.CastOptionsT())
    if resize:
        side = writer.constant("size", np.array([resize, resize], np.int32))
        options = schema.ResizeBilinearOptionsT()
        options.halfPixelCenters = True
        shape = (1, resize, resize, 3)
        last = writer.add("RESIZE_BILINEAR", [last, side], shape, "resized", options)
    for number, (name, constant) in enumerate(scaling):
        value = writer.constant(f"constant{number}", np.asarray(constant, np.float32))
        kind = getattr(schema, f"{name.capitalize()}OptionsT")
        last = writer.add(name, [last, value], writer.shape(last), f"scaled{number}", kind())
    weights = generator.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    offsets = generator.normal(0, 0.5, 8).astype(np.float32)
    if dead_channel:
        weights[3], offsets[3] = 0, 1.5
    last = writer.convolution(last, "first", weights, offsets, "RELU6", stride=2)
    # Channels of very unequal width, as folded batch norms make them.
    weights = generator.normal(0, 0.4, (1, 3, 3, 8)) * np.geomspace(0.05, 2, 8)
    last = writer.convolution(last, "depthwise", weights, np.zeros(8), "RELU", depthwise=True)
    last = writer.convolution(
        last, "second", generator.normal(0, 0.4, (12, 1, 1, 8)), generator.normal(0, 0.1, 12)
    )
    if subject:
        last = subject(writer, last)
    axes = writer.constant("axes", np.array([1, 2], np.int32))
    last = writer.add("MEAN", [last, axes], (1, 12), "mean", schema.ReducerOptionsT())
    matrix = writer.constant("matrix", generator.normal(0, 1.5, (10, 12)).astype(np.float32))
    last = writer.add(
        "FULLY_CONNECTED", [last, matrix, -1], (1, 10), "logits", schema.FullyConnectedOptionsT()
    )
    last = writer.softmax(last, writer.tensor("probabilities", (1, 10)))
    writer.sign(image, last)
    return writer.to_bytes(image, last)


def run(file: bytes, images: np.ndarray) -> np.ndarray:
    """What a file makes of images, in its own dtypes: shape (n, 10), as the file gives it."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    runner = interpreter.get_signature_runner("classify")
    return np.concatenate([runner(image=image[None])["probabilities"] for image in images])


class FloatWriter(Writer):
    """Writes operators that give floats, with the tensors that they give."""

    def add(self, name, inputs, shape, output, options=None):
        """Add an operator and the float tensor that it gives."""
        return self.operator(name, inputs, self.tensor(output, shape), options)

    def convolution(
        self, last, name, weights, offsets, activation="NONE", stride=1, depthwise=False
    ):
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = 1
        options.strideH = options.strideW = stride
        options.padding = schema.Padding.SAME
        options.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
        taken = self.constant(f"{name}_weights", np.asarray(weights, np.float32))
        offset = self.constant(f"{name}_bias", np.asarray(offsets, np.float32))
        side = -(-self.shape(last)[1] // stride)
        return self.add(kind, [last, taken, offset], (1, side, side, len(offsets)), name, options)
