"""A whole bench on machines behind real ssh daemons."""

import contextlib
import json
import re
import subprocess
import sys

import loopback
import psutil
import tiny_models

import edgecifar
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.ssh import Ssh
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings

QUICK = BenchSettings(samples=20, max_seconds=0.1)
SOON_S = 10.0


def test_machines_are_measured_beside_each_other(tiny_tflite, serve, litert_python):
    with contextlib.ExitStack() as opened:
        servers = [serve(path=[litert_python, *loopback.SYSTEM_PATH]) for _ in range(2)]
        hosts = [Ssh(server.url) for server in servers]
        for host in hosts:
            opened.callback(host.close)
        made = bench([tiny_tflite], None, QUICK, [*hosts, Local()])
        assert [row["host"] for row in made["rows"] if row["runtime"] == "litert"] == [
            *(host.name for host in hosts),
            None,
        ]
        assert set(made["machines"]) == {*(host.name for host in hosts), "local"}
        litert = [row for row in made["rows"] if row["runtime"] == "litert"]
        assert [row["error"] for row in litert] == [None] * 3
        assert len({row["top1"] for row in litert}) == 1
        for pair in made["pairs"]:  # rows of one machine only took turns
            a, b = (made["rows"][pair[side]] for side in "ab")
            assert a["host"] == b["host"]
        assert json.loads(json.dumps(made)) == made
    left = [worker for server in servers for worker in server.workers()]
    _, alive = psutil.wait_procs(left, SOON_S)
    assert not alive


def test_what_fails_there_is_a_row_without_its_paths(tmp_path, serve, python):
    """The machine has no LiteRT, and then a file that is none."""
    text = tmp_path / "text.tflite"
    text.write_text("a model, they said")
    model = tiny_models.write_tflite(tmp_path / "tiny.tflite")
    with contextlib.closing(Ssh(serve().url)) as host:
        made = bench([model, text], ["litert"], QUICK, [host])
    absent, damaged = (row["error"] for row in made["rows"])
    assert "litert is not installed" in absent
    assert damaged
    assert ".cache" not in damaged


def test_the_command_says_what_stays_there_and_how_to_remove_it(
    tiny_tflite, serve, litert_python, tmp_path
):
    server = serve(path=[litert_python, *loopback.SYSTEM_PATH])
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "edgecifar", "bench", tiny_tflite, "--on", server.url]
    quick = ["--samples", "20", "--max-seconds", "0.1", "--json", result]
    done = subprocess.run([*command, *quick], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(result.read_text())["rows"]
    assert row["host"] in done.stdout
    kept = re.search(r"keeps the copied files for the next bench; `(.+)` removes them", done.stderr)
    assert server.cache.is_dir()
    subprocess.run(["sh", "-c", kept[1]], check=True)
    assert not server.cache.exists()


def test_the_python_api_takes_addresses_and_closes_the_machines(tiny_tflite, serve, litert_python):
    server = serve(path=[litert_python, *loopback.SYSTEM_PATH])
    labels = []

    @contextlib.contextmanager
    def progress(job, total):
        yield lambda done, total=None, label=None: labels.append(label)

    made = edgecifar.bench(
        tiny_tflite, "litert", hosts=server.url, samples=20, max_seconds=0.1, progress=progress
    )
    (row,) = made["rows"]
    assert row["error"] is None
    assert row["host"] in server.url
    assert labels[0] == f"connecting to {row['host']}"
    _, alive = psutil.wait_procs(server.workers(), SOON_S)
    assert not alive
