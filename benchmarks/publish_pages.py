"""Write what the pages repeat of recorded results: tables, sentences and the picture of the front.

    python benchmarks/publish_pages.py

A block of a page lies between the comments `<!-- generated: NAME -->` and `<!-- end: NAME -->`.
This program writes everything between them from the JSON files, and nothing else of a page. It also
writes the `card.md` of each shipped model from its `card.json`. A test fails when a page and the
records disagree.
"""

import dataclasses
import io
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import front_picture
from front import (
    EXPORTED,
    INT8_TFLITE,
    PRECISIONS,
    RECORD,
    ROOT,
    RUNTIME_NAMES,
    RUNTIMES,
    Point,
    folders,
    points,
    recipe_name,
)
from rich.console import Console

from edgecifar import files
from edgecifar.bench.results.marks import of_latency, united
from edgecifar.bench.results.result import load
from edgecifar.export import card, model_card
from edgecifar.hardware import X86, has_vnni
from edgecifar.provenance import read_card
from edgecifar.report.bench_table import bench_table
from edgecifar.report.cells import percent
from edgecifar.report.page.front_chart import pareto_front
from edgecifar.report.recipe_table import RecipeRow
from edgecifar.training import recipe_book, recipe_results

BENCHMARKS = ROOT / "benchmarks"
PICTURE = ROOT / "docs" / "front.svg"
WITH_VNNI = BENCHMARKS / "shipped_model.json"
WITHOUT_VNNI = BENCHMARKS / "shipped_model_without_vnni.json"
LINE_LENGTH = 100
# The rows of README's table: the file, what is said of it, and the runtime.
SHIPPED_ROWS = (
    ("model.tflite", ", int8", "litert"),
    ("model.onnx", ", int8", "onnxruntime"),
    ("model.onnx", ", int8", "openvino"),
    ("model.float.tflite", "", "litert"),
    ("model.float.onnx", "", "onnxruntime"),
    ("model.float.onnx", "", "openvino"),
    ("model.keras", ", the checkpoint", "keras"),
)
# An int8 file and its float file, in the runtimes that are compared.
PRECISION_PAIRS = (
    ("model.tflite", "model.float.tflite", "litert"),
    ("model.onnx", "model.float.onnx", "onnxruntime"),
    ("model.onnx", "model.float.onnx", "openvino"),
)
# The rows of the example in docs/bench.md, and how wide its terminal is.
EXAMPLE_ROWS = (("model.tflite", "litert"), ("model.onnx", "onnxruntime"))
EXAMPLE_WIDTH = 150
OVERFLOW_FORMS = {
    "8 bits": "8 bits, which overflow",
    "pairs that kernels add": "no pair that kernels add",
    "any two weights of a channel": "no two weights of a channel",
    "7 bits": "7 bits",
}
BLOCK = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end: (?P=name) -->)", re.S
)
MARKER = re.compile(r"<!-- (?:generated|end): [\w-]+ -->")


@dataclasses.dataclass(frozen=True)
class Measured:
    """A recorded result of the shipped model, whose rows are found by file and runtime."""

    result: dict

    def row(self, file: str, runtime: str) -> dict:
        return self.result["rows"][self.index(file, runtime)]

    def p50_ms(self, file: str, runtime: str) -> float:
        return self.row(file, runtime)["latency_ms"]["p50"]

    def ratio(self, file: str, other: str, runtime: str) -> tuple[float, tuple[float, float]]:
        """The time of a file divided by that of another, and its 95 % interval."""
        a, b = self.index(file, runtime), self.index(other, runtime)
        for pair in self.result["pairs"]:
            low, high = pair["ratio_interval"]
            if (pair["a"], pair["b"]) == (a, b):
                return pair["ratio"], (low, high)
            if (pair["a"], pair["b"]) == (b, a):
                return 1 / pair["ratio"], (1 / high, 1 / low)
        raise LookupError(f"{file} and {other} are no pair in {runtime}")

    def index(self, file: str, runtime: str) -> int:
        for index, row in enumerate(self.result["rows"]):
            if (Path(row["model"]).name, row["runtime"]) == (file, runtime):
                return index
        raise LookupError(f"{file} was not measured in {runtime}")


