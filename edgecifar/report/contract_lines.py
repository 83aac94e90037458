"""How a bench read files that do not say it themselves: lines under its table."""

from collections.abc import Iterator, Sequence

from edgecifar.data.cifar10 import IMAGE_SHAPE
from edgecifar.runtimes.normalization_trial import result_of


def contract_lines(rows: Sequence[dict]) -> list[str]:
    """Say how each model was read, where that was found out or may be a surprise.

    Args:
        rows: of a bench result.

    Returns:
        A line for each model that needs one: `yours.onnx: normalization unit, which is right on
        71.3 % of 300 training images, the most of all tried`.
    """
    lines = {row["model"]: "; ".join(_parts(row)) for row in rows if not row["error"]}
    return [f"{model}: {line}" for model, line in lines.items() if line]


def _parts(row: dict) -> Iterator[str]:
    if found := result_of(row["normalization"], row["normalization_tried"]):
        count = f"{found['images']} " if "images" in found else ""  # not in older results
        yield (
            f"normalization {found['normalization']}, which is right on {100 * found['top1']:.1f} "
            f"% of {count}training images, the most of all tried"
        )
    if row["output_name"]:
        yield f"its output {row['output_name']!r} is read"
    if row["output"] == "sigmoids":
        yield "it ends in sigmoids, whose values are taken as they are"
    if row["resize"]:
        side = row["input"]["shape"][2]  # the same place in NHWC and NCHW
        how = {"squash": "reduced", "crop": "cropped"}[row["resize"]]
        yield f"images are {how} from {IMAGE_SHAPE[0]} to {side} pixels"
