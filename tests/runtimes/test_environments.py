"""Environments of their own for runtimes: real ones, made by the real venv and pip."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_graphs
import tiny_models
from listing import names_in

import edgecifar
from edgecifar import runtimes
from edgecifar.errors import UserError
from edgecifar.runtimes import environments
from edgecifar.runtimes.protocol import Environment, Runtime

TFLITE_RUNTIME = runtimes.named("tflite-runtime")
THIS = sys.version_info[:2]
OLD, NEW = (3, 10), (3, 99)
VERSION = "1.2.3"


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """The folder of the environments; pip finds a runtime made for the test, and no other."""
    for name, code in (("tiny", "works = True"), ("broken", "raise ImportError('no numpy here')")):
        wheel = tmp_path / "wheels" / f"{name}_runtime-{VERSION}-py3-none-any.whl"
        wheel.parent.mkdir(exist_ok=True)
        about = f"{name}_runtime-{VERSION}.dist-info"
        content = {
            f"{name}_runtime.py": code,
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}-runtime\nVersion: {VERSION}",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any",
        }
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in content.items():
                archive.writestr(path, text)
            record = "".join(f"{path},,\n" for path in [*content, f"{about}/RECORD"])
            archive.writestr(f"{about}/RECORD", record)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("EDGECIFAR_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def only_on_path(tmp_path, monkeypatch):
    """Makes programs the only Pythons that there are: name, and what a shell does for it."""

    def only_on_path(**programs):
        folder = tmp_path / "programs"
        folder.mkdir()
        for name, does in {"nothing": "exit 1", **programs}.items():
            path = folder / name.replace("_", ".")
            path.write_text(f"#!/bin/sh\n{does}\n")
            path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(folder / "nothing"))
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return only_on_path


def runtime(name: str = "tiny", pythons=(THIS,)) -> Runtime:
    return Runtime(
        name=f"{name}-runtime",
        suffixes=(),
        needs=(f"{name}_runtime",),
        module=f"{name}_runtime",
        distributions=(f"{name}-runtime",),
        get="",
        check=None,
        session=None,
        environment=Environment((f"{name}-runtime",), pythons),
    )


def test_an_environment_is_made_found_and_removed(data):
    tiny, said = runtime(), []
    place = data / "runtimes/tiny-runtime"
    (place / "bin").mkdir(parents=True)  # of an installation that was cut off
    (place / "bin/python").symlink_to(sys.executable)
    (place / "leftover").touch()
    assert not environments.installed(tiny)
    assert (environments.version_of(tiny), environments.python_of(tiny)) == (None, None)
    assert environments.pythons() == {}

    assert environments.install(tiny, said.append) == VERSION
    assert [line.split()[0] for line in said] == ["making", "installing", "trying"]
    assert environments.installed(tiny)
    assert not (place / "leftover").exists()
    assert not environments.importable(tiny)
    assert environments.version_of(tiny) == VERSION
    python = environments.python_of(tiny)
    assert environments.pythons() == {"tiny-runtime": str(python)}
    program = "import sys, tiny_runtime; print(tiny_runtime.works, sys.prefix)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["True", str(place)], done.stderr

    assert environments.install(tiny, said.append) == VERSION
    assert len(said) == 3  # it was there

    python.unlink()
    (place / "bin/python").symlink_to("/nowhere/python")  # as an upgrade of it leaves it
    assert not environments.installed(tiny)
    assert environments.pythons() == {}

    assert environments.remove("tiny-runtime") == place
    assert names_in(data / "runtimes") == []
    with pytest.raises(UserError, match=r"tiny-runtime has no environment in .*nothing to remove"):
        environments.remove("tiny-runtime")


def test_what_pip_cannot_find_is_one_line_and_leaves_nothing(data):
    with pytest.raises(UserError, match=r"^none-runtime: cannot install it: .*none-runtime$"):
        environments.install(runtime("none"), lambda doing: None)
    assert names_in(data / "runtimes") == []


def test_a_runtime_that_does_not_work_is_one_line_and_leaves_nothing(data):
    with pytest.raises(UserError, match=r"^broken-runtime: cannot run it: ImportError: no numpy"):
        environments.install(runtime("broken"), lambda doing: None)
    assert names_in(data / "runtimes") == []


def test_ctrl_c_leaves_nothing(data, only_on_path):
    # $4: the folder of `python -I -m venv FOLDER`.
    only_on_path(python3=f'[ "$3" = venv ] && /bin/mkdir "$4" || echo {THIS[0]} {THIS[1]} True')
    place = data / "runtimes/tiny-runtime"

    def stop(doing):
        if doing.startswith("installing"):
            assert place.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.install(runtime(), stop)
    assert not place.exists()


def test_a_folder_that_cannot_be_written_is_one_line(data):
    data.write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*data/runtimes/tiny-runtime: Not a dir"):
        environments.install(runtime(), lambda doing: None)


def test_this_python_is_taken_when_it_fits(only_on_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", python := sys.executable)
    assert environments.fitting_python(runtime()) == Path(python)


def test_a_shim_that_does_not_run_is_passed_over(only_on_path):
    folder = only_on_path(
        python3_99="echo 'pyenv: python3.99: command not found' >&2; exit 127",
        python3_10="echo 3 9 True",
        python3="echo 3 10 True",
    )
    assert environments.fitting_python(runtime(pythons=(NEW, OLD))) == folder / "python3"


def test_the_best_version_is_taken(only_on_path):
    folder = only_on_path(python3_10="echo 3 10 True", python3_99="echo 3 99 True")
    assert environments.fitting_python(runtime(pythons=(NEW, OLD))) == folder / "python3.99"
    assert environments.fitting_python(runtime(pythons=(OLD, NEW))) == folder / "python3.10"


def test_a_later_folder_of_the_path_counts_too(only_on_path, tmp_path, monkeypatch):
    broken = only_on_path(python3_10="exit 1")
    later = tmp_path / "later"
    later.mkdir()
    (later / "python3.10").write_text("#!/bin/sh\necho 3 10 True\n")
    (later / "python3.10").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{later}")
    assert environments.fitting_python(runtime(pythons=(OLD,))) == later / "python3.10"


def test_no_fitting_python_names_those_that_are_there(only_on_path):
    only_on_path(python3="echo 3 13 True", python="echo 2 7 False")
    with pytest.raises(UserError, match=r"Python 3\.10 and 3\.99, .*there is only 3\.13, 2\.7"):
        environments.fitting_python(runtime(pythons=(NEW, OLD)))


def test_no_python_at_all_is_one_line(only_on_path):
    only_on_path()
    with pytest.raises(UserError, match=r"on the PATH there is none"):
        environments.fitting_python(runtime(pythons=(OLD,)))


def test_a_python_without_ensurepip_names_its_package(only_on_path):
    only_on_path(python3="echo 3 10 False")
    with pytest.raises(UserError, match=r"no ensurepip: `apt install python3\.10-venv`"):
        environments.fitting_python(runtime(pythons=(OLD,)))


def test_a_bare_worker_without_platformdirs_finds_none():
    program = """
