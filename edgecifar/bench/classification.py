"""Classifies, untimed, the images of a case that no timed call reached; several workers share them.

Accuracy needs an answer for every image of the task, and timing often ends before that.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.worker import wire


class Answers:
    """A model's answers to the images of a task, from timed and untimed calls.

    Attributes:
        probabilities: float32 (images, classes); zeros until an image has been classified.
    """

    def __init__(self, images: int, classes: int) -> None:
        """Start without answers.

        Args:
            images: of the task.
            classes: of the model; 0 where its answers are not kept, which makes them complete.
        """
        self.probabilities = np.zeros((images, classes), np.float32)
        self._known = np.full(images, classes == 0)

    @property
    def share(self) -> float:
        """The share of the images that have an answer, 0 to 1."""
        return float(self._known.mean())

    @property
    def missing(self) -> int:
        """The number of images that have no answer yet."""
        return int((~self._known).sum())

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, int64 (images,)."""
        return self.probabilities.argmax(axis=1)

    def keep(self, begin: int, probabilities: np.ndarray) -> None:
        """Keep answers to consecutive images; a second answer to an image replaces the first.

        Args:
            begin: place of the first image in the task; after the last image comes the first.
            probabilities: float32 (n, classes).
        """
        places = np.arange(begin, begin + len(probabilities)) % len(self._known)
        self.probabilities[places] = probabilities
        self._known[places] = True

    def missing_stretches(self, most: int) -> Iterator[tuple[int, int]]:
        """Split the images without an answer into stretches of consecutive ones.

        Args:
            most: images in a stretch.

        Yields:
            The place of the first image and the number of images.
        """
        missing = np.flatnonzero(~self._known)
        for stretch in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
            for begin in range(0, len(stretch), most):
                yield int(stretch[begin]), min(most, len(stretch) - begin)


class Pool:
    """The worker of a case and its helpers, which have loaded the same model.

    A helper that fails leaves the pool, and the others do its part.
    """

    def __init__(self, worker: WorkerProcess, answers: Answers, timeout_s: float) -> None:
        """Start with the case's own worker.

        Args:
            worker: has loaded the model.
            answers: to complete.
            timeout_s: a worker that takes longer for one command is stopped, seconds.
        """
        self._own = worker
        self._workers = [worker]
        self._answers = answers
        self._timeout_s = timeout_s

    def add_helpers(
        self,
        count: int,
        start: Callable[[], WorkerProcess],
        load: Callable[[WorkerProcess], object],
    ) -> None:
        """Start further workers and load the model in all of them at the same time.

        Args:
            count: how many.
            start: starts one.
            load: loads the model in one.
        """
        for _ in range(count):
            self._workers.append(start())  # so that `close` stops those that have started
        self._run([(helper, load, ()) for helper in self._workers[1:]])

    def classify(self, most: int) -> None:
        """Let each worker classify one stretch of images that have no answer.

        Args:
            most: images in a stretch.

        Raises:
            WorkerFailed: the case's own worker failed; all workers are stopped then.
        """
        stretches = self._answers.missing_stretches(most)
        self._run(
            [
                (worker, self._classify, stretch)
                for worker, stretch in zip(self._workers, stretches, strict=False)
            ]
        )

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        for worker in self._workers:
            worker.close()

    def _run(self, jobs: Sequence[tuple[WorkerProcess, Callable, tuple]]) -> None:
        """Call each function with its worker and arguments, all at the same time."""
        if not jobs:
            return
        with ThreadPoolExecutor(len(jobs)) as threads:
            running = [
                (worker, threads.submit(work, worker, *arguments))
                for worker, work, arguments in jobs
            ]
            try:
                for worker, job in running:
                    try:
                        job.result()
                    except WorkerFailed:
                        if worker is self._own:
                            raise
                        self._workers.remove(worker)
                        worker.close()
            except BaseException:  # on Ctrl-C the threads would wait for their workers
                self.close()
                raise

    def _classify(self, worker: WorkerProcess, begin: int, count: int) -> None:
        reply = worker.ask("classify", self._timeout_s, begin=begin, count=count)
        self._answers.keep(begin, wire.unpack(reply["probabilities"]))
