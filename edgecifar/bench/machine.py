"""The machine that a result was measured on. What it does not tell is None, never a guess."""

import os
import platform
from pathlib import Path

import psutil

from edgecifar import __version__
from edgecifar.runtimes import RUNTIMES

# arm64 Linux gives a core's maker and part, not its name. Source: Arm's MIDR_EL1 part numbers,
# as in util-linux's lscpu-arm.c.
ARM = "0x41"
ARM_CORES = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd49": "Neoverse-N2",
}


def machine() -> dict:
    """What this machine is and what is installed on it.

    Returns:
        JSON values: `board` and `cpu` are names; `cores` counts what this process may use;
        `memory_mib` is all there is; `load_average` covers the last minute; `runtimes` gives a
        version for each installed runtime.
    """
    return {
        "board": _text("/proc/device-tree/model"),
        "cpu": cpu_model(_text("/proc/cpuinfo") or "") or platform.processor() or None,
        "architecture": platform.machine() or None,
        "cores": _cores(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "os": _os_name(),
        "kernel": platform.release() or None,
        "python": platform.python_version(),
        "load_average": _load_average(),
        "edgecifar": __version__,
        "runtimes": {r.name: r.version() for r in RUNTIMES if r.installed()},
    }


def cpu_model(cpuinfo: str) -> str | None:
    """The name of the processor in the text of `/proc/cpuinfo`, x86-64 or arm64."""
    fields = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    if name := fields.get("model name"):
        return name
    if fields.get("cpu implementer") == ARM:
        return ARM_CORES.get(fields.get("cpu part"))
    return None


def _text(path: str) -> str | None:
    """A file that the kernel gives; device-tree strings end in a zero byte."""
    try:
        return Path(path).read_text(errors="replace").rstrip("\0\n") or None
    except OSError:
        return None


def _cores() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count()


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return platform.system() or None


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
