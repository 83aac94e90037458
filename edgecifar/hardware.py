"""The processor and the board that this runs on, as Linux reports them.

What the machine does not report is None, never a guess. Readers take the `root` folder that `/proc`
and `/sys` are in.
"""

import os
import platform
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path("/")
CPUS = "sys/devices/system/cpu"
VCGENCMD_TIMEOUT_S = 5.0

# arm64 Linux gives a core's maker and part, not its name. Source: Arm's MIDR_EL1 part numbers,
# as in util-linux's lscpu-arm.c. Raspberry Pis have ARM1176 (1, Zero), Cortex-A7 (2), A53 (3,
# Zero 2), A72 (4) and A76 (5).
ARM = "0x41"
ARM_CORES = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xc09": "Cortex-A9",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
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
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse-N2",
    "0xd4d": "Cortex-A715",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
}

# The instructions that kernels for int8 choose between, by the kernel's names for them.
INT8_FEATURES = (
    *("neon", "asimd", "asimddp", "i8mm", "sve", "sve2", "svei8mm", "sme"),
    *("ssse3", "sse4_1", "avx2", "avx_vnni", "avx_vnni_int8"),
    *("avx512bw", "avx512_vnni", "amx_int8"),
)


# Of these, some add int8 products in 16 bits (`edgecifar.graphs.overflow`).
X86 = ("x86_64", "AMD64", "i686", "i386")


def processor(root: Path = ROOT) -> str | None:
    """The name of this machine's processor."""
    return cpu_model(text(root / "proc/cpuinfo") or "") or platform.processor() or None


def summary() -> str:
    """The processor and its cores in a few words, as "Cortex-A76, 4 cores"."""
    count = cores()
    return f"{processor() or platform.machine()}, {count} core{'' if count == 1 else 's'}"


def cpu_model(cpuinfo: str) -> str | None:
    """The name of the processor in the text of `/proc/cpuinfo`, x86-64 or Arm.

    Cores that differ are all named: "Cortex-A55 + Cortex-A76".
    """
    return " + ".join(core_types(cpuinfo)) or None


def core_types(cpuinfo: str) -> dict[str, int]:
    """How many cores of each name are in the text of `/proc/cpuinfo`; unknown ones are left out."""
    names = [_core_name(fields) for fields in cores_told(cpuinfo)]
    return dict(Counter(name for name in names if name))


def cores_told(cpuinfo: str) -> list[dict[str, str]]:
    """What the text of `/proc/cpuinfo` has on each core, by the names in it in small letters."""
    blocks = [_fields(block) for block in cpuinfo.split("\n\n")]
    return [fields for fields in blocks if "processor" in fields]


def int8_features(cpuinfo: str) -> list[str]:
    """Those of `INT8_FEATURES` in the text of `/proc/cpuinfo`: x86 flags, or Arm features."""
    fields = _fields(cpuinfo)
    reported = set((fields.get("flags") or fields.get("features") or "").split())
    return [name for name in INT8_FEATURES if name in reported]


def has_vnni(features: list[str]) -> bool:
    """Whether an x86 processor adds int8 products in 32 bits, by its `int8_features`."""
    return any("vnni" in name for name in features)


def cores(root: Path = ROOT) -> int | None:
    """How many cores this process may use."""
    return len(allowed_cores(root)) or os.cpu_count()


def usable_cores(root: Path = ROOT) -> int:
    """How many threads can compute at the same time: a core each, within the control group's limit.

    With more threads than that, a runtime whose threads wait for one another is many times slower.
    """
    allowed, quota = cores(root) or 1, cpu_quota_cores(root)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def cpu_quota_cores(root: Path = ROOT) -> float | None:
    """How many cores' time the control groups of this process may spend; None without a limit.

    The tightest limit counts. Source: cgroups(7), versions 2 and 1.
    """
    quotas = []
    for folder in cgroup_folders(root):
        if reported := text(folder / "cpu.max"):
            most, per = reported.split()
            quotas += [] if most == "max" else [int(most) / int(per)]
        quota = integer(folder / "cpu.cfs_quota_us")
        period = integer(folder / "cpu.cfs_period_us")
        if quota and quota > 0 and period:  # -1 is no limit
            quotas.append(quota / period)
    return round(min(quotas), 3) if quotas else None


def allowed_cores(root: Path = ROOT) -> list[int]:
    """The numbers of the cores that this process may use; none where there is no `/proc`."""
    reported = _fields(text(root / "proc/self/status") or "")
    return cpu_list(reported.get("cpus_allowed_list", ""))


def cpu_list(listed: str) -> list[int]:
    """The numbers in a kernel's list of cores, such as "0-3,8"."""
    numbers: list[int] = []
    for part in filter(None, listed.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def cgroup_folders(root: Path = ROOT) -> list[Path]:
    """Where the limits on this process's processor time are: its control group and those above.

    Source: cgroups(7). Inside a container the innermost folder may not be there: what is mounted
    is then the container's own, at the top.
    """
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            mounted = root / "sys/fs/cgroup" / controllers
            inner = Path(path.strip("/"))
            folders = [mounted / inner, *(mounted / above for above in inner.parents)]
            if found := [folder for folder in folders if (folder / "cpu.stat").is_file()]:
                return found
    return []


def nvidia_gpus(root: Path = ROOT) -> list[str]:
    """The names of the NVIDIA GPUs that programs here can open.

    The driver makes a device file `nvidiaN` for each. A container without the GPU lacks that file,
    though it sees the driver's folder in `/proc`, which has the names. Source: the chapter "Driver
    Support for the /proc File System Interface" of the NVIDIA driver's README.
    """
    count = len(list((root / "dev").glob("nvidia[0-9]*")))
    reported = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    names = [_fields(text(path) or "").get("model") for path in reported]
    return [name or "NVIDIA GPU" for name in [*names, *[None] * count][:count]]


def vcgencmd(*arguments: str) -> str | None:
    """What the Raspberry Pi's firmware answers.

    Source: https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd

    Returns:
        None where there is no such command, it fails, or the firmware does not know the question
        (which older versions report in words, with exit code 0).
    """
    if not (command := shutil.which("vcgencmd")):
        return None
    try:
        run = subprocess.run(
            [command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VCGENCMD_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    refused = run.returncode or re.search(r"\berror=\d", run.stdout)
    return None if refused else run.stdout


def text(path: str | Path) -> str | None:
    """The text of a file that the kernel gives; device-tree strings end in a zero byte."""
    try:
        return Path(path).read_text(errors="replace").rstrip("\0\n") or None
    except OSError:
        return None


def integer(path: Path) -> int | None:
    """The number that is all of a file's text."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None


def _core_name(fields: dict[str, str]) -> str | None:
    # Before the model name: on Arm that is only "ARMv7 Processor rev 3 (v7l)".
    if fields.get("cpu implementer") == ARM:
        return ARM_CORES.get(fields.get("cpu part", ""), fields.get("model name"))
    return fields.get("model name")


def _fields(reported: str) -> dict[str, str]:
    """The first value of each "name : value" line, by the name in small letters."""
    fields: dict[str, str] = {}
    for line in reported.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return fields
