"""`edgecifar report`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED, RECORDED_BENCH = ROOT / "exported", ROOT / "benchmarks" / "shipped_model.json"


def test_report_writes_one_page_on_all_sources(edgecifar, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "report.html"
    code, out, err = edgecifar("report", SHIPPED, RECORDED_BENCH, "--out", page, "--title", "Ours")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == f"{page} shows exported, shipped_model.json"
    text = page.read_text("utf-8")
    assert "<title>Ours</title>" in text
    assert "95.55" in text
    assert len(text) < 2_000_000


def test_report_without_sources_takes_the_export_that_is_there(edgecifar, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exported").symlink_to(SHIPPED)
    code, _, err = edgecifar("report")
    assert (code, err.splitlines()[-1]) == (0, "report.html shows exported")
    assert "<title>edgecifar: exported</title>" in Path("report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "missing: cannot be read: No such file"),
        ([str(ROOT / "docs")], "has no card.json and no recipe.json"),
        ([str(SHIPPED / "model.tflite")], "is not JSON"),
        ([str(SHIPPED), "--out", "/proc/version/report.html"], "/proc/version"),
    ],
)
def test_report_on_what_cannot_be_shown_is_one_line(
    refused, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    assert said in refused("report", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_report_without_its_packages_says_how_to_get_them(tmp_path):
    code = (
        "import sys; sys.modules['jinja2'] = None; from edgecifar import cli; "
        f"sys.argv = ['edgecifar', 'report', {str(SHIPPED)!r}, '--out', 'r.html']; cli.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "pip install -e '.[report]'" in ended.stderr
    assert not (tmp_path / "r.html").exists()
