import os
from pathlib import Path

import machines
import pytest

from edgecifar import hardware


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        (machines.PI_4, "Cortex-A72"),
        (machines.PI_5, "Cortex-A76"),
        (machines.ZERO_2, "Cortex-A53"),
        (machines.PC, "Intel(R) N100"),
    ],
)
def test_the_processor_is_named(tmp_path: Path, tree: dict, name: str):
    assert hardware.processor(machines.plant(tmp_path, tree)) == name


def test_the_processor_of_a_32_bit_kernel_is_named_by_its_part():
    told = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 4 (v7l)\nCPU implementer\t: 0x41\n"
    assert hardware.cpu_model(told + "CPU part\t: 0xd03\n") == "Cortex-A53"
    assert hardware.cpu_model(told + "CPU part\t: 0xfff\n") == "ARMv7 Processor rev 4 (v7l)"


def test_cores_that_differ_are_all_named_and_counted():
    told = machines.arm_cpuinfo({"0xd05": 4, "0xd0b": 2}, machines.ROCKCHIP_FEATURES)
    assert hardware.cpu_model(told) == "Cortex-A55 + Cortex-A76"
    assert hardware.core_types(told) == {"Cortex-A55": 4, "Cortex-A76": 2}


def test_the_nvidia_gpus_are_those_that_can_be_opened(tmp_path: Path):
    assert hardware.nvidia_gpus(tmp_path) == []
    told = "proc/driver/nvidia/gpus/0000:1a:00.0/information"
    model = {told: "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 11\n"}
    in_a_container = machines.plant(tmp_path / "container", model, {"dev/nvidiactl": ""})
    assert hardware.nvidia_gpus(in_a_container) == []
    machine = machines.plant(tmp_path / "machine", model, {"dev/nvidiactl": "", "dev/nvidia0": ""})
    assert hardware.nvidia_gpus(machine) == ["NVIDIA H100 80GB HBM3"]
    machines.plant(machine, {"dev/nvidia1": ""})
    assert hardware.nvidia_gpus(machine) == ["NVIDIA H100 80GB HBM3", "NVIDIA GPU"]


def test_an_unknown_processor_is_none():
    assert hardware.cpu_model("processor : 0\nCPU implementer : 0x99\nCPU part : 0xd0b\n") is None
    assert hardware.cpu_model("") is None


def test_the_instructions_for_int8_are_told():
    pi_4, pi_5, pc = (tree["proc/cpuinfo"] for tree in (machines.PI_4, machines.PI_5, machines.PC))
    assert hardware.int8_features(pi_4) == ["asimd"]
    assert hardware.int8_features(pi_5) == ["asimd", "asimddp"]
    assert hardware.int8_features(pc) == ["ssse3", "sse4_1", "avx2", "avx_vnni"]
    assert hardware.int8_features("") == []


def test_a_list_of_cores_is_read():
    assert hardware.cpu_list("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11]
    assert hardware.cpu_list("5") == [5]
    assert hardware.cpu_list("") == []


def test_cores_are_those_that_may_be_used(tmp_path: Path):
    assert hardware.allowed_cores() == sorted(os.sched_getaffinity(0))
    assert hardware.cores(machines.plant(tmp_path, machines.PC)) == 3
    assert hardware.cores(tmp_path / "nothing") == os.cpu_count()


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 3), ("400000 100000", 3), ("250000 100000", 2), ("50000 100000", 1)],
)
def test_usable_cores_keep_to_the_affinity_and_the_quota(limit, cores, tmp_path: Path):
    group = {
        "proc/self/cgroup": "0::/bench\n",
        "sys/fs/cgroup/bench/cpu.stat": "usage_usec 1\n",
        "sys/fs/cgroup/bench/cpu.max": f"{limit}\n",
    }
    assert hardware.usable_cores(machines.plant(tmp_path, machines.PC, group)) == cores


def test_control_groups_are_found_from_the_inside_out(tmp_path: Path):
    machines.plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/bench.service\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 1\n",
            "sys/fs/cgroup/system.slice/cpu.stat": "usage_usec 1\n",
            "sys/fs/cgroup/system.slice/bench.service/cpu.stat": "usage_usec 1\n",
        },
    )
    top = tmp_path / "sys/fs/cgroup"
    found = hardware.cgroup_folders(tmp_path)
    assert found == [top / "system.slice/bench.service", top / "system.slice", top]


def test_the_control_group_of_a_container_is_at_the_top(tmp_path: Path):
    machines.plant(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/docker/ab\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_throttled 0\n",
            "sys/fs/cgroup/memory/cpu.stat": "not of the processor\n",
        },
    )
    assert hardware.cgroup_folders(tmp_path) == [tmp_path / "sys/fs/cgroup/cpu,cpuacct"]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return machines.only_command_path(tmp_path, monkeypatch)


def test_the_firmware_answers(commands: Path):
    machines.write_vcgencmd(commands, {"measure_temp": "temp=48.2'C"})
    assert hardware.vcgencmd("measure_temp") == "temp=48.2'C\n"


def test_a_question_that_the_firmware_does_not_know_has_no_answer(commands: Path):
    machines.write_vcgencmd(commands, {})
    assert hardware.vcgencmd("pmic_read_adc") is None


def test_a_firmware_command_that_fails_or_hangs_has_no_answer(
    commands: Path, monkeypatch: pytest.MonkeyPatch
):
    assert hardware.vcgencmd("measure_temp") is None  # there is none
    command = machines.write_vcgencmd(commands, {})
    command.write_text("#!/bin/sh\necho throttled=0x0\nexit 255\n")
    assert hardware.vcgencmd("get_throttled") is None
    command.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    monkeypatch.setattr(hardware, "VCGENCMD_TIMEOUT_S", 0.1)
    assert hardware.vcgencmd("get_throttled") is None
    command.write_text("not a program")
    assert hardware.vcgencmd("get_throttled") is None


def test_text_that_is_no_number_is_none(tmp_path: Path):
    machines.plant(tmp_path, {"number": "17\n", "word": "max\n", "empty": ""})
    assert hardware.integer(tmp_path / "number") == 17
    assert hardware.integer(tmp_path / "word") is None
    assert hardware.integer(tmp_path / "empty") is None
    assert hardware.integer(tmp_path / "missing") is None
