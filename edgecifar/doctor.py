"""What this machine has for edgecifar, what is missing, and the command that brings it.

Nothing heavy is imported and nothing is downloaded: installed packages are found by their metadata.
"""

import importlib.util
import shutil
from pathlib import Path

from edgecifar.bench.worker.machine import machine
from edgecifar.data import sources
from edgecifar.hardware import ROOT, has_vnni, integer, nvidia_gpus, text
from edgecifar.models.keras_loader import chosen_backend
from edgecifar.predict.camera import GET_OPENCV, GET_PICAMERA2, OPENCV, PICAMERA2
from edgecifar.runtimes import RUNTIMES, environments
from edgecifar.training.devices import BACKENDS

# What a bug report is to name; the packages of the runtimes are in the list of the runtimes.
PACKAGES = (
    *("numpy", "pillow", "keras", "tf-keras", "tensorflow", "tensorflow-model-optimization"),
    *("jax", "torch", "onnx", "tf2onnx", "ai-edge-quantizer"),
)
CAMERA_PACKAGES = (PICAMERA2, OPENCV)
FREE_MB = 500  # the images, the features of a training and an export need this much
ACCURATE_INT8 = "adds int8 products in 32 bits, so int8 files give the same answers as anywhere"


def diagnose(root: Path = ROOT) -> dict:
    """Describe this machine, what is installed on it, and what is missing.

    Args:
        root: the folder that `/proc`, `/sys` and the like are in.

    Returns:
        JSON values. `machine`: see `edgecifar.bench.worker.machine`. `int8`: what its instructions
        mean for int8 files, in a sentence, None where they are not known. `packages`: a version for
        each installed one. `runtimes`: `name`, `version` (None when it is not installed) and `get`,
        the command that installs it. `images`: `cache` (folder), `free_mb` (on its disk) and
        `files` (how many of the official CIFAR-10 files there are in each state). `training`:
        the installed `backends` of Keras and the one in `chosen`, `gpus` by name. `cameras`:
        `devices` by name and the installed `packages` that read them. `advice`: for each thing
        that is missing or slow, `what` and the `command` or step that mends it.

    Raises:
        UserError: the cache folder cannot be read.
    """
    found = machine(root)
    known = {
        "machine": found,
        "int8": _int8(found["architecture"], found["features"]),
        "packages": {
            name: version
            for name in PACKAGES
            if (version := environments.distribution_version(name))
        },
        "runtimes": [
            {
                "name": runtime.name,
                "version": environments.version_of(runtime) or "unknown"
                if environments.installed(runtime)
                else None,
                "get": runtime.get,
            }
            for runtime in RUNTIMES
        ],
        "images": _images(),
        "training": {
            "backends": [name for name in BACKENDS if _importable(name)],
            "chosen": chosen_backend(),
            "gpus": nvidia_gpus(root),
        },
        "cameras": {
            "devices": _cameras(root),
            "packages": [name for name in CAMERA_PACKAGES if _importable(name)],
        },
    }
    return known | {"advice": _advice(known)}


def _int8(architecture: str | None, features: list[str]) -> str | None:
    """What the instructions mean for int8 files; see docs/processors.md."""
    if has_vnni(features):
        return f"VNNI: {ACCURATE_INT8}"
    if "avx2" in features:
        return (
            "AVX2 without VNNI: ONNX Runtime and OpenVINO add int8 products in 16 bits, which can "
            "overflow in files that edgecifar did not make; LiteRT is no faster with int8 than "
            "with float"
        )
    if {"asimddp", "i8mm"} & set(features):
        return f"Arm with dot products: {ACCURATE_INT8}"
    if {"neon", "asimd"} & set(features):
        return f"Arm without dot products: {ACCURATE_INT8}, with slower kernels"
    return None


def _images() -> dict:
    info = sources.info()
    states = [row["state"] for row in info["files"]]
    return {
        "cache": info["cache"],
        "free_mb": _free_mb(Path(info["cache"])),
        "files": {state: states.count(state) for state in dict.fromkeys(states)},
    }


def _free_mb(folder: Path) -> int | None:
    """What is free on the disk of a folder, which need not be there yet."""
    for place in (folder, *folder.absolute().parents):
        if place.exists():
            return shutil.disk_usage(place).free // 10**6
    return None


def _cameras(root: Path) -> list[str]:
    """The names of the devices that give frames; the second device of a camera gives metadata."""
    devices = sorted((root / "sys/class/video4linux").glob("video*"))
    first = [device for device in devices if not integer(device / "index")]
    return [f"/dev/{device.name}: {text(device / 'name') or 'no name'}" for device in first]


def _advice(known: dict) -> list[dict]:
    """What is missing or slow, and the step that mends it."""
    advice = [
        {"what": f"the runtime {runtime['name']}, which is optional", "command": runtime["get"]}
        for runtime in known["runtimes"]
        if not runtime["version"]
    ]
    here, images, training = known["machine"], known["images"], known["training"]
    if here["python_bits"] == 32:
        advice.append(
            {
                "what": "this system is a 32-bit one, for which there are no runtimes",
                "command": "install the 64-bit Raspberry Pi OS",
            }
        )
    if here["governor"] and set(here["governor"].split(" + ")) - {"performance"}:
        advice.append(
            {
                "what": f"the governor is {here['governor']}: the first calls are slower",
                "command": "echo performance | "
                "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            }
        )
    if list(images["files"]) != ["present"]:
        advice.append(
            {
                "what": "training needs all of CIFAR-10 (bench does not)",
                "command": "edgecifar data download",
            }
        )
    if images["free_mb"] is not None and images["free_mb"] < FREE_MB:
        advice.append(
            {
                "what": f"{images['free_mb']} MB are free for {images['cache']}",
                "command": "set EDGECIFAR_CACHE to a folder on a larger disk",
            }
        )
    if not training["backends"]:
        advice.append(
            {
                "what": "nothing to train and export with (a Raspberry Pi needs neither)",
                "command": "pip install -e '.[train]'",
            }
        )
    elif training["chosen"] not in training["backends"]:
        advice.append(
            {
                "what": f"KERAS_BACKEND is {training['chosen']}, which is not installed",
                "command": f"export KERAS_BACKEND={training['backends'][0]}",
            }
        )
    if known["cameras"]["devices"] and not known["cameras"]["packages"]:
        advice.append(
            {
                "what": "there is a camera, and no package that reads it",
                "command": f"{GET_PICAMERA2}, or {GET_OPENCV}",
            }
        )
    return advice


def _importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