import os, sys
sys.modules["platformdirs"] = None
os.environ.pop("EDGECIFAR_DATA")
from edgecifar.runtimes import RUNTIMES, environments
own = [r for r in RUNTIMES if r.environment]
print([r.name for r in own if environments.installed(r) or environments.version_of(r)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# The real runtime


def some_python_fits() -> bool:
    try:
        return bool(environments.fitting_python(TFLITE_RUNTIME))
    except UserError:
        return False


@pytest.mark.skipif(not some_python_fits(), reason="no Python 3.10 or 3.11 is on the PATH")
def test_tflite_runtime_runs_in_its_environment(tmp_path, images, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_DATA", str(tmp_path / "data"))
    assert TFLITE_RUNTIME.environment.requirements == ("tflite-runtime", "numpy<2")
    environments.install(TFLITE_RUNTIME, lambda doing: None)
    tiny_models.write_tflite(tmp_path / "tiny.tflite")
    (tmp_path / "int8.tflite").write_bytes(tiny_graphs.tflite("int8"))
    np.save(tmp_path / "images.npy", images)
    program = f"""
import json, sys
from pathlib import Path
import numpy as np
sys.path.append({str(Path(edgecifar.__file__).parents[1])!r})
from edgecifar import runtimes
from edgecifar.errors import UserError
from edgecifar.runtimes import environments
folder = Path({str(tmp_path)!r})
runtime, images = runtimes.named("tflite-runtime"), np.load(folder / "images.npy")
found = {{"numpy": np.__version__, "version": environments.version_of(runtime), "xnnpack": []}}
for xnnpack in True, False:
    session = runtime.session(folder / "tiny.tflite", runtimes.Options(xnnpack=xnnpack))
    steps = [step["op_name"] for step in session._interpreter._get_ops_details()]
    found["xnnpack"].append(steps.count("DELEGATE"))
    given = runtimes.Classifier(session, folder / "tiny.tflite").classify(images)
    np.save(folder / f"{{xnnpack}}.npy", given)
try:
    runtime.session(folder / "int8.tflite", runtimes.Options(xnnpack=True))
except UserError as error:
    found["int8"] = str(error)
print(json.dumps(found))
"""
    done = subprocess.run(
        [environments.python_of(TFLITE_RUNTIME), "-I", "-c", program],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["numpy"].startswith("1.")
    assert found["version"] == environments.version_of(TFLITE_RUNTIME)
    assert found["xnnpack"] == [1, 0]
    for name in "True.npy", "False.npy":
        known = tiny_models.probabilities(images)
        np.testing.assert_allclose(np.load(tmp_path / name), known, atol=1e-4)
    # Its last release has XNNPACK's float kernels only; an int8 file runs without, unless asked.
    assert "int8.tflite: XNNPACK of this release runs none" in found["int8"]
