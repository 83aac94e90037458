"""The copy of a checkpoint that is published beside the files made from it, at half its size."""

import io
import zipfile
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError, first_line


def write_compact(source: Path, target: Path) -> None:
    """Write a checkpoint at half its size, as a `.keras` file that opens like any other.

    Weights keep float32's range with float16's precision, 11 bits, and the archive is compressed.

    Args:
        source: a `.keras` file.
        target: the file to write.

    Raises:
        UserError: a part of the source is damaged that Keras does not read.
    """
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for member in old.namelist():
            content = old.read(member)
            if member.endswith(".h5"):
                try:
                    content = _with_rounded_datasets(content)
                except Exception as error:  # h5py raises what the first damaged part makes it raise
                    raise UserError(
                        f"{source}: {member} in it is damaged: {first_line(error)}"
                    ) from error
            # Without a time of its own, the same checkpoint gives the same bytes.
            new.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED)


def _with_rounded_datasets(hdf5: bytes) -> bytes:
    import h5py

    buffer = io.BytesIO(hdf5)

    def round_dataset(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype == np.float32:
            item[...] = half_precision(item[...])

    with h5py.File(buffer, "r+") as file:
        file.visititems(round_dataset)
    return buffer.getvalue()


def half_precision(values: np.ndarray) -> np.ndarray:
    """Round float32 values to 11 significant bits, ties to even; any shape, still float32."""
    bits = np.asarray(values, order="C").view(np.uint32)
    dropped = 13  # float32 stores 23 bits of the 24 significant ones, float16 stores 10 of 11
    to_even = (bits >> dropped) & 1
    rounded = (bits + (2 ** (dropped - 1) - 1 + to_even).astype(np.uint32)) >> dropped << dropped
    return rounded.view(np.float32)
