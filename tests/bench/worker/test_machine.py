import json
import os
import platform
from pathlib import Path

import machines
import pytest

from edgecifar.bench.worker.machine import kernel_bits, machine


def test_a_raspberry_pi_5_is_described(tmp_path: Path):
    found = machine(machines.plant(tmp_path, machines.PI_5))
    assert found["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["cpu"] == "Cortex-A76"
    assert found["core_types"] == {"Cortex-A76": 4}
    assert found["features"] == ["asimd", "asimddp"]
    assert (found["cores"], found["cores_online"], found["smt"]) == (4, 4, False)
    assert found["governor"] == "ondemand"
    assert found["frequency_mhz"] == {"min": 600.0, "max": 2400.0}
    assert (found["memory_mib"], found["memory_available_mib"]) == (8062, 7519)
    assert found["load_average"] == 0.25
    assert found["cpu_quota_cores"] is None
    assert found["virtual_machine"] is None
    assert found["container"] is None


def test_a_pc_is_described(tmp_path: Path):
    found = machine(machines.plant(tmp_path, machines.PC))
    assert found["board"] == "AZW MINI S"
    assert found["features"] == ["ssse3", "sse4_1", "avx2", "avx_vnni"]
    assert (found["cores"], found["cores_online"]) == (3, 4)
    assert found["virtual_machine"] is False


def test_cores_of_two_kinds_are_counted(tmp_path: Path):
    cpuinfo = machines.arm_cpuinfo({"0xd05": 4, "0xd0b": 4}, machines.ROCKCHIP_FEATURES)
    arm = machine(machines.plant(tmp_path / "arm", {"proc/cpuinfo": cpuinfo}))
    assert arm["core_types"] == {"Cortex-A55": 4, "Cortex-A76": 4}
    hybrid = {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-11\n"}
    x86 = machine(machines.plant(tmp_path / "x86", machines.PC, hybrid))
    assert x86["core_types"] == {"performance": 4, "efficiency": 8}


def test_clocks_and_governors_that_differ_are_all_told(tmp_path: Path):
    big = {
        f"{machines.CPU}/cpu3/cpufreq/scaling_governor": "performance\n",
        f"{machines.CPU}/cpu3/cpufreq/scaling_max_freq": "3000000\n",
    }
    found = machine(machines.plant(tmp_path, machines.PI_5, big))
    assert found["governor"] == "ondemand + performance"
    assert found["frequency_mhz"] == {"min": 600.0, "max": 3000.0}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n", "cpu.stat": "nr_periods 0\n"}, 1.5),
        ({"cpu.max": "max 100000\n", "cpu.stat": "nr_periods 0\n"}, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.stat": "nr_periods 0\n",
            },
            0.5,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.stat": "nr_periods 0\n",
            },
            None,
        ),
    ],
    ids=["cgroups 2", "cgroups 2 without", "cgroups 1", "cgroups 1 without"],
)
def test_the_quota_of_a_container_is_seen(tmp_path: Path, files: dict, cores: float | None):
    group = "2:cpu:/docker/ab\n" if "cpu/cpu.stat" in files else "0::/\n"
    planted = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    machines.plant(tmp_path, machines.PC, planted, {"proc/self/cgroup": group})
    assert machine(tmp_path)["cpu_quota_cores"] == cores


def test_the_tightest_quota_of_nested_groups_counts(tmp_path: Path):
    nested = {
        "proc/self/cgroup": "0::/outer/inner\n",
        "sys/fs/cgroup/outer/cpu.stat": "nr_periods 0\n",
        "sys/fs/cgroup/outer/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/outer/inner/cpu.stat": "nr_periods 0\n",
        "sys/fs/cgroup/outer/inner/cpu.max": "400000 100000\n",
    }
    assert machine(machines.plant(tmp_path, machines.PC, nested))["cpu_quota_cores"] == 1.0


@pytest.mark.parametrize(
    ("tree", "container"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": "engine=podman\n"}, "podman"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
        ({"proc/self/cgroup": "0::/kubepods/besteffort/pod1\n"}, "kubepods"),
        ({"proc/self/cgroup": "0::/user.slice\n"}, None),
    ],
)
def test_a_container_is_seen(tmp_path: Path, tree: dict, container: str | None):
    assert machine(machines.plant(tmp_path, machines.PC, tree))["container"] == container


def test_a_virtual_machine_is_seen(tmp_path: Path):
    cpuinfo = machines.PC_CORE.format(number=0, mhz="2596.124", more="hypervisor")
    pc = machine(machines.plant(tmp_path / "pc", machines.PC, {"proc/cpuinfo": cpuinfo}))
    assert pc["virtual_machine"] is True
    xen = {"sys/hypervisor/type": "xen\n"}
    assert machine(machines.plant(tmp_path / "arm", machines.PI_4, xen))["virtual_machine"] is True


@pytest.mark.parametrize(
    ("architecture", "bits"),
    [
        ("aarch64", 64),
        ("armv8l", 64),
        ("x86_64", 64),
        ("armv7l", 32),
        ("armv6l", 32),
        ("i686", 32),
        ("sparc", None),
    ],
)
def test_the_bits_of_the_kernel_are_known_by_its_name(architecture: str, bits: int | None):
    assert kernel_bits(architecture) == bits


def test_this_machine_is_json_and_sane():
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["cores"] <= found["cores_online"] <= 4096
    assert 100 < found["memory_available_mib"] <= found["memory_mib"]
    assert found["python"].startswith("3.")
    assert found["python_bits"] <= found["kernel_bits"]
    assert sum(found["core_types"].values()) in (0, found["cores_online"])
    assert found["cpu_quota_cores"] is None or found["cpu_quota_cores"] > 0


def test_a_machine_that_tells_nothing_is_none_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse():
        raise OSError("nothing here")

    monkeypatch.setattr(platform, "freedesktop_os_release", refuse)
    monkeypatch.setattr(platform, "processor", lambda: "")
    found = machine(tmp_path)
    assert found["features"] == []
    assert found["core_types"] == {}
    silent = [
        *("board", "cpu", "cores_online", "smt", "cpu_quota_cores", "governor", "frequency_mhz"),
        *("memory_mib", "memory_available_mib", "virtual_machine", "container", "load_average"),
    ]
    assert {name: found[name] for name in silent} == dict.fromkeys(silent)
