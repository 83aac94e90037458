"""The machine that a result was measured on. What it does not tell is None, never a guess."""

import os
import platform

import psutil

from edgecifar import __version__, hardware
from edgecifar.runtimes import RUNTIMES


def machine() -> dict:
    """What this machine is and what is installed on it.

    Returns:
        JSON values: `board` and `cpu` are names; `cores` counts what this process may use;
        `memory_mib` is all there is; `load_average` covers the last minute; `runtimes` gives a
        version for each installed runtime.
    """
    return {
        "board": hardware.text("/proc/device-tree/model"),
        "cpu": hardware.processor(),
        "architecture": platform.machine() or None,
        "cores": hardware.cores(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "os": _os_name(),
        "kernel": platform.release() or None,
        "python": platform.python_version(),
        "load_average": _load_average(),
        "edgecifar": __version__,
        "runtimes": {r.name: r.version() for r in RUNTIMES if r.installed()},
    }


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
