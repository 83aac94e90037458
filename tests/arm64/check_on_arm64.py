"""Installs and runs edgecifar on emulated arm64 Debian, and compares it with x86-64.

    python3 tests/arm64/check_on_arm64.py --work FOLDER --json benchmarks/arm64.json

Makes a root file system of each Debian release in FOLDER, installs edgecifar there with the
commands of docs/raspberry-pi.md and README.md, and runs `bench`, `predict` and `doctor` there and
on this machine. Every probability must be the same on both, except for rounding. Prints a table,
and one line on stderr for each check that failed; the exit code is then 1.

Needs root, a package index, and Debian 13 on x86-64 with
`apt install mmdebstrap qemu-user-binfmt`. In the QEMU 7.2 of Debian 12, LiteRT crashes when it
opens a file; 10.0 works. Emulation is slow: allow an hour for each release. Root file systems and
virtual environments that are in FOLDER are used again. Times under emulation say nothing about a
Raspberry Pi and are not recorded.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

CHECKOUT = Path(__file__).resolve().parents[2]
RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
FILES = ("model.tflite", "model.onnx", "model.float.tflite", "model.float.onnx")
SAMPLES = 500  # of the bench
COMPARED = 100  # images whose probabilities are compared
# What a Raspberry Pi 5 has. The processor that QEMU emulates by itself has SVE, whose instructions
# gave NumPy's matrix products values of 1e24 in QEMU 10.0.
PROCESSOR = "cortex-a76"
CLASSES = 10
# An int8 file gives probabilities in steps of this size.
INT8_STEP = 1 / 256
FLOAT_TOLERANCE = 1e-5
MOST_INSTALLED_MB = 250  # on the disk, with pip and compiled modules
MOST_BENCH_MB = 150
MOST_PREDICT_SECONDS = 1.0
STARTS = 5
# Of one command under emulation; some QEMU releases hang in threads.
LONGEST_SECONDS = 3600

# The first images of the shipped test set, in folders that are named for their classes, and one of
# them as a photograph.
DRAW_IMAGES = f"""
from pathlib import Path
from PIL import Image
from edgecifar.data import cifar10, shipped

test = shipped.test_set()
for number, (pixels, label) in enumerate(zip(test.images()[:{COMPARED}], test.labels)):
    folder = Path("images", cifar10.CLASSES[label])
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{{number:03}}.png")
Image.fromarray(test.images()[0]).resize((1600, 1200), Image.Resampling.BICUBIC).save("photo.jpg")
"""

# What is mounted goes away with the namespace. $1 is the root, $2 the settings, $3 the command.
IN_ROOT = """
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount --bind /sys "$1/sys"
exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \\
    DEBIAN_FRONTEND=noninteractive $2 bash -euo pipefail -c "cd /root/edgecifar; $3"
"""
# The resource usage is that of the largest process that the command started.
LARGEST_PROCESS = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class CheckError(Exception):
    """A command failed, or its output is not what it has to be."""


@dataclass(frozen=True)
class Check:
    """What was checked on a system.

    Attributes:
        system: where.
        what: was checked.
        figure: what came out.
        limit: the highest figure that passes, or the only one where it is text; None where the
            figure is only recorded.
    """

    system: str
    what: str
    figure: float | str
    limit: float | str | None = None

    @property
    def passed(self) -> bool:
        """Whether the figure keeps to the limit."""
        if self.limit is None:
            return True
        if isinstance(self.limit, str):
            return self.figure == self.limit
        return float(self.figure) <= self.limit

    def __str__(self) -> str:
        return f"{self.system}: {self.what}: {self.figure}, limit {self.limit}"


@dataclass(frozen=True)
class System:
    """A machine, real or emulated, that has a copy of the repository.

    Attributes:
        name: for people.
        architecture: as `uname -m` prints it.
        clone: the copy, as this machine sees it.
        shell: the arguments that run a shell command in the copy, which follows them.
    """

    name: str
    architecture: str
    clone: Path
    shell: tuple[str, ...]

    def run(self, command: str) -> str:
        """Run a shell command in the copy and return what it prints.

        Raises:
            CheckError: its exit code is not 0, or it takes too long.
        """
        print(f"{self.name}: {command}", file=sys.stderr)
        try:
            run = subprocess.run(
                [*self.shell, command],
                cwd=self.clone,
                capture_output=True,
                text=True,
                timeout=LONGEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"{command}: not done after {LONGEST_SECONDS} s") from None
        if run.returncode:
            said = (run.stderr or run.stdout).strip().splitlines() or ["no message"]
            raise CheckError(f"{command}: exit code {run.returncode}: {said[-1]}")
        return run.stdout


def readme_steps(readme: str) -> list[str]:
    """The steps of README.md's line that installs edgecifar and measures the shipped model."""
    (line,) = re.findall(r"^python3 -m venv .*edgecifar bench .*$", readme, re.M)
    return line.split(" && ")


