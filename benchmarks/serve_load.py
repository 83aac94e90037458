"""What `edgecifar serve` answers under load, beside what the model alone takes.

The command runs as a user would start it, in a process of its own on the loopback, and clients in
one other process send it one JPEG photograph after the other, each over a connection of its own
that stays open. The number of clients changes from turn to turn, and the turns of one number are
spread over the whole time. Before the first turn and after the last one, the classifier is timed
alone, in the process of the clients while the server rests, on the same photograph: once from the
file's bytes and once from its pixels. The memory of the server is read after a warm-up and after
each turn.

    python benchmarks/serve_load.py [--requests 10000] --json benchmarks/serve_load.json
"""

import argparse
import asyncio
import io
import itertools
import json
import re
import subprocess
import sys
import time
from operator import itemgetter
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from edgecifar import files
from edgecifar.bench.worker.sensors import load_average
from edgecifar.data import shipped
from edgecifar.hardware import summary
from edgecifar.metrics.latency import milliseconds
from edgecifar.predict import images
from edgecifar.predict.classifier import Classifier
from edgecifar.report.progress import progress_bar, stdout_console
from edgecifar.report.tables import Column, Table, print_table

MODEL = Path(__file__).parents[1] / "exported" / "model.tflite"
SIDE = 640  # of the photograph, in pixels
CLIENTS = (1, 4, 8)
TURNS = 5
WARM_UP, ALONE = 200, 500
MIB = 2**20

COLUMNS = (
    Column("clients", itemgetter("clients")),
    Column("requests", itemgetter("requests")),
    Column("failures", itemgetter("failures")),
    Column("rate", itemgetter("requests_per_s"), "{:.0f}".format, "1/s"),
    Column("p50", itemgetter("p50_ms"), milliseconds, "ms"),
    Column("p99", itemgetter("p99_ms"), milliseconds, "ms"),
    Column("model p50", itemgetter("model_p50_ms"), milliseconds, "ms"),
    Column("model p99", itemgetter("model_p99_ms"), milliseconds, "ms"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--requests", type=int, default=10_000, help="in all turns together")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    files.check_writable(arguments.json.parent)
    picture = photograph()
    load_before = load_average()
    before = alone(arguments.model, picture)
    command = ["-m", "edgecifar", "serve", "--model", arguments.model, "--port", "0"]
    server = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r":(\d+);", server.stderr.readline())[1])
        memory = psutil.Process(server.pid).memory_info
        turns = asyncio.run(load(port, picture, arguments.requests, memory))
    finally:
        server.terminate()
        exit_code = server.wait(30)
    found = {
        "machine": summary(),
        "model": arguments.model.name,
        "photograph": {"pixels": f"{SIDE} x {SIDE}", "bytes": len(picture)},
        "alone": {"before": before, "after": alone(arguments.model, picture)},
        "load": [of_clients(turns, clients) for clients in CLIENTS],
        "failures": sum(turn["failures"] for turn in turns),
        "server_memory_mib": [round(turn["memory_mib"], 1) for turn in turns],
        "server_exit_code": exit_code,
        "load_average": [load_before, load_average()],
    }
    files.write_json(arguments.json, found)
    print_table(stdout_console(), Table(COLUMNS, found["load"]))


def photograph() -> bytes:
    """A JPEG file of a test image, enlarged."""
    image = Image.fromarray(shipped.test_set().images()[0])
    file = io.BytesIO()
    image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def alone(model: Path, picture: bytes) -> dict:
    """The classifier without a server: from a file's bytes, and from pixels."""
    with Classifier(model) as classifier:
        pixels = images.read(picture, classifier.side, "the photograph")

        def from_bytes() -> None:
            classifier.predict(images.read(picture, classifier.side, "the photograph"))

        return {
            "from_bytes": quantiles(timed(from_bytes)),
            "from_pixels": quantiles(timed(lambda: classifier.predict(pixels))),
        }


def timed(call) -> list[float]:
    """How long each call takes, in ms, without the first ones."""
    times = []
    for _ in range(WARM_UP + ALONE):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return times[WARM_UP:]


def quantiles(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


async def load(port: int, picture: bytes, requests: int, memory) -> list[dict]:
    """All turns; the first one is a warm-up, which counts for the memory only."""
    turns = [await turn(port, picture, 1, WARM_UP) | {"requests": 0}]
    turns[0]["memory_mib"] = memory().rss / MIB
    order = [clients for _ in range(TURNS) for clients in CLIENTS]
    shares = np.diff(np.linspace(0, requests, len(order) + 1).astype(int))
    with progress_bar("requests", requests) as update:
        for clients, share in zip(order, shares, strict=True):
            done = await turn(port, picture, clients, int(share))
            turns.append(done | {"memory_mib": memory().rss / MIB})
            update(sum(one["requests"] for one in turns))
    return turns


async def turn(port: int, picture: bytes, clients: int, requests: int) -> dict:
    """Some requests from some clients at the same time."""
    numbers, times, model_times, failures = itertools.count(), [], [], []
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    )
    request = head.encode() + picture

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while next(numbers) < requests:
            began = time.perf_counter()
            writer.write(request)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            (length,) = (line.split(": ")[1] for line in lines if line.startswith("content-length"))
            answer = json.loads(await reader.readexactly(int(length)))
            times.append(1000 * (time.perf_counter() - began))
            if lines[0].split()[1] == "200" and answer["top"][0]["label"] == "cat":
                model_times.append(answer["predict_ms"])
            else:
                failures.append(answer)
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return {
        "clients": clients,
        "requests": requests,
        "seconds": time.perf_counter() - began,
        "failures": len(failures),
        "times": times,
        "model_times": model_times,
    }


def of_clients(turns: list[dict], clients: int) -> dict:
    """The turns of one number of clients together."""
    mine = [turn for turn in turns if turn["clients"] == clients and turn["requests"]]
    whole = quantiles([one for turn in mine for one in turn["times"]])
    model = quantiles([one for turn in mine for one in turn["model_times"]])
    requests = sum(turn["requests"] for turn in mine)
    return {
        "clients": clients,
        "requests": requests,
        "failures": sum(turn["failures"] for turn in mine),
        "requests_per_s": round(requests / sum(turn["seconds"] for turn in mine), 1),
        **whole,
        **{f"model_{name}": value for name, value in model.items()},
    }


if __name__ == "__main__":
    main()
