"""The settings of an export, checked, and the names of its files."""

import dataclasses
import re
from collections.abc import Collection, Iterator

from edgecifar.errors import UserError
from edgecifar.export.quantization.range_methods import METHODS
from edgecifar.runtimes import normalization as normalizations
from edgecifar.runtimes.preparation import SQUASH, checked_resize

FORMATS = ("tflite", "onnx")
# TFLite alone knows kernels of 16-bit activations by 8-bit weights.
PRECISIONS = {
    "float32": FORMATS,
    "float16": FORMATS,
    "dynamic": FORMATS,
    "int8": FORMATS,
    "int8-float-io": FORMATS,
    "int16x8": ("tflite",),
}
# Of integer activations, whose ranges are calibrated.
INTEGER = ("int8", "int8-float-io", "int16x8")
CALIBRATIONS = ("auto", *METHODS)
CALIBRATION_IMAGES = 500
# Some of the 1,000 training images that ship must be left to judge on.
MOST_IMAGES = 900
AUTO = "auto:"
DYNAMIC = "dynamic"


def _check(argument: str, given: tuple[str, ...], known: Collection[str]) -> None:
    if not given:
        raise UserError(f"`{argument}`: expected one of {', '.join(known)}")
    for name in given:
        if name not in known:
            raise UserError(f"`{argument}={name}`: expected {', '.join(known)}")


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What an export makes, and how.

    Attributes:
        precisions: of `PRECISIONS`, in the order of the files.
        formats: of `FORMATS`.
        calibration: how the ranges of int8 activations are chosen: one of `CALIBRATIONS`; "auto"
            tries the others.
        calibration_images: how many training images are used for that.
        keep_float: what stays float in integer files: layers, or the names of operators' outputs,
            or `auto:N` for the N consecutive operators that lose most by quantization.
        batch: images at a time, or `DYNAMIC` for any number.
        normalization: of a foreign checkpoint, see `checkpoint.open_checkpoint`.
        resize: how images become smaller for a foreign checkpoint, see there.
        labels: the names of the classes of a foreign checkpoint, in the order of its outputs.
        c_array: whether the int8 TFLite file is written as C too.
        license: of the files, as SPDX names it; None where it is not stated.
    """

    precisions: tuple[str, ...] = ("float32",)
    formats: tuple[str, ...] = FORMATS
    calibration: str = "auto"
    calibration_images: int = CALIBRATION_IMAGES
    keep_float: tuple[str, ...] = ()
    batch: int | str = 1
    normalization: str = normalizations.AUTO
    resize: str = SQUASH
    labels: tuple[str, ...] | None = None
    c_array: bool = False
    license: str | None = None

    def __post_init__(self) -> None:
        """Check the values that a user gives.

        Raises:
            UserError: one line that says what there is.
        """
        _check("precisions", self.precisions, PRECISIONS)
        _check("formats", self.formats, FORMATS)
        _check("calibration", (self.calibration,), CALIBRATIONS)
        made = {precision for precision, _ in self.files()}
        if missing := [name for name in self.precisions if name not in made]:
            raise UserError(
                f"`precisions={missing[0]}`: there is none in ONNX, leave out `formats=onnx`"
            )
        if self.keep_float and not set(self.precisions) & set(INTEGER):
            raise UserError(f"`keep_float` goes with `precisions={' or '.join(INTEGER)}`")
        if not 1 <= self.calibration_images <= MOST_IMAGES:
            raise UserError(
                f"`calibration_images={self.calibration_images}`: expected 1 to {MOST_IMAGES}"
            )
        if isinstance(self.batch, str) and self.batch != DYNAMIC:
            raise UserError(f"`batch={self.batch}`: expected a number of images or {DYNAMIC}")
        if isinstance(self.batch, int) and self.batch < 1:
            raise UserError(f"`batch={self.batch}`: expected 1 or more")
        if self.c_array and ("int8", "tflite") not in self.files():
            raise UserError("`c_array` goes with `int8` or `precisions=int8`, in TFLite")
        if self.license is not None and not re.fullmatch(r"[A-Za-z0-9.+-]+", self.license):
            raise UserError(
                f"`license={self.license}`: expected an SPDX license name, Apache-2.0 for example"
            )
        _ = self.kept_automatically
        normalizations.parse(self.normalization)
        checked_resize(self.resize)

    @property
    def kept_automatically(self) -> int:
        """How many operators `keep_float` leaves to choose."""
        counts = [name.removeprefix(AUTO) for name in self.keep_float if name.startswith(AUTO)]
        if counts and not (
            len(self.keep_float) == 1 and counts[0].isdecimal() and int(counts[0]) > 0
        ):
            raise UserError(
                f"`keep_float={','.join(self.keep_float)}`: expected names, or {AUTO}N alone"
            )
        return int(counts[0]) if counts else 0

    def files(self) -> Iterator[tuple[str, str]]:
        """The (precision, format) of each file that is made."""
        for precision in dict.fromkeys(self.precisions):
            for form in FORMATS:
                if form in self.formats and form in PRECISIONS[precision]:
                    yield precision, form


# What a run exports, and what ships.
INT8 = ExportSettings(precisions=("float32", "int8"))


def file_name(precision: str, form: str) -> str:
    """The name of an exported file: int8 has the plain one, because most users want it."""
    middle = {"int8": "", "float32": ".float"}.get(precision, f".{precision}")
    return f"model{middle}.{form}"


# Every name that an export may leave in a folder.
ALL_NAMES = tuple(
    file_name(precision, form) for precision, forms in PRECISIONS.items() for form in forms
)
