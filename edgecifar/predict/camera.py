"""Live frames of a camera: picamera2 for the Pi's own cameras, OpenCV for USB cameras.

Both are optional, and imported when a camera is opened. Whatever order of colors a library uses, a
frame is RGB.
"""

import importlib.util
import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from edgecifar.errors import UserError, first_line
from edgecifar.predict.classifier import Classifier
from edgecifar.predict.images import pixels_of
from edgecifar.predict.prediction import Prediction, classify_pixels

SIZE = (640, 480)
# How many frames wait in the driver of a USB camera when nobody reads them, and after which time
# they are old.
WAITING_FRAMES, OLD_S = 4, 0.2
# picamera2 takes the names of its formats from libcamera, which names the bytes of a pixel from the
# last to the first: "BGR888" is an array of red, green, blue, and "RGB888" one of blue, green, red.
PICAMERA2_RGB = "BGR888"
PICAMERA2, OPENCV = "picamera2", "cv2"
# What the two libraries would print on stderr; errors are raised.
QUIET = {"LIBCAMERA_LOG_LEVELS": "*:ERROR", "OPENCV_LOG_LEVEL": "SILENT"}
GET_PICAMERA2 = (
    "`sudo apt install python3-picamera2`, in an environment made with "
    "`python3 -m venv --system-site-packages`"
)
GET_OPENCV = "`pip install opencv-python-headless`"


class Camera(Protocol):
    """An open camera.

    Attributes:
        name: what it is, for people.
    """

    name: str

    def frame(self) -> np.ndarray | None:
        """The next frame, not one that has waited.

        Returns:
            uint8 RGB, shape (height, width, 3); None at the end of a video.

        Raises:
            UserError: the camera fails.
        """

    def close(self) -> None:
        """Release the camera."""


class Picamera2Camera:
    """A camera on the ribbon cable of a Raspberry Pi."""

    def __init__(self, library: Any, number: int) -> None:
        """Open and start it.

        Args:
            library: the module `picamera2`.
            number: of the camera, from 0.

        Raises:
            UserError: there is no such camera, or it cannot be started.
        """
        self.name = f"camera {number} (picamera2)"
        try:
            self._camera = library.Picamera2(number)
            main = {"size": SIZE, "format": PICAMERA2_RGB}
            self._camera.configure(self._camera.create_video_configuration(main))
            self._camera.start()
        except Exception as error:  # libcamera's errors are of many types
            raise UserError(f"{self.name}: cannot be opened: {first_line(error)}") from error

    def frame(self) -> np.ndarray:
        try:
            return self._camera.capture_array("main")
        except Exception as error:
            raise UserError(f"{self.name}: gives no frame: {first_line(error)}") from error

    def close(self) -> None:
        self._camera.close()


class OpenCVCamera:
    """A camera that Linux shows as /dev/video*, a video file, or a sequence of images."""

    def __init__(self, library: Any, source: str) -> None:
        """Open it.

        Args:
            library: the module `cv2`.
            source: the number of the camera, or the path of a device or a video file.

        Raises:
            UserError: it cannot be opened.
        """
        is_number = source.isdecimal()
        self.name = f"camera {source} (OpenCV)" if is_number else source
        self._is_live = is_number or source.startswith("/dev/")
        self._library = library
        self._capture = library.VideoCapture(int(source) if is_number else source)
        if not self._capture.isOpened():
            self._capture.release()
            raise UserError(f"{self.name}: cannot be opened: is it connected, and not in use?")
        if self._is_live:
            self._capture.set(library.CAP_PROP_FRAME_WIDTH, SIZE[0])
            self._capture.set(library.CAP_PROP_FRAME_HEIGHT, SIZE[1])
        self._last_read = time.monotonic()

    def frame(self) -> np.ndarray | None:
        if self._is_live and time.monotonic() - self._last_read > OLD_S:
            for _ in range(WAITING_FRAMES):
                self._capture.grab()
        is_there, pixels = self._capture.read()
        self._last_read = time.monotonic()
        if is_there:
            return self._library.cvtColor(pixels, self._library.COLOR_BGR2RGB)
        if self._is_live:
            raise UserError(f"{self.name}: gives no more frames: is it still connected?")
        return None

    def close(self) -> None:
        self._capture.release()


def open_camera(source: str) -> Camera:
    """Open a camera: in picamera2 where that has one, else in OpenCV.

    Args:
        source: the number of the camera, from 0, or the path of a device or a video file, which
            OpenCV opens.

    Raises:
        UserError: neither library is installed, one cannot be imported, or there is no such camera.
    """
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    if source.isdecimal() and importlib.util.find_spec(PICAMERA2):
        picamera2 = _imported_picamera2()
        if int(source) < len(picamera2.Picamera2.global_camera_info()):
            return Picamera2Camera(picamera2, int(source))
    if importlib.util.find_spec(OPENCV):
        return OpenCVCamera(importlib.import_module(OPENCV), source)
    if not source.isdecimal():
        raise UserError(f"{source}: is read by OpenCV, which is not installed: {GET_OPENCV}")
    if importlib.util.find_spec(PICAMERA2):
        raise UserError(
            f"camera {source}: picamera2 finds no such camera: check its cable with `rpicam-hello "
            f"--list-cameras`; a USB camera needs OpenCV: {GET_OPENCV}"
        )
    raise UserError(
        f"no library for cameras is installed: get picamera2 with {GET_PICAMERA2}, or OpenCV, for "
        f"USB cameras, with {GET_OPENCV}"
    )


def _imported_picamera2() -> Any:
    try:
        return importlib.import_module(PICAMERA2)
    except ValueError as error:  # how its JPEG library refuses a NumPy that is newer than Debian's
        raise UserError(
            f"picamera2 cannot be imported: {first_line(error)}: get a newer simplejpeg with "
            "`pip install --force-reinstall --no-deps simplejpeg`"
        ) from error
    except ImportError as error:
        raise UserError(
            f"picamera2 cannot be imported: {first_line(error)}: get it with {GET_PICAMERA2}"
        ) from error


def classify_frames(
    camera: Camera, classifier: Classifier, top: int, every_s: float = 0.0
) -> Iterator[Prediction]:
    """Classify frames of a camera as they come.

    Args:
        camera: an open one.
        classifier: an open one.
        top: how many classes, 1 or more.
        every_s: seconds from one frame to the next; 0 for as many frames as possible.

    Yields:
        Predictions, named after the time of their frame, until the frames end.

    Raises:
        UserError: the camera or the model fails.
    """
    due = time.monotonic()
    while True:
        time.sleep(max(due - time.monotonic(), 0))
        due = max(due + every_s, time.monotonic())
        began = time.perf_counter()
        if (frame := camera.frame()) is None:
            return
        taken = datetime.now().astimezone().isoformat(timespec="milliseconds")
        (pixels,) = pixels_of(frame, classifier.side)
        read_ms = 1000 * (time.perf_counter() - began)
        yield classify_pixels(classifier, pixels, top, taken, read_ms)
