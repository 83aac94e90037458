"""The library's messages name arguments; the command line prints its flags instead."""

import ast
import re
from pathlib import Path

import pytest
import typer

import edgecifar as library
from edgecifar.bench.settings import BenchSettings
from edgecifar.cli import flags
from edgecifar.cli.app import app
from edgecifar.errors import UserError
from edgecifar.export.settings import ExportSettings
from edgecifar.models.blocks import check_weights
from edgecifar.training import recipe_book, recipes

SOURCES = sorted(Path(library.__file__).parent.rglob("*.py"))
COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    ("settings", "wrong", "command", "said", "printed"),
    [
        (
            ExportSettings,
            {"calibration_images": 0},
            ["export", "MODEL", "--calibration-images", "0"],
            "`calibration_images=0`: expected 1 to 900",
            "--calibration-images 0: expected 1 to 900",
        ),
        (
            ExportSettings,
            {"precisions": ("int4",)},
            ["export", "MODEL", "--precision", "int4"],
            "`precisions=int4`: expected float32,",
            "--precision int4: expected float32,",
        ),
        (
            BenchSettings,
            {"precision": 2.0},
            ["bench", "MODEL", "--ci", "200%"],
            "`precision` is 200 %: give more than 0",
            "--ci is 200 %: give more than 0",
        ),
        (
            BenchSettings,
            {"max_seconds": 0.0},
            ["bench", "MODEL", "--max-seconds", "0"],
            "`max_seconds=0`: give more than 0",
            "--max-seconds 0: give more than 0",
        ),
    ],
)
def test_python_reads_the_argument_and_the_command_line_its_flag(
    refused, tiny_tflite, settings, wrong, command, said, printed
):
    with pytest.raises(UserError, match=re.escape(said)):
        settings(**wrong)
    line = refused(*(tiny_tflite if word == "MODEL" else word for word in command))
    assert line.startswith(f"edgecifar: {printed}")


def test_a_field_of_a_recipe_is_set(refused, tmp_path):
    with pytest.raises(UserError, match="`dropout=2`: expected 0 to "):
        recipes.override(recipe_book.find("quick"), ["dropout=2"])
    line = refused("train", "quick", "--set", "dropout=2", "--out", tmp_path / "run")
    assert "--set dropout=2: expected 0 to " in line


def test_a_field_with_a_flag_of_its_own_gets_the_flag(edgecifar):
    with pytest.raises(UserError) as error:
        check_weights("cnn", "imagenet")
    edgecifar("train", "no-such-recipe")
    line = flags.in_flags(str(error.value))
    assert line.startswith("--weights imagenet: ")
    assert line.endswith("with --weights none")


@pytest.mark.parametrize(
    "message",
    [
        "repair it with `edgecifar data download`",
        "the worker stopped (in `load`)",
        "a.tflite: needs OpenSSH's `ssh` on the PATH",
        "no argument here: `seed",
    ],
)
def test_other_words_in_backticks_stay(edgecifar, message):
    edgecifar("check", "nowhere.json", "--min-top1", "5%")
    assert flags.in_flags(message) == message


def test_a_command_prints_the_flag_of_another_when_it_has_none_of_that_name(edgecifar):
    edgecifar("check", "nowhere.json", "--min-top1", "5%")
    assert flags.in_flags("say `normalization=unit`") == "say --normalization unit"


def test_each_renamed_argument_has_a_flag_that_its_command_knows():
    for command, renamed in flags.RENAMED.items():
        known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
        assert set(renamed.values()) <= known


def messages(source: Path) -> list[str]:
    """The texts in a module, docstrings aside, without the commands that they quote."""
    tree = ast.parse(source.read_text("utf-8"))
    parts = {id(part) for node in ast.walk(tree) for part in getattr(node, "values", [])}
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            texts.append(
                "".join(
                    part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
                )
            )
    texts += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
    ]
    return [
        re.sub(r"`(?:edgecifar|pip|npm|python3|rpicam-hello) [^`]*`", "", text) for text in texts
    ]


def test_messages_are_found(tmp_path):
    source = tmp_path / "module.py"
    source.write_text('"""As --a."""\nx = "--quiet"\nraise E(f"{x} --b {x}" "`edgecifar c --d`")\n')
    assert messages(source) == ["{} --b {}", "--quiet"]


@pytest.mark.parametrize(
    "source",
    [path for path in SOURCES if path.parent.name not in ("cli", "report")],
    ids=lambda path: str(path.relative_to(Path(library.__file__).parent)),
)
def test_no_message_of_the_library_names_a_flag(source):
    # A text that is a flag and no more is an argument of another program.
    flag = re.compile(r"(?:^|(?<=[^\w-]))--(?:[a-z]|\{)")
    texts = [text for text in messages(source) if " " in text]
    assert [text for text in texts if flag.search(text)] == []
