"""The classifier in a thread of its own, so that the server can answer while it computes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from types import TracebackType

from PIL import Image

from edgecifar import files
from edgecifar.predict.classifier import Classifier
from edgecifar.predict.pictures import Picture
from edgecifar.predict.prediction import Prediction, classify
from edgecifar.serve.limits import MAX_SCANS

NAME = "the picture"
JPEG, SCAN = b"\xff\xd8", b"\xff\xda"


class Engine:
    """Reads and classifies one picture after the other.

    There is one thread: no runtime takes two calls at the same time, and only one picture is
    decoded in memory. Use it as a context manager, or close it. The classifier stays open.

    Attributes:
        classifier: what it uses.
        sha256: of the model file.
    """

    def __init__(self, classifier: Classifier, max_pixels: int) -> None:
        """Start the thread, and classify a gray picture, so that the first request is fast.

        Args:
            classifier: an open one.
            max_pixels: of a picture.

        Raises:
            UserError: the model cannot be run.
        """
        self.classifier = classifier
        self.sha256 = files.sha256(classifier.path)
        self._max_pixels = max_pixels
        classifier.top(Image.new("L", (classifier.side, classifier.side), 128), 1)
        self._thread = ThreadPoolExecutor(1, "classifier")

    async def classify(self, content: bytes, top: int) -> tuple[Prediction, float]:
        """Classify one picture, after those that came before.

        Args:
            content: of an image file.
            top: how many classes, 1 or more; all of them where there are fewer.

        Returns:
            The prediction, with an error where the picture cannot be read, and how long the picture
            waited, in ms. When the caller is cancelled, a picture that waits is given up, and one
            that has begun is finished in vain.

        Raises:
            UserError: the model fails.
        """
        came = perf_counter()

        def work() -> tuple[Prediction, float]:
            waited_ms = 1000 * (perf_counter() - came)
            picture = Picture(NAME, content, _problem(content), self._max_pixels)
            return classify(self.classifier, picture, top), waited_ms

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Wait for the picture that is in work, and end the thread."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _problem(content: bytes) -> str | None:
    """Why a file is not even opened; usually None."""
    if not content:
        return "is empty: expected an image"
    if content.startswith(JPEG) and content.count(SCAN) > MAX_SCANS:
        return f"has more than {MAX_SCANS} scans: save it anew"
    return None
