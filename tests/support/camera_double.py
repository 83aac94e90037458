"""A picamera2 for machines without a Pi's camera: it looks at a scene of one color.

As picamera2's manual says, the names of the formats give the bytes of a pixel from the last to the
first: an array of the format "BGR888" has red, green and blue, and one of "RGB888" has blue, green
and red.
"""

from pathlib import Path

RED = (250, 10, 20)
SOURCE = """
import time
import numpy as np

RED, GREEN, BLUE = {color}
ORDERS = {{"BGR888": (RED, GREEN, BLUE), "RGB888": (BLUE, GREEN, RED)}}


class Picamera2:
    @staticmethod
    def global_camera_info():
        return [{{"Num": number}} for number in range({cameras})]

    def __init__(self, number=0):
        self._is_started = False

    def create_video_configuration(self, main={{}}):
        return {{"size": (1280, 720), "format": "XBGR8888"}} | main

    def configure(self, configuration):
        self._main = configuration

    def start(self):
        self._is_started = True

    def capture_array(self, name="main"):
        assert self._is_started
        time.sleep(0.01)
        width, height = self._main["size"]
        return np.full((height, width, 3), ORDERS[self._main["format"]], np.uint8)

    def close(self):
        self._is_started = False
"""


def write_picamera2(folder: Path, cameras: int = 1) -> Path:
    """Write the module into a folder, to be found on `sys.path`; gives the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "picamera2.py").write_text(SOURCE.format(color=RED, cameras=cameras))
    return folder
