"""Large arrays that are computed once, kept in the cache, and read through a memory map."""

from collections.abc import Callable, Iterator

import numpy as np

from edgecifar import files
from edgecifar.data import cifar10, intact
from edgecifar.progress import ShowProgress, Update


def cached_array(
    name: str,
    shape: tuple[int, ...],
    dtype: type,
    blocks: Callable[[Update], Iterator[np.ndarray]],
    label: str,
    total: int,
    progress: ShowProgress,
) -> np.ndarray:
    """An array from the cache, or computed into it.

    Args:
        name: of the file in the cache folder, without its `.npy`; it must name everything that the
            array depends on, as a hash does.
        shape: of the array.
        dtype: of the array, in the file.
        blocks: given a function that reports progress, computes the rows of the array, block after
            block. It is called only when there is no such file, or when it is damaged.
        label: the label of the progress bar.
        total: the progress at the end.
        progress: shows a bar while the array is computed.

    Returns:
        Memory-mapped array, read-only.

    Raises:
        UserError: the cache cannot be written.
    """
    path = cifar10.cache_folder() / f"{name}.npy"
    if not intact.is_as_remembered(path):
        files.check_writable(path.parent)
        files.clear_leftovers(path.parent)
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": shape,
        }
        # Written as a file: a full disk under a memory map would kill the process.
        with (
            files.written_whole(path) as partial,
            progress(label, total) as update,
            partial.open("wb") as file,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks(update):
                file.write(block.astype(dtype).tobytes())
        intact.remember(path)
    return np.load(path, mmap_mode="r")