def packages_command(page: str) -> str:
    """The command of docs/raspberry-pi.md that installs Debian's packages, as root runs it."""
    (line,) = re.findall(r"^sudo apt update .*python3-venv.*$", page, re.M)
    return line.replace("sudo apt ", "apt-get -q ")


def difference(here: list[dict], there: list[dict]) -> tuple[float, int]:
    """Compare what two systems say about the same images.

    Args:
        here: the lines of `edgecifar predict --json`, each with all classes.
        there: those of the other system.

    Returns:
        The largest difference of two probabilities, and the number of images whose most probable
        class differs.

    Raises:
        CheckError: the images or the classes are not the same, or an image could not be read.
    """
    largest, changed = 0.0, 0
    ours, theirs = ({line["image"]: line for line in lines} for lines in (here, there))
    if ours.keys() != theirs.keys():
        raise CheckError("not the same images")
    for image, line in ours.items():
        one, other = (
            {answer["label"]: answer["probability"] for answer in each["top"]}
            for each in (line, theirs[image])
        )
        if len(one) != CLASSES or one.keys() != other.keys():
            raise CheckError(f"{image}: not the same classes")
        largest = max(largest, *(abs(one[label] - other[label]) for label in one))
        changed += line["top"][0]["label"] != theirs[image]["top"][0]["label"]
    return largest, changed


def this_machine(work: Path) -> System:
    """This machine, with a copy of the repository in a folder."""
    clone = work / "x86-64"
    copy_checkout(clone)
    return System("x86-64", "x86_64", clone, ("bash", "-euo", "pipefail", "-c"))


def emulated(work: Path, release: str) -> System:
    """An emulated arm64 Debian, with the packages that the page names."""
    root = make_root(work, release)
    shutil.copy("/etc/resolv.conf", root / "etc")
    settings = [f"QEMU_CPU={PROCESSOR}"]
    if url := os.environ.get("PIP_INDEX_URL"):
        settings.append(f"PIP_INDEX_URL={url}")
    if certificates := os.environ.get("PIP_CERT"):
        shutil.copy(certificates, root / "etc" / "pip-certificates.crt")
        settings.append("PIP_CERT=/etc/pip-certificates.crt")
    clone = root / "root" / "edgecifar"
    copy_checkout(clone)
    program = IN_ROOT.replace("$2", shlex.join(settings)).replace("$3", "$2")
    namespace = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    shell = (*namespace, "sh", "-euc", program, "sh", str(root))
    system = System(f"{RELEASES[release]}, arm64", "aarch64", clone, shell)
    system.run(packages_command((CHECKOUT / "docs" / "raspberry-pi.md").read_text("utf-8")))
    return system


def make_root(work: Path, release: str) -> Path:
    """A minimal root file system of an arm64 Debian; the one that is there already, if any."""
    root, partial = work / release, work / f"{release}.partial"
    if not root.exists():
        shutil.rmtree(partial, ignore_errors=True)
        minimal = ("--mode=root", "--architectures=arm64", "--variant=minbase")
        subprocess.run(
            ["mmdebstrap", *minimal, "--include=ca-certificates", release, partial], check=True
        )
        partial.rename(root)
    return root


