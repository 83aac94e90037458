"""Damaged archives, checkpoints, images and results through the code that reads them.

Each file must be read or refused with one line: no other exception, no hang, no process that dies,
and nothing written outside the folder that was named. Images go through `edgecifar predict`, which
must end with 0 or 2 and print one line. A defect is listed with the file's number and makes the
exit code 1.

    python benchmarks/fuzz_inputs.py > fuzz_inputs.json
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import selectors
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecifar.data import cifar10, sources
from edgecifar.errors import UserError
from edgecifar.hardware import summary

ROOT = Path(__file__).parents[1]
RECORDS = 20
LIMIT_S = 300  # for a file, the start of Keras included
MODEL = ROOT / "exported" / "model.tflite"
# The modes that each format of `edgecifar.predict.images.FORMATS` stores.
IMAGES = {
    ".avif": ("RGB", "RGBA"),
    ".bmp": ("1", "L", "P", "RGB", "RGBA"),
    ".gif": ("1", "L", "P", "RGB"),
    ".jp2": ("L", "LA", "RGB", "RGBA", "I;16"),
    ".jpg": ("L", "RGB", "CMYK", "YCbCr"),
    ".pgm": ("1", "L", "RGB", "I;16"),
    ".png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    ".tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"),
    ".webp": ("RGB", "RGBA"),
}
FORMAT_NAMES = {".jpg": "JPEG", ".jp2": "JPEG2000", ".pgm": "PPM"}
EDGES = (None, True, -1, 0, 1, 2**31, 2**64, 1e308, "", "\udc80", "\x1b[2J", [], {}, [[]] * 9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=300, help="of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="[all]")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, begin, folder = arguments.child
        read_all(kind, range(int(begin), arguments.files), Path(folder))
        return
    found = {kind: watched(kind, arguments.files) for kind in arguments.kind or KINDS}
    print(json.dumps({"machine": summary(), "files": arguments.files, **found}, indent=2))
    sys.exit(any(kind["defects"] for kind in found.values()))


def watched(kind: str, files: int) -> dict:
    """Read the files of a kind in another process, which is started again after a hang."""
    outcomes, defects, longest_s, number = Counter(), [], 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        inside = Path(temporary) / "inside"
        inside.mkdir()
        while number < files:
            command = [sys.executable, __file__, "--files", str(files)]
            with (
                subprocess.Popen(
                    [*command, "--child", kind, str(number), str(inside)],
                    cwd=inside,
                    env=os.environ
                    | {"EDGECIFAR_CACHE": str(inside / "cache"), "TMPDIR": str(inside)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                ) as child,
                selectors.DefaultSelector() as ready,
            ):
                ready.register(child.stdout, selectors.EVENT_READ)
                while number < files:
                    begin = time.monotonic()
                    line = child.stdout.readline() if ready.select(LIMIT_S) else "hang"
                    longest_s = max(longest_s, time.monotonic() - begin)
                    outcome, _, reason = (line.strip() or "died").partition(" ")
                    outcomes[outcome] += 1
                    if outcome not in ("read", "refused"):
                        defects.append(f"{number}: {outcome} {reason}")
                    number += 1
                    if outcome in ("hang", "died"):
                        break
                child.kill()
        outside = [str(path) for path in Path(temporary).iterdir() if path != inside]
    defects += [f"written outside: {path}" for path in outside]
    return {"outcomes": dict(outcomes), "defects": defects, "longest_s": round(longest_s, 1)}


def read_all(kind: str, numbers: range, folder: Path) -> None:
    """Write a damaged file for each number, read it, and print a line for it."""
    make, read = KINDS[kind]
    for number in numbers:
        path = make(random.Random(f"{kind} {number}"), folder)
        try:
            read(path)
            line = "read"
        except UserError as error:
            line = "refused" if "\n" not in str(error) else f"lines {str(error)!r}"
        except BaseException as error:
            line = f"raised {type(error).__name__}: {str(error)[:200]!r}"
        print(line, flush=True)


def damaged(content: bytes, generator: random.Random) -> bytes:
    """A copy with flipped bits, a block of zeros or of noise, or without its end."""
    copy = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 8))):
        place, size = generator.randrange(len(copy)), generator.choice((1, 4, 64, 1024))
        size = min(size, len(copy) - place)
        what = generator.randrange(8)
        if what < 5:
            copy[place] ^= 1 << generator.randrange(8)
        elif what < 7:
            copy[place : place + size] = bytes(size) if what == 5 else generator.randbytes(size)
        else:
            del copy[max(place, 1) :]
    return bytes(copy)


def archive(generator: random.Random, folder: Path) -> Path:
    """A tar of the six files, damaged before or after it is compressed, or with an odd path."""
    random_images = np.random.default_rng(0)
    buffer = io.BytesIO()
    hashes = {}
    outside = generator.random() < 0.2
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in cifar10.SHA256:
            images = random_images.integers(0, 256, (RECORDS, 32, 32, 3), np.uint8)
            content = cifar10.records_of(images, np.arange(RECORDS) % 10).tobytes()
            hashes[name] = hashlib.sha256(content).hexdigest()
            member = tarfile.TarInfo(f"{'../../' if outside else ''}cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    cifar10.SHA256 = hashes
    cifar10.FILE_RECORDS, cifar10.FILE_BYTES = RECORDS, RECORDS * cifar10.RECORD_BYTES
    content = buffer.getvalue()
    if generator.random() < 0.5:
        content = gzip.compress(damaged(content, generator))
    elif not outside:
        content = damaged(gzip.compress(content), generator)
    path = folder / "archive.tar.gz"
    path.write_bytes(content)
    return path


def read_archive(path: Path) -> None:
    for name in cifar10.SHA256:
        (cifar10.cache_folder() / name).unlink(missing_ok=True)
    sources.download(str(path))


def checkpoint(generator: random.Random, folder: Path) -> Path:
    """A small `.keras` archive, damaged in a member or as a whole."""
    whole, path = folder / "whole.keras", folder / "damaged.keras"
    if not whole.exists():
        import keras

        layers = keras.layers
        image = keras.Input((32, 32, 3))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 5, strides=8)(image)))
        x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
        keras.Model(image, x).save(whole)
    if generator.random() < 0.2:
        path.write_bytes(damaged(whole.read_bytes(), generator))
        return path
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        chosen = generator.choice(("config.json", "config.json", "model.weights.h5"))
        for name in old.namelist():
            content = old.read(name)
            if name == chosen and name.endswith(".json") and generator.random() < 0.7:
                content = json.dumps(with_an_edge(json.loads(content), generator)).encode()
            elif name == chosen:
                content = damaged(content, generator)
            new.writestr(name, content)
    return path


def read_checkpoint(path: Path) -> None:
    from edgecifar.export.checkpoint import open_checkpoint
    from edgecifar.export.compact_copy import write_compact

    open_checkpoint(path, "raw")
    write_compact(path, path.with_name("compact.keras"))


def image(generator: random.Random, folder: Path) -> Path:
    """A small image of any mode and format, with EXIF or frames at times, damaged in most cases."""
    from PIL import Image

    suffix, modes = generator.choice(list(IMAGES.items()))
    size = generator.choice(((1, 1), (7, 300), (40, 30), (64, 64), (500, 375)))
    noise = np.random.default_rng(generator.randrange(2**32))
    mode = generator.choice(modes)
    if mode == "I;16":
        whole = Image.fromarray(noise.integers(0, 2**16, size, np.uint16))
    else:
        whole = Image.fromarray(noise.integers(0, 256, (*size, 3), np.uint8)).convert(mode)
    options: dict[str, object] = {}
    if suffix in (".jpg", ".png", ".webp", ".tiff") and generator.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = generator.randrange(1, 9)  # orientation
        options["exif"] = exif
    if suffix in (".gif", ".png", ".webp", ".tiff") and generator.random() < 0.3:
        options |= {"save_all": True, "append_images": [whole.rotate(180), whole]}
    if suffix == ".jpg":
        options["progressive"] = generator.random() < 0.3
    if suffix == ".tiff" and mode in ("L", "P", "RGB"):
        options["compression"] = generator.choice((None, "tiff_lzw", "tiff_deflate", "packbits"))
    path = folder / f"image{generator.choice((suffix, '.png'))}"
    buffer = io.BytesIO()
    whole.save(buffer, FORMAT_NAMES.get(suffix, suffix[1:].upper()), **options)
    content = buffer.getvalue()
    if generator.random() < 0.9:
        # Half of them in the first bytes, where the lengths, sizes and tables are.
        head = generator.choice((64, 600, len(content), len(content)))
        content = damaged(content[:head], generator) + content[head:]
    path.write_bytes(content)
    return path


def read_image(path: Path) -> None:
    """Run `edgecifar predict`, as `main` would, in this process."""
    from edgecifar import cli

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["edgecifar", "predict", str(path), "--model", str(MODEL)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    lines = out.getvalue() if code == 0 else err.getvalue()
    others = err.getvalue() if code == 0 else out.getvalue()
    if code not in (0, UserError.exit_code) or lines.count("\n") != 1 or others:
        raise AssertionError(f"exit code {code}: {out.getvalue()!r} {err.getvalue()!r}")
    if code:
        raise UserError(lines.removesuffix("\n"))


def result(generator: random.Random, folder: Path) -> Path:
    """A recorded result, with damaged bytes or with an odd value in it."""
    content = (ROOT / "benchmarks" / "shipped_model.json").read_bytes()
    if generator.random() < 0.3:
        content = damaged(content, generator)
    else:
        found = json.loads(content)
        for _ in range(generator.choice((1, 2, 5))):
            found = with_an_edge(found, generator)
        content = json.dumps(found).encode()
    path = folder / "result.json"
    path.write_bytes(content)
    return path


def read_result(path: Path) -> None:
    from edgecifar.bench.results.comparison import compare
    from edgecifar.bench.results.result import load

    whole = load(ROOT / "benchmarks" / "shipped_model.json")
    compare([("whole", whole), ("damaged", load(path))])


def with_an_edge(value: object, generator: random.Random) -> object:
    """A copy of JSON values with an odd value somewhere, or with one left out."""
    if isinstance(value, dict | list) and value and generator.random() < 0.9:
        copy = value.copy()
        key = generator.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        if generator.random() < 0.1:
            del copy[key]
        else:
            copy[key] = with_an_edge(copy[key], generator)
        return copy
    return generator.choice(EDGES)


Make = Callable[[random.Random, Path], Path]
KINDS: dict[str, tuple[Make, Callable[[Path], None]]] = {
    "archives": (archive, read_archive),
    "checkpoints": (checkpoint, read_checkpoint),
    "images": (image, read_image),
    "results": (result, read_result),
}

if __name__ == "__main__":
    main()
