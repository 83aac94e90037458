"""Changes the batch of a TFLite file from one image to several, or to any number."""

import numpy as np

from edgecifar.export.settings import DYNAMIC
from edgecifar.graphs.tflite import Graph, Operator

OPEN = -1


def with_batch(file: bytes, batch: int | str) -> bytes:
    """Let a file take another number of images at a time.

    The first side of everything that is computed is the batch, as it is in an image classifier;
    that the results are right is for the caller to verify.

    Args:
        file: a TFLite file of a batch of 1.
        batch: how many; `DYNAMIC` for what the caller resizes the input to, 1 at first.

    Returns:
        The file; the same bytes for a batch of 1.
    """
    if batch == 1:
        return file
    graph = Graph(file)
    for operator in graph.operators:
        if operator.name == "RESHAPE":
            _leave_first_side_open(operator)
    computed = [output for operator in graph.operators for output in operator.outputs]
    for tensor in [*graph.inputs, *computed]:
        if tensor.shape and tensor.shape[0] == 1:
            others = list(tensor.shape[1:])
            tensor.raw.shape = [1 if batch == DYNAMIC else batch, *others]
            tensor.raw.shapeSignature = [OPEN, *others] if batch == DYNAMIC else None
    return graph.to_bytes()


def _leave_first_side_open(reshape: Operator) -> None:
    """Let a reshape work out how many images there are."""
    shape = reshape.input(1).constant if len(reshape.inputs) > 1 else None
    if shape is not None and len(shape) and shape[0] == 1:
        opened = shape.copy()
        opened[0] = OPEN
        if OPEN not in shape[1:]:
            reshape.input(1).set_constant(opened)
    if reshape.raw.builtinOptions is not None and reshape.raw.builtinOptions.newShape is not None:
        new_shape = np.array(reshape.raw.builtinOptions.newShape)
        if len(new_shape) and new_shape[0] == 1 and OPEN not in new_shape[1:]:
            new_shape[0] = OPEN
            reshape.raw.builtinOptions.newShape = new_shape
