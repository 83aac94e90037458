import json
import os
import subprocess
import sys
import time
from pathlib import Path

import machines
import pytest

from edgecifar.bench.settings import Timing
from edgecifar.bench.worker import sensors
from edgecifar.bench.worker.sensors import marks, read, shares

WORK_S = Timing().clock_work_s


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return machines.only_command_path(tmp_path, monkeypatch)


def reading(**told: object) -> dict:
    """A reading of a machine that tells this and no more."""
    names = ("temperature_c", "frequency_mhz", "throttled", "throttle_counts", "cooling_state")
    more = ("quota_throttled_s", "load_average", "cpu_time_s")
    blank = dict.fromkeys([*names, *more])
    return {**blank, "own_cpu_time_s": {}, "waited_s": {"cpu": None, "memory": None}, **told}


def at_clock(mhz: float) -> dict:
    return reading(frequency_mhz={"min": mhz / 2, "max": mhz, "mean": mhz})


def spent(busy: float, total: float, stolen: float = 0.0, **own: float) -> dict:
    """A reading of the time of cores, and of the processes p1, p2, ... of the bench."""
    return reading(
        cpu_time_s={"busy": busy, "stolen": stolen, "total": total},
        own_cpu_time_s={name.lstrip("p"): seconds for name, seconds in own.items()},
    )


def throttled(now: list[str], occurred: list[str]) -> dict:
    return reading(throttled={"now": now, "occurred": occurred})


def test_a_raspberry_pi_is_read_through_its_firmware(tmp_path: Path, commands: Path):
    machines.plant(tmp_path, machines.PI_5)
    machines.write_vcgencmd(
        commands,
        {"get_throttled": "throttled=0x50005", "measure_clock arm": "frequency(0)=1500019456"},
    )
    found = read(WORK_S, root=tmp_path)
    assert found["temperature_c"] == 48.686
    mhz = 1500.019456
    assert found["frequency_mhz"] == {"min": mhz, "max": mhz, "mean": pytest.approx(mhz, abs=1e-3)}
    bits = ["under-voltage", "throttled"]
    assert found["throttled"] == {"now": bits, "occurred": bits}
    assert found["throttle_counts"] is None
    assert found["cooling_state"] is None  # a fan slows nothing
    assert found["load_average"] == 0.25
    assert found["cpu_time_s"] == {"busy": 448.0, "stolen": 8.0, "total": 8460.0}


@pytest.mark.parametrize(
    ("told", "now", "occurred"),
    [
        ("0x0", [], []),
        ("0x1", ["under-voltage"], []),
        ("0x2", ["frequency capped"], []),
        ("0x4", ["throttled"], []),
        ("0x8", ["soft temperature limit"], []),
        ("0x80000", [], ["soft temperature limit"]),
        ("0x20008", ["soft temperature limit"], ["frequency capped"]),
        ("0xe0000", [], ["frequency capped", "throttled", "soft temperature limit"]),
    ],
)
def test_the_bits_of_the_firmware_are_decoded(commands: Path, told: str, now: list, occurred: list):
    machines.write_vcgencmd(commands, {"get_throttled": f"throttled={told}"})
    assert read(WORK_S)["throttled"] == {"now": now, "occurred": occurred}


@pytest.mark.parametrize(
    "folder",
    ["sys/devices/platform/soc/soc:firmware", "sys/devices/platform/soc@1/soc@1:firmware"],
)
def test_without_the_command_the_kernel_tells_what_the_firmware_does(tmp_path: Path, folder: str):
    machines.plant(tmp_path, machines.PI_4, {f"{folder}/get_throttled": "50008\n"})
    found = read(WORK_S, root=tmp_path)
    assert found["throttled"]["now"] == ["soft temperature limit"]
    assert found["throttled"]["occurred"] == ["under-voltage", "throttled"]
    assert found["frequency_mhz"] == {"min": 600.0, "max": 600.0, "mean": 600.0}


def test_a_board_without_that_firmware_has_no_word_of_it(tmp_path: Path):
    assert read(WORK_S, root=machines.plant(tmp_path, machines.PC))["throttled"] is None


def test_a_pc_is_read(tmp_path: Path):
    clocks = {f"{machines.CPU}/cpu{core}/cpufreq/scaling_cur_freq": None for core in range(4)}
    machines.plant(tmp_path, machines.PC, clocks)
    found = read(WORK_S, root=tmp_path)
    assert found["temperature_c"] == 61.0
    # Core 2 is not ours.
    assert found["frequency_mhz"] == {"min": 800.0, "max": 3400.125, "mean": 2366.708}
    assert found["throttle_counts"] == {"core": 0 + 1 + 3, "package": 5}
    assert found["cooling_state"] == 0
    assert found["cpu_time_s"] == {"busy": 336.0, "stolen": 6.0, "total": 6345.0}
    assert found["waited_s"] == {"cpu": 388.558605, "memory": None}


