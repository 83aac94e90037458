"""New files of a folder are classified once they are whole."""

import shutil
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from edgecifar.errors import UserError
from edgecifar.predict.pictures import Picture
from edgecifar.predict.prediction import Prediction
from edgecifar.predict.watch import watch

POLL_S, SETTLED_S = 0.05, 0.5


@pytest.fixture
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("one") / "photo.png"
    Image.effect_noise((90, 90), 50).save(path)
    return path.read_bytes()


def only_read(picture: Picture) -> Prediction:
    try:
        picture.pixels(32)
    except UserError as error:
        return Prediction(picture.name, error=str(error))
    return Prediction(picture.name, (("noise", 1.0),))


def watched(folder: Path):
    return watch(folder, only_read, POLL_S, SETTLED_S)


def test_only_new_images_are_classified(tmp_path, whole):
    (tmp_path / "old.png").write_bytes(whole)
    found = watched(tmp_path)
    for name in ("notes.txt", ".hidden.png", "new.png"):
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "folder.png").mkdir()
    assert next(found) == Prediction(str(tmp_path / "new.png"), (("noise", 1.0),))


def test_a_half_written_file_is_waited_for(tmp_path, whole):
    """Longer than a damaged one, as it goes on changing."""
    found = watched(tmp_path)

    def write():
        with (tmp_path / "slow.png").open("wb", buffering=0) as file:
            for part in range(8):
                file.write(whole[part * len(whole) // 8 : (part + 1) * len(whole) // 8])
                time.sleep(SETTLED_S / 3)

    writer = threading.Thread(target=write)
    writer.start()
    prediction = next(found)
    writer.join()
    assert prediction.error is None


def test_a_damaged_file_is_given_up_and_does_not_stop_the_others(tmp_path, whole):
    found = watched(tmp_path)
    (tmp_path / "a.png").write_bytes(whole[:50])
    (tmp_path / "b.png").write_bytes(whole)
    assert next(found).image == str(tmp_path / "b.png")
    damaged = next(found)
    assert damaged.image == str(tmp_path / "a.png")
    assert damaged.error
    (tmp_path / "a.png").write_bytes(whole)
    assert next(found) == Prediction(str(tmp_path / "a.png"), (("noise", 1.0),))


def test_a_file_that_is_replaced_is_new(tmp_path, whole):
    found = watched(tmp_path)
    for _ in range(2):
        (tmp_path / "next.tmp").write_bytes(whole)
        (tmp_path / "next.tmp").rename(tmp_path / "latest.png")
        assert next(found).image == str(tmp_path / "latest.png")
        time.sleep(0.02)


def test_a_folder_that_is_missing_or_goes_away_is_one_line(tmp_path):
    folder = tmp_path / "in"
    with pytest.raises(UserError, match="in: cannot be watched: No such file"):
        watched(folder)
    folder.mkdir()
    found = watched(folder)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="in: cannot be watched: No such file"):
        next(found)
