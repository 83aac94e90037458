"""The Python API: quick to import, typed, silent, and as its page shows it."""

import ast
import contextlib
import importlib.resources
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import tiny_training
from PIL import Image

import edgecifar
from edgecifar.bench.results.comparison import Comparison
from edgecifar.data import shipped
from edgecifar.errors import UserError

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "python-api.md"
RECORDED_BENCH = CHECKOUT / "benchmarks" / "shipped_model.json"
NAMES = ["Classifier", "bench", "compare", "export", "train"]
HOURS, MINUTE = "takes hours", "takes a minute"
# A fenced block, and the comment on the line before that says how long it takes.
BLOCK = re.compile(r"(?:<!-- (?P<time>.+?) -->\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S)
QUICK = {"samples": 20, "max_seconds": 0.1, "runtimes": ["litert"]}


def blocks(time: str | None) -> list[str]:
    """The code of the page that takes that long."""
    found = [block["code"] for block in BLOCK.finditer(PAGE.read_text()) if block["time"] == time]
    assert found
    return found


def answer(program: str) -> object:
    """What a fresh interpreter prints as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A working folder with the shipped model and a photo in it."""
    (tmp_path / "exported").mkdir()
    shutil.copy(CHECKOUT / "exported" / "model.tflite", tmp_path / "exported")
    cat = Image.fromarray(shipped.test_set().images(slice(1))[0])
    cat.resize((640, 480)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def jobs():
    """A progress callback and what it was called with: (job, total), then (job, done)."""
    seen = []

    @contextlib.contextmanager
    def progress(job, total):
        seen.append((job, total))
        yield lambda done, total=None, label=None: seen.append((job, done))

    progress.seen = seen
    return progress


def test_the_import_loads_nothing_but_itself():
    loaded = answer(
        "import sys; before = set(sys.modules); import edgecifar; import json; "
        "print(json.dumps([name.partition('.')[0] for name in set(sys.modules) - before]))"
    )
    assert set(loaded) - set(sys.stdlib_module_names) == {"edgecifar"}


def test_using_one_name_loads_no_other_half():
    heavy = ["tensorflow", "keras", "onnx", "matplotlib", "rich", "typer"]
    loaded = answer(
        "import edgecifar, sys, json; edgecifar.Classifier; edgecifar.bench; edgecifar.compare; "
        f"print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    )
    assert loaded == []


def test_its_names_are_listed():
    assert sorted(edgecifar.__all__) == NAMES
    assert set(NAMES) <= set(dir(edgecifar))
    assert all(callable(getattr(edgecifar, name)) for name in NAMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'edgecifar' has no attribute 'predictt'"):
        _ = edgecifar.predictt


@pytest.mark.parametrize("name", NAMES)
def test_type_checkers_see_what_runs(name):
    """The names under TYPE_CHECKING are those that `__getattr__` gives."""
    tree = ast.parse(Path(edgecifar.__file__).read_text())
    (hints,) = [node for node in tree.body if isinstance(node, ast.If)]
    (home,) = [node.module for node in hints.body if name in [alias.name for alias in node.names]]
    seen = getattr(importlib.import_module(home), name)
    assert inspect.unwrap(getattr(edgecifar, name)) is seen


@pytest.mark.parametrize("first", ["import edgecifar.bench.runner, edgecifar.export.exporter", ""])
def test_a_subpackage_of_the_same_name_can_be_called_and_looked_into(first):
    found = answer(
        f"{first}\nimport edgecifar, inspect, json\n"
        "from edgecifar import bench, export\n"
        "import edgecifar.bench.settings as settings\n"
        "parameters = [list(inspect.signature(one).parameters) for one in (bench, export)]\n"
        "print(json.dumps([parameters, edgecifar.bench.settings is settings]))"
    )
    assert found == [
        [
            ["models", "runtimes", "hosts", "progress", "settings"],
            ["checkpoint", "out", "int8", "progress", "settings"],
        ],
        True,
    ]


def test_the_package_says_that_it_is_typed():
    assert (importlib.resources.files("edgecifar") / "py.typed").is_file()


# The page


def test_every_block_of_the_page_is_python():
    for time in (None, MINUTE, HOURS):
        for code in blocks(time):
            ast.parse(code)


def test_the_page_runs(workplace, capsys):
    names: dict = {}
    for code in blocks(None):
        exec(compile(code, PAGE.name, "exec"), names)
    assert capsys.readouterr().out.startswith("cat ")
    assert names["probabilities"].shape == (3, 10)
    assert names["names"][0] == names["names"][1] == "cat"
    assert [row["error"] for row in names["result"]["rows"]].count(None) >= 1


def test_the_page_trains_and_exports(workplace, few_test_images, capsys):
    names: dict = {"edgecifar": edgecifar}
    for code in blocks(MINUTE):
        exec(compile(code, PAGE.name, "exec"), names)
    run, exported = names["run"], names["exported"]
    assert (run.path, run.checkpoint.is_file()) == (Path("runs/first"), True)
    assert [file.file for file in exported.verifications] == [
        "model.float.tflite",
        "model.float.onnx",
        "model.tflite",
        "model.onnx",
    ]
    assert Path("first/model.tflite").exists() == exported.published


def test_what_the_page_trains_for_hours_is_a_recipe(workplace, monkeypatch, full_data):
    """Everything but the training itself."""
    from edgecifar.training import trainer

    asked = []
    monkeypatch.setattr(trainer, "train", lambda *arguments: asked.append(arguments) or ended)
    ended = type("Run", (), {"checkpoint": None, "metrics": {"test_top1": 1, "interrupted": False}})
    exec(compile(*blocks(HOURS), PAGE.name, "exec"), {"edgecifar": edgecifar})
    ((recipe, data, out, *_),) = asked
    assert (recipe.name, recipe.seed, recipe.augmentation.cutout) == ("mobilenetv2", 2, 8)
    assert {stage.name: stage.epochs for stage in recipe.stages}["finetune"] == 2
    assert len(data) == 50_000
    assert re.fullmatch(r"runs/mobilenetv2-\d{8}-\d{6}", str(out))


# The functions


def test_train_reports_its_progress_and_prints_nothing(
    tmp_path, small_network, few_test_images, jobs, capfd
):
    run = edgecifar.train(
        tiny_training.CONVOLUTION,
        tmp_path / "run",
        data=shipped.calibration_set(),
        progress=jobs,
        head={"epochs": 0},
        finetune={"epochs": 1},
        seed=3,
    )
    assert run.provenance["recipe"]["seed"] == 3
    assert [epoch.stage for epoch in run.epochs] == ["finetune"]
    assert not run.metrics["interrupted"]
    assert ("test images", 300) in jobs.seen
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"recipe": "mobilnetv2"}, "did you mean mobilenetv2"),
        ({"dropuot": 0.3}, "no field 'dropuot'"),
        ({"finetune": {"epoch": 1}}, "no field 'epoch'"),
        ({"no_stage": {"epochs": 1}}, "no part 'no_stage'"),
        ({"size": "big"}, "expected a whole number"),
    ],
)
def test_a_wrong_argument_of_train_is_refused(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        edgecifar.train(out=tmp_path / "run", data=shipped.calibration_set(), **arguments)


def test_train_without_the_images_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="edgecifar data download"):
        edgecifar.train("cnn", tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ({"int8": False}, ["model.float.tflite"]),
        ({"int8": False, "precisions": ["float16"]}, ["model.float16.tflite"]),
    ],
)
def test_export_makes_what_is_asked_for(
    small_run, few_test_images, tmp_path, jobs, arguments, files
):
    exported = edgecifar.export(
        small_run.path, tmp_path / "out", formats=("tflite",), progress=jobs, **arguments
    )
    assert exported.published
    assert [file.file for file in exported.verifications] == files
    assert (tmp_path / "out" / files[0]).is_file()
    assert (f"verifying {files[0]}", 300) in jobs.seen


