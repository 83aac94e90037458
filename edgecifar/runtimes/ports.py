"""What the inputs and outputs of a model file are for: images in, a value for each class out."""

import json
from collections.abc import Sequence
from pathlib import Path

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError
from edgecifar.runtimes import preparation
from edgecifar.runtimes.protocol import Tensor


def takes_raw_floats(metadata: str | bytes | None) -> bool:
    """Whether what travels in a file, under `METADATA`, says that edgecifar made it.

    Such a file takes raw pixels whatever its input's dtype; the scale of another file's floats is
    not known.
    """
    try:
        return "0 to 255" in json.loads(metadata or "{}")["input"]["values"]
    except (ValueError, KeyError, TypeError):
        return False


def layout_of(shape: tuple[int | None, ...]) -> tuple[str, int] | None:
    """How an input of that shape holds square RGB images.

    Args:
        shape: a side that is left open is None, and may be 32.

    Returns:
        "NHWC" or "NCHW", and the side in pixels; None where it holds no such images.
    """
    if len(shape) != 4 or shape[0] == 0:
        return None
    sides = {"NCHW": (shape[1], shape[2:]), "NHWC": (shape[3], shape[1:3])}
    # Where all is open, ONNX's own layout.
    for channels in (3, None):
        for layout, (found, square) in sides.items():
            known = {side for side in square if side is not None}
            if found == channels and len(known) <= 1 and 0 not in known:
                return layout, known.pop() if known else IMAGE_SHAPE[0]
    return None


def classes_of(shape: tuple[int | None, ...]) -> int | None:
    """How many classes an output of that shape has for an image; axes of 1 hold nothing.

    Returns:
        0 where it is not a row of classes, None where that is left open.
    """
    sides = [side for side in (shape[1:] if len(shape) > 1 else shape) if side != 1]
    known = [side for side in sides if side is not None]
    if len(known) > 1 or (shape and not sides):
        return 0
    return known[0] if known and len(sides) == 1 else None


def class_outputs(path: Path, outputs: Sequence[Tensor], name: str | None = None) -> list[int]:
    """Which of a file's outputs may give the classes.

    Args:
        path: of the file, for messages.
        outputs: all of them.
        name: of the one that is meant, where that is known.

    Returns:
        Their numbers, one or more: those of ten classes, else those of any number.

    Raises:
        UserError: none does, or there is none of that name.
    """
    if name is not None:
        named = [i for i, output in enumerate(outputs) if output.name == name]
        if not named:
            there = ", ".join(output.name for output in outputs)
            raise UserError(f"{path}: has no output {name!r}: name one of {there} with `output`")
        classes = {i: classes_of(outputs[i].shape) for i in named}
    else:
        classes = {i: classes_of(output.shape) for i, output in enumerate(outputs)}
    if len(classes) == 1 and None in classes.values():
        return list(classes)
    for fitting in (
        [i for i, count in classes.items() if count == len(CLASSES)],
        [i for i, count in classes.items() if count],
    ):
        if fitting:
            return fitting
    given = ", ".join(str(outputs[i]) for i in classes)
    if len(classes) == 1:
        raise UserError(gives_no_classes(path, given))
    raise UserError(
        f"{path}: gives {len(outputs)} outputs ({given}), and edgecifar runs models of which "
        f"one gives (1, {len(CLASSES)})"
    )


def image_input(path: Path, inputs: list[Tensor]) -> tuple[Tensor, str, int]:
    """The input that takes images, and the layout and size that `layout_of` finds in it.

    Raises:
        UserError: there are several inputs, or the one takes no square RGB images.
    """
    if len(inputs) != 1:
        raise UserError(
            f"{path}: has {len(inputs)} inputs, and edgecifar runs models that have one"
        )
    (taken,) = inputs
    found = layout_of(taken.shape)
    if taken.dtype not in preparation.DTYPES or found is None:
        raise UserError(
            f"{path}: takes {taken}, and edgecifar runs models that take square RGB images, "
            "(n, side, side, 3) or (n, 3, side, side), as uint8, int8 or float"
        )
    return taken, *found


def gives_no_classes(path: Path, given: str) -> str:
    """The message for a file whose output is not one value for each class."""
    return (
        f"{path}: gives {given}, and edgecifar runs models that give one value for each of their "
        f"classes, (1, {len(CLASSES)}) for example"
    )