def main() -> None:
    for page, text in pages().items():
        if text != page.read_text("utf-8"):
            files.write_text(page, text)
            print(f"wrote {page.relative_to(ROOT)}")
    shown = points(load(RECORD))
    is_drawn = PICTURE.exists() and front_picture.drawn_from(PICTURE.read_text("utf-8"))
    if is_drawn != front_picture.digest(shown):
        front_picture.save(shown, PICTURE)
        print(f"drew {PICTURE.relative_to(ROOT)}")


def pages() -> dict[Path, str]:
    """What the pages with generated blocks, and the cards, should contain."""
    with_vnni, without_vnni = Measured(load(WITH_VNNI)), Measured(load(WITHOUT_VNNI))
    by_kind = {"with VNNI": with_vnni, "without VNNI": without_vnni}
    front = load(RECORD)
    blocks = {
        "README.md": {
            "shipped-model": shipped_table(with_vnni, without_vnni),
            "fastest": fastest(by_kind),
            "front": front_figure(front),
        },
        "docs/train.md": {"recipes": recipes_table()},
        "docs/bench.md": {"example": bench_example(without_vnni)},
        "docs/processors.md": {
            "overflow": overflow_table(without_vnni),
            "int8-and-float": precisions_table(by_kind),
        },
        "benchmarks/README.md": {
            "overflow-forms": overflow_forms_table(),
            "front": front_table(front),
        },
    }
    texts = {
        ROOT / page: filled((ROOT / page).read_text("utf-8"), of_page)
        for page, of_page in blocks.items()
    }
    return texts | model_cards()


def model_cards() -> dict[Path, str]:
    """What the cards of the shipped models should say; those of earlier releases stay."""
    found = {folder / model_card.MARKDOWN: read_card(folder) for folder in folders()}
    return {
        path: model_card.markdown(content)
        for path, content in found.items()
        if content["card_version"] == card.VERSION
    }


def filled(page: str, blocks: dict[str, str]) -> str:
    """A page with its blocks written anew.

    Args:
        page: its text.
        blocks: what each block of the page contains, by name.

    Raises:
        ValueError: the page lacks a block, has one that is not known, or has one twice.
    """
    found = [match["name"] for match in BLOCK.finditer(page)]
    if sorted(found) != sorted(blocks) or len(MARKER.findall(page)) != 2 * len(blocks):
        raise ValueError(
            f"the page has the blocks {', '.join(found) or 'none'}, "
            f"and should have {', '.join(blocks)}, each with its end"
        )
    return BLOCK.sub(lambda m: f"{m['begin']}\n{blocks[m['name']]}\n\n{m['end']}", page)


def shipped_table(with_vnni: Measured, without_vnni: Measured) -> str:
    """The shipped model in every runtime; the fastest on each processor is bold."""
    columns = [
        [one.p50_ms(file, runtime) for file, _, runtime in SHIPPED_ROWS]
        for one in (with_vnni, without_vnni)
    ]
    rows = []
    for (file, said, runtime), *p50s in zip(SHIPPED_ROWS, *columns, strict=True):
        row = without_vnni.row(file, runtime)
        rows.append(
            [
                f"`{file}`{said}",
                RUNTIME_NAMES[runtime],
                share(row["top1"]),
                *(best(p50, column) for p50, column in zip(p50s, columns, strict=True)),
                f"{row['size_bytes'] / 1e6:.2f}",
                f"{row['peak_rss_mib']:.0f}",
            ]
        )
    head = ["file in `exported/`", "runtime", "top-1", "p50 with VNNI, ms"]
    return table([*head, "p50 without VNNI, ms", "size, MB", "peak memory, MiB"], rows)


def fastest(by_kind: dict[str, Measured]) -> str:
    """The fastest file and runtime on each kind of processor, and where int8 is slower."""
    sentences = []
    for kind, measured in by_kind.items():
        times = sorted(
            (measured.p50_ms(file, runtime), file, runtime) for file, _, runtime in SHIPPED_ROWS
        )
        (first_ms, *first), (next_ms, *following), *_ = times
        sentences.append(
            f"{capitalized(kind)}, {in_runtime(*first)} is the fastest, and "
            f"{in_runtime(*following)} takes {100 * (next_ms / first_ms - 1):.0f} % more time."
        )
        for int8, float32, runtime in PRECISION_PAIRS:
            _, (low, _) = measured.ratio(int8, float32, runtime)
            if low > 1:
                sentences.append(
                    f"{capitalized(kind)}, {RUNTIME_NAMES[runtime]} is faster with `{float32}` "
                    f"than with `{int8}`."
                )
    return wrapped(" ".join(sentences))


