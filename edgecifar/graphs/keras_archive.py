"""What a `.keras` archive says of its model, within bounds: the file may be anybody's."""

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

CONFIG, METADATA = "config.json", "metadata.json"
LARGEST_CONFIG_BYTES = 32 * 2**20  # that of ResNet-152 has 0.4 MB
LARGEST_BYTES = 2**31  # a TFLite file cannot have more
# What deflate adds to content that it cannot compress is far below this.
OVERHEAD_BYTES = 1024
CONVOLUTIONS = {f"Conv{n}D{kind}" for n in (1, 2, 3) for kind in ("", "Transpose")}


def read(path: Path) -> tuple[dict, object]:
    """Read what an archive says, after checking that neither that nor its model is too large.

    Args:
        path: a `.keras` archive.

    Returns:
        The content of `config.json`, and that of `metadata.json`, None where there is none.

    Raises:
        ValueError: a part inflates beyond a limit, `config.json` describes no model, or the model
            has many times the weights that the archive holds.
        Exception: of any other kind, where the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        for member in archive.infolist():
            if member.compress_size > 1.01 * member.file_size + OVERHEAD_BYTES:
                raise ValueError(f"its {member.filename} is larger than it says")
        for name in (CONFIG, METADATA):
            if sizes.get(name, 0) > LARGEST_CONFIG_BYTES:
                raise ValueError(f"its {name} has more than {LARGEST_CONFIG_BYTES // 2**20} MiB")
        if sum(sizes.values()) > LARGEST_BYTES:
            raise ValueError(f"it inflates to more than {LARGEST_BYTES // 2**30} GiB")
        config = json.loads(archive.read(CONFIG))
        metadata = json.loads(archive.read(METADATA)) if METADATA in sizes else None
    if not isinstance(config, dict):
        raise ValueError("its config.json describes no model")
    asked, held = _weights(config), sum(sizes.values())
    if asked > 2 * held:  # a weight takes half a byte or more
        raise ValueError(f"it asks for {asked:,} weights and holds {held:,} bytes")
    return config, metadata


def _weights(config: dict) -> int:
    """How many weights the dense and convolutional layers of a config say that they have."""
    return sum(map(_weights_of_layer, _parts(config)))


def _parts(config: dict) -> Iterator[dict]:
    waiting: list = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        if isinstance(part, dict | list):
            waiting += part.values() if isinstance(part, dict) else part


def _weights_of_layer(part: dict) -> int:
    """How many weights the kernel of a layer has, as Keras builds it; 0 where that is not known."""
    settings, build = part.get("config"), part.get("build_config")
    shape = build.get("input_shape") if isinstance(build, dict) else None
    if not isinstance(settings, dict):
        return 0
    first = settings.get("data_format") == "channels_first"
    inputs = shape[1 if first else -1] if isinstance(shape, list) and len(shape) > 1 else 1
    kind, kernel = part.get("class_name"), settings.get("kernel_size")
    if kind == "Dense":
        sides: list = [inputs, settings.get("units")]
    elif kind == "Embedding":
        sides = [settings.get("input_dim"), settings.get("output_dim")]
    elif kind in CONVOLUTIONS and isinstance(kernel, list):
        sides = [inputs, settings.get("filters"), *kernel]
    else:
        return 0
    if not all(type(side) is int and side > 0 for side in sides):
        return 0
    groups = settings.get("groups")
    return math.prod(sides) // (groups if type(groups) is int and groups > 0 else 1)