def test_a_nominal_clock_is_not_taken_for_the_one_that_runs(tmp_path: Path):
    cpuinfo = machines.PC_CORE.format(number=0, mhz="2596.124", more="hypervisor")
    machines.plant(
        tmp_path, {"proc/cpuinfo": cpuinfo, "proc/self/status": "Cpus_allowed_list:\t0\n"}
    )
    assert read(WORK_S, root=tmp_path)["frequency_mhz"] is None


@pytest.mark.parametrize(
    ("chip", "celsius"),
    [
        ({"name": "coretemp", "temp1_input": "55000", "temp2_input": "57000"}, 57.0),
        (
            {
                "name": "k10temp",
                "temp1_input": "87000",
                "temp1_label": "Tctl",
                "temp2_input": "60000",
                "temp2_label": "Tdie",
            },
            60.0,
        ),
        ({"name": "k10temp", "temp1_input": "61000", "temp1_label": "Tctl"}, 61.0),
        ({"name": "nvme", "temp1_input": "40000"}, None),
    ],
)
def test_without_a_zone_the_processors_own_chip_tells(
    tmp_path: Path, chip: dict, celsius: float | None
):
    machines.plant(tmp_path, {f"sys/class/hwmon/hwmon3/{n}": v for n, v in chip.items()})
    assert read(WORK_S, root=tmp_path)["temperature_c"] == celsius


