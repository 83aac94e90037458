"""What a page consists of: sections with text, charts, tables, matrices and pictures."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecifar.report.tables import ABSENT, Table

if TYPE_CHECKING:
    import numpy as np

# Lower ends of the shades of a matrix, as shares of a row.
SHADES = (0.01, 0.05, 0.25)


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    paragraphs: Sequence[str]
    kind = "text"


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        uri: the image, as a data URI.
        alt: what it shows, for those who cannot see it.
        caption: how to read it.
    """

    uri: str
    alt: str
    caption: str = ""
    kind = "chart"


@dataclass(frozen=True)
class DataTable:
    """A table.

    Attributes:
        caption: says what it shows.
        headings: of the columns.
        rows: of cells; a row has as many cells as there are headings, and the first one names it.
        left: for each column, whether its text aligns left.
        folded: whether it is shown only when the reader opens it.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[bool]
    folded: bool = False
    kind = "table"


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Attributes:
        caption: says what it shows.
        names: of the classes.
        counts: images, a row for each true class, a column for each predicted one.
        folded: whether it is shown only when the reader opens it.
    """

    caption: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    folded: bool = False
    kind = "matrix"

    def shade(self, row: int, column: int) -> int:
        """How dark a cell is: 0 for no image, then one more for each of `SHADES`."""
        count, total = self.counts[row][column], sum(self.counts[row])
        return 0 if not count else 1 + sum(count / total >= end for end in SHADES)


@dataclass(frozen=True)
class Tile:
    """A picture.

    Attributes:
        uri: the image, as a data URI.
        alt: what is known of it, for those who cannot see it.
        lines: what stands below it.
    """

    uri: str
    alt: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side."""

    caption: str
    tiles: Sequence[Tile]
    kind = "pictures"


Part = Text | Chart | DataTable | Matrix | Pictures


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]


def data_table(table: Table, caption: str, folded: bool = False) -> DataTable:
    """A table of the command line, with every column."""
    drawn = table.drawn()
    rows = zip(*([cell or ABSENT for cell in one.cells] for one in drawn), strict=True)
    headings, left = [one.heading for one in drawn], [one.left for one in drawn]
    return DataTable(caption, headings, list(rows), left, folded)


def facts_table(facts: dict, caption: str) -> DataTable:
    """A folded table of names and values; a value in an object has the names of both."""
    rows = [(name, value) for name, value in _flat(facts, "")]
    return DataTable(caption, ("name", "value"), rows, (True, True), folded=True)


def picture_uri(pixels: "np.ndarray") -> str:
    """An image as the data URI of a PNG file.

    Args:
        pixels: uint8, shape (height, width, 3), RGB.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return data_uri("image/png", file.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    """A file as a URI that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _flat(facts: dict, before: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            found += _flat(value, f"{before}{name}.")
        elif isinstance(value, list):
            found.append((before + name, ", ".join(map(str, value)) or ABSENT))
        elif value is not None:
            found.append((before + name, str(value)))
    return found