def copy_checkout(clone: Path) -> None:
    """Copy the files that git knows; a virtual environment that is in the folder stays."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listing.stdout.split("\0")):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target)


def check_system(system: System, images: Path | None) -> tuple[list[Check], dict, dict]:
    """Install edgecifar on a system and use it.

    Args:
        system: which.
        images: the folder with `images` and `photo.jpg`; None to draw them there.

    Returns:
        The checks, the versions of what was installed, and the predictions for each model file.

    Raises:
        CheckError: a command failed.
    """
    *install, bench = readme_steps((CHECKOUT / "README.md").read_text("utf-8"))
    for step in install:
        system.run(step)
    if images is None:
        system.run(f".venv/bin/python -c {shlex.quote(DRAW_IMAGES)}")
    else:
        shutil.copytree(images / "images", system.clone / "images", dirs_exist_ok=True)
        shutil.copy(images / "photo.jpg", system.clone)
    found = json.loads(system.run(".venv/bin/edgecifar doctor --json"))
    machine = found["machine"]
    checks = [
        Check(system.name, "doctor: architecture", machine["architecture"], system.architecture),
        Check(
            system.name,
            "doctor: runtimes",
            ", ".join(sorted(machine["runtimes"])),
            "litert, onnxruntime",
        ),
    ]
    system.run(f"{bench} --samples {SAMPLES} --max-seconds 2 --json bench.json")
    rows = json.loads((system.clone / "bench.json").read_text("utf-8"))["rows"]
    for row in rows:
        if row["error"]:
            raise CheckError(f"bench: {row['model']}: {row['error']}")
        checks.append(Check(system.name, f"bench {row['model']}: top-1", row["top1"]))
    answers = {}
    for file in FILES:
        output = system.run(
            f".venv/bin/edgecifar predict images photo.jpg --top {CLASSES} --json - "
            f"--model exported/{file}"
        )
        answers[file] = [json.loads(line) for line in output.splitlines()]
    versions = {"python": machine["python"], **machine["runtimes"], **found["packages"]}
    return checks, versions, answers


def compared(here: dict, there: dict, system: System) -> list[Check]:
    """Compare the predictions of a system with those of this machine, for each model file."""
    checks = []
    for file in FILES:
        largest, changed = difference(here[file], there[file])
        limit = FLOAT_TOLERANCE if ".float." in file else INT8_STEP
        what = f"{file}: largest difference of a probability"
        checks.append(Check(system.name, what, largest, limit))
        checks.append(Check(system.name, f"{file}: images with another class", changed, 0))
    return checks


def measured(system: System) -> list[Check]:
    """What a plain install takes, and what its commands do; figures of a real machine only."""
    system.run("python3 -m venv plain && plain/bin/pip install -q .")
    installed = int(system.run("du -sm plain/lib/python3*/site-packages").split()[0])
    bench = f"plain/bin/edgecifar bench exported/model.tflite --samples {SAMPLES} --max-seconds 2"
    largest = system.run(f"python3 -c {shlex.quote(LARGEST_PROCESS)} {bench}")
    took = []
    for _ in range(STARTS):
        began = time.monotonic()
        system.run("plain/bin/edgecifar predict photo.jpg")
        took.append(time.monotonic() - began)
    seconds = round(median(took), 2)
    return [
        Check(system.name, "plain install, MB", installed, MOST_INSTALLED_MB),
        Check(system.name, "bench model.tflite: memory, MB", int(largest) / 1000, MOST_BENCH_MB),
        Check(system.name, "predict photo.jpg: time, s", seconds, MOST_PREDICT_SECONDS),
    ]


def table(checks: list[Check]) -> str:
    """The checks as lines of text, one below the other."""
    rows = [("system", "check", "figure", "limit", "")]
    for check in checks:
        shown = (_text(check.figure), _text(check.limit), "" if check.passed else "FAILED")
        rows.append((check.system, check.what, *shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _text(figure: float | str | None) -> str:
    if figure is None:
        return ""
    return figure if isinstance(figure, str) else f"{figure:.4g}"


def main() -> int:
    """Check this machine and the emulated ones; 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the systems, 2 GB")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--release", choices=RELEASES, action="append", help="by default, both")
    chosen = parser.parse_args()
    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)

    here = this_machine(work)
    checks, versions, answers = check_system(here, None)
    checks += measured(here)
    installed = {here.name: versions}
    failures = []
    for release in chosen.release or RELEASES:
        try:
            system = emulated(work, release)
            found, installed[system.name], there = check_system(system, here.clone)
            checks += [*found, *compared(answers, there, system)]
        except CheckError as error:
            failures.append(f"{RELEASES[release]}: {error}")
    print(table(checks))
    failures += [str(check) for check in checks if not check.passed]
    for failure in failures:
        print(failure, file=sys.stderr)
    if chosen.json:
        record = {
            "date": datetime.now(UTC).date().isoformat(),
            "processor": PROCESSOR,
            "images_of_the_bench": SAMPLES,
            "images_compared": COMPARED + 1,
            "versions": installed,
            "checks": [{**vars(check), "passed": check.passed} for check in checks],
            "failures": failures,
        }
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
