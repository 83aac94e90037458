"""Draw the record of a front into a file.

    python benchmarks/front_picture.py RECORD PICTURE

The record is one of `front.py`, the picture an `.svg` or `.png` file.
"""

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from front import RUNTIME_NAMES, Point, points

from edgecifar import files
from edgecifar.report.page.front_chart import draw

DRAWN_FROM = "points of SHA-256 "


def save(points: Sequence[Point], path: Path) -> None:
    """Draw points into an `.svg` or `.png` file, the same bytes for the same points.

    An `.svg` file says which points it shows; see `drawn_from`.
    """
    from matplotlib import rc_context

    is_svg = path.suffix == ".svg"
    metadata = {"Description": DRAWN_FROM + digest(points), "Date": None} if is_svg else None
    with rc_context({"svg.hashsalt": "front", "svg.fonttype": "path"}):
        figure = draw(points, RUNTIME_NAMES)
        with files.written_whole(path) as partial:
            figure.savefig(partial, format=path.suffix.removeprefix("."), metadata=metadata)


def digest(points: Sequence[Point]) -> str:
    """SHA-256 of all that a picture shows of points, in hexadecimal."""
    shown = [vars(point) for point in points]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def drawn_from(picture: str) -> str | None:
    """The digest of the points that an `.svg` file was drawn from."""
    found = re.search(DRAWN_FROM + r"(\w+)", picture)
    return found[1] if found else None


def main(record: str, picture: str) -> None:
    save(points(json.loads(Path(record).read_text("utf-8"))), Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
