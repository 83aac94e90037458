"""Export: convert a checkpoint, verify every file beside it, and only then publish them all."""

import contextlib
import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgecifar import files, provenance
from edgecifar.data import shipped
from edgecifar.errors import CheckFailed, UserError, first_line
from edgecifar.export import card, checks, model_card
from edgecifar.export.c_array import c_source
from edgecifar.export.capture_output import capture_output
from edgecifar.export.checkpoint import Checkpoint, open_checkpoint
from edgecifar.export.compact_copy import write_compact
from edgecifar.export.conversion import Conversion, Converted, convert
from edgecifar.export.settings import ALL_NAMES, FORMATS, INTEGER, ExportSettings
from edgecifar.export.verification import (
    ROUNDING_IMAGES,
    Rounding,
    Verification,
    batch_defects,
    in_blocks,
    kernels_of,
    probabilities_of,
    verify,
)
from edgecifar.graphs import keras_files
from edgecifar.metrics.divergence import divergence
from edgecifar.models.keras_loader import open_model
from edgecifar.progress import ShowProgress, silent
from edgecifar.runtimes.normalization_trial import result_of

LOG = "export.log"
C_FILES = ("model.cc", "model.h")
# Images on which a file must answer the same, bit for bit, once metadata was written into it.
STAMP_CHECK_IMAGES = 50

LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Export:
    """What an export did.

    Attributes:
        folder: of the files.
        verifications: of each file.
        calibration: how the activations were quantized, see `conversion.Conversion`.
        normalization: of a foreign checkpoint, see `Checkpoint`.
        normalization_tried: where it was found by a trial, see `Checkpoint`.
        doubt: of the checkpoint, see there.
        published: whether the files got their final names: all of them or none.
        outdated: files of an earlier export in the folder, perhaps of another checkpoint.
    """

    folder: Path
    verifications: list[Verification]
    calibration: dict | None
    normalization: str | None
    normalization_tried: list[dict] | None
    doubt: str | None
    published: bool
    outdated: list[Path]

    @property
    def found_normalization(self) -> dict | None:
        """The entry of `normalization_tried` for the normalization that was found by the trial."""
        return result_of(self.normalization, self.normalization_tried)

    @property
    def right_format(self) -> str | None:
        """The format whose files are all right, when those of the other format are not."""
        right: dict[str, list[bool]] = {form: [] for form in FORMATS}
        for one in self.verifications:
            right[one.file.rpartition(".")[2]].append(one.failure is None)
        fine = [form for form, found in right.items() if found and all(found)]
        return fine[0] if len(fine) == 1 and not self.published else None

    @property
    def failure(self) -> str | None:
        """Why nothing was published, in one line; None when the files were."""
        if self.published:
            return None
        reasons = [f"{row.file}: {row.failure}" for row in self.verifications if row.failure]
        if self.right_format:
            reasons.append(f"`formats={self.right_format}` writes the files that are right")
        return f"nothing was written to {self.folder}: {'; '.join(reasons)}"


def export(
    path: Path, out: Path, settings: ExportSettings, progress: ShowProgress = silent
) -> Export:
    """Convert a checkpoint to TFLite and ONNX, verify the files, and publish them.

    Every file is run beside the checkpoint on all test images. When one fails (see
    `Verification.failure`), none is written to its final name, and what `out` held stays as it was.

    Args:
        path: a `.keras` checkpoint, see `checkpoint.open_checkpoint`.
        out: the folder for the files, for the checkpoint and for the cards. What the converters
            print goes to `export.log` there.
        settings: which files, and how they are made.
        progress: shows each conversion, whose length is not known, and each verification, which
            counts images. It must not print to stdout or stderr, because what is printed meanwhile
            goes to the log.

    Raises:
        UserError: the checkpoint does not open or convert, or `out` cannot be written.
        CheckFailed: a file does not run in its runtime; nothing was written then either.
    """
    for name in (
        provenance.CHECKPOINT,
        *ALL_NAMES,
        *C_FILES,
        provenance.CARD,
        model_card.MARKDOWN,
        LOG,
    ):
        if (out / name).is_dir():  # else found when some of the files have their names already
            raise UserError(f"cannot write {out / name}: it is a folder")
    if out.is_dir():
        files.clear_leftovers(out)
        for line in provenance.contradictions(out):
            LOGGER.warning("%s", line)
    with files.scratch_folder(out) as scratch, capture_output(out / LOG):
        checkpoint = _opened(path, out, scratch, settings, progress)
        conversion = convert(checkpoint, settings, _watched(path, out / LOG, progress))
        verifications = _verified(checkpoint, conversion, settings.batch, scratch, progress)
        published = not any(verification.failure for verification in verifications)
        if published:
            facts = card.facts(checkpoint, verifications, settings, conversion.calibration)
            _finish(conversion, verifications, facts, scratch, settings.c_array)
            _publish(scratch, out)
    for line in checkpoint.ignored:
        LOGGER.warning("ignored: %s", line)
    names = {file.name for file in conversion.files} | set(C_FILES if settings.c_array else ())
    others = [out / name for name in (*ALL_NAMES, *C_FILES) if name not in names]
    outdated = [other for other in others if other.exists()]
    return Export(
        out,
        verifications,
        conversion.calibration,
        checkpoint.normalization,
        checkpoint.normalization_tried,
        checkpoint.doubt,
        published,
        outdated,
    )


