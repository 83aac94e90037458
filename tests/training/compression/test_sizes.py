"""What a file costs compressed."""

import zipfile

import numpy as np

from edgecifar.training.compression.sizes import CHUNK, compressed_size


def test_it_is_what_a_zip_archive_stores(tmp_path):
    few = np.random.default_rng(0).integers(0, 4, CHUNK // 50, dtype=np.uint8).repeat(51)
    path = tmp_path / "few.bin"
    path.write_bytes(few.tobytes())
    with zipfile.ZipFile(
        tmp_path / "few.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9
    ) as archive:
        archive.write(path)
        (stored,) = archive.infolist()
    assert compressed_size(path) == stored.compress_size
    assert compressed_size(path) < 0.1 * len(few)
