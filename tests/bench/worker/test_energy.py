import os
import threading
import time
from pathlib import Path

import machines
import pytest

from edgecifar.bench.settings import Timing
from edgecifar.bench.worker import energy

POLL_S = Timing().power_poll_s

RAPL = "sys/class/powercap/intel-rapl:0"


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return machines.only_command_path(tmp_path, monkeypatch)


def set_counter(root: Path, microjoules: int, domain: str = RAPL) -> None:
    machines.plant(root, {f"{domain}/energy_uj": f"{microjoules}\n"})


def test_rapl_counts_the_package_and_not_what_is_inside_it(tmp_path: Path):
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC))
    assert meter.source == "RAPL package-0"
    meter.begin()
    time.sleep(0.02)
    for domain in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl-mmio:0"):
        set_counter(tmp_path, 3_500_000, f"sys/class/powercap/{domain}")
    joules, seconds = meter.end()
    assert joules == 2.5
    assert 0.02 <= seconds < 1


def test_rapl_adds_up_packages(tmp_path: Path):
    second = {
        "sys/class/powercap/intel-rapl:1/name": "package-1\n",
        "sys/class/powercap/intel-rapl:1/energy_uj": "0\n",
    }
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC, second))
    assert meter.source == "RAPL package-0 + package-1"
    meter.begin()
    set_counter(tmp_path, 1_500_000)
    set_counter(tmp_path, 250_000, "sys/class/powercap/intel-rapl:1")
    assert meter.end()[0] == 0.75


def test_a_meter_counts_again_and_again(tmp_path: Path):
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC))
    for count in (2_000_000, 5_000_000):
        meter.begin()
        set_counter(tmp_path, count)
        joules, _ = meter.end()
    assert joules == 3.0


def test_a_counter_may_wrap_around(tmp_path: Path):
    wraps = {f"{RAPL}/max_energy_range_uj": "10000000\n", f"{RAPL}/energy_uj": "9000000\n"}
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC, wraps))
    meter.begin()
    set_counter(tmp_path, 500_000)
    assert meter.end()[0] == 1.5


def test_a_counter_may_wrap_around_more_than_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wraps = {f"{RAPL}/max_energy_range_uj": "10000000\n", f"{RAPL}/energy_uj": "9000000\n"}
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC, wraps))
    counts = iter([9_000_000, 8_000_000, 7_000_000, 6_000_000])
    polled = threading.Event()

    def count(path: Path) -> int:
        value = next(counts)
        if value == 7_000_000:
            polled.set()
        return value

    monkeypatch.setattr(energy, "integer", count)
    monkeypatch.setattr(energy, "COUNTER_POLL_S", 0.3)
    meter.begin()
    assert polled.wait(5)
    assert meter.end()[0] == 27.0


def test_a_counter_that_stands_still_tells_nothing(tmp_path: Path):
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC))
    meter.begin()
    assert meter.end()[0] is None
    assert meter.idle_w(0.01) is None


def test_a_counter_that_can_no_longer_be_read_tells_nothing(tmp_path: Path):
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC))
    meter.begin()
    machines.plant(tmp_path, {f"{RAPL}/energy_uj": None})
    assert meter.end()[0] is None


@pytest.mark.parametrize("name", ["energy_uj", "max_energy_range_uj"])
def test_rapl_that_may_not_be_read_is_absent(tmp_path: Path, name: str):
    machines.plant(tmp_path, machines.PC)
    if os.geteuid():
        (tmp_path / RAPL / name).chmod(0)
    else:  # root reads all; a folder it does not
        (tmp_path / RAPL / name).unlink()
        (tmp_path / RAPL / name).mkdir()
    assert energy.meter(POLL_S, tmp_path) is None


@pytest.mark.timing
def test_idle_power_is_joules_a_second(tmp_path: Path):
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PC))
    later = threading.Timer(0.05, set_counter, [tmp_path, 1_600_000])
    later.start()
    watts = meter.idle_w(0.2)
    later.join()
    assert 0.6 / 2 < watts <= 0.6 / 0.2


def test_the_power_chip_of_a_raspberry_pi_5_is_summed_over_its_rails(
    tmp_path: Path, commands: Path
):
    machines.write_vcgencmd(commands, {"pmic_read_adc": machines.PMIC})
    assert energy.pmic_watts() == (pytest.approx(machines.PMIC_WATTS), 12)
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PI_5))
    assert meter.source == "PMIC, 12 rails"
    meter.begin()
    time.sleep(0.25)
    joules, seconds = meter.end()
    assert joules / seconds == pytest.approx(machines.PMIC_WATTS)


