"""Pictures and predictions in one image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecifar.errors import UserError
from edgecifar.predict.pictures import Picture
from edgecifar.predict.prediction import Prediction
from edgecifar.report import prediction_grid
from edgecifar.report.prediction_grid import FONT_SIZE, GAP, GREEN, RED, SIDE, Grid


@pytest.fixture
def picture(tmp_path) -> Picture:
    path = tmp_path / "blue.png"
    Image.new("RGB", (200, 150), (0, 0, 255)).save(path)
    return Picture(str(path), path)


def drawn(target: Path, picture: Picture, *predictions: Prediction) -> np.ndarray:
    grid = Grid(target)
    for prediction in predictions:
        grid.add(prediction, picture)
    grid.save()
    with Image.open(target) as image:
        return np.asarray(image.convert("RGB"))


def has(pixels: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((pixels == color).all(axis=-1).sum())


def test_right_is_green_and_wrong_is_red_with_a_thicker_frame(tmp_path, picture):
    top = (("cat", 0.9),)
    right = drawn(tmp_path / "a.png", picture, Prediction("a", top, true="cat"))
    wrong = drawn(tmp_path / "b.png", picture, Prediction("a", top, true="dog"))
    assert has(right, GREEN) > 4 * SIDE
    assert not has(right, RED)
    assert has(wrong, RED) > 3 * has(right, GREEN) / 2
    assert not has(wrong, GREEN)


def test_without_a_true_class_there_is_no_color_but_the_picture(tmp_path, picture):
    pixels = drawn(tmp_path / "a.png", picture, Prediction("a", (("cat", 0.9),)))
    assert has(pixels, (0, 0, 255)) == SIDE * SIDE
    assert not has(pixels, GREEN) + has(pixels, RED)


def test_tiles_are_in_rows(tmp_path, picture):
    five = [Prediction("a", (("cat", 0.9),))] * 5
    pixels = drawn(tmp_path / "a.png", picture, *five)
    assert pixels.shape[1] == GAP + 3 * (SIDE + GAP)
    assert has(pixels, (0, 0, 255)) == 5 * SIDE * SIDE


def test_the_first_pictures_are_shown_and_the_others_counted(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(prediction_grid, "MOST", 2)
    grid = Grid(tmp_path / "a.png")
    for _ in range(5):
        grid.add(Prediction("a", (("cat", 0.9),)), picture)
    assert grid.save() == f"{tmp_path / 'a.png'} shows the first 2 of 5 images"


def test_a_long_name_is_cut_to_the_tile():
    font = prediction_grid.ImageFont.load_default(FONT_SIZE)
    text = prediction_grid._fitting("a very long name of a photograph.jpg", font)
    assert text.endswith("...")
    assert font.getlength(text) <= SIDE


def test_a_picture_that_is_gone_is_left_out(tmp_path, picture):
    grid = Grid(tmp_path / "a.png")
    picture.source.unlink()
    grid.add(Prediction("a", (("cat", 0.9),)), picture)
    assert grid.save() is None


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match="give a file name that ends in"):
        Grid(tmp_path / "grid.pdf")
    (tmp_path / "grid.png").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        Grid(tmp_path / "grid.png")
