"""What /proc and /sys hold on machines that the tests do not run on, and their firmware's command.

Cut to the lines that are read; the forms are those of Linux 6.12 and the Raspberry Pi's firmware.
"""

from pathlib import Path

import pytest

CPU = "sys/devices/system/cpu"

ARM_CORE = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 3

"""
PI_4_FEATURES = "fp asimd evtstrm crc32 cpuid"
PI_5_FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
ROCKCHIP_FEATURES = PI_5_FEATURES

PC_CORE = """\
processor\t: {number}
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Intel(R) N100
cpu MHz\t\t: {mhz}
flags\t\t: fpu vme sse sse2 ht {more} pni ssse3 fma sse4_1 avx avx2 avx_vnni

"""

# The cores' line, then ten numbers: user, nice, system, idle, iowait, irq, softirq, steal, guest,
# guest_nice, in hundredths of a second.
STAT = """\
cpu  40400 0 4000 800000 400 0 400 800 0 0
cpu0 10100 0 1000 200000 100 0 100 200 0 0
cpu1 10100 0 1000 200000 100 0 100 200 0 0
cpu2 10100 0 1000 200000 100 0 100 200 0 0
cpu3 10100 0 1000 200000 100 0 100 200 0 0
intr 1533791 0 0
ctxt 123456
"""


def arm_cpuinfo(parts: dict[str, int], features: str, last: str = "") -> str:
    """/proc/cpuinfo of so many cores of each part, and the lines after them."""
    each = [part for part, count in parts.items() for _ in range(count)]
    cores = [ARM_CORE.format(number=n, part=p, features=features) for n, p in enumerate(each)]
    return "".join(cores) + last


def cpufreq(cores: int, governor: str, lowest: int, highest: int, now: int) -> dict[str, str]:
    """The files of cpufreq, in kHz."""
    values = {"governor": governor, "min_freq": lowest, "max_freq": highest, "cur_freq": now}
    return {
        f"{CPU}/cpu{core}/cpufreq/scaling_{name}": f"{value}\n"
        for core in range(cores)
        for name, value in values.items()
    }


def _pi(name: str, part: str, features: str, highest: int) -> dict[str, str]:
    return {
        "proc/cpuinfo": arm_cpuinfo(
            {part: 4}, features, f"Revision\t: c04170\nModel\t\t: {name}\n"
        ),
        "proc/device-tree/model": f"{name}\0",
        "proc/loadavg": "0.25 0.30 0.20 1/190 2345\n",
        "proc/meminfo": "MemTotal:  8256000 kB\nMemFree:  100 kB\nMemAvailable:  7700000 kB\n",
        "proc/self/status": "Name:\tpython3\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-1.scope\n",
        "proc/stat": STAT,
        "sys/fs/cgroup/cpu.stat": "usage_usec 5000\nuser_usec 4000\nsystem_usec 1000\n",
        f"{CPU}/online": "0-3\n",
        f"{CPU}/smt/active": "0\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48686\n",
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "2\n",
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
        "sys/class/hwmon/hwmon0/temp1_input": "48686\n",
        "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
        **cpufreq(4, "ondemand", 600_000, highest, 600_000),
    }


PI_4 = _pi("Raspberry Pi 4 Model B Rev 1.4", "0xd08", PI_4_FEATURES, 1_800_000)
PI_5 = _pi("Raspberry Pi 5 Model B Rev 1.0", "0xd0b", PI_5_FEATURES, 2_400_000)
ZERO_2 = _pi("Raspberry Pi Zero 2 W Rev 1.0", "0xd03", PI_4_FEATURES, 1_000_000)

PC = {
    "proc/cpuinfo": "".join(
        PC_CORE.format(number=n, mhz=mhz, more="aperfmperf")
        for n, mhz in enumerate(["2900.000", "800.000", "801.000", "3400.125"])
    ),
    "proc/loadavg": "1.50 0.30 0.20 1/190 2345\n",
    "proc/meminfo": "MemTotal:       16256000 kB\nMemAvailable:    9700000 kB\n",
    "proc/self/status": "Name:\tpython3\nCpus_allowed_list:\t0-1,3\n",
    "proc/self/cgroup": "0::/\n",
    "proc/stat": STAT,
    "proc/pressure/cpu": "some avg10=0.30 avg60=2.63 avg300=30.16 total=388558605\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    "sys/class/dmi/id/sys_vendor": "AZW\n",
    "sys/class/dmi/id/product_name": "MINI S\n",
    f"{CPU}/online": "0-3\n",
    f"{CPU}/smt/active": "0\n",
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "95000\n",
    "sys/class/thermal/thermal_zone2/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone2/temp": "61000\n",
    "sys/class/thermal/cooling_device0/type": "Processor\n",
    "sys/class/thermal/cooling_device0/cur_state": "0\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "1000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "600000\n",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:1/name": "psys\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "5000000\n",
    "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl-mmio:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl-mmio:0/energy_uj": "1000000\n",
    "sys/class/powercap/intel-rapl-mmio:0/max_energy_range_uj": "262143328850\n",
    **{
        f"{CPU}/cpu{core}/{name}": value
        for core in range(4)
        for name, value in {
            "topology/physical_package_id": "0\n",
            "thermal_throttle/core_throttle_count": f"{core}\n",
            "thermal_throttle/package_throttle_count": "5\n",
        }.items()
    },
    **cpufreq(4, "powersave", 700_000, 3_400_000, 2_900_000),
}

# A Raspberry Pi 5 at work, all of the command's answer.
PMIC = """\
 3V7_WL_SW_A current(0)=0.00780744A
   3V3_SYS_A current(1)=0.12199130A
   1V8_SYS_A current(2)=0.24300660A
  DDR_VDD2_A current(3)=0.02147046A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.18640260A
    0V8_SW_A current(6)=0.26935670A
  VDD_CORE_A current(7)=2.00000000A
   3V3_DAC_A current(17)=0.00006105A
   3V3_ADC_A current(18)=0.00036630A
   0V8_AON_A current(16)=0.00305250A
      HDMI_A current(22)=0.02417580A
 3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
   1V8_SYS_V volt(10)=1.80000000V
  DDR_VDD2_V volt(11)=1.10000000V
  DDR_VDDQ_V volt(12)=0.60000000V
   1V1_SYS_V volt(13)=1.10000000V
    0V8_SW_V volt(14)=0.80000000V
  VDD_CORE_V volt(15)=0.90000000V
   3V3_DAC_V volt(20)=3.30000000V
   3V3_ADC_V volt(21)=3.30000000V
   0V8_AON_V volt(19)=0.80000000V
      HDMI_V volt(23)=5.10000000V
     EXT5V_V volt(24)=5.07000000V
      BATT_V volt(25)=0.00000000V
