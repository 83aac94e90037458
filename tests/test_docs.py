"""The pages: their links lead somewhere, and the commands in them are commands that exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from PIL import Image

from edgecifar.bench.results.marks import MEANINGS
from edgecifar.cli.app import app
from edgecifar.data import cifar10, shipped

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"(?P<before>[^\n]*\n\s*)^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
NOT_RUN = "<!-- not run:"
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`(edgecifar [^`]+)`")
OPTION = re.compile(r"--[a-z][a-z0-9-]*")
# What takes seconds; each must be in a page as it stands here.
QUICK = [
    "edgecifar info exported/model.tflite",
    "edgecifar runtimes",
    "edgecifar recipes",
    "edgecifar compare benchmarks/shipped_model.json",
    "edgecifar bench exported/model.tflite --samples 100 --max-seconds 0.2",
]


def outside_fences(text: str) -> str:
    return FENCE.sub(lambda fence: fence["before"], text)


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", outside_fences(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> Iterator[str]:
    """The commands of a page: those in its sh and console blocks, then those in its sentences."""
    for fence in FENCE.finditer(text):
        if NOT_RUN in fence["before"]:
            continue
        lines = fence["body"].splitlines()
        if fence["language"] == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        elif fence["language"] != "sh":
            continue
        for line in lines:
            yield from edgecifar_commands(line)
    for inline in INLINE.findall(outside_fences(text)):
        yield from edgecifar_commands(inline)


def edgecifar_commands(line: str) -> Iterator[str]:
    """Those of a shell's line, without the folder that the program is in."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: list[str] = []
    for word in [*words, "&&"]:
        if set(word) <= set("&|;<>"):
            if command and Path(command[0]).name == "edgecifar":
                yield shlex.join(["edgecifar", *command[1:]])
            command = []
        else:
            command.append(word)


def complaint(line: str) -> str | None:
    """What the program does not know of a command, by its own list of commands and options."""
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        inner = command.get_command(typer.Context(command), words[0])
        if inner is None:
            return f"no command {words[0]}"
        command, words = inner, words[1:]
    known = {"--help"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    given = [match[0] for word in words if (match := OPTION.match(word))]
    unknown = [option for option in given if option not in known]
    return f"no option {', '.join(unknown)}" if unknown else None


def of_pages(found) -> list:
    """A parameter for each different thing that is found in a page."""
    return [
        pytest.param(page, thing, id=f"{page.relative_to(ROOT)}: {thing}")
        for page in PAGES
        for thing in dict.fromkeys(found(page.read_text("utf-8")))
    ]


@pytest.mark.parametrize(
    ("page", "link"), of_pages(lambda text: LINK.findall(outside_fences(text)))
)
def test_a_link_leads_to_a_file_and_a_heading(page, link):
    if re.match(r"[a-z]+:", link):
        pytest.skip("another site's")
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f"{page.name} links to {link}"
    if anchor:
        assert anchor in anchors(target.read_text("utf-8"))


@pytest.mark.parametrize(("page", "line"), of_pages(command_lines))
def test_a_command_and_its_options_exist(page, line):
    assert complaint(line) is None


def test_commands_are_found_where_a_reader_finds_them():
    page = """\
Use `edgecifar info FILE` first.

```sh
python3 -m venv .venv && .venv/bin/edgecifar bench a.tflite --samples 9 > b.txt
```

```console
$ edgecifar train --epochs 2
edgecifar is not a command here
```

<!-- not run: it is a part of another program's -->

```sh
edgecifar never
```
"""
    assert list(command_lines(page)) == [
        "edgecifar bench a.tflite --samples 9",
        "edgecifar train --epochs 2",
        "edgecifar info FILE",
    ]


def test_a_wrong_command_and_a_wrong_option_are_found():
    assert complaint("edgecifar data verify") is None
    assert complaint("edgecifar bench a.tflite --no-xnnpack") is None
    assert complaint("edgecifar data mend") == "no command mend"
    assert complaint("edgecifar bench a.tflite --seconds=3") == "no option --seconds"
    assert complaint("edgecifar --quick") == "no option --quick"


def test_headings_have_the_names_that_links_give_them():
    assert anchors("# A file, and `code`\n\n```sh\n# no heading\n```\n## B\n") == {
        "a-file-and-code",
        "b",
    }


def test_the_service_of_the_pi_runs_a_command_that_exists():
    page = (ROOT / "docs" / "raspberry-pi.md").read_text("utf-8")
    (line,) = re.findall(r"^ExecStart=(.*)$", page, re.M)
    (command,) = edgecifar_commands(line)
    assert complaint(command) is None


def test_the_page_on_the_bench_explains_each_mark_as_the_report_does():
    page = (ROOT / "docs" / "bench.md").read_text("utf-8")
    table = page[page.index("### Marks") :].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \|$", table, re.M)
    shown = {mark: (meaning, remedy.partition(" ([")[0]) for mark, meaning, remedy in rows}
    assert shown == MEANINGS


@pytest.mark.parametrize("line", QUICK)
def test_a_quick_command_of_the_pages_runs(line):
    assert line in {one for page in PAGES for one in command_lines(page.read_text("utf-8"))}
    words = shlex.split(line)[1:]
    run = subprocess.run(
        [sys.executable, "-m", "edgecifar", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") > 2


def test_the_python_of_the_readme_names_what_is_in_a_picture(tmp_path):
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    test = shipped.test_set()
    picture = Image.fromarray(test.images()[0])
    picture.resize((320, 320), Image.Resampling.NEAREST).save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "exported").symlink_to(ROOT / "exported")
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    names = [re.fullmatch(r"(\w+) \d+%", line)[1] for line in run.stdout.splitlines()]
    assert names[0] == cifar10.CLASSES[test.labels[0]]
    assert len(names) == 3