def test_a_wrong_argument_of_export_is_refused(small_run, tmp_path):
    with pytest.raises(UserError, match=f"no checkpoint {tmp_path}/none.keras"):
        edgecifar.export(tmp_path / "none.keras", tmp_path / "out")
    with pytest.raises(TypeError, match="calibratoin"):
        edgecifar.export(small_run.path, tmp_path / "out", calibratoin="mse")
    assert not (tmp_path / "out").exists()


def test_bench_takes_settings_and_options_and_reports_its_progress(tmp_path, jobs, capfd):
    model = tiny_models.write_tflite(tmp_path / "tiny.tflite")
    result = edgecifar.bench(str(model), threads=2, xnnpack=False, progress=jobs, **QUICK)
    (row,) = result["rows"]
    assert (row["error"], row["threads"], row["images"]) == (None, 2, 20)
    assert row["options"] == {"xnnpack": False}
    assert jobs.seen[0] == ("bench", 1.0)
    assert jobs.seen[-1] == ("bench", 1.0)
    shares = [done for _, done in jobs.seen[1:]]
    assert shares == sorted(shares)
    assert capfd.readouterr() == ("", "")


def test_a_wrong_argument_of_bench_is_refused(tmp_path):
    model = tiny_models.write_tflite(tmp_path / "tiny.tflite")
    with pytest.raises(TypeError, match="sampels"):
        edgecifar.bench(model, sampels=3)
    for arguments, words in (
        ({"runtimes": "no-such"}, "there is no runtime 'no-such'"),
        ({"timeout_s": 0}, "timeout"),
        ({"hosts": ["ssh://pi", "ssh://pi"]}, "`hosts=ssh://pi`: is given twice"),
        ({"hosts": ["pi"]}, "ssh://"),
        ({"hosts": "pi"}, "ssh://"),
    ):
        with pytest.raises(UserError, match=words):
            edgecifar.bench([model], **arguments)


def test_compare_takes_results_and_paths():
    result = json.loads(RECORDED_BENCH.read_text())
    comparison = edgecifar.compare(str(RECORDED_BENCH), result)
    assert isinstance(comparison, Comparison)
    assert [one["name"] for one in comparison.results] == [str(RECORDED_BENCH), "result 2"]
    assert {row.measured[1].ratio for row in comparison.rows} == {1.0}


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([], "no result to compare"),
        ([{}], "result 1: is not a result of `edgecifar bench`"),
        (["no-such.json"], "no-such.json: cannot be read"),
    ],
)
def test_compare_refuses_what_is_no_result(results, words):
    with pytest.raises(UserError, match=words):
        edgecifar.compare(*results)