def precisions_table(by_kind: dict[str, Measured]) -> str:
    """The time of the int8 files as a share of that of the float files, on each processor."""
    rows = []
    for kind, measured in by_kind.items():
        cells = []
        for int8, float32, runtime in PRECISION_PAIRS:
            ratio, (low, high) = measured.ratio(int8, float32, runtime)
            cells.append(f"{ratio:.3f} [{low:.3f}, {high:.3f}]")
        rows.append([f"{measured.result['machine']['cpu']} {kind}", *cells])
    runtimes = [RUNTIME_NAMES[runtime] for _, _, runtime in PRECISION_PAIRS]
    return table(["processor", *runtimes], rows)


def overflow_table(without_vnni: Measured) -> str:
    """The ONNX file from before its weights were made safe from overflow, and the current one."""
    rows = []
    for file in ("model_before.onnx", "model.onnx"):
        for runtime in ("onnxruntime", "openvino"):
            row = without_vnni.row(file, runtime)
            marks = ", ".join(f"`{mark}`" for mark in row["marks"])
            p50 = f"{row['latency_ms']['p50']:.2f}"
            rows.append([f"`{file}`", RUNTIME_NAMES[runtime], share(row["top1"]), p50, marks])
    return table(["file", "runtime", "top-1", "p50, ms", "mark"], rows)


def overflow_forms_table() -> str:
    """What each way to prevent overflow costs."""
    found = json.loads((BENCHMARKS / "overflow_forms.json").read_text("utf-8"))["forms"]
    rows = [
        [
            said,
            f"{found[form]['weights_sqnr_db']:.1f}",
            f"{found[form]['int8_sqnr_db']:.1f}",
            *(share(found[form]["top1"][runtime]) for runtime in (*RUNTIMES, "openvino")),
        ]
        for form, said in OVERFLOW_FORMS.items()
    ]
    head = ["int8 weights", "noise of the logits, weights alone, dB", "noise, int8 file, dB"]
    return table([*head, *(RUNTIME_NAMES[name] for name in (*RUNTIMES, "openvino"))], rows)


def bench_example(without_vnni: Measured) -> str:
    """What `edgecifar bench` printed of two rows."""
    chosen = [without_vnni.index(*row) for row in EXAMPLE_ROWS]
    rows = [without_vnni.result["rows"][index] for index in chosen]
    pairs = [
        pair | {"a": chosen.index(pair["a"]), "b": chosen.index(pair["b"])}
        for pair in without_vnni.result["pairs"]
        if {pair["a"], pair["b"]} <= set(chosen)
    ]
    printed = io.StringIO()
    console = Console(file=printed, width=EXAMPLE_WIDTH)
    bench_table(without_vnni.result | {"rows": rows, "pairs": pairs}, console)
    # The last line explains the columns of the pairs, as the page does.
    lines = printed.getvalue().splitlines()[:-1]
    command = f"$ edgecifar bench {' '.join(row['model'] for row in rows)}"
    return "\n".join(["```console", command, *(line.rstrip() for line in lines), "```"])


def recipes_table() -> str:
    """The recipes that have a target, and what they have reached."""
    rows = []
    for recipe in recipe_book.RECIPES.values():
        row = RecipeRow(recipe, recipe_results.results().get(recipe.name))
        if row.verdict is None:
            continue
        cells = ["", "not measured yet", "", ""]
        if row.measured:
            reached = share(row.measured["test_top1"])
            cells = [
                f"{row.measured['multiply_accumulates'] / 1e6:.1f}",
                reached if row.verdict == "reached" else f"{row.verdict}: {reached}",
                share(row.measured["int8_top1"]),
                f"{row.measured['training_seconds'] / 60:.0f} min",
            ]
        macs, *others = cells
        target = f"{100 * recipe.target:.4g} %"
        rows.append([f"`{recipe.name}`", recipe.summary, macs, target, *others])
    head = ["recipe", "what it is", "MMACs", "target", "float", "int8 TFLite", "trained in"]
    return table(head, rows)


