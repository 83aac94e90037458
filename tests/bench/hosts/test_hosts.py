import ast
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import foreign_files
import loopback
import numpy as np
import psutil
import pytest

from edgecifar.bench.hosts import archive, ssh
from edgecifar.bench.hosts.exits import exit_reason
from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.ssh import Ssh
from edgecifar.errors import UserError

SOON_S = 10.0


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """Where a Python is that has nothing."""
    return loopback.make_python(tmp_path_factory.mktemp("bare") / "venv", [])


@pytest.fixture
def server(serve) -> loopback.Server:
    return serve()


@pytest.fixture
def connect():
    """`Ssh`, closed in the end."""
    with contextlib.ExitStack() as opened:

        def make(server: loopback.Server, **options) -> Ssh:
            host = Ssh(server.url, **options)
            opened.callback(host.close)
            return host

        yield make


@pytest.fixture
def worker():
    """Starts a worker on a host."""
    with contextlib.ExitStack() as running:

        def start(host: Host, **options) -> "Worker":
            made = Worker(host, **options)
            running.callback(made.close)
            return made

        yield start


class Worker:
    """A worker that is asked what any answers."""

    def __init__(self, host: Host, **options) -> None:
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = host.start(self.stderr, **options)

    def ask(self, **command) -> dict:
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        if line := self.process.stdout.readline():
            return json.loads(line)
        raise AssertionError(self.reason())

    def reason(self) -> str:
        status = self.process.wait(SOON_S)
        self.stderr.seek(0)
        return exit_reason(status, self.stderr.read().decode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.stderr.close()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def running_in(server: loopback.Server) -> psutil.Process:
    """The one worker of a machine; it is younger than what keeps it."""
    wait_until(lambda: len(server.workers()) == 2)
    return server.workers()[1]


def ssh_of(client: loopback.Client) -> list[psutil.Process]:
    config = str(client.bin.parent / "config")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if config in process.cmdline():
                found.append(process)
    return found


def stored(server: loopback.Server) -> list[Path]:
    """The files that were copied to a machine, the archive of the worker apart."""
    return [path for path in (server.cache / "files").iterdir() if path.suffix != ".pyz"]


def error_of(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_worker_answers_from_another_machine(server, connect, worker):
    host = connect(server)
    assert host.name == server.url.removeprefix("ssh://")
    started = worker(host)
    assert started.ask(do="runtimes") == {}  # there is numpy and nothing else
    assert "AttributeError" in started.ask(do="dance")["error"]
    assert worker(host).ask(do="runtimes") == {}
    started.process.stdin.close()
    assert started.process.wait(SOON_S) == 0


def test_a_worker_takes_no_gpu_and_is_kept_by_a_sleeping_process(server, connect, worker):
    started = worker(connect(server))
    started.ask(do="runtimes")
    keeper, working = server.workers()
    assert working.environ()["CUDA_VISIBLE_DEVICES"] == "-1"
    assert working.ppid() == keeper.pid
    before = keeper.cpu_times()
    started.ask(do="runtimes")
    time.sleep(0.2)
    assert keeper.cpu_times() == before


def test_files_arrive_whole_and_once(server, connect, tmp_path):
    told = []
    content = os.urandom(3_000_000)
    path = tmp_path / 'a model\'s "name" $(x).tflite'
    path.write_bytes(content)
    again = tmp_path / "again.tflite"
    again.write_bytes(content)
    host = connect(server, progress=lambda *said: told.append(said))
    there = host.send(path)
    assert Path(there).read_bytes() == content
    assert there.endswith(".tflite")
    done = [said[1] for said in told if path.name in said[0]]
    assert done == sorted(done)
    assert told[-1] == (f"copying {path.name} to {host.name}", len(content), len(content))
    told.clear()
    assert host.send(again) == host.send(path) == there
    host.close()
    later = connect(server, progress=lambda *said: told.append(said))
    assert later.send(path) == there
    assert not [said for said in told if said[2]]
    assert stored(server) == [Path(there)]
    assert stat.S_IMODE(server.cache.stat().st_mode) == 0o700


def test_weights_beside_a_file_are_sent_with_it(server, connect, tmp_path):
    pytest.importorskip("onnx")
    network = foreign_files.untrained(np.random.default_rng(0).random((8, 32, 32, 3)))
    path = foreign_files.write_onnx(tmp_path / "net.onnx", network)
    foreign_files.put_weights_beside(path)
    data = path.with_name("net.onnx.data")
    host = connect(server)
    there = Path(host.send(path))
    assert there.read_bytes() == path.read_bytes()
    assert there.with_name(data.name).read_bytes() == data.read_bytes()
    data.write_bytes(data.read_bytes()[::-1])
    other = Path(host.send(path))
    assert other != there
    assert other.with_name(data.name).read_bytes() == data.read_bytes()


def test_a_folder_arrives_whole(server, connect, tmp_path):
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    there = Path(connect(server).send(folder))
    assert (there / "saved_model.pb").read_bytes() == b"\x08\x01"
    assert (there / "variables" / "variables.index").read_bytes() == b"index"


def test_a_file_that_changed_is_sent_anew(server, connect, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"one")
    host = connect(server)
    first = host.send(path)
    path.write_bytes(b"three")
    second = host.send(path)
    assert Path(first).read_bytes() == b"one"
    assert Path(second).read_bytes() == b"three"


def test_an_empty_file_and_a_missing_one(server, connect, tmp_path):
    host = connect(server)
    (tmp_path / "empty").touch()
    assert Path(host.send(tmp_path / "empty")).read_bytes() == b""
    missing = tmp_path / "missing.tflite"
    assert error_of(lambda: host.send(missing)) == (
        f"{missing}: cannot be read: No such file or directory"
    )


def test_a_copy_that_was_damaged_there_is_replaced(server, connect, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"right")
    there = Path(connect(server).send(path))
    there.write_bytes(b"wrong")
    assert connect(server).send(path) == str(there)
    assert there.read_bytes() == b"right"


def test_a_file_that_changes_on_its_way_is_not_stored(server, connect, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(3_000_000))

    def change(doing, done, total):
        if total == 3_000_000 and done < total:
            with path.open("r+b") as file:
                file.seek(2_900_000)
                file.write(b"changed")

    host = connect(server, progress=change)
    assert "arrived damaged" in error_of(lambda: host.send(path))
    assert not stored(server)


def test_a_copy_that_is_cut_leaves_nothing(server, connect, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(os.urandom(3_000_000))

    def cut(doing, done, total):
        if total == 3_000_000 and done > total / 2:
            server.cut()

    host = connect(server, progress=cut)
    assert "lost the connection" in error_of(lambda: host.send(path))
    wait_until(lambda: not stored(server))


def test_a_full_disk_there_is_one_line(serve, connect, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    server = serve(before=limit)
    path = tmp_path / "model.tflite"
    path.write_bytes(os.urandom(3_000_000))
    host = connect(server)
    said = error_of(lambda: host.send(path))
    assert said.endswith(": File too large")
    assert str(path) in said
    assert host.name in said
    assert not stored(server)
    path.write_bytes(b"small")
    assert Path(host.send(path)).read_bytes() == b"small"


def test_a_cache_that_cannot_be_made_is_one_line(server):
    (server.home / ".cache").touch()
    assert "mkdir" in error_of(lambda: Ssh(server.url))
    (server.home / ".cache").unlink()
    server.cache.mkdir(parents=True)
    (server.cache / "files").touch()
    assert "File exists" in error_of(lambda: Ssh(server.url))


def test_the_cache_goes_where_the_other_machine_wants_it(serve, connect, tmp_path):
    wanted = tmp_path / "wanted"
    loopback_settings = f'AcceptEnv XDG_CACHE_HOME\nForceCommand XDG_CACHE_HOME="{wanted}" '
    server = serve(settings=f'{loopback_settings}sh -c "$SSH_ORIGINAL_COMMAND"')
    host = connect(server)
    assert host.cache == str(wanted / "edgecifar" / "bench")
    assert not server.cache.exists()
    subprocess.run(["sh", "-c", host.removal], check=True)
    assert not Path(host.cache).exists()


def test_what_keeps_a_connection_from_opening_is_one_line(server, client):
    def refused(url: str) -> str:
        said = error_of(lambda: Ssh(url))
        name = url.removeprefix("ssh://")
        assert said.startswith(f"{name}: ")
        assert not ssh_of(client)
        return said

    assert "resolve" in refused("ssh://pi@nowhere.invalid")
    client.known_hosts.write_text("")
    assert f"accept it with `ssh -p {server.port} " in refused(server.url)
    client.known_hosts.write_text(server.known)
    client.key.unlink()
    loopback.make_key(client.key)
    assert "ssh-copy-id" in refused(server.url)
    server.process.kill()
    server.process.wait()
    assert "Connection refused" in refused(server.url)


def test_no_ssh_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "OpenSSH" in error_of(lambda: Ssh("ssh://pi@raspberrypi"))


def test_a_server_that_says_nothing_is_given_up(client, monkeypatch):
    monkeypatch.setattr(ssh, "CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        reason = error_of(lambda: Ssh(f"ssh://127.0.0.1:{port}"))
    assert reason.startswith(f"127.0.0.1:{port}: cannot be reached: ")
    assert "timed out" in reason


def test_a_shell_that_talks_is_one_line(serve):
    server = serve(settings='ForceCommand echo Welcome home; sh -c "$SSH_ORIGINAL_COMMAND"')
    assert "'Welcome home'" in error_of(lambda: Ssh(server.url))


def test_no_python_is_one_line(serve, tmp_path):
    tools = tmp_path / "tools"
    for tool in ("sh", "cat", "mkdir", "chmod"):
        loopback.write_program(tools / tool, f'exec {shutil.which(tool)} "$@"')
    server = serve([tools])
    assert "there is no Python 3.10 or newer there: install" in error_of(lambda: Ssh(server.url))
    assert "/nowhere/python is no Python 3.10" in error_of(
        lambda: Ssh(server.url, python="/nowhere/python")
    )


def test_an_old_python_is_one_line(server, tmp_path):
    old = '{"python": "/usr/bin/python3", "version": [3, 7, 3], "numpy": "1.16.2"}'
    loopback.write_program(tmp_path / "python3.7", f"echo '{old}'; exit 1")
    said = error_of(lambda: Ssh(server.url, python=str(tmp_path / "python3.7")))
    assert "no Python 3.10 or newer there, only 3.7.3: install one" in said


def test_no_numpy_is_one_line(serve, bare_python):
    server = serve([bare_python, *loopback.SYSTEM_PATH])
    chosen = str(bare_python / "python3")
    said = error_of(lambda: Ssh(server.url, python=chosen))
    assert f"({chosen}) has no numpy there: install python3-numpy" in said


def test_the_python_that_is_named_is_used(serve, connect, worker, bare_python, tmp_path):
    server = serve([bare_python, *loopback.SYSTEM_PATH])
    loopback.make_python(server.home / "a venv's", ["numpy"])
    host = connect(server, python="~/a venv's/bin/python")
    assert host.python == str(server.home / "a venv's" / "bin" / "python")
    started = worker(host)
    assert started.ask(do="runtimes") == {}
    assert server.workers()[0].cmdline()[0] == host.python


def test_another_python_can_be_named_for_one_worker(server, connect, worker, tmp_path):
    named = loopback.make_python(tmp_path / "named", ["numpy", "ai_edge_litert"]) / "python"
    host = connect(server)
    assert list(worker(host, python=str(named)).ask(do="runtimes")) == ["litert"]
    absent = worker(host, python="/nowhere/python")
    assert absent.process.stdout.readline() == b""
    assert "/nowhere/python" in absent.reason()


def test_a_python_without_numpy_is_passed_over(serve, connect, python, bare_python, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    loopback.write_program(mixed / "python3", f'exec {bare_python / "python3"} "$@"')
    loopback.write_program(mixed / "python3.11", f'exec {python / "python3"} "$@"')
    host = connect(serve([mixed, "/bin"]))
    assert host.python == str(python / "python3")


@pytest.mark.parametrize(
    "url",
    [
        "ssh://-oProxyCommand=touch x",
        "ssh://-oProxyCommand=x@host",
        "ssh://pi@-oProxyCommand=x",
        "ssh://pi@host;ls",
        "ssh://pi@host$(ls)",
        "ssh://pi@host name",
        "ssh://pi@host\n",
        "ssh://pi:secret@host",
        "ssh://host:0",
        "ssh://host:65536",
        "ssh://host:22x",
        "ssh://host/path",
        "ssh://[::1",
        "ssh://",
        "ssh://@host",
        "ssh:host",
        "pi@host",
        "http://host",
        "",
    ],
)
def test_what_is_no_address_is_refused_before_ssh_runs(url, monkeypatch, tmp_path):
    ran = tmp_path / "ran"
    loopback.write_program(tmp_path / "ssh", f"touch {ran}")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "ssh://[user@]host[:port]" in error_of(lambda: Ssh(url))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("url", "where", "name"),
    [
        ("ssh://pi@raspberrypi", ["--", "pi@raspberrypi"], "pi@raspberrypi"),
        ("ssh://Pi-5.local/", ["--", "Pi-5.local"], "Pi-5.local"),
        ("ssh://pi@h:2222", ["-p", "2222", "--", "pi@h"], "pi@h:2222"),
        (
            "ssh://pi@[fe80::1%eth0]:22",
            ["-p", "22", "--", "pi@fe80::1%eth0"],
            "pi@[fe80::1%eth0]:22",
        ),
    ],
)
def test_an_address_reaches_ssh_behind_its_options(url, where, name, monkeypatch, tmp_path):
    loopback.write_program(tmp_path / "ssh", f'printf "%s\\n" "$@" > {tmp_path}/words; exit 255')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert error_of(lambda: Ssh(url)).startswith(f"{name}: cannot be reached")
    words = (tmp_path / "words").read_text().splitlines()
    assert words[-len(where) - 1 : -1] == where


def test_a_cut_connection_is_the_reason_and_leaves_no_worker(server, connect, worker):
    started = worker(connect(server))
    started.ask(do="runtimes")
    os.kill(running_in(server).pid, signal.SIGSTOP)  # inside a command, reading nothing
    server.cut()
    assert started.process.stdout.readline() == b""
    assert started.reason().startswith("lost the connection to its host")
    wait_until(lambda: not server.workers())


def test_a_machine_that_vanishes_is_the_reason(server, connect, worker, monkeypatch):
    monkeypatch.setattr(ssh, "ALIVE_INTERVAL_S", 1)
    monkeypatch.setattr(ssh, "ALIVE_COUNT", 1)
    started = worker(connect(server))
    started.ask(do="runtimes")
    for connection in server.connections():
        connection.suspend()
    assert started.process.stdout.readline() == b""
    assert started.reason().startswith("lost the connection to its host")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGILL])
def test_a_crash_there_is_told_from_a_lost_connection(server, connect, worker, number):
    host = connect(server)
    started = worker(host)
    started.ask(do="runtimes")
    running_in(server).send_signal(number)
    assert started.process.stdout.readline() == b""
    assert f"({number.name})" in started.reason()
    assert worker(host).ask(do="runtimes") == {}


def test_a_worker_that_hangs_ends_with_its_ssh(server, connect, worker):
    host = connect(server)
    started = worker(host)
    started.ask(do="runtimes")
    os.kill(running_in(server).pid, signal.SIGSTOP)
    started.process.kill()
    wait_until(lambda: not server.workers())
    assert worker(host).ask(do="runtimes") == {}


def test_a_keeper_that_is_killed_takes_its_worker_along(server, connect, worker):
    started = worker(connect(server))
    started.ask(do="runtimes")
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    server.workers()[0].kill()
    wait_until(lambda: not server.workers())


def test_a_killed_parent_leaves_no_worker_and_no_ssh(server, client):
    program = f"""
import sys, tempfile, time
from edgecifar.bench.hosts.ssh import Ssh
host = Ssh({server.url!r})
workers = [host.start(tempfile.TemporaryFile()) for _ in range(2)]
for worker in workers:
    worker.stdin.write(b'{{"do": "runtimes"}}\\n')
    worker.stdin.flush()
    worker.stdout.readline()
print("ready", flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"ready\n"
    running = server.workers()
    assert len(running) == 4
    for process in running:
        if process.ppid() in [other.pid for other in running]:
            process.suspend()  # inside a command, reading nothing
    assert ssh_of(client)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not server.workers())
    wait_until(lambda: not ssh_of(client))
    wait_until(lambda: not server.connections())


def test_closing_ends_workers_and_leaves_nothing_here(server, connect, worker, client):
    host = connect(server)
    started = worker(host)
    started.ask(do="runtimes")
    os.kill(running_in(server).pid, signal.SIGSTOP)
    assert host._folder.exists()
    host.close()
    host.close()
    assert not host._folder.exists()
    started.process.wait(SOON_S)
    wait_until(lambda: not server.workers())
    assert not ssh_of(client)


def test_two_machines_at_once(serve, connect, worker, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    servers = [serve(), serve()]
    opened: list[Ssh] = []
    threads = [
        threading.Thread(target=lambda s=server: opened.append(connect(s))) for server in servers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({host.name for host in opened}) == 2
    assert len({host.send(path) for host in opened}) == 2
    workers = [worker(host) for host in opened]
    assert [started.ask(do="runtimes") for started in workers] == [{}, {}]
    assert [len(server.workers()) for server in servers] == [2, 2]
    opened[0].close()
    assert workers[1].ask(do="runtimes") == {}


def test_a_server_that_allows_one_session_a_connection(serve, connect, worker, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    host = connect(serve(settings="MaxSessions 1"))
    assert Path(host.send(path)).read_bytes() == b"a model"
    workers = [worker(host) for _ in range(3)]
    assert [started.ask(do="runtimes") for started in workers] == [{}] * 3


def test_bootstrap_makes_an_environment_once(serve, connect, worker, bare_python, monkeypatch):
    pytest.importorskip("ensurepip")
    monkeypatch.setattr(ssh, "BOOTSTRAP_PACKAGES", ("numpy",))
    server = serve([bare_python, *loopback.SYSTEM_PATH])
    told = []

    def printed() -> list[str]:
        lines, told[:] = [said[0] for said in told if "ollecting numpy" in said[0]], []
        return lines

    host = connect(server, bootstrap=True, progress=lambda *said: told.append(said))
    assert host.python == str(server.cache / "venv" / "bin" / "python")
    assert worker(host).ask(do="runtimes") == {}
    assert printed()
    assert "numpy" in (server.cache / "bootstrap.log").read_text()
    again = connect(server, bootstrap=True, progress=lambda *said: told.append(said))
    assert again.python == host.python
    assert not printed()
    assert connect(server).python == host.python
    # One that broke is made anew.
    shutil.rmtree(next((server.cache / "venv").glob("lib/python*/site-packages/numpy")))

    def stop(doing, done, total):
        if "ollecting numpy" in doing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connect(server, bootstrap=True, progress=stop)


def test_a_bootstrap_that_fails_is_one_line(serve, monkeypatch, bare_python):
    pytest.importorskip("ensurepip")
    monkeypatch.setattr(ssh, "BOOTSTRAP_PACKAGES", ("./nowhere",))
    server = serve([bare_python, *loopback.SYSTEM_PATH])
    said = error_of(lambda: Ssh(server.url, bootstrap=True))
    assert "cannot bootstrap" in said
    assert "nowhere" in said
    assert f"log there: {server.cache}/bootstrap.log" in said
    assert "nowhere" in (server.cache / "bootstrap.log").read_text()


def test_this_machine_runs_workers_of_any_python(worker, python, monkeypatch, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('not this one')")
    host = Local()
    assert host.name is None
    assert host.send(tmp_path / "numpy.py") == str(tmp_path / "numpy.py")
    monkeypatch.chdir(tmp_path)
    assert "litert" in worker(host).ask(do="runtimes")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = worker(host, python=str(python / "python"))
    assert started.ask(do="runtimes") == {}
    assert psutil.Process(started.process.pid).environ()["CUDA_VISIBLE_DEVICES"] == "-1"
    folder = host._folder
    assert folder.exists()
    host.close()
    assert not folder.exists()
    os.kill(started.process.pid, signal.SIGSEGV)
    assert "crashed (SIGSEGV)" in started.reason()


@pytest.mark.parametrize(
    ("status", "stderr", "reason"),
    [
        (-11, "", "crashed (SIGSEGV): the file may be damaged"),
        (139, "INFO: XNNPACK", "crashed (SIGSEGV): the file may be damaged"),
        (-4, "", "crashed (SIGILL): the runtime may be built for another processor"),
        (137, "", "was killed (SIGKILL), perhaps because memory ran out"),
        (-15, "", "was ended (SIGTERM)"),
        (255, "INFO: XNNPACK\n", "lost the connection to its host"),
        (
            255,
            "Timeout, server pi not responding.\r\nINFO: XNNPACK\n",
            "lost the connection to its host: Timeout, server pi not responding.",
        ),
        (1, "Traceback\n  line\nImportError: no\n\n", "ended with status 1: ImportError: no"),
        (3, "", "ended with status 3: it printed nothing"),
        (254, "", "ended with status 254: it printed nothing"),
    ],
)
def test_exit_reasons(status, stderr, reason):
    assert exit_reason(status, stderr) == reason


def test_the_archive_runs_in_the_oldest_python_and_is_the_same_each_time(tmp_path):
    found = archive.modules()
    assert {"edgecifar", archive.WORKER, archive.REMOTE, "edgecifar.errors"} <= set(found)
    assert not {"edgecifar.api", "edgecifar.training", "edgecifar.export"} & set(found)
    for path in found.values():
        ast.parse(path.read_text("utf-8"), feature_version=ssh.OLDEST_PYTHON)
    for name in ("one", "two"):
        archive.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
