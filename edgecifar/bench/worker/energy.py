"""The energy that work takes, where the machine has a counter or a sensor; never a guess.

Each source covers a different part: RAPL the processor's packages (neither memory nor board), a
Raspberry Pi 5's power chip the rails that it feeds (neither USB nor its own losses), a power
monitor what it is wired to. Compare only figures of one source on one machine.
"""

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from edgecifar.hardware import ROOT, integer, text, vcgencmd

# A package's counter wraps around after minutes at the earliest: 65 kJ at 300 W.
COUNTER_POLL_S = 10.0

# Power monitors that are put on boards. Other chips measure a graphics card or a disk.
POWER_MONITORS = re.compile(r"ina2\d\d|fam15h_power")


class Meter(ABC):
    """Counts the energy between `begin` and `end`; may be used many times.

    Attributes:
        source: name of the counter or sensor, which says what the energy covers.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    @abstractmethod
    def begin(self) -> None:
        """Begin to count."""

    @abstractmethod
    def end(self) -> tuple[float | None, float]:
        """Stop counting.

        Returns:
            Joules, None when a reading failed or the time was too short for one; and seconds.
        """

    def idle_w(self, seconds: float) -> float | None:
        """Measure the mean power, watts, while this waits: the power at rest if nothing else works.

        Args:
            seconds: how long to wait.
        """
        self.begin()
        time.sleep(seconds)
        joules, measured_s = self.end()
        return None if joules is None else joules / measured_s


class Counters(Meter):
    """Adds up counters of energy."""

    def __init__(self, source: str, files: dict[Path, int | None]) -> None:
        """Prepare; nothing is read yet.

        Args:
            source: see `Meter`.
            files: each holds microjoules; the value after which it starts again at 0, or None.
        """
        super().__init__(source)
        self._files = files

    def begin(self) -> None:
        self._readings = [self._read()]
        self._began = time.perf_counter()
        self._poller = _Poller(self._poll, COUNTER_POLL_S, COUNTER_POLL_S)

    def end(self) -> tuple[float | None, float]:
        seconds = time.perf_counter() - self._began
        self._poller.stop()
        self._poll()
        reported = zip(*self._readings, strict=True)
        steps = [
            _step(earlier, later, wraps_at)
            for values, wraps_at in zip(reported, self._files.values(), strict=True)
            for earlier, later in pairwise(values)
        ]
        known = [step for step in steps if step is not None]
        # Some virtual machines have a counter that never moves.
        if len(known) < len(steps) or not any(known):
            return None, seconds
        return sum(known) / 1e6, seconds

    def _poll(self) -> None:
        self._readings.append(self._read())

    def _read(self) -> list[int | None]:
        return [integer(path) for path in self._files]


class Power(Meter):
    """Integrates power over time."""

    def __init__(self, source: str, watts: Callable[[], float | None], poll_s: float) -> None:
        """Prepare; nothing is read yet.

        Args:
            source: see `Meter`.
            watts: reads the power now, None when that fails.
            poll_s: time between two readings, seconds.
        """
        super().__init__(source)
        self._watts = watts
        self._poll_s = poll_s

    def begin(self) -> None:
        self._readings: list[tuple[float, float | None]] = []
        self._began = time.perf_counter()
        # A reading stands for the time around it. At the very ends the work may not be running.
        self._poller = _Poller(self._poll, self._poll_s / 2, self._poll_s)

    def end(self) -> tuple[float | None, float]:
        seconds = time.perf_counter() - self._began
        self._poller.stop()
        watts = [power for _, power in self._readings if power is not None]
        if not watts or len(watts) < len(self._readings):
            return None, seconds
        times = [0.0, *(min(moment, seconds) for moment, _ in self._readings), seconds]
        watts = [watts[0], *watts, watts[-1]]
        joules = sum(
            (later - earlier) * (power + next_power) / 2
            for (earlier, power), (later, next_power) in pairwise(zip(times, watts, strict=True))
        )
        return joules, seconds

    def _poll(self) -> None:
        moment = time.perf_counter() - self._began
        self._readings.append((moment, self._watts()))


def meter(power_poll_s: float, root: Path = ROOT) -> Meter | None:
    """Find what counts this machine's energy and may be read by this user.

    Args:
        power_poll_s: time between two readings of a sensor of power, seconds.
        root: the folder that `/sys` is in.

    Returns:
        RAPL, else the Raspberry Pi 5's power chip, else a power monitor of hwmon, else None.
    """
    return _rapl(root) or _pmic(power_poll_s) or _hwmon(root, power_poll_s)


def pmic_watts() -> tuple[float, int] | None:
    """The power that a Raspberry Pi 5's power chip (PMIC) gives, and the number of its rails.

    Lines such as " VDD_CORE_A current(7)=0.75012000A" and " VDD_CORE_V volt(15)=0.72178200V" make
    a rail; a voltage without a current (the supply, the clock's battery) has no power.

    Source: `vcgencmd pmic_read_adc`, and its reading in https://github.com/jfikar/RPi5-power, whose
    correction to the power at the plug is left out: it is a fit to some boards.
    """
    reported = vcgencmd("pmic_read_adc") or ""
    volts = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", reported))
    amperes = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", reported))
    rails = volts.keys() & amperes.keys()
    if not rails:
        return None
    return sum(float(volts[rail]) * float(amperes[rail]) for rail in rails), len(rails)


def _rapl(root: Path) -> Meter | None:
    """The processor's own counters, Intel's and AMD's, under one name.

    Source: the kernel's "Power Capping Framework". Domains inside a package, as "core", are part of
    its count; "psys" overlaps with it, and "intel-rapl-mmio" is the same counters again. Only
    root may read the files on kernels since 2020 (CVE-2020-8694).
    """
    domains = [
        domain
        for domain in sorted(root.glob("sys/class/powercap/intel-rapl:*"))
        if (text(domain / "name") or "").startswith("package")
    ]
    names = [text(domain / "name") or "" for domain in domains]
    files = {domain / "energy_uj": integer(domain / "max_energy_range_uj") for domain in domains}
    if not files or None in map(integer, files) or None in files.values():
        return None
    return Counters("RAPL " + " + ".join(names), files)


def _pmic(poll_s: float) -> Meter | None:
    found = pmic_watts()
    if found is None:
        return None
    return Power(f"PMIC, {found[1]} rails", lambda: (pmic_watts() or (None,))[0], poll_s)


def _hwmon(root: Path, poll_s: float) -> Meter | None:
    """The power monitor, if there is just one: each of several may measure a part only.

    Source: the kernel's "Naming and data format standards for sysfs files".
    """
    chips = [
        (chip, name)
        for chip in sorted(root.glob("sys/class/hwmon/hwmon*"))
        if POWER_MONITORS.fullmatch(name := text(chip / "name") or "")
    ]
    if len(chips) != 1:
        return None
    chip, name = chips[0]
    if integer(chip / "energy1_input") is not None:
        return Counters(f"hwmon {name}", {chip / "energy1_input": None})
    if integer(chip / "power1_input") is not None:
        return Power(f"hwmon {name}", lambda: _scaled(integer(chip / "power1_input"), 1e6), poll_s)
    return None


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _step(earlier: int | None, later: int | None, wraps_at: int | None) -> int | None:
    """By how much a counter has grown, None when that is not known."""
    if earlier is None or later is None:
        return None
    if later >= earlier:
        return later - earlier
    return None if wraps_at is None else later + wraps_at - earlier


class _Poller:
    """Calls a function at regular times, in a thread of its own, until it is stopped."""

    def __init__(self, act: Callable[[], None], first_s: float, every_s: float) -> None:
        self._act = act
        self._due = time.perf_counter() + first_s
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for a running call to finish, and make no other."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(max(self._due - time.perf_counter(), 0.0)):
            self._act()
            self._due = max(self._due + self._every_s, time.perf_counter())
