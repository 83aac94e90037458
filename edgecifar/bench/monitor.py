"""Describes a host and reads its sensors while models are measured on it."""

import os
from collections.abc import Sequence
from time import monotonic

from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.settings import Timing
from edgecifar.bench.worker import sensors

TIMEOUT_S = 60.0
UNOBSERVED = "unobserved"


class Monitor:
    """A worker process without a model, on the host of the workers that have one.

    When it fails, the figures stay: its readings are missing, and the rows are marked "unobserved".

    Attributes:
        machine: see `machine.machine`.
        runtimes: the version of each runtime that the host's own Python has.
        energy_source: name of what counts the host's energy, None where nothing does.
        idle_w: the host's power at rest, watts, by that source.
    """

    def __init__(self, host: Host, timing: Timing) -> None:
        """Start it. It does nothing while it waits for a command.

        Args:
            host: to describe.
            timing: of the settings.

        Raises:
            WorkerFailed: it does not start.
        """
        # The work of this process between blocks is part of the bench.
        self._own = [os.getpid()] if host.name is None else []
        self._timing = timing
        self._readings: list[dict] = []
        self._lost = False
        self._worker = WorkerProcess(host)
        try:
            self.machine = self._ask("machine")
            self.runtimes = self._ask("runtimes")
            energy = self._ask(
                "energy_source", power_poll_s=timing.power_poll_s, idle_s=timing.idle_power_s
            )
            self.energy_source, self.idle_w = energy["source"], energy["idle_w"]
        except BaseException:
            self._worker.close()
            raise
        self._read_at = monotonic()

    def read(self, pids: Sequence[int]) -> None:
        """Read the sensors.

        Args:
            pids: the workers on the host, whose work is part of the bench.
        """
        pids = [*self._own, *pids]
        reading = self._try("sensors", pids=pids, work_s=self._timing.clock_work_s)
        self._readings += filter(None, [reading])
        self._read_at = monotonic()

    def watch(self, pids: Sequence[int]) -> None:
        """Read the sensors if the last reading is old enough; see `read`."""
        if monotonic() >= self._read_at + self._timing.sensors_interval_s:
            self.read(pids)

    def conditions(self) -> tuple[dict[str, object], list[str]]:
        """The readings `before`, `during` and `after` the timing, and the marks that follow."""
        if self._lost or len(self._readings) < 2:
            first, *more = self._readings or [{}]
            return {"before": first, "during": more, "after": {}}, [UNOBSERVED]
        before, *during, after = self._readings
        states: dict[str, object] = {"before": before, "during": during, "after": after}
        return states, sensors.marks(before, during, after)

    def begin_energy(self) -> None:
        """Begin to count energy, where the host can."""
        if self.energy_source is not None:
            self._try("energy_begin")

    def end_energy(self) -> tuple[float, float] | None:
        """Joules and seconds since `begin_energy`; None when they are not known."""
        spent = self._try("energy_end") if self.energy_source is not None else None
        if spent is None or spent["joules"] is None:
            return None
        return spent["joules"], spent["seconds"]

    def close(self) -> None:
        """Stop the process."""
        self._worker.close()

    def _try(self, do: str, **arguments: object) -> dict | None:
        """Give a command; None when the process fails or has failed before."""
        if self._lost:
            return None
        try:
            return self._ask(do, **arguments)
        except WorkerFailed:
            self._lost = True
            return None

    def _ask(self, do: str, **arguments: object) -> dict:
        return self._worker.ask(do, TIMEOUT_S, **arguments)
