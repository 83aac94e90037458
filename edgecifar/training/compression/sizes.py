"""The size of a file that is stored or sent compressed."""

import zlib
from pathlib import Path

LEVEL = 9
CHUNK = 1 << 20


def compressed_size(path: Path) -> int:
    """Bytes of a file after deflate at level 9, what zip archives and most updates use.

    Args:
        path: any file.

    Returns:
        Bytes of the deflated content, without the 100 or so that an archive adds.
    """
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            size += len(deflate.compress(chunk))
    return size + len(deflate.flush())