def _opened(
    path: Path, out: Path, scratch: Path, settings: ExportSettings, progress: ShowProgress
) -> Checkpoint:
    """Open the checkpoint that is published beside the files, which are made from it.

    It is the compact copy if that gives the same answers as the whole one, else the whole one.
    """
    copy = scratch / provenance.CHECKPOINT
    with progress("opening the checkpoint", None), tempfile.TemporaryDirectory() as place:
        whole = open_checkpoint(path, settings.normalization, settings.labels, settings.resize)
        if keras_files.read(path).is_legacy:
            # Saved again, because what is published opens in Keras 3.
            open_model(path).save(Path(place, provenance.CHECKPOINT))
            path = Path(place, provenance.CHECKPOINT)
            whole = _opened_again(path, whole, settings)
        if path.resolve() == (out / provenance.CHECKPOINT).resolve():
            return whole
        write_compact(path, copy)
        if files.sha256(copy) == whole.sha256:  # an earlier export's: there is nothing to compare
            return whole
        # The file itself is opened, which also proves that it opens, instead of rounding the
        # weights in memory.
        compact = _opened_again(copy, whole, settings)
        rounding = _rounding(whole, compact)
        if rounding.harmless:
            return dataclasses.replace(
                compact,
                training=whole.training,
                rounding=dataclasses.asdict(rounding),
                ignored=whole.ignored,
            )
        shutil.copyfile(path, copy)
        return dataclasses.replace(whole, rounding=dataclasses.asdict(rounding))


def _opened_again(path: Path, whole: Checkpoint, settings: ExportSettings) -> Checkpoint:
    """Open another file of the same network, with the facts that are already known."""
    found = open_checkpoint(
        path,
        whole.normalization or settings.normalization,
        settings.labels,
        settings.resize,
        check_normalization=False,
    )
    return dataclasses.replace(
        found,
        labels=whole.labels,
        normalization_tried=whole.normalization_tried,
        doubt=whole.doubt,
    )


def _rounding(whole: Checkpoint, compact: Checkpoint) -> Rounding:
    test = shipped.test_set()
    images, labels = test.images(slice(ROUNDING_IMAGES)), test.labels[:ROUNDING_IMAGES]
    answers = [in_blocks(one.model.predict_on_batch, images) for one in (whole, compact)]
    source_top1, top1 = [
        float(np.mean(rows.argmax(axis=1) == labels)) if whole.knows_cifar10 else None
        for rows in answers
    ]
    beside = dataclasses.asdict(divergence(*answers))
    return Rounding(whole.sha256, len(images), source_top1, top1, **beside)


