"""What every worker of a bench on one host works on, and the command that loads a model there."""

import dataclasses
from pathlib import Path

import numpy as np

from edgecifar import runtimes
from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.process import WorkerProcess
from edgecifar.bench.settings import BenchSettings
from edgecifar.data import cifar10, shipped
from edgecifar.runtimes import Options, Runtime


@dataclasses.dataclass(frozen=True)
class Task:
    """The images, where the host has them, and how to measure.

    Attributes:
        images: numbers of the test images, in the order in which they are classified.
        labels: classes of those images, uint8 (n,).
        records: path on the host of the record file that has the test images.
        sample: path on the host of a record file of training images.
        settings: of the bench.
        timeout_s: a worker that takes longer for one command is stopped, seconds.
    """

    images: list[int]
    labels: np.ndarray
    records: str
    sample: str
    settings: BenchSettings
    timeout_s: float

    def load(
        self,
        worker: WorkerProcess,
        runtime: Runtime,
        model: Path,
        options: Options,
        path: str | None = None,
        normalization: str | None = None,
    ) -> dict:
        """Let a worker load a model.

        Args:
            worker: the process.
            runtime: in which.
            model: path of the file here.
            options: of the runtime.
            path: of the file on the worker's host; the same as here by default.
            normalization: of the pixels, where another worker has found it out; by default that
                of the settings, which is checked.

        Returns:
            The reply; see `worker.commands.Worker.load`.

        Raises:
            WorkerFailed: see `WorkerProcess.ask`.
        """
        metadata = runtimes.metadata(model)
        labels = self.settings.labels
        return worker.ask(
            "load",
            self.timeout_s,
            runtime=runtime.name,
            model=path or str(model),
            options=dataclasses.asdict(options),
            images=self.images,
            records=self.records,
            sample=self.sample,
            metadata=metadata.decode(errors="replace") if isinstance(metadata, bytes) else metadata,
            normalization=normalization or self.settings.normalization,
            labels=list(labels) if labels else None,
            output=self.settings.output,
            resize=self.settings.resize,
            check_normalization=normalization is None,
        )


def prepare(host: Host, settings: BenchSettings, timeout_s: float) -> Task:
    """Choose the test images and bring the record files to a host.

    Args:
        host: where the workers run.
        settings: of the bench.
        timeout_s: see `Task`.

    Raises:
        UserError: a record file cannot be stored on the host.
    """
    labels = shipped.test_set().labels  # this also writes the record file to the cache
    chosen = cifar10.balanced(labels, settings.samples or len(labels))
    shipped.calibration_set()
    folder = cifar10.cache_folder()
    return Task(
        images=chosen.tolist(),
        labels=labels[chosen],
        records=host.send(folder / shipped.CACHED_AS["test"]),
        sample=host.send(folder / shipped.CACHED_AS["train"]),
        settings=settings,
        timeout_s=timeout_s,
    )
