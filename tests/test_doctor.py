"""The diagnosis of a machine, made of the files that its kernel would give."""

import importlib.util
import json

import pytest

from edgecifar import doctor
from edgecifar.data import cifar10

CPUINFO = {
    "vnni": "processor : 0\nmodel name : Xeon\nflags : fpu avx2 avx512bw avx512_vnni\n",
    "avx2": "processor : 0\nmodel name : EPYC\nflags : fpu avx2\n",
    "pi 5": "processor : 0\nFeatures : fp asimd asimddp\nCPU implementer : 0x41\n"
    "CPU part : 0xd0b\n",
    "pi 4": "processor : 0\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd08\n",
    "unknown": "processor : 0\n",
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root folder in which `place(path, text)` makes files of the kernel; an empty cache."""
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    place(tmp_path, "proc/self/status", "Cpus_allowed_list:\t0\n")
    return tmp_path


def place(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def commands(found):
    return {one["command"] for one in found["advice"]}


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        ("vnni", "VNNI: adds int8 products in 32 bits"),
        ("avx2", "AVX2 without VNNI: ONNX Runtime and OpenVINO add int8 products in 16 bits"),
        ("pi 5", "Arm with dot products: adds"),
        ("pi 4", "Arm without dot products: adds"),
    ],
)
def test_the_instructions_are_named_with_what_they_mean_for_int8(root, processor, words):
    place(root, "proc/cpuinfo", CPUINFO[processor])
    assert doctor.diagnose(root)["int8"].startswith(words)


def test_of_unknown_instructions_nothing_is_said(root):
    place(root, "proc/cpuinfo", CPUINFO["unknown"])
    assert doctor.diagnose(root)["int8"] is None


def test_missing_images_come_with_the_command_that_brings_them(root):
    found = doctor.diagnose(root)
    assert found["images"]["cache"] == str(root / "cache")
    assert found["images"]["files"] == {"missing": len(cifar10.SHA256)}
    assert found["images"]["free_mb"] >= 0
    assert "edgecifar data download" in commands(found)


def test_a_full_disk_is_noticed(root, monkeypatch):
    monkeypatch.setattr(doctor, "FREE_MB", 10**9)
    (what,) = [one["what"] for one in doctor.diagnose(root)["advice"] if " MB are " in one["what"]]
    assert what.endswith(f"free for {root / 'cache'}")


def test_runtimes_have_a_version_or_the_command_that_installs_them(root, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_DATA", str(root / "data"))
    found = doctor.diagnose(root)
    by_name = {runtime["name"]: runtime for runtime in found["runtimes"]}
    assert by_name["litert"]["version"]
    assert by_name["tflite-runtime"]["version"] is None
    assert by_name["tflite-runtime"]["get"] in commands(found)
    assert by_name["litert"]["get"] not in commands(found)
    assert found["packages"]["numpy"]


def test_a_backend_that_is_not_installed_is_noticed(root, monkeypatch):
    assert "export KERAS_BACKEND=tensorflow" not in commands(doctor.diagnose(root))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    found = doctor.diagnose(root)
    assert found["training"]["chosen"] == "torch"
    assert "export KERAS_BACKEND=tensorflow" in commands(found)


def test_where_only_jax_is_installed_it_is_the_backend(root, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: find_spec(name) if name != "tensorflow" else None
    )
    if not find_spec("jax"):
        pytest.skip("JAX is not installed")
    found = doctor.diagnose(root)
    assert (found["training"]["backends"], found["training"]["chosen"]) == (["jax"], "jax")
    assert not any("KERAS_BACKEND" in one["what"] for one in found["advice"])


def test_gpus_are_named_as_the_driver_names_them(root):
    assert doctor.diagnose(root)["training"]["gpus"] == []
    place(root, "dev/nvidia0", "")
    place(root, "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t NVIDIA L4\nIRQ: 1\n")
    assert doctor.diagnose(root)["training"]["gpus"] == ["NVIDIA L4"]


def test_cameras_are_named_once(root):
    for number in (0, 1):
        place(root, f"sys/class/video4linux/video{number}/name", "HD Webcam\n")
        place(root, f"sys/class/video4linux/video{number}/index", f"{number}\n")
    assert doctor.diagnose(root)["cameras"]["devices"] == ["/dev/video0: HD Webcam"]


def test_a_camera_without_a_package_that_reads_it_is_noticed(root, monkeypatch):
    place(root, "sys/class/video4linux/video0/name", "HD Webcam\n")
    monkeypatch.setattr(doctor, "CAMERA_PACKAGES", ("no_such_package",))
    found = doctor.diagnose(root)
    assert found["cameras"]["packages"] == []
    assert any("python3-picamera2" in command for command in commands(found))


def test_a_governor_that_saves_power_is_noticed(root):
    path = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    place(root, path, "performance\n")
    assert not any("governor" in one["what"] for one in doctor.diagnose(root)["advice"])
    place(root, path, "ondemand\n")
    (what,) = [o["what"] for o in doctor.diagnose(root)["advice"] if "governor" in o["what"]]
    assert what.startswith("the governor is ondemand")


def test_the_diagnosis_is_a_json_value(root):
    found = doctor.diagnose(root)
    assert json.loads(json.dumps(found)) == found