def _verified(
    checkpoint: Checkpoint,
    conversion: Conversion,
    batch: int | str,
    scratch: Path,
    progress: ShowProgress,
) -> list[Verification]:
    test = shipped.test_set()
    images = test.images()
    labels = test.labels if checkpoint.knows_cifar10 else None
    with progress("running the checkpoint", len(images)) as update:
        expected = in_blocks(checkpoint.model.predict_on_batch, images, update)
    verifications = []
    of_tflite: dict[str, np.ndarray] = {}
    for file in conversion.files:
        draft = scratch / file.name
        # With the metadata that says that a float input takes raw pixels.
        draft.write_bytes(file.with_metadata(card.draft_metadata()))
        defects = checks.defects(draft, file.precision, file.kept_float)
        with progress(f"verifying {file.name}", len(images)) as update, _running(draft):
            probabilities = probabilities_of(draft, images, update)
        if batch != 1:
            with _running(draft, " in other batches"):
                defects += batch_defects(draft, batch, images, probabilities)
        # Of a precision, the TFLite file comes first.
        counterpart = of_tflite.setdefault(file.precision, probabilities)
        verification = verify(
            file.name,
            file.precision,
            probabilities,
            expected,
            labels,
            checkpoint.labels or (),
            defects,
            None if counterpart is probabilities else counterpart,
        )
        if verification.failure and draft.suffix == ".onnx" and file.precision in INTEGER:
            kernels = kernels_of(draft, images, probabilities)
            verification = dataclasses.replace(verification, kernels=kernels)
        verifications.append(verification)
    return verifications


def _finish(
    conversion: Conversion,
    verifications: list[Verification],
    facts: dict,
    scratch: Path,
    c_array: bool,
) -> None:
    """Write everything that is published to the scratch folder, under its final name."""
    few = shipped.test_set().images(slice(0, STAMP_CHECK_IMAGES))
    for file, verification, row in zip(
        conversion.files, verifications, facts["files"], strict=True
    ):
        draft = scratch / file.name
        _stamp(draft, file, card.metadata(facts, verification), few)
        row |= {"size_bytes": draft.stat().st_size, "sha256": files.sha256(draft)}
        if c_array and file.precision == "int8" and file.name.endswith(".tflite"):
            for name, text in zip(C_FILES, c_source(draft.read_bytes(), "model"), strict=True):
                (scratch / name).write_text(text)
    provenance.write_card(scratch, facts)
    files.write_text(scratch / model_card.MARKDOWN, model_card.markdown(facts))


def _stamp(draft: Path, file: Converted, metadata: str, images: np.ndarray) -> None:
    """Write a verified file again with its metadata, and check that it still computes the same."""
    before = probabilities_of(draft, images)
    draft.write_bytes(file.with_metadata(metadata))
    if not np.array_equal(before, probabilities_of(draft, images)):
        raise RuntimeError(f"metadata changed what {draft.name} computes")


def _publish(scratch: Path, out: Path) -> None:
    """Rename all files of the scratch folder to their final names; undo it all if one fails.

    The cards, which name the others, come last: a process killed in between leaves an older card,
    whose hashes contradict the files. See `provenance.contradiction`.
    """
    last = [scratch / model_card.MARKDOWN, scratch / provenance.CARD]
    finished = [path for path in sorted(scratch.iterdir()) if path not in last] + last
    before = scratch / "before"
    before.mkdir()
    for path in finished:
        if (out / path.name).exists():
            shutil.copy2(out / path.name, before / path.name)
    moved = []
    try:
        for path in finished:
            moved.append(out / path.name)  # before it is, as Ctrl-C may come in between
            files.move_whole(path, out / path.name)
    except BaseException:
        for path in moved:
            if (before / path.name).exists():
                (before / path.name).replace(path)
            else:
                path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _running(draft: Path, how: str = "") -> Iterator[None]:
    """Turn what a runtime raises into one line, with the name that the file would have had."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # runtimes raise whatever their kernels raise
        reason = first_line(error).removeprefix(f"{draft}: ").replace(str(draft), draft.name)
        raise CheckFailed(
            f"nothing was written: {draft.name} does not run{how}: {reason}"
        ) from error


def _watched(
    path: Path, log: Path, progress: ShowProgress
) -> Callable[[str], contextlib.AbstractContextManager]:
    """Show each conversion, and turn what a converter raises into one line."""

    @contextlib.contextmanager
    def watched(what: str) -> Iterator[None]:
        try:
            with progress(f"converting to {what}", None):
                yield
        except (OSError, MemoryError, UserError):
            raise
        except Exception as error:  # converters raise whatever their parts raise
            reason = first_line(error)
            raise UserError(
                f"{path} does not convert to {what}: {reason} (the converter's log: {log})"
            ) from error

    return watched
