"""The processor that this runs on. What it does not tell is None, never a guess."""

import os
import platform
from pathlib import Path

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


def processor() -> str | None:
    """The name of this machine's processor."""
    return cpu_model(text("/proc/cpuinfo") or "") or platform.processor() or None


def summary() -> str:
    """The processor and its cores in a few words, as "Cortex-A76, 4 cores"."""
    count = cores()
    return f"{processor() or platform.machine()}, {count} core{'' if count == 1 else 's'}"


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


def text(path: str) -> str | None:
    """The text of a file that the kernel gives; device-tree strings end in a zero byte."""
    try:
        return Path(path).read_text(errors="replace").rstrip("\0\n") or None
    except OSError:
        return None


def cores() -> int | None:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count()