@pytest.mark.parametrize(
    ("zone", "celsius"),
    [
        *((name, 50.0) for name in ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp")),
        *((name, 50.0) for name in ("bigcore0-thermal", "cpu0-thermal", "CPU-therm")),
        *((name, None) for name in ("acpitz", "gpu-thermal", "iwlwifi_1", "nvme")),
    ],
)
def test_a_thermal_zone_is_chosen_by_what_it_is(tmp_path: Path, zone: str, celsius: float | None):
    folder = "sys/class/thermal/thermal_zone0"
    machines.plant(tmp_path, {f"{folder}/type": f"{zone}\n", f"{folder}/temp": "50000\n"})
    assert read(WORK_S, root=tmp_path)["temperature_c"] == celsius


def test_packages_are_counted_once_each(tmp_path: Path):
    second = {f"{machines.CPU}/cpu3/topology/physical_package_id": "1\n"}
    machines.plant(tmp_path, machines.PC, second)
    assert read(WORK_S, root=tmp_path)["throttle_counts"] == {"core": 4, "package": 10}


@pytest.mark.parametrize(
    ("path", "stat", "seconds"),
    [
        ("sys/fs/cgroup", "nr_throttled 3\nthrottled_usec 2500000\n", 2.5),
        ("sys/fs/cgroup/cpu", "nr_throttled 3\nthrottled_time 2500000000\n", 2.5),
        ("sys/fs/cgroup", "usage_usec 5\n", None),
    ],
)
def test_time_that_a_quota_took_is_read(
    tmp_path: Path, path: str, stat: str, seconds: float | None
):
    group = "0::/\n" if path.endswith("cgroup") else "1:cpu:/\n"
    machines.plant(tmp_path, {f"{path}/cpu.stat": stat, "proc/self/cgroup": group})
    assert read(WORK_S, root=tmp_path)["quota_throttled_s"] == seconds


def test_time_of_processes_is_read_past_any_name(tmp_path: Path):
    numbers = "1 1 1 0 -1 4194304 100 0 0 0 150 50 30 20 20 0 4 0 900 1 1"
    machines.plant(tmp_path, {"proc/4321/stat": f"4321 (a) b (c) S {numbers}\n"})
    assert read(WORK_S, pids=[4321, 9999], root=tmp_path)["own_cpu_time_s"] == {"4321": 2.5}


def test_a_machine_that_tells_nothing_is_none_not_a_crash(tmp_path: Path):
    found = read(WORK_S, root=tmp_path)
    assert found == reading()
    assert marks(found, [found], found) == []
    assert shares([found, found]) == {"others": None, "stolen": None}


def test_this_machine_is_json_and_sane():
    before = read(WORK_S)
    assert json.loads(json.dumps(before)) == before
    assert before["temperature_c"] is None or 0 < before["temperature_c"] < 120
    if clock := before["frequency_mhz"]:
        assert 50 < clock["min"] <= clock["mean"] <= clock["max"] < 10_000
    assert before["load_average"] >= 0
    spin_until = time.process_time() + 0.3
    while time.process_time() < spin_until:
        pass
    after = read(WORK_S)
    me = str(os.getpid())
    assert 0.25 < after["own_cpu_time_s"][me] - before["own_cpu_time_s"][me] < 3
    assert after["cpu_time_s"]["total"] > before["cpu_time_s"]["total"]


@pytest.mark.timing
def test_work_of_another_process_here_is_found_and_ones_own_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    share = 0.1 / len(os.sched_getaffinity(0))
    monkeypatch.setattr(sensors, "BUSY_SHARE", share)
    spin = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(spin) as process:
        try:
            readings = [(read(WORK_S, pids=[process.pid]), read(WORK_S))]
            time.sleep(1.2)
            readings.append((read(WORK_S, pids=[process.pid]), read(WORK_S)))
        finally:
            process.kill()
    told, untold = (shares(list(side)) for side in zip(*readings, strict=True))
    # What it got of one core: as much is ours when it is named, and others' when it is not.
    got = untold["others"] - told["others"]
    assert got > share
    before, after = (pair[1] for pair in readings)
    assert "busy" in marks(before, [], after)


NAMES = sensors.THROTTLED_BITS.values()


@pytest.mark.parametrize("name", NAMES)
def test_what_the_firmware_does_now_is_marked(name: str):
    calm, now = throttled([], []), throttled([name], [])
    mark = ["under-voltage"] if name == "under-voltage" else ["throttled"]
    assert marks(calm, [now], calm) == mark
    assert marks(calm, [calm], now) == mark


@pytest.mark.parametrize("name", NAMES)
def test_what_the_firmware_did_meanwhile_is_marked_and_what_it_did_before_is_not(name: str):
    mark = ["under-voltage"] if name == "under-voltage" else ["throttled"]
    assert marks(throttled([], []), [], throttled([], [name])) == mark
    assert marks(throttled([], [name]), [], throttled([], [name])) == []


@pytest.mark.parametrize("kind", ["core", "package"])
def test_x86_counters_that_grow_are_marked(kind: str):
    counts = {"core": 3, "package": 5}
    first, later = (
        reading(throttle_counts=counts),
        reading(throttle_counts=counts | {kind: counts[kind] + 1}),
    )
    assert marks(first, [first], first) == []
    assert marks(first, [first], later) == ["throttled"]
    assert marks(reading(), [first], later) == ["throttled"]


def test_a_processor_that_the_kernel_slows_for_heat_is_marked():
    cool, slowed = reading(cooling_state=0), reading(cooling_state=1)
    assert marks(cool, [cool], cool) == []
    assert marks(cool, [slowed], cool) == ["throttled"]


def test_heat_is_marked_from_the_limit_on():
    warm = reading(temperature_c=sensors.HOT_C - 0.1)
    assert marks(warm, [warm], warm) == []
    assert marks(warm, [reading(temperature_c=sensors.HOT_C)], warm) == ["hot"]


def test_a_clock_that_sinks_is_marked():
    fast, slow = at_clock(2400), at_clock(2100)
    assert marks(fast, [fast, slow], slow) == ["slower-clock"]
    assert marks(fast, [], slow) == ["slower-clock"]
    assert marks(fast, [fast, at_clock(2200)], at_clock(2200)) == []
    assert marks(slow, [slow, fast], fast) == []


def test_a_clock_that_is_low_for_a_moment_is_not_marked():
    fast, slow = at_clock(2400), at_clock(600)
    assert marks(fast, [fast] * 4 + [slow] + [fast] * 2, fast) == []


def test_a_clock_that_is_not_told_is_left_out():
    fast, slow = at_clock(2400), at_clock(2100)
    assert marks(reading(), [fast, reading(), slow], reading()) == ["slower-clock"]
    assert marks(reading(), [fast], reading()) == []


@pytest.mark.timing
def test_the_clock_is_read_of_a_core_at_work(tmp_path: Path):
    machines.plant(tmp_path, machines.PI_5)
    before = time.process_time()
    read(0.3, root=tmp_path)
    assert time.process_time() - before > 0.05
    before = time.monotonic()
    read(5.0, root=tmp_path / "nothing")  # where there is none to be read it does not work for it
    assert time.monotonic() - before < 4


def test_a_quota_that_stops_threads_is_marked():
    first, later = reading(quota_throttled_s=0.0), reading(quota_throttled_s=0.01)
    assert marks(first, [], first) == []
    assert marks(first, [], later) == ["quota"]


def test_others_work_is_told_from_ones_own():
    before = spent(10, 100, p1=1.0)
    # 100 s of cores: 60 busy, of which 30 p1's, and 25 of p2, which has started since.
    after = spent(70, 200, p1=31.0, p2=25.0)
    assert shares([before, after]) == {"others": pytest.approx(0.05), "stolen": 0.0}
    assert marks(before, [], after) == []
    assert marks(before, [], spent(70.1, 200, p1=31.0, p2=25.0)) == ["busy"]


def test_the_time_in_which_a_process_of_the_bench_ended_is_left_out():
    readings = [spent(0, 0, p1=0.0), spent(10, 100, p1=9.0), spent(60, 200), spent(60, 300)]
    # Between the second and the third p1 may have done all of the 50 s, or none.
    assert shares(readings)["others"] == pytest.approx(1 / 200)


def test_a_count_of_hundredths_that_falls_below_ones_own_is_no_work_of_others():
    assert shares([spent(0, 0, p1=0.0), spent(0.99, 10, p1=1.0)])["others"] == 0.0


def test_stolen_time_is_marked():
    before = spent(0, 0)
    assert marks(before, [], spent(0, 100, stolen=1.0)) == []
    assert marks(before, [], spent(0, 100, stolen=1.1)) == ["stolen"]


def test_too_short_a_time_tells_no_shares():
    before, after = spent(0, 0), spent(0.5, sensors.LEAST_CORE_S - 0.01, stolen=0.4)
    assert shares([before, after]) == {"others": None, "stolen": None}
    assert marks(before, [], after) == []