def test_other_raspberry_pis_have_no_meter(tmp_path: Path, commands: Path):
    machines.write_vcgencmd(commands, {"get_throttled": "throttled=0x0"})
    assert energy.meter(POLL_S, machines.plant(tmp_path, machines.PI_4)) is None


def test_a_power_chip_that_fails_meanwhile_tells_nothing(tmp_path: Path, commands: Path):
    command = machines.write_vcgencmd(commands, {"pmic_read_adc": machines.PMIC})
    meter = energy.meter(POLL_S, tmp_path)
    meter.begin()
    command.unlink()
    time.sleep(0.1)
    assert meter.end()[0] is None


@pytest.mark.timing
def test_power_is_integrated_over_time():
    began = time.perf_counter()
    # 1 W, growing by 10 W a second.
    meter = energy.Power("ramp", lambda: 1 + 10 * (time.perf_counter() - began), 0.04)
    meter.begin()
    time.sleep(0.5)
    joules, seconds = meter.end()
    assert joules == pytest.approx(seconds + 5 * seconds**2, rel=0.1)


@pytest.mark.timing
def test_power_is_not_read_at_the_ends():
    moments = []
    meter = energy.Power("clock", lambda: moments.append(time.perf_counter()) or 1.0, 0.4)
    began = time.perf_counter()
    meter.begin()
    time.sleep(0.3)
    meter.end()
    assert len(moments) == 1
    assert moments[0] - began >= 0.2


@pytest.mark.timing
def test_a_time_too_short_for_a_reading_tells_nothing():
    meter = energy.Power("constant", lambda: 5.0, POLL_S)
    meter.begin()
    joules, seconds = meter.end()
    assert joules is None
    assert seconds < POLL_S


@pytest.mark.timing
def test_a_slow_power_chip_is_not_asked_without_a_break():
    moments = []

    def watts() -> float:
        moments.append(time.perf_counter())
        if len(moments) == 1:
            time.sleep(0.2)
        return 1.0

    meter = energy.Power("slow", watts, 0.02)
    meter.begin()
    time.sleep(0.35)
    _, seconds = meter.end()
    # Those that were missed meanwhile are not made up for.
    assert 2 <= len(moments) <= 3 + (seconds - 0.2) / 0.02


def hwmon(number: int, **files: str) -> dict[str, str]:
    return {f"sys/class/hwmon/hwmon{number}/{name}": f"{text}\n" for name, text in files.items()}


def test_a_power_monitor_is_used_where_there_is_one(tmp_path: Path):
    monitor = hwmon(2, name="ina219", power1_input="4200000")
    others = hwmon(0, name="amdgpu", power1_input="9000000")
    meter = energy.meter(POLL_S, machines.plant(tmp_path, machines.PI_4, monitor, others))
    assert meter.source == "hwmon ina219"
    assert meter.idle_w(0.15) == pytest.approx(4.2)


def test_a_power_monitor_that_counts_energy_is_believed_more(tmp_path: Path):
    monitor = hwmon(2, name="ina228", power1_input="4200000", energy1_input="1000000")
    meter = energy.meter(POLL_S, machines.plant(tmp_path, monitor))
    meter.begin()
    machines.plant(tmp_path, hwmon(2, energy1_input="1750000"))
    assert meter.end()[0] == 0.75
    meter.begin()
    machines.plant(tmp_path, hwmon(2, energy1_input="5"))  # set back: how far it went is lost
    assert meter.end()[0] is None


@pytest.mark.parametrize(
    "tree",
    [
        hwmon(0, name="amdgpu", power1_input="9000000"),
        hwmon(0, name="ina219", power1_input="1") | hwmon(1, name="ina219", power1_input="1"),
        hwmon(0, name="ina219", in1_input="5000"),
        {},
    ],
    ids=["a graphics card's", "two", "voltage only", "none"],
)
def test_what_is_not_known_to_be_the_machines_power_is_not_used(tmp_path: Path, tree: dict):
    assert energy.meter(POLL_S, machines.plant(tmp_path, tree)) is None


def test_this_machine_tells_a_sane_power_or_none():
    meter = energy.meter(POLL_S)
    if meter is None:
        pytest.skip("nothing counts energy here")
    watts = meter.idle_w(0.5)
    assert watts is None or 0.01 < watts < 2_000