def front_figure(record: dict) -> str:
    """The picture of the front, in words for those who do not see it, and how it was measured."""
    steps = [
        f"{point.name} ({point.precision}, {RUNTIME_NAMES[point.runtime]}) "
        f"{share(point.top1)} at {point.p50_ms:.2f} ms"
        for point in pareto_front(points(record))
    ]
    alt = (
        "Scatter plot of top-1 accuracy against p50 latency of every shipped model as int8 and "
        f"float32, in LiteRT and ONNX Runtime. On the Pareto front: {'; '.join(steps)}."
    )
    picture = PICTURE.relative_to(ROOT).as_posix()
    return f"![{alt}]({picture})\n\n{wrapped(conditions(record, docs='docs'))}"


def front_table(record: dict) -> str:
    """Every model of a front in each precision and runtime; its fastest file is bold."""
    found = points(record)
    kinds = [(precision, runtime) for precision in PRECISIONS for runtime in RUNTIMES]
    by_model: dict[str, dict[tuple, Point]] = {}
    for point in sorted(found, key=lambda point: -point.top1):
        by_model.setdefault(point.name, {})[point.precision, point.runtime] = point
    of_default = by_model[recipe_name(EXPORTED)][kinds[0]].p50_ms
    rows = []
    for name, of_model in by_model.items():
        p50s = [point.p50_ms for point in of_model.values()]
        cells = [
            f"{share(point.top1)}, {best(point.p50_ms, p50s)} ms" if point else ""
            for point in map(of_model.get, kinds)
        ]
        first = of_model.get(kinds[0])
        rows.append([f"`{name}`", *cells, f"{first.p50_ms / of_default:.2f}" if first else ""])
    head = [f"{precision}, {RUNTIME_NAMES[runtime]}" for precision, runtime in kinds]
    of_times = f"{head[0]}: time as a share of the default's"
    return f"{wrapped(conditions(record, docs='../docs'))}\n\n" + table(
        ["model", *head, of_times], rows
    )


def conditions(record: dict, docs: str) -> str:
    """On which processor, when and how a front was measured, and what is missing in it.

    Args:
        record: see `front.record`.
        docs: the folder of the other pages, from the page that this is for.
    """
    when = datetime.fromisoformat(record["started"]).date()
    sentences = [
        f"Measured on {processor(record)}, one thread, one image at a time, on {when}; all files "
        "took turns in one run."
    ]
    if marks := united(*(row["marks"] for row in record["rows"])):
        names = ", ".join(f"`{mark}`" for mark in marks)
        sentences.append(
            f"Rows of it have the [mark{'s' * (len(marks) > 1)}]({docs}/bench.md#marks) {names}."
        )
    if of_latency(marks):
        sentences.append(
            "So the latencies are preliminary: on an idle machine they are shorter, and their "
            "order can be another."
        )
    if missing := not_measured(record):
        names = ", ".join(f"`{name}`" for name in missing)
        sentences.append(f"Not measured yet with the files that ship now: {names}.")
    return " ".join(sentences)


def processor(record: dict) -> str:
    """The name of a result's processor and, on x86-64, whether it has VNNI."""
    machine = record["machine"]
    vnni = has_vnni(machine["features"])
    is_x86 = machine["architecture"] in X86
    return f"{machine['cpu']} {'with' if vnni else 'without'} VNNI" if is_x86 else machine["cpu"]


def not_measured(record: dict) -> list[str]:
    """The shipped models whose int8 TFLite file of today has no row in a record."""
    measured = {row["sha256"] for row in record["rows"]}
    return [
        recipe_name(folder)
        for folder in folders()
        if (file := folder / INT8_TFLITE).exists() and files.sha256(file) not in measured
    ]


def in_runtime(file: str, runtime: str) -> str:
    return f"`{file}` in {RUNTIME_NAMES[runtime]}"


def capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def share(value: float) -> str:
    """A share, 0 to 1, in percent."""
    return f"{percent(value)} %"


def best(p50_ms: float, others: Iterable[float]) -> str:
    """A latency, in bold where none is shorter."""
    return f"**{p50_ms:.2f}**" if p50_ms == min(others) else f"{p50_ms:.2f}"


def wrapped(text: str) -> str:
    return textwrap.fill(text, LINE_LENGTH, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of GitHub Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|".join(["", *(f" {c} " if c else " " for c in line), ""]) for line in lines)


if __name__ == "__main__":
    main()
