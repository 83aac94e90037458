"""What the machine is and how it fares while models are measured on it."""

import os
from collections.abc import Sequence
from time import monotonic

from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.worker import sensors

TIMEOUT_S = 60.0
# Reading costs the machine some milliseconds, in which nothing is timed.
INTERVAL_S = 1.0
UNOBSERVED = "unobserved"


class Monitor:
    """A worker process without a model, on the machine of those that have one.

    When it is lost, nothing that was measured is: what it would have told is missing, and marked.

    Attributes:
        machine: see `machine.machine`.
        runtimes: the version of each runtime that is installed there.
        energy_source: what counts energy there, None where nothing does.
        idle_w: the machine's power at rest, watts, by that source.
    """

    def __init__(self, host: Host) -> None:
        """Start it; it is no burden while it waits.

        Args:
            host: the machine.

        Raises:
            WorkerFailed: it does not start.
        """
        # What this process does between blocks, for the bench, is no disturbance.
        self._own = [os.getpid()] if host.name is None else []
        self._readings: list[dict] = []
        self._lost = False
        self._worker = WorkerProcess(host)
        try:
            self.machine = self._ask("machine")
            self.runtimes = self._ask("runtimes")
            energy = self._ask("energy_source")
            self.energy_source, self.idle_w = energy["source"], energy["idle_w"]
        except BaseException:
            self._worker.close()
            raise
        self._read_at = monotonic()

    def read(self, pids: Sequence[int]) -> None:
        """Read the sensors.

        Args:
            pids: the workers on that machine: what they do is no disturbance.
        """
        self._readings += filter(None, [self._try("sensors", pids=[*self._own, *pids])])
        self._read_at = monotonic()

    def watch(self, pids: Sequence[int]) -> None:
        """Read the sensors again where the last time is long enough ago; see `read`."""
        if monotonic() >= self._read_at + INTERVAL_S:
            self.read(pids)

    def conditions(self) -> tuple[dict[str, object], list[str]]:
        """The state at the first reading, at each between, at the last; and what marks follow."""
        if self._lost or len(self._readings) < 2:
            first, *more = self._readings or [{}]
            return {"before": first, "during": more, "after": {}}, [UNOBSERVED]
        before, *during, after = self._readings
        states = {"before": before, "during": during, "after": after}
        return states, sensors.marks(before, during, after)

    def begin_energy(self) -> None:
        """Begin to count energy, where something counts it."""
        if self.energy_source is not None:
            self._try("energy_begin")

    def end_energy(self) -> tuple[float, float] | None:
        """Joules and seconds since `begin_energy`; None when they are not known."""
        spent = self._try("energy_end") if self.energy_source is not None else None
        if spent is None or spent["joules"] is None:
            return None
        return spent["joules"], spent["seconds"]

    def close(self) -> None:
        self._worker.close()

    def _try(self, do: str, **arguments: object) -> dict | None:
        """Ask; None once it is lost."""
        if self._lost:
            return None
        try:
            return self._ask(do, **arguments)
        except WorkerFailed:
            self._lost = True
            return None

    def _ask(self, do: str, **arguments: object) -> dict:
        return self._worker.ask(do, TIMEOUT_S, **arguments)