"""
# 3V7, 3V3, 1V8, DDR, 1V1, 0V8 and core, then the small ones: volts times amperes by hand.
PMIC_WATTS = (
    0.028887528 + 0.40257129 + 0.43741188 + 0.023617506 + 0.20504286 + 0.21548536 + 1.8
    + 0.000201465 + 0.00120879 + 0.002442 + 0.12329658
)  # fmt: skip


def plant(root: Path, *trees: dict[str, str | None]) -> Path:
    """Write files below a folder, the later trees over the earlier; None takes a file away."""
    for name, content in {
        name: content for tree in trees for name, content in tree.items()
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(content)
    return root


def only_command_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new folder that alone is searched for commands: a real `vcgencmd` is out of sight."""
    commands = folder / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    return commands


def write_vcgencmd(folder: Path, answers: dict[str, str]) -> Path:
    """A command that answers as the firmware does, and to the rest as firmware without it does.

    Args:
        folder: for the command.
        answers: by the command's arguments, one space between them.
    """
    cases = [
        f'"{asked}")\n/bin/cat <<"END"\n{answer.rstrip()}\nEND\n;;\n'
        for asked, answer in answers.items()
    ]
    unknown = """*) echo 'error=1 error_msg="Command not registered"' ;;\n"""
    path = folder / "vcgencmd"
    path.write_text(f'#!/bin/sh\ncase "$*" in\n{"".join(cases)}{unknown}esac\n')
    path.chmod(0o755)
    return path
