"""Shows several exports of one checkpoint beside one another, such as pruned and not pruned."""

from collections.abc import Sequence
from operator import itemgetter

from rich.console import Console

from edgecifar.report.cells import number, percent
from edgecifar.report.tables import Column, Table, print_table

MEGABYTES = number(2, 1e6)
COLUMNS = (
    Column("export", itemgetter("name")),
    Column("checkpoint", itemgetter("checkpoint_top1"), percent, "%"),
    Column("int8 TFLite", itemgetter("tflite_top1"), percent, "%"),
    Column("int8 ONNX", itemgetter("onnx_top1"), percent, "%"),
    Column("TFLite", itemgetter("tflite_bytes"), MEGABYTES, "MB"),
    Column("compressed", itemgetter("tflite_compressed_bytes"), MEGABYTES, "MB"),
)


def compression_table(rows: Sequence[dict], console: Console) -> None:
    """Print several exports of one checkpoint, one in each row.

    Args:
        rows: for each export `name`; `checkpoint_top1`, `tflite_top1`, `onnx_top1`, shares of the
            test images, the latter two of the int8 files; `tflite_bytes` and
            `tflite_compressed_bytes` of the int8 TFLite file.
        console: where to print.
    """
    print_table(console, Table(COLUMNS, rows))
