import json
import os
import platform
from pathlib import Path

from edgecifar.bench.machine import machine
from edgecifar.hardware import cpu_model

# The first core of a Raspberry Pi 5 and the last line, as its kernel prints them.
RASPBERRY_PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_the_processor_of_a_raspberry_pi_is_named():
    assert cpu_model(RASPBERRY_PI_5) == "Cortex-A76"


def test_the_processor_of_a_pc_is_named():
    assert cpu_model("processor\t: 0\nmodel name\t: AMD EPYC 9B14\n") == "AMD EPYC 9B14"


def test_an_unknown_processor_is_none():
    assert cpu_model("CPU implementer : 0x99\nCPU part : 0xd0b\n") is None
    assert cpu_model("") is None


def test_the_machine_is_json():
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
    assert found["memory_mib"] > 100
    assert found["python"].startswith("3.")


def test_a_machine_that_tells_nothing_is_none_not_a_crash(monkeypatch):
    def refuse(*_, **__):
        raise OSError("nothing here")

    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda p, **how: (refuse if p.parts[1] == "proc" else real)(p, **how)
    )
    monkeypatch.setattr(platform, "freedesktop_os_release", refuse)
    monkeypatch.setattr(os, "getloadavg", refuse)
    found = machine()
    assert found["board"] is None
    assert found["load_average"] is None
