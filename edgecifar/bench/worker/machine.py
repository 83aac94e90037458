"""Describes the machine that a result was measured on. What is not known is None, never a guess."""

import platform
import re
import sys
from pathlib import Path

from edgecifar import __version__, hardware
from edgecifar.bench.worker.sensors import load_average
from edgecifar.hardware import CPUS, ROOT, integer, text
from edgecifar.runtimes import RUNTIMES, environments

# What their engines leave inside containers.
CONTAINER_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
CONTAINER_GROUPS = re.compile(r"docker|kubepods|containerd|libpod|lxc")


def machine(root: Path = ROOT) -> dict:
    """Describe this machine and what is installed on it.

    Args:
        root: the folder that `/proc`, `/sys` and the like are in.

    Returns:
        JSON values. `board` and `cpu` are names. `core_types` counts the cores by type name: there
        are several types with big.LITTLE, or x86's performance and efficiency cores. `features`
        are the instructions that int8 kernels choose between. `cores` counts the cores that this
        process may use, `cores_online` all; `smt` is whether two of them may share a physical
        core. `cpu_quota_cores` is how many cores' time the control group may spend (1.5 in a
        container with that limit), None without a limit; `usable_cores` is how many threads can
        compute at the same time. `governor` and `frequency_mhz`, min and max, are cpufreq's.
        `memory_mib` is the whole memory, `memory_available_mib` the part that was available.
        `python_bits` and `kernel_bits` differ where a 64-bit kernel runs a 32-bit system, for
        which the runtimes have slower kernels, or none. `virtual_machine` and `container` say
        whether it is known to be one. `load_average` covers the last minute; `runtimes` gives a
        version for each installed runtime.
    """
    cpuinfo = text(root / "proc/cpuinfo") or ""
    memory = _memory_mib(text(root / "proc/meminfo") or "")
    return {
        "board": _board(root),
        "cpu": hardware.processor(root),
        "core_types": _core_types(root, cpuinfo),
        "features": hardware.int8_features(cpuinfo),
        "architecture": platform.machine() or None,
        "cores": hardware.cores(root),
        "cores_online": len(hardware.cpu_list(text(root / CPUS / "online") or "")) or None,
        "smt": {"0": False, "1": True}.get(text(root / CPUS / "smt/active") or ""),
        "cpu_quota_cores": hardware.cpu_quota_cores(root),
        "usable_cores": hardware.usable_cores(root),
        "governor": _governor(root),
        "frequency_mhz": _frequency_mhz(root),
        "memory_mib": memory.get("MemTotal"),
        "memory_available_mib": memory.get("MemAvailable"),
        "os": _os_name(),
        "kernel": platform.release() or None,
        "kernel_bits": kernel_bits(platform.machine()),
        "python": platform.python_version(),
        "python_bits": 64 if sys.maxsize > 2**32 else 32,
        "virtual_machine": _virtual_machine(root, cpuinfo),
        "container": _container(root),
        "load_average": load_average(root),
        "edgecifar": __version__,
        "runtimes": {
            r.name: environments.version_of(r) for r in RUNTIMES if environments.installed(r)
        },
    }


def kernel_bits(architecture: str) -> int | None:
    """The bits of a kernel by its architecture; `armv8l` is arm64 as a 32-bit program sees it."""
    if "64" in architecture or architecture == "armv8l":
        return 64
    return 32 if re.fullmatch(r"i[3-6]86|armv[4-7]\w*", architecture) else None


def _board(root: Path) -> str | None:
    """The board's name: Arm boards have a device tree, PCs tables of their firmware."""
    if name := text(root / "proc/device-tree/model"):
        return name
    tables = root / "sys/class/dmi/id"
    return (
        " ".join(filter(None, [text(tables / "sys_vendor"), text(tables / "product_name")])) or None
    )


def _core_types(root: Path, cpuinfo: str) -> dict[str, int]:
    hybrid = {
        kind: len(hardware.cpu_list(listed))
        for kind, name in (("performance", "cpu_core"), ("efficiency", "cpu_atom"))
        if (listed := text(root / "sys/devices" / name / "cpus"))
    }
    return hybrid or hardware.core_types(cpuinfo)


def _governor(root: Path) -> str | None:
    """The governor of the cores that this process may use; all of them where they differ."""
    policies = [root / CPUS / f"cpu{core}/cpufreq" for core in hardware.allowed_cores(root)]
    governors = [text(policy / "scaling_governor") for policy in policies]
    return " + ".join(dict.fromkeys(filter(None, governors))) or None


def _frequency_mhz(root: Path) -> dict[str, float] | None:
    """The range of clocks that cpufreq allows on the cores that this process may use."""
    policies = [root / CPUS / f"cpu{core}/cpufreq" for core in hardware.allowed_cores(root)]
    lowest = [integer(policy / "scaling_min_freq") for policy in policies]
    highest = [integer(policy / "scaling_max_freq") for policy in policies]
    known = [frequency for frequency in (*lowest, *highest) if frequency is not None]
    if not known or len(known) < 2 * len(policies):
        return None
    return {"min": min(known) / 1e3, "max": max(known) / 1e3}


def _memory_mib(meminfo: str) -> dict[str, int]:
    """The lines of `/proc/meminfo`, which are in KiB."""
    return {name: int(kib) // 1024 for name, kib in re.findall(r"^(\w+): +(\d+) kB", meminfo, re.M)}


def _virtual_machine(root: Path, cpuinfo: str) -> bool | None:
    """Whether it is one: x86 processors have a flag for it, and on Arm some hypervisors say so."""
    if flags := re.search(r"^flags\s*: (.*)", cpuinfo, re.M):
        return "hypervisor" in flags[1].split()
    reported = ("sys/hypervisor/type", "proc/device-tree/hypervisor/compatible")
    return True if any(text(root / path) for path in reported) else None


def _container(root: Path) -> str | None:
    for path, engine in CONTAINER_FILES.items():
        if (root / path).exists():
            return engine
    if named := text(root / "run/systemd/container"):
        return named
    found = CONTAINER_GROUPS.search(text(root / "proc/self/cgroup") or "")
    return found[0] if found else None


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return platform.system() or None
