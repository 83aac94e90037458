"""The state of the machine: temperature, clock, throttling, and the work of other processes.

A value that the machine does not report is None, never a guess. Readings are JSON values, so
that they can be sent from another machine; what a counter did meanwhile is the difference of two
readings.
"""

import os
import re
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from edgecifar.hardware import (
    CPUS,
    ROOT,
    allowed_cores,
    cgroup_folders,
    cores_told,
    integer,
    text,
    vcgencmd,
)

# Thermal zones and hwmon sensors that are in the processor, by the types and names that their
# drivers give them. "acpitz" is not here: it may be anywhere on the board.
PROCESSOR_ZONES = re.compile(
    r"(cpu|soc|bigcore|littlecore|cluster)\d*(-[\w-]*)?[-_]thermal|bcm2835_thermal|x86_pkg_temp"
    r"|CPU-therm|TCPU"
)
PROCESSOR_HWMON = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
# Cooling devices that slow the processor; the others are fans.
PROCESSOR_COOLING = re.compile(r"(thermal-)?cpufreq-.*|Processor|intel_powerclamp")

# Bits of the Raspberry Pi firmware's `get_throttled`: these are now, 16 higher since it started.
# Source: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
UNDER_VOLTAGE = "under-voltage"
THROTTLED_BITS = {
    0: UNDER_VOLTAGE,
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
OCCURRED_SHIFT = 16

# The Raspberry Pi firmware begins to slow the cores here.
HOT_C = 80.0
# Share of the time of the cores that others may spend.
BUSY_SHARE = 0.05
# Share of that time which the hypervisor gave to other machines.
STOLEN_SHARE = 0.01
# The kernel counts in hundredths of a second: shares of less time than this are not known.
LEAST_CORE_S = 1.0
SLOWER_CLOCK = 0.9


def read(work_s: float, pids: Iterable[int] = (), root: Path = ROOT) -> dict:
    """Read the state of the machine.

    Do not call this while something is timed: it keeps a core busy before it reads the clock, and
    starts processes to ask a Raspberry Pi's firmware.

    Args:
        work_s: how long to keep a core busy before its clock is read, where that can be read,
            seconds. A core at rest has a low clock, and governors need some milliseconds of work.
        pids: the processes of the bench on this machine; this one is added. Name a process in
            every reading from its start on: the first reading that has it counts all its work so
            far as done since the reading before.
        root: the folder that `/proc` and `/sys` are in.

    Returns:
        `temperature_c` of the processor, its hottest sensor. `frequency_mhz` {min, max, mean} over
        the cores that this process may use, at least one of which is busy. `throttled` {now,
        occurred}: names from `THROTTLED_BITS`, on a Raspberry Pi; `occurred` is since it
        started. `throttle_counts` {core, package}: how often x86 cores and packages have slowed
        for heat. `cooling_state`: above 0 the kernel slows the processor for heat.
        `quota_throttled_s`: how long the control group's limit has stopped its threads.
        `load_average` of the last minute. `cpu_time_s` {busy, stolen, total} of those cores since
        the machine started; `stolen` is what the hypervisor gave to other machines.
        `own_cpu_time_s`: of each of `pids` that is alive, by its number as text. `waited_s` {cpu,
        memory}: how long some thread has waited for it.
    """
    cores = allowed_cores(root)
    return {
        "temperature_c": _temperature_c(root),
        "frequency_mhz": _frequency_at_work_mhz(root, cores, work_s),
        "throttled": _throttled(root),
        "throttle_counts": _throttle_counts(root, cores),
        "cooling_state": _cooling_state(root),
        "quota_throttled_s": _quota_throttled_s(root),
        "load_average": load_average(root),
        "cpu_time_s": _cpu_time_s(root, cores),
        "own_cpu_time_s": _own_cpu_time_s(root, pids),
        "waited_s": {name: _waited_s(root, name) for name in ("cpu", "memory")},
    }


def marks(before: dict, during: Sequence[dict], after: dict) -> list[str]:
    """Why latencies measured between these readings may be wrong.

    Args:
        before: from `read`, before anything is timed.
        during: between the blocks that are timed.
        after: after the last is timed.

    Returns:
        Those of these marks that the readings prove, in this order:
        "throttled": the firmware or the kernel slowed the processor in a reading, the firmware did
        for the first time since its start, or the x86 counters grew.
        "under-voltage": the firmware reports it for a Raspberry Pi's supply, now or newly.
        "hot": a reading at `HOT_C` or above.
        "slower-clock": the fastest core in the later half of the readings is, in the median, below
        `SLOWER_CLOCK` of what it is in the earlier half.
        "quota": the control group's limit stopped its threads.
        "busy": other processes spent more than `BUSY_SHARE` of the cores' time.
        "stolen": the hypervisor gave more than `STOLEN_SHARE` of it to other machines.
    """
    readings = [before, *during, after]
    now = {name for reading in readings for name in (reading["throttled"] or {}).get("now", [])}
    firmware = now | _newly(readings)
    spent = shares(readings)
    rules = {
        "throttled": bool(firmware - {UNDER_VOLTAGE})
        or any((reading["cooling_state"] or 0) > 0 for reading in readings)
        or any(_grew(readings, "throttle_counts", kind) for kind in ("core", "package")),
        "under-voltage": UNDER_VOLTAGE in firmware,
        "hot": any((reading["temperature_c"] or 0) >= HOT_C for reading in readings),
        "slower-clock": _slower_clock(readings),
        "quota": _grew(readings, "quota_throttled_s"),
        "busy": (spent["others"] or 0) > BUSY_SHARE,
        "stolen": (spent["stolen"] or 0) > STOLEN_SHARE,
    }
    return [mark for mark, holds in rules.items() if holds]


def shares(readings: Sequence[dict]) -> dict[str, float | None]:
    """The shares of the cores' time that others took between the first and the last reading.

    Args:
        readings: from `read`, in the order of time.

    Returns:
        `others`, the share of processes that were not given to `read`, and `stolen`, that of the
        hypervisor: 0 to 1. None where it is not known, or the time is less than `LEAST_CORE_S`.
        The time between two readings does not count for `others` when a process of the bench has
        ended in it.
    """
    others, others_of, stolen, stolen_of = 0.0, 0.0, 0.0, 0.0
    for earlier, later in pairwise(readings):
        if not earlier["cpu_time_s"] or not later["cpu_time_s"]:
            continue
        spent = {
            name: later["cpu_time_s"][name] - earlier["cpu_time_s"][name]
            for name in ("busy", "stolen", "total")
        }
        stolen += spent["stolen"]
        stolen_of += spent["total"]
        if (own := _own_between(earlier["own_cpu_time_s"], later["own_cpu_time_s"])) is not None:
            others += spent["busy"] - own
            others_of += spent["total"]
    return {
        "others": max(others / others_of, 0.0) if others_of >= LEAST_CORE_S else None,
        "stolen": stolen / stolen_of if stolen_of >= LEAST_CORE_S else None,
    }


def load_average(root: Path = ROOT) -> float | None:
    """The runnable processes, averaged over the last minute."""
    reported = text(root / "proc/loadavg")
    return float(reported.split()[0]) if reported else None


def _newly(readings: Sequence[dict]) -> set[str]:
    """What the last reading says has occurred, and the first does not."""
    reported = [reading["throttled"] for reading in readings if reading["throttled"]]
    return set(reported[-1]["occurred"]) - set(reported[0]["occurred"]) if reported else set()


def _grew(readings: Sequence[dict], *names: str) -> bool:
    """Whether a counter is higher in the last reading that has it than in the first."""
    values = []
    reported: Any
    for reported in readings:
        for name in names:
            reported = reported[name] if reported is not None else None
        if reported is not None:
            values.append(reported)
    return bool(values) and values[-1] > values[0]


def _slower_clock(readings: Sequence[dict]) -> bool:
    fastest = [r["frequency_mhz"]["max"] for r in readings if r["frequency_mhz"]]
    half = len(fastest) // 2
    return half > 0 and median(fastest[half:]) < SLOWER_CLOCK * median(fastest[:half])


def _own_between(earlier: dict[str, float], later: dict[str, float]) -> float | None:
    """What the processes spent between two readings; None when one of them has ended."""
    if set(earlier) - set(later):
        return None
    return sum(seconds - earlier.get(pid, 0.0) for pid, seconds in later.items())


def _temperature_c(root: Path) -> float | None:
    """Source: the kernel's sysfs-api of thermal and hwmon; both in millidegrees."""
    sensors = [
        zone / "temp"
        for zone in root.glob("sys/class/thermal/thermal_zone*")
        if PROCESSOR_ZONES.fullmatch(text(zone / "type") or "")
    ]
    sensors = sensors or [
        sensor
        for chip in root.glob("sys/class/hwmon/hwmon*")
        if text(chip / "name") in PROCESSOR_HWMON
        for sensor in _chip_sensors(chip)
    ]
    reported = [value for sensor in sensors if (value := integer(sensor)) is not None]
    return max(reported) / 1e3 if reported else None


def _chip_sensors(chip: Path) -> list[Path]:
    """The sensors of a chip, without k10temp's "Tctl" if it has a "Tdie" too.

    "Tctl" is for fans, and up to 27 degrees higher.
    """
    labels = {
        path: text(path.with_name(path.name[:-5] + "label")) for path in chip.glob("temp*_input")
    }
    return [p for p, label in labels.items() if label != "Tctl" or "Tdie" not in labels.values()]


def _frequency_at_work_mhz(root: Path, cores: list[int], work_s: float) -> dict[str, float] | None:
    if _frequency_mhz(root, cores) is None:
        return None
    end = time.perf_counter() + work_s
    while time.perf_counter() < end:
        pass
    return _frequency_mhz(root, cores)


def _frequency_mhz(root: Path, cores: list[int]) -> dict[str, float] | None:
    """The real clock. On a Raspberry Pi only the firmware knows it.

    `scaling_cur_freq` is there what the kernel asks for, and does not change when the firmware
    throttles.
    """
    reported = re.search(r"frequency\(\d+\)=(\d+)", vcgencmd("measure_clock", "arm") or "")
    if reported and int(reported[1]):
        mhz = [int(reported[1]) / 1e6]
    else:
        khz = [integer(root / CPUS / f"cpu{core}/cpufreq/scaling_cur_freq") for core in cores]
        mhz = [value / 1e3 for value in khz if value] or _cpuinfo_mhz(root, cores)
    if not mhz:
        return None
    return {"min": min(mhz), "max": max(mhz), "mean": round(fmean(mhz), 3)}


def _cpuinfo_mhz(root: Path, cores: list[int]) -> list[float]:
    """The clock of processors that count cycles; for others the file has the nominal clock."""
    reported = cores_told(text(root / "proc/cpuinfo") or "")
    return [
        float(fields["cpu mhz"])
        for fields in reported
        if int(fields["processor"]) in cores
        and "cpu mhz" in fields
        and "aperfmperf" in fields.get("flags", "").split()
    ]


def _throttled(root: Path) -> dict[str, list[str]] | None:
    """What the firmware reports, from its command or the file of Raspberry Pi OS's kernel."""
    if reported := vcgencmd("get_throttled"):
        found = re.search(r"throttled=0x([0-9a-fA-F]+)", reported)
    else:
        files = root.glob("sys/devices/platform/soc*/*firmware/get_throttled")
        found = re.fullmatch(r"\s*([0-9a-fA-F]+)\s*", next(filter(None, map(text, files)), ""))
    if not found:
        return None
    bits = int(found[1], 16)
    return {
        "now": [name for bit, name in THROTTLED_BITS.items() if bits >> bit & 1],
        "occurred": [
            name for bit, name in THROTTLED_BITS.items() if bits >> bit + OCCURRED_SHIFT & 1
        ],
    }


def _throttle_counts(root: Path, cores: list[int]) -> dict[str, int] | None:
    """Source: the kernel's "Intel thermal throttle events reporting"."""
    by_core, by_package = [], {}
    for core in cores:
        folder = root / CPUS / f"cpu{core}"
        count = integer(folder / "thermal_throttle/core_throttle_count")
        if count is None:
            return None
        by_core.append(count)
        package = integer(folder / "topology/physical_package_id")
        by_package[package] = integer(folder / "thermal_throttle/package_throttle_count") or 0
    return {"core": sum(by_core), "package": sum(by_package.values())} if by_core else None


def _cooling_state(root: Path) -> int | None:
    """The highest state of the cooling devices that slow the processor; 0 is no cooling."""
    states = [
        integer(device / "cur_state")
        for device in root.glob("sys/class/thermal/cooling_device*")
        if PROCESSOR_COOLING.fullmatch(text(device / "type") or "")
    ]
    return max((state for state in states if state is not None), default=None)


def _quota_throttled_s(root: Path) -> float | None:
    """Source: cgroup-v2.rst, microseconds; in cgroups 1 `throttled_time`, nanoseconds."""
    seconds = []
    for folder in cgroup_folders(root):
        reported = text(folder / "cpu.stat") or ""
        found = re.search(r"^throttled_(usec|time) (\d+)$", reported, re.M)
        if found:
            seconds.append(int(found[2]) / {"usec": 1e6, "time": 1e9}[found[1]])
    return sum(seconds) if seconds else None


def _cpu_time_s(root: Path, cores: list[int]) -> dict[str, float] | None:
    """Source: proc_stat(5); guests' time is part of user's, and waiting for a disk is idle."""
    reported = text(root / "proc/stat") or ""
    found = re.findall(r"^cpu(\d+) ((?:\d+ ?)+)$", reported, re.M)
    ticks = [[int(n) for n in values.split()] for core, values in found if int(core) in cores]
    if not ticks or len(ticks[0]) < 8:
        return None
    user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = (
        sum(column) / _ticks_per_s() for column in list(zip(*ticks, strict=True))[:8]
    )
    busy = user + nice + system + interrupts + soft_interrupts
    return {"busy": busy, "stolen": stolen, "total": busy + stolen + idle + waiting}


def _own_cpu_time_s(root: Path, pids: Iterable[int]) -> dict[str, float]:
    """The time of each process and of the children it has waited for. Source: proc_pid_stat(5)."""
    seconds = {}
    for pid in sorted({os.getpid(), *pids}):
        reported = text(root / f"proc/{pid}/stat")
        if reported:  # the name before the last parenthesis may have spaces and parentheses in it
            fields = reported.rpartition(")")[2].split()
            seconds[str(pid)] = sum(map(int, fields[11:15])) / _ticks_per_s()
    return seconds


def _waited_s(root: Path, resource: str) -> float | None:
    """Source: the kernel's "PSI - Pressure Stall Information"; the total is in microseconds."""
    found = re.search(r"^some .*total=(\d+)", text(root / "proc/pressure" / resource) or "", re.M)
    return int(found[1]) / 1e6 if found else None


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")
