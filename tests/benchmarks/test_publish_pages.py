"""The pages agree with the records that they repeat."""

import copy
import re

import pytest
from front import EXPORTED, RECORD, ROOT, folders, points
from front_picture import digest, drawn_from
from publish_pages import (
    PICTURE,
    WITH_VNNI,
    WITHOUT_VNNI,
    Measured,
    conditions,
    fastest,
    filled,
    front_figure,
    front_table,
    model_cards,
    pages,
    processor,
    shipped_table,
)

from edgecifar.bench.results.result import load
from edgecifar.export.card import VERSION
from edgecifar.export.model_card import MARKDOWN
from edgecifar.provenance import read_card, write_card

RUN = "run `python benchmarks/publish_pages.py`"
PAGE = "# A page\n\n<!-- generated: a -->\nold\n<!-- end: a -->\n\nIts text.\n"


@pytest.fixture
def with_vnni() -> Measured:
    return Measured(load(WITH_VNNI))


@pytest.fixture
def without_vnni() -> Measured:
    return Measured(load(WITHOUT_VNNI))


@pytest.fixture
def record() -> dict:
    return load(RECORD)


def prose(page: str) -> str:
    """A page as one line."""
    return " ".join((ROOT / page).read_text("utf-8").split())


def test_every_page_repeats_its_records():
    outdated = [
        page.relative_to(ROOT).as_posix()
        for page, text in pages().items()
        if page.read_text("utf-8") != text
    ]
    assert not outdated, RUN


def test_every_card_has_the_accuracies_of_its_json():
    """Those of earlier releases too, which are not written anew."""
    for folder in folders():
        text = (folder / MARKDOWN).read_text("utf-8")
        for file in read_card(folder)["files"]:
            (row,) = re.findall(rf"^\| `{file['file']}` \|.*$", text, re.M)
            assert f"| {100 * file['top1']:.2f} % |" in row, folder


def test_a_current_card_is_written_from_its_json(monkeypatch, tmp_path):
    for name, version in (("new", VERSION), ("old", VERSION - 1)):
        card = read_card(EXPORTED) | {"card_version": version}
        write_card(tmp_path / "zoo" / name, card)
    write_card(tmp_path, read_card(EXPORTED))
    monkeypatch.setattr("publish_pages.folders", lambda: folders(tmp_path))
    written = model_cards()
    assert list(written) == [tmp_path / MARKDOWN, tmp_path / "zoo" / "new" / MARKDOWN]
    assert set(written.values()) == {(EXPORTED / MARKDOWN).read_text("utf-8")}


def test_the_picture_shows_the_record(record):
    picture = PICTURE.read_text("utf-8")
    assert drawn_from(picture) == digest(points(record)), RUN
    assert len(picture) < 150_000


