"""Draws pictures with their predictions side by side, into one image file."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgecifar import files
from edgecifar.errors import UserError, escaped
from edgecifar.predict.pictures import Picture
from edgecifar.predict.prediction import Prediction
from edgecifar.report.prediction_lines import verdict_text

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST = 64
SIDE, GAP, LINE, FONT_SIZE = 144, 14, 19, 15
BLACK, GREEN, RED = (20, 20, 20), (0, 110, 40), (190, 0, 0)
# The frame of a wrong prediction is thick, so that it can be seen in black and white too.
THIN, THICK = 2, 7
CUT = "..."


class Grid:
    """The first pictures and what they are taken for, drawn when all are there."""

    def __init__(self, target: Path) -> None:
        """Check that the file can be written.

        Args:
            target: the image file.

        Raises:
            UserError: it cannot be written, or its suffix is of no format that is drawn.
        """
        if target.suffix.lower() not in SUFFIXES:
            raise UserError(f"{target}: give a file name that ends in {', '.join(SUFFIXES)}")
        files.check_file_writable(str(target))
        self._target = target
        self._tiles: list[tuple[np.ndarray, Prediction]] = []
        self._left_out = 0

    def add(self, prediction: Prediction, picture: Picture) -> None:
        """Add a picture; it is read again, as it is drawn larger than the model takes it.

        Args:
            prediction: without an error.
            picture: of which it is.
        """
        if len(self._tiles) == MOST:
            self._left_out += 1
            return
        try:
            self._tiles.append((picture.pixels(SIDE), prediction))
        except UserError:  # it was changed or removed meanwhile
            self._left_out += 1

    def save(self) -> str | None:
        """Write the file, whole or not at all.

        Returns:
            A line on what was written; None where there is no picture, and so no file.

        Raises:
            UserError: it cannot be written.
        """
        if not self._tiles:
            return None
        image = self._drawn()
        with files.written_whole(self._target) as partial:
            image.save(partial)
        shown = len(self._tiles)
        first = f"the first {shown} of {shown + self._left_out}" if self._left_out else f"{shown}"
        return f"{self._target} shows {first} {'image' if shown == 1 else 'images'}"

    def _drawn(self) -> Image.Image:
        columns = math.ceil(math.sqrt(len(self._tiles)))
        rows = math.ceil(len(self._tiles) / columns)
        width, height = SIDE + GAP, SIDE + 2 * LINE + GAP
        image = Image.new("RGB", (GAP + columns * width, GAP + rows * height), "white")
        for number, (pixels, prediction) in enumerate(self._tiles):
            row, column = divmod(number, columns)
            _draw_tile(image, GAP + column * width, GAP + row * height, pixels, prediction)
        return image


def _draw_tile(
    image: Image.Image, left: int, top: int, pixels: np.ndarray, prediction: Prediction
) -> None:
    """Draw one picture, its most probable class, and below the verdict or else its name."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(FONT_SIZE)
    image.paste(Image.fromarray(pixels), (left, top))
    color, frame = BLACK, 0
    if prediction.correct is not None:
        color, frame = (GREEN, THIN) if prediction.correct else (RED, THICK)
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), outline=color, width=frame)
    label, share = prediction.top[0]
    below = verdict_text(prediction) or escaped(Path(prediction.image).name)
    for number, text in enumerate((f"{escaped(label)} {share:.0%}", below)):
        place = left, top + SIDE + 2 + number * LINE
        draw.text(place, _fitting(text, font), fill=color, font=font)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut where it is wider than a tile."""
    if font.getlength(text) <= SIDE:
        return text
    while text and font.getlength(text + CUT) > SIDE:
        text = text[:-1]
    return text + CUT
