"""Export: convert a checkpoint, verify every file beside it, and only then publish them all."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from edgecifar import files
from edgecifar.data import shipped
from edgecifar.errors import UserError, first_line
from edgecifar.export import card, onnx, tflite
from edgecifar.export.bias_correction import with_rounded_weights
from edgecifar.export.calibration import calibration_images
from edgecifar.export.chatter import chatter_to
from edgecifar.export.checkpoint import open_checkpoint, write_compact
from edgecifar.export.verification import (
    Verification,
    in_blocks,
    probabilities_of,
    verify,
)
from edgecifar.report.progress import activity, images_bar, stderr_console

if TYPE_CHECKING:
    import keras

LOG = "export.log"
FLOAT_FILES = ("model.float.tflite", "model.float.onnx")
INT8_FILES = ("model.tflite", "model.onnx")
# Images on which a file must answer the same, bit for bit, once metadata was written into it.
STAMP_CHECK_IMAGES = 50


@dataclasses.dataclass(frozen=True)
class Converted:
    """One file of an export, before it is published.

    Attributes:
        name: its final name.
        precision: "float32" or "int8".
        with_metadata: gives the file's bytes, with a text written into it.
    """

    name: str
    precision: str
    with_metadata: Callable[[str], bytes]


@dataclasses.dataclass(frozen=True)
class Export:
    """What an export did.

    Attributes:
        verifications: of each file.
        published: whether the files got their final names: all of them or none.
        outdated: files that an earlier export left beside, of another checkpoint perhaps.
    """

    verifications: list[Verification]
    published: bool
    outdated: list[Path]


def export(path: Path, out: Path, int8: bool) -> Export:
    """Convert a checkpoint to TFLite and ONNX, verify the files, and publish them.

    Every file is run beside the checkpoint on all test images. When one fails (see
    `Verification.failure`), none is written to its final name, and what `out` held stays as it was.

    Args:
        path: a checkpoint of edgecifar.
        out: the folder for the files, for the checkpoint and for the cards. What the converters
            print goes to `export.log` there.
        int8: whether to make the int8 files beside the float32 ones.

    Raises:
        UserError: the checkpoint does not open or convert, or `out` cannot be written.
    """
    for name in (card.CHECKPOINT, *FLOAT_FILES, *INT8_FILES, *card.CARDS, LOG):
        if (out / name).is_dir():  # else found when some of the files have their names already
            raise UserError(f"cannot write {out / name}: it is a folder")
    with files.scratch_folder(out) as scratch, chatter_to(out / LOG) as screen:
        console = stderr_console(screen)
        with activity("opening the checkpoint", console):
            checkpoint = open_checkpoint(path)
            if path.resolve() != (out / card.CHECKPOINT).resolve():
                # What is published beside the files is what they are made from.
                write_compact(path, scratch / card.CHECKPOINT)
                compact = open_checkpoint(scratch / card.CHECKPOINT)
                checkpoint = dataclasses.replace(compact, training=checkpoint.training)
        converted = _convert(checkpoint.model, int8, _watched(path, out / LOG, console))

        test = shipped.test_set()
        images, labels = test.images(), test.labels
        progress = functools.partial(images_bar, console=console)
        with progress("running the checkpoint", len(images)) as update:
            expected = in_blocks(checkpoint.model.predict_on_batch, images, update)
        verifications = []
        for file in converted:
            draft = scratch / file.name
            draft.write_bytes(file.with_metadata(""))
            with progress(f"verifying {file.name}", len(images)) as update:
                verifications.append(
                    verify(draft, file.precision, images, labels, expected, update)
                )

        published = not any(verification.failure for verification in verifications)
        if published:
            few = images[:STAMP_CHECK_IMAGES]
            facts = card.facts(checkpoint, verifications)
            for file, verification in zip(converted, verifications, strict=True):
                text = card.metadata(facts, verification)
                _stamp(scratch / file.name, file.with_metadata(text), few)
            _publish(scratch, out, converted, facts)
    names = {file.name for file in converted}
    others = [out / name for name in (*FLOAT_FILES, *INT8_FILES) if name not in names]
    return Export(verifications, published, [other for other in others if other.exists()])


def _convert(
    model: "keras.Model", int8: bool, watched: Callable[[str], contextlib.AbstractContextManager]
) -> list[Converted]:
    """Make every file of an export; `watched(what)` is the context of each conversion."""
    with watched("TFLite float32"):
        float_tflite = tflite.float_tflite(model)
    with watched("ONNX float32"):
        float_onnx = onnx.float_onnx(float_tflite)
    converted = _pair(FLOAT_FILES, "float32", float_tflite, float_onnx)
    if int8:
        images = calibration_images()
        with watched("int8 weights"):
            rounded = with_rounded_weights(model, images)
        with watched("TFLite int8"):
            int8_tflite = tflite.int8_tflite(rounded, images)
        with watched("ONNX int8"):
            scaled = tflite.float_tflite(tflite.after_scaling(rounded))
            int8_onnx = onnx.int8_onnx(scaled, images)
        converted += _pair(INT8_FILES, "int8", int8_tflite, int8_onnx)
    return converted


def _pair(names: tuple[str, str], precision: str, tflite_file: bytes, onnx_model) -> list:
    return [
        Converted(names[0], precision, functools.partial(tflite.with_metadata, tflite_file)),
        Converted(names[1], precision, functools.partial(onnx.with_metadata, onnx_model)),
    ]


def _watched(
    path: Path, log: Path, console: Console
) -> Callable[[str], contextlib.AbstractContextManager]:
    """Show each conversion, and make one line of what a converter raises."""

    @contextlib.contextmanager
    def watched(what: str) -> Iterator[None]:
        try:
            with activity(f"converting to {what}", console):
                yield
        except (OSError, MemoryError):
            raise
        except Exception as error:  # converters raise whatever their parts raise
            reason = first_line(error)
            raise UserError(
                f"{path} does not convert to {what}: {reason} (the converter's log: {log})"
            ) from error

    return watched


def _stamp(draft: Path, content: bytes, images: np.ndarray) -> None:
    """Write a verified file anew with its metadata, and see that it still computes the same."""
    before = probabilities_of(draft, images)
    draft.write_bytes(content)
    if not np.array_equal(before, probabilities_of(draft, images)):
        raise RuntimeError(f"metadata changed what {draft.name} computes")


def _publish(scratch: Path, out: Path, converted: list[Converted], facts: dict) -> None:
    """Rename what was verified to its final name, and write the cards."""
    if (scratch / card.CHECKPOINT).exists():
        files.move_whole(scratch / card.CHECKPOINT, out / card.CHECKPOINT)
    for file in converted:
        files.move_whole(scratch / file.name, out / file.name)
    file_facts = {
        file.name: {
            "size_bytes": (out / file.name).stat().st_size,
            "sha256": files.sha256(out / file.name),
        }
        for file in converted
    }
    for row in facts["files"]:
        row.update(file_facts[row["file"]])
    as_json, as_markdown = (out / name for name in card.CARDS)
    files.write_json(as_json, facts)
    files.write_text(as_markdown, card.markdown(facts))
