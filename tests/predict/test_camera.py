"""Frames of picamera2 and OpenCV are RGB, and are classified in time."""

import importlib.util
import sys
import time
from itertools import islice
from pathlib import Path

import camera_double
import numpy as np
import pytest
from PIL import Image

from edgecifar.errors import UserError
from edgecifar.predict import camera
from edgecifar.predict.camera import classify_frames, open_camera
from edgecifar.predict.classifier import Classifier

SHIPPED = Path(__file__).parents[2] / "exported" / "model.tflite"
COLORS = ((250, 10, 20), (30, 240, 10), (20, 40, 230))
needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None,
    reason="OpenCV is not installed: pip install opencv-python-headless",
)


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """An empty folder that modules are imported from first; no camera library is installed."""
    find_spec = importlib.util.find_spec
    folder = tmp_path / "libraries"
    folder.mkdir()

    def only_here(name, package=None):
        is_hidden = name in ("picamera2", "cv2") and not (folder / f"{name}.py").exists()
        return None if is_hidden else find_spec(name, package)

    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(camera.importlib.util, "find_spec", only_here)
    yield folder
    sys.modules.pop("picamera2", None)


@pytest.fixture
def video(tmp_path) -> str:
    """A sequence of images, one of each color, by the name under which OpenCV reads it."""
    for number, color in enumerate(COLORS):
        Image.new("RGB", (64, 48), color).save(tmp_path / f"frame{number}.png")
    return str(tmp_path / "frame%d.png")


def test_a_frame_of_picamera2_is_rgb(libraries):
    camera_double.write_picamera2(libraries)
    opened = open_camera("0")
    frame = opened.frame()
    assert frame.shape == (480, 640, 3)
    assert tuple(frame[0, 0]) == camera_double.RED
    opened.close()


@needs_opencv
def test_frames_of_opencv_are_rgb_and_end(video):
    opened = open_camera(video)
    assert [tuple(map(int, opened.frame()[0, 0])) for _ in COLORS] == list(COLORS)
    assert opened.frame() is None
    opened.close()


@needs_opencv
@pytest.mark.parametrize("source", ["no-such.mp4", "99"])
def test_what_opencv_cannot_open_is_one_line(source, capfd):
    with pytest.raises(UserError, match=f"{source}.*: cannot be opened: is it connected"):
        open_camera(source)
    assert capfd.readouterr().err == ""


@needs_opencv
def test_frames_are_classified_until_they_end(video):
    with Classifier(SHIPPED) as classifier:
        found = list(classify_frames(open_camera(video), classifier, 10))
        expected = [classifier.top(np.full((32, 32, 3), color, np.uint8), 10) for color in COLORS]
    assert [list(prediction.top) for prediction in found] == expected


def test_the_colors_of_a_frame_reach_the_model_in_the_right_order(libraries):
    camera_double.write_picamera2(libraries)
    red = np.full((32, 32, 3), camera_double.RED, np.uint8)
    with Classifier(SHIPPED) as classifier:
        (prediction,) = islice(classify_frames(open_camera("0"), classifier, 10), 1)
        assert list(prediction.top) == classifier.top(red, 10)
        assert list(prediction.top) != classifier.top(red[..., ::-1].copy(), 10)


def test_frames_come_as_seldom_as_wanted(libraries):
    camera_double.write_picamera2(libraries)
    with Classifier(SHIPPED) as classifier:
        began = time.monotonic()
        found = list(islice(classify_frames(open_camera("0"), classifier, 1, every_s=0.3), 3))
    assert time.monotonic() - began >= 0.6
    assert len({prediction.image for prediction in found}) == 3


def test_without_a_library_the_message_names_both(libraries):
    with pytest.raises(UserError, match="no library for cameras is installed") as refused:
        open_camera("0")
    assert "python3-picamera2" in str(refused.value)
    assert "opencv-python-headless" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_device_or_a_video_needs_opencv(libraries):
    camera_double.write_picamera2(libraries)
    with pytest.raises(UserError, match="/dev/video0: is read by OpenCV, which is not installed"):
        open_camera("/dev/video0")


def test_a_camera_that_picamera2_lacks_is_one_line(libraries):
    camera_double.write_picamera2(libraries, cameras=0)
    with pytest.raises(
        UserError, match="camera 0: picamera2 finds no such camera: check its cable"
    ):
        open_camera("0")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise ValueError('numpy.dtype size changed')", "pip install --force-reinstall --no-deps"),
        ("import no_libcamera", "No module named 'no_libcamera': get it with `sudo apt install"),
    ],
)
def test_a_picamera2_that_cannot_be_imported_says_what_to_do(libraries, program, words):
    (libraries / "picamera2.py").write_text(program)
    with pytest.raises(UserError, match="picamera2 cannot be imported: ") as refused:
        open_camera("0")
    assert words in str(refused.value)


def test_a_camera_that_fails_is_one_line(libraries):
    camera_double.write_picamera2(libraries)
    opened = open_camera("0")
    opened.close()
    with pytest.raises(UserError, match=r"camera 0 \(picamera2\): gives no frame"):
        opened.frame()