def test_sentences_agree_with_the_records(with_vnni, without_vnni):
    """Those that are written by hand."""
    in_litert, _ = without_vnni.ratio("model.tflite", "model.float.tflite", "litert")
    in_onnx, _ = without_vnni.ratio("model.onnx", "model.float.onnx", "onnxruntime")
    benchmarks, processors = prose("benchmarks/README.md"), prose("docs/processors.md")
    assert (
        f"int8 takes {in_litert:.3f} of the time of float32 in LiteRT and {in_onnx:.3f} in ONNX"
        in benchmarks
    )
    for runtime, name in (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")):
        ratio, (low, high) = without_vnni.ratio("model.onnx", "model_before.onnx", runtime)
        said = rf"{ratio:.3f} \[{low:.3f}, {high:.3f}\] (of the earlier (one|file)'s )?in {name}"
        assert re.search(said, benchmarks)
        assert re.search(said, processors)
        before = without_vnni.row("model_before.onnx", runtime)["top1"]
        assert f"{100 * before:.2f} % in {name}" in benchmarks
        earlier = with_vnni.row("model.onnx", runtime)["top1"]
        assert f"{100 * earlier:.2f} % in {name}" in processors
    slow = with_vnni.p50_ms("model.tflite", "tflite-runtime")
    quick = with_vnni.p50_ms("model.tflite", "litert")
    assert f"takes {slow:.1f} ms for the shipped int8 file and LiteRT {quick:.2f} ms" in prose(
        "docs/bench.md"
    )


def test_a_block_is_written_anew_and_the_rest_of_the_page_stays():
    once = filled(PAGE, {"a": "new"})
    assert once == PAGE.replace("old", "\nnew\n")
    assert filled(once, {"a": "new"}) == once


@pytest.mark.parametrize(
    "page",
    [
        "no block",
        PAGE + PAGE,
        PAGE.replace("<!-- end: a -->", ""),
        PAGE.replace("<!-- end: a -->", "<!-- end: b -->"),
        PAGE + "<!-- generated: b -->\n<!-- end: b -->",
    ],
)
def test_a_page_without_exactly_its_blocks_is_refused(page):
    with pytest.raises(ValueError, match="should have a, each with its end"):
        filled(page, {"a": "new"})


def test_the_fastest_file_is_bold_and_named(with_vnni, without_vnni):
    by_kind = {"with VNNI": with_vnni, "without VNNI": without_vnni}
    changed = copy.deepcopy(without_vnni)
    changed.row("model.float.tflite", "litert")["latency_ms"]["p50"] = 1.0
    changed.row("model.onnx", "onnxruntime")["latency_ms"]["p50"] = 1.2
    assert "**1.00**" in shipped_table(with_vnni, changed)
    said = " ".join(fastest(by_kind | {"without VNNI": changed}).split())
    assert (
        "Without VNNI, `model.float.tflite` in LiteRT is the fastest, and `model.onnx` in ONNX "
        "Runtime takes 20 % more time." in said
    )


def test_int8_is_called_slower_only_where_the_interval_says_so(without_vnni):
    def said(interval):
        changed = copy.deepcopy(without_vnni)
        a, b = (changed.index(name, "litert") for name in ("model.tflite", "model.float.tflite"))
        for pair in changed.result["pairs"]:
            if {pair["a"], pair["b"]} == {a, b}:
                pair["ratio_interval"] = interval
        return fastest({"without VNNI": changed})

    sentence = "LiteRT is faster with `model.float.tflite`"
    assert sentence in " ".join(said([1.01, 1.2]).split())
    assert sentence not in " ".join(said([0.99, 1.2]).split())


def test_a_ratio_is_read_in_both_directions(without_vnni):
    ratio, (low, high) = without_vnni.ratio("model.tflite", "model.float.tflite", "litert")
    inverse, (lowest, highest) = without_vnni.ratio("model.float.tflite", "model.tflite", "litert")
    assert ratio * inverse == pytest.approx(1)
    assert (low * highest, high * lowest) == pytest.approx((1, 1))
    with pytest.raises(LookupError, match=r"no\.tflite was not measured in litert"):
        without_vnni.row("no.tflite", "litert")


def test_a_front_says_what_disturbed_it_and_what_it_lacks(record):
    for row in record["rows"]:
        row["marks"] = []
    said = conditions(record, "docs")
    assert "[mark" not in said
    record["rows"][0]["marks"] = ["overflow"]
    said = conditions(record, "docs")
    assert "Rows of it have the [mark](docs/bench.md#marks) `overflow`." in said
    assert "preliminary" not in said
    record["rows"][0]["marks"] = ["busy"]
    record["rows"][1]["marks"] = ["busy", "overflow"]
    said = conditions(record, "docs")
    assert "Rows of it have the [marks](docs/bench.md#marks) `busy`, `overflow`." in said
    assert "preliminary" in said
    for row in record["rows"]:
        if row["model"].startswith("exported/zoo/cnn/"):
            row["sha256"] = "0" * 64
    assert re.search(
        r"Not measured yet with the files that ship now: .*`cnn`", conditions(record, "docs")
    )


def test_the_words_beside_the_picture_name_the_front(record):
    figure = front_figure(record)
    assert figure.startswith("![Scatter plot of top-1 accuracy against p50 latency")
    assert "](docs/front.svg)" in figure


def test_the_table_has_every_model_and_the_fastest_of_its_files(record):
    lines = front_table(record).splitlines()
    for name in {point.name for point in points(record)}:
        (line,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        assert line.count("**") == 2


@pytest.mark.parametrize(
    ("architecture", "features", "name"),
    [
        ("x86_64", ["avx2"], "C without VNNI"),
        ("x86_64", ["avx2", "avx_vnni"], "C with VNNI"),
        ("aarch64", ["asimd"], "C"),
    ],
)
def test_a_kind_of_processor_has_a_name(architecture, features, name):
    machine = {"cpu": "C", "architecture": architecture, "features": features}
    assert processor({"machine": machine}) == name
