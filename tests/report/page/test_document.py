"""The page: whole, self-contained, and safe whatever its sources hold."""

import base64
import copy
import re
import xml.etree.ElementTree

import pytest
from bench_rows import of, row

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from edgecifar.bench.results.result import Pair, checked
from edgecifar.errors import UserError
from edgecifar.report.page.document import page
from edgecifar.report.page.sources import Bench, Export, Run

HISTORY = [
    {"epoch": epoch, "stage": stage, "validation_top1": top1, "learning_rate": 0.1, "loss": 1.0}
    | {"validation_loss": 1.1}
    for epoch, stage, top1 in ((1, "head", 0.5), (2, "all", 0.75))
]
RECIPE = {"recipe": {"name": "cnn", "stages": [{"epochs": 2}]}}


def measured(**more) -> dict:
    per_class = [
        {"label": name, "images": 10, "top1": 0.9, "top1_interval": [0.5, 0.99]}
        for name in ("cat", "dog")
    ]
    known = {"per_class": per_class, "confusion": [[9, 1], [1, 9]], "images": 20}
    fast = row("fast.tflite", 1.0, timed_inferences=200, **known)
    slow = row("slow.onnx", 2.0, **{"runtime": "onnxruntime"} | known | more)
    pair = Pair(a=0, b=1, ratio=0.5, ratio_interval=(0.49, 0.51), agreement=1.0, mcnemar_p=1.0)
    settings = {"seed": 3, "timing": {"block_s": 0.1}}
    return of(fast, slow, pairs=[pair], settings=settings, started="2026-01-01T00:00:00+00:00")


def bench(name: str, result: dict) -> Bench:
    """A result as it is after it was read."""
    return Bench(name, checked(result, name))


@pytest.fixture
def whole(card, assessment):
    """A page with everything that there can be."""
    metrics = {"best_epoch": None, "test": assessment, "parameters": 1000, "seconds": 3600.0}
    return page(
        [
            Run("a-run", RECIPE, metrics, HISTORY),
            Export("exported", card),
            bench("result.json", measured(marks=["busy"])),
        ],
        "All of it",
    )


def test_the_page_needs_nothing_beside_it(whole, parsed):
    found = parsed(whole)
    assert found.all("script") == found.all("link") == []
    for image in found.all("img"):
        assert image["src"].startswith("data:image/")
        assert len(image["alt"]) > 5
    for link in found.all("a"):
        assert link["href"].startswith("#")
    policy = next(meta for meta in found.all("meta") if "http-equiv" in meta)["content"]
    assert policy.startswith("default-src 'none'")


def test_each_link_of_the_contents_has_its_heading(whole, parsed):
    found = parsed(whole)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"][1:] for link in found.all("a")} == set(ids)


@pytest.mark.parametrize(
    "said",
    [
        "Recipe cnn, 1,000 parameters, trained in 1.00 h.",
        "Top-1 80.00 % (95 % interval 60.0 to 90.0 %)",
        "cat → dog 97 %",
        "a.tflite: 10 of 10,000 images changed their class; here are 1 of them",
        "cat → dog it is cat",
        "The checkpoint is right on 80.00 %.",
        "80.00 (-10.00)",
        "No other row is as fast and more accurate than one on the front.",
        "busy other processes took more than 5 % of the cores' time stop them slow.onnx",
        "shuffled with the seed 3",
        "Measured at 2026-01-01T00:00:00+00:00",
        "Of each class there are 10 images or about as many",
        "fast.tflite / slow.onnx 0.500 0.490 to 0.510",
    ],
)
def test_the_page_says(whole, parsed, said):
    assert said in parsed(whole).headings()


def test_charts_follow_the_colors_of_the_reader(whole, parsed):
    charts = [
        base64.b64decode(image["src"].partition(",")[2]).decode("utf-8")
        for image in parsed(whole).all("img")
        if image["src"].startswith("data:image/svg+xml")
    ]
    assert len(charts) == 6  # curves, reliability, classes, front, quantiles, drift
    for svg in charts:
        assert xml.etree.ElementTree.fromstring(svg).tag.endswith("svg")
        assert "prefers-color-scheme: dark" in svg
        assert not re.search("#000000|#ffffff", svg)


def test_what_a_file_holds_never_becomes_markup(parsed, card, assessment):
    evil = "<script>alert('x')</script>\x1b[31m\n\ud800&"
    card["labels"] = [evil, "dog"]
    for file in card["files"]:
        file["file"] = evil + file["file"]
        for one in file["per_class"]:
            one["label"] = evil + one["label"]
    assessment["confident_mistakes"][0]["true"] = evil
    result = measured(runtime=evil, error=None, marks=["busy"])
    result["rows"][0]["model"] = evil
    result["machine"]["cpu"] = evil
    run = Run(evil, {"recipe": {"name": evil}}, {"best_epoch": None, "test": assessment}, HISTORY)
    text = page([run, Export(evil, card), bench(evil, result)], evil)
    found = parsed(text)
    assert found.all("script") == []
    assert "<script>alert('x')</script>\\x1b[31m\\n\\ud800&" in found.headings()
    assert "\x1b" not in text
    text.encode("utf-8")


def test_a_bench_without_figures_is_still_a_page(parsed):
    failed = row("broken.tflite", None, error="it crashed", latency_ms={"p50": None})
    found = parsed(page([bench("r.json", of(failed))], "t")).headings()
    assert "it crashed" in found
    assert "Latency in detail" not in found


def test_a_run_that_goes_on_is_a_page(parsed):
    found = parsed(page([Run("r", RECIPE)], "t")).headings()
    assert "Recipe cnn. The run has not ended." in found


def test_files_that_changed_the_same_pictures_share_them(parsed, card):
    twin = copy.deepcopy(card["files"][1]) | {"file": "a.onnx"}
    card["files"].append(twin)
    found = parsed(page([Export("e", card)], "t")).headings()
    assert "a.tflite, a.onnx: 10 of 10,000" in found


def test_all_pictures_that_changed_are_shown_where_the_card_has_them(parsed, card):
    change = card["files"][1]["worst"][0]
    card["files"][1]["changed"] = [change | {"image": image} for image in range(10)]
    found = parsed(page([Export("e", card)], "t"))
    assert "here are all of them" in found.headings()
    assert sum(image["alt"] == "cat → dog, it is cat" for image in found.all("img")) == 10


@pytest.mark.parametrize(
    "damage",
    [
        {"files": None},
        {"files": [{}]},
        {"labels": []},
        {"test_images": "many"},
        {"training": {"metrics": {"test": {"per_class": 1}}}},
    ],
)
def test_a_card_that_is_not_as_edgecifar_writes_it_is_refused_by_name(card, damage):
    with pytest.raises(UserError, match=r"^exported: it is not as edgecifar writes it"):
        page([Export("exported", card | damage)], "t")


def test_names_in_any_letters_are_drawn(parsed, card):
    for one in card["files"][1]["per_class"]:
        one["label"] = "猫 $x^$ " + "long " * 20
    assert "猫" in parsed(page([Export("e", card)], "t")).headings()


def test_more_rows_than_lines_say_so(parsed):
    rows = [row(f"{i}.tflite", 1.0 + i) for i in range(12)]
    found = parsed(page([bench("r.json", of(*rows))], "t")).headings()
    assert "The first 10 rows are drawn." in found
