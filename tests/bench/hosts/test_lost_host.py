"""A machine that is lost in the middle of a bench on several."""

import contextlib
import io
import threading

import loopback
import psutil
from rich.console import Console
from showing import showing

from edgecifar.bench.hosts.ssh import Ssh
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings
from edgecifar.report.bench_table import bench_table

TIMED_S = 0.5
SOON_S = 10.0


def test_the_other_machine_is_measured_whole(tiny_tflite, serve, litert_python, capfd):
    kept, lost = (serve(path=[litert_python, *loopback.SYSTEM_PATH]) for _ in range(2))
    settings = BenchSettings(samples=500, max_seconds=TIMED_S, precision=1e-6)
    label = f"{tiny_tflite.name} in litert"
    timing: set[int] = set()

    def cut_off_when_both_are_timed(doing: str, done: float) -> None:
        if doing == label and len(timing) < 2:
            timing.add(threading.get_ident())
            if len(timing) == 2:
                lost.cut()

    with contextlib.ExitStack() as opened:
        hosts = [Ssh(server.url) for server in (lost, kept)]
        for host in hosts:
            opened.callback(host.close)
        made = bench(
            [tiny_tflite],
            ["litert"],
            settings,
            hosts,
            progress=showing(cut_off_when_both_are_timed),
        )
    assert len(timing) == 2
    broken, whole = made["rows"]
    assert [broken["host"], whole["host"]] == [host.name for host in hosts]
    assert set(made["machines"]) == {host.name for host in hosts}
    assert "lost the connection" in broken["error"]
    assert broken["top1"] is broken["latency_ms"]["p50"] is None
    assert whole["error"] is None
    assert whole["images"] == 500
    assert whole["timed_s"] >= TIMED_S
    assert made["machines"][whole["host"]]["conditions"]["during"]
    assert made["pairs"] == []
    console = Console(file=io.StringIO())
    bench_table(made, console)
    assert broken["error"] in console.file.getvalue()
    assert "Traceback" not in "".join(capfd.readouterr())
    _, alive = psutil.wait_procs([*kept.workers(), *lost.workers()], SOON_S)
    assert not alive
