"""Files, folders, patterns and streams become pictures."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecifar.errors import UserError
from edgecifar.predict import pictures as module
from edgecifar.predict.pictures import count, pictures


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", "inner/c.webp", "inner/.hidden.png", "notes.txt", ".git/d.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (1, 2, 3)).save(path, "PNG")
    return tmp_path


def names(*given) -> list[str]:
    return [picture.name for picture in pictures([str(name) for name in given])]


def test_a_folder_gives_its_images_and_those_below_in_order(folder):
    inside = [str(folder / name) for name in ("a.png", "b.JPG", "inner/c.webp")]
    assert names(folder) == inside
    assert count([str(folder)]) == 3


def test_a_pattern_gives_what_it_matches(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names("*.png") == ["a.png"]
    assert names("**/*.webp") == ["inner/c.webp"]
    assert names("in*") == ["inner/c.webp"]
    assert count(["*.*", "inner"]) == 4


def test_a_name_that_looks_like_a_pattern_is_a_name_first(folder):
    (folder / "[a].png").write_bytes((folder / "a.png").read_bytes())
    assert names(folder / "[a].png") == [str(folder / "[a].png")]


def test_any_file_can_be_named(folder):
    (picture,) = pictures([str(folder / "notes.txt")])
    np.testing.assert_array_equal(picture.pixels(8), np.full((8, 8, 3), (1, 2, 3)))


@pytest.mark.parametrize("name", ["missing.jpg", "missing*.jpg"])
def test_what_is_missing_is_a_picture_that_cannot_be_read(folder, name):
    (picture,) = pictures([str(folder / name)])
    with pytest.raises(UserError, match="cannot be read: No such file") as refused:
        picture.pixels(8)
    assert str(refused.value).startswith(picture.name)


def test_a_folder_without_images_is_one_too(tmp_path):
    (picture,) = pictures([str(tmp_path)])
    with pytest.raises(UserError, match=": the folder has no image files in it"):
        picture.pixels(8)


def test_a_pipe_in_a_folder_is_left_out_and_a_named_one_is_read(folder):
    pipe = folder / "pipe.png"
    os.mkfifo(pipe)
    assert str(pipe) not in names(folder)
    content = (folder / "a.png").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    (picture,) = pictures([str(pipe)])
    writer.join()
    assert picture.pixels(8).max() == 3
    assert picture.folder is None


def test_a_stream_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAM_BYTES", 1000)
    (picture,) = pictures(["/dev/zero"])
    with pytest.raises(UserError, match="/dev/zero: has more than 1,000 bytes"):
        picture.pixels(8)
    (picture,) = pictures(["/dev/null"])
    with pytest.raises(UserError, match="/dev/null: is empty"):
        picture.pixels(8)


def test_the_folder_of_a_picture_is_known(folder, monkeypatch):
    monkeypatch.chdir(folder / "inner")
    (picture,) = pictures(["c.webp"])
    assert picture.folder == "inner"
