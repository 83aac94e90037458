"""A real sshd on the loopback that plays another machine, and the ssh that knows it.

The machine has a home, a PATH and a Python of its own; the user's own ssh files are not touched.
"""

import contextlib
import getpass
import importlib.util
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from edgecifar.bench.hosts import archive

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_S = 10.0
SYSTEM_PATH = ("/usr/bin", "/bin")
# How a package index is reached may be said in the environment.
INDEX_VARIABLES = ("PIP_", "SSL_", "REQUESTS_", "http_", "https_", "HTTP_", "HTTPS_")


def need_sshd() -> None:
    """Skip where there is no sshd, or none that may be started."""
    for program in ("ssh", "ssh-keygen"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: apt install openssh-client")
    if not SSHD:
        pytest.skip("sshd is not installed: apt install openssh-server")
    if os.geteuid() == 0:  # where sshd shuts itself in before a login
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


class Client:
    """The ssh of a user with a key and no known hosts yet; `bin` belongs on the PATH."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.bin = folder / "bin"
        self.key = make_key(folder / "key")
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        config = folder / "config"
        config.write_text(
            f"IdentityFile {self.key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.known_hosts}\nGlobalKnownHostsFile none\n"
        )
        # ssh looks for its files in the home of the password database, whatever HOME says.
        real = shlex.quote(shutil.which("ssh"))
        write_program(self.bin / "ssh", f'exec {real} -F {shlex.quote(str(config))} "$@"')


@dataclass
class Server:
    """A running sshd; `known` is its line in known_hosts."""

    process: subprocess.Popen
    port: int
    home: Path
    known: str

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "edgecifar" / "bench"

    def connections(self) -> list[psutil.Process]:
        """The processes of sshd that hold a connection each, or help one."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "sshd" in child.name()]

    def cut(self) -> None:
        """Break every connection, as a network does."""
        for connection in self.connections():
            with contextlib.suppress(psutil.NoSuchProcess):  # it went with the one before
                connection.kill()

    def workers(self) -> list[psutil.Process]:
        """The workers and their keepers, the first started first."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if archive.REMOTE in line and any(str(self.cache) in word for word in line):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())


@contextlib.contextmanager
def serving(
    folder: Path,
    client: Client,
    path: Sequence[Path | str],
    settings: str = "",
    before=None,
) -> Iterator[Server]:
    """Run an sshd that lets the client in.

    Args:
        folder: for its files; made.
        client: its key is authorized, and the host's becomes known to it.
        path: the PATH there.
        settings: further lines of sshd_config.
        before: called in the process of sshd before it starts.
    """
    home = folder / "home of 'pi'"
    home.mkdir(parents=True)
    host_key = make_key(folder / "host_key")
    authorized = shutil.copy(f"{client.key}.pub", folder / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"HOME": home, "PATH": os.pathsep.join(map(str, path))} | {
        name: value for name, value in os.environ.items() if name.startswith(INDEX_VARIABLES)
    }
    config = folder / "sshd_config"
    config.write_text(
        f"""\
ListenAddress 127.0.0.1:{port}
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
SetEnv {" ".join(f'"{name}={value}"' for name, value in environment.items())}
{settings}
"""
    )
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", config],
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=before,
        )
    try:
        _wait_for(port, process, log)
        known = f"[127.0.0.1]:{port} {Path(f'{host_key}.pub').read_text()}"
        with client.known_hosts.open("a") as hosts:
            hosts.write(known)
        yield Server(process, port, home, known)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()


def make_python(folder: Path, packages: Sequence[str]) -> Path:
    """A virtual environment with some of this one's packages, and nothing else.

    Args:
        folder: made.
        packages: how the names begin in site-packages.

    Returns:
        Its folder of programs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    ours = Path(importlib.util.find_spec("numpy").origin).parents[1]
    for entry in ours.iterdir():
        if entry.name.startswith(tuple(packages)):
            (site / entry.name).symlink_to(entry)
    return folder / "bin"


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return
        time.sleep(0.02)
    raise AssertionError(f"sshd does not start: {log.read_text()}")
