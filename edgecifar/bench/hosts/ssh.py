"""A remote machine as a host of workers, over the user's own OpenSSH."""

import contextlib
import hashlib
import inspect
import json
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgecifar import files
from edgecifar.bench.hosts import archive, remote
from edgecifar.bench.hosts.exits import exit_reason
from edgecifar.bench.hosts.host import ENVIRONMENT, Piped, popen
from edgecifar.errors import UserError
from edgecifar.graphs.parts import parts

# Called with what is being done, the bytes done, and the bytes in all, None when unknown.
Progress = Callable[[str, int, int | None], None]

BOOTSTRAP_PACKAGES = ("ai-edge-litert", "numpy", "onnxruntime")
CHUNK_BYTES = 1 << 18
CONNECT_S = 10
ALIVE_INTERVAL_S = 5
ALIVE_COUNT = 3
OPEN_S = 60.0  # a key in a hardware token waits for a touch
PROBE_S = 300.0  # importing numpy from a cold memory card takes minutes
CLOSE_S = 5.0
ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_.][A-Za-z0-9_.+-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
OLDEST_PYTHON = (3, 10)
PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(14, OLDEST_PYTHON[1] - 1, -1)))
# Runs in any Python, so that too old a one is reported as such. Exits with 0 if it is suitable.
PROBE = f"""\
import json, sys
try:
    import numpy
    numpy = numpy.__version__
except Exception:
    numpy = None
version = list(sys.version_info[:3])
print(json.dumps({{"python": sys.executable, "version": version, "numpy": numpy}}))
sys.exit(version < {list(OLDEST_PYTHON)} or (not numpy and "numpy" in sys.argv))
"""
# Calls a function: one line on stdin has the source of its module, its name and its arguments.
CALL = (
    "import json, sys; "
    "text, name, arguments = json.loads(sys.stdin.buffer.readline()); "
    "module = {}; exec(text, module); module[name](**arguments)"
)


class Ssh:
    """A remote machine, over one connection of the `ssh` on the PATH; see `Host`.

    The user's ssh configuration, agent and known hosts apply; ssh never asks a question. Copied
    files stay in `cache` there, named by their content, so that the next bench finds them;
    `removal` is the command that removes them. Packages are installed only with `bootstrap`.

    Attributes:
        name: "user@host", as given; with ":port" when one was given.
        cache: a folder there, `~/.cache/edgecifar/bench` or below its XDG_CACHE_HOME.
        python: the interpreter there.
        removal: the command that removes `cache`.
    """

    def __init__(
        self,
        url: str,
        bootstrap: bool = False,
        python: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Connect, find a Python there, and copy the worker.

        Args:
            url: `ssh://[user@]host[:port]`; the host may be an alias of the user's ssh config.
            bootstrap: make a virtual environment in `cache`, with numpy, LiteRT and ONNX Runtime,
                unless an earlier bench has made it.
            python: the interpreter there; found by default: the environment of an earlier
                bootstrap, else a `python3` on its PATH.
            progress: called during what takes a while.

        Raises:
            UserError: the address is not valid, the connection fails, or there is no Python >= 3.10
                with numpy.
        """
        self._user, self._host, self._port = _parse(url)
        user, port = f"{self._user}@" if self._user else "", f":{self._port}" if self._port else ""
        self.name: str | None = f"{user}{self._host}{port}"
        self.removal: str | None = None
        self._report = progress or (lambda doing, done, total: None)
        self._sent: dict[tuple, str] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="edgecifar-"))
        self._master: Piped | None = None
        self._report(f"connecting to {self.name}", 0, None)
        try:
            self._connect()
            self.cache, self.python = self._probe(python, needs_numpy=not bootstrap)
            if bootstrap:
                self._bootstrap()
            with tempfile.TemporaryDirectory() as scratch:
                archive.write(Path(scratch, archive.NAME))
                self._worker = self.send(Path(scratch, archive.NAME))
        except BaseException:
            self.close()
            raise
        self.removal = self._by_hand(f"rm -r {shlex.quote(self.cache)}")

    def start(self, stderr: IO, python: str | None = None) -> Piped:
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        words = ["exec", "env", *environment, python or self.python, self._worker, archive.REMOTE]
        return popen(self._ssh(shlex.join(words)), stderr)

    def send(self, path: Path) -> str:
        """See `Host.send`; content that is already there is checked and not sent again."""
        path = Path(path)
        try:
            held = {part: part.stat() for part in parts(path)}
            key = (
                path.absolute(),
                *((s.st_ino, s.st_size, s.st_mtime_ns) for s in held.values()),
            )
            if key not in self._sent:
                digests = {part: files.sha256(part) for part in held}
                if list(held) == [path]:
                    there = f"{self.cache}/files/{digests[path]}{path.suffix}"
                    places = {path: there}
                else:
                    there, places = self._places(path, digests)
                for part, place in places.items():
                    self._transfer(part, place, digests[part], held[part].st_size)
                self._sent[key] = there
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        return self._sent[key]

    def _places(self, path: Path, digests: dict[Path, str]) -> tuple[str, dict[Path, str]]:
        """Where the host stores a model of several files: in a folder, under the names it has here.

        Args:
            path: of the model here.
            digests: SHA-256 of each of its files.

        Returns:
            The path of the model there, and that of each file.
        """
        base = path if path.is_dir() else path.parent
        names = {part: part.relative_to(base).as_posix() for part in digests}
        contents = "".join(f"{digest} {names[part]}\n" for part, digest in digests.items())
        folder = f"{self.cache}/files/{hashlib.sha256(contents.encode()).hexdigest()}"
        places = {part: f"{folder}/{name}" for part, name in names.items()}
        return places.get(path, folder), places

    def close(self) -> None:
        """Close the connection, which ends the workers there. May be called twice."""
        if self._master:
            self._master.terminate()
            try:
                self._master.wait(CLOSE_S)
            except subprocess.TimeoutExpired:
                self._master.kill()
                self._master.wait()
            self._master.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                self._master.stdin.close()
            self._master = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        """Open the connection that all other commands share.

        It stays open while a `cat` runs there. That ends when its stdin ends, so it ends with this
        process, even when this process is killed.

        Raises:
            UserError: it cannot be opened.
        """
        marker = b"edgecifar\n"
        with tempfile.TemporaryFile() as stderr:
            try:
                self._master = popen(self._ssh("exec cat", master=True), stderr)
            except FileNotFoundError as error:
                raise UserError(f"{self.name}: needs OpenSSH's `ssh` on the PATH") from error
            watchdog = threading.Timer(OPEN_S, self._master.kill)
            watchdog.daemon = True
            watchdog.start()
            with contextlib.suppress(BrokenPipeError):
                self._master.stdin.write(marker)
                self._master.stdin.flush()
            first = self._master.stdout.readline()
            watchdog.cancel()
            if first == marker:
                return
            if first:
                printed = first.decode(errors="replace").strip()
                raise UserError(
                    f"{self.name}: its shell prints {printed[:60]!r} before it runs a command: "
                    "let it do so in interactive shells only"
                )
            self._master.wait()
            raise UserError(self._refusal(_tail(stderr)))

    def _refusal(self, said: str) -> str:
        """Why there is no connection, and what to do; `said` is what ssh printed."""
        last = (said.splitlines() or [f"no answer within {OPEN_S:g} s"])[-1]
        if "Permission denied" in said:
            return (
                f"{self.name}: accepts none of your keys ({last}), and bench cannot enter a "
                "password: set up a key with `ssh-copy-id`, or unlock it with `ssh-add`"
            )
        if "Host key verification failed" in said:
            return (
                f"{self.name}: has no known host key: check and accept it with `{self._by_hand()}`"
            )
        return f"{self.name}: cannot be reached: {last}"

    def _probe(self, python: str | None, needs_numpy: bool) -> tuple[str, str]:
        """Make the cache there and find a Python.

        Args:
            python: the only one to try; None tries all usual names.
            needs_numpy: whether it must have numpy; a bootstrap installs it.

        Returns:
            The cache folder and the interpreter, paths there.

        Raises:
            UserError: the folder cannot be made, or no Python is suitable.
        """
        if python and python.startswith("~/"):
            tried = ['"$HOME"' + shlex.quote(python[1:])]
        elif python:
            tried = [shlex.quote(python)]
        else:
            tried = ['"$cache"/venv/bin/python'] if needs_numpy else []
            tried += PYTHONS
        found = self._run_script(
            f"""\
umask 077
case $XDG_CACHE_HOME in /*) cache=$XDG_CACHE_HOME ;; *) cache=$HOME/.cache ;; esac
cache=$cache/edgecifar/bench
mkdir -p "$cache" && chmod 700 "$cache" || exit
printf '%s\\n' "$cache"
for python in {" ".join(tried)}; do
    "$python" -c {shlex.quote(PROBE)} {"numpy" if needs_numpy else ""} </dev/null 2>/dev/null &&
        break
done
exit 0
"""
        )
        cache, *pythons = found.splitlines()
        probed = [json.loads(line) for line in pythons]
        fitting = [p for p in probed if tuple(p["version"]) >= OLDEST_PYTHON]
        if not fitting:
            named = f"{python} is" if python else "there is"
            older = "".join(f", only {_version(p)}" for p in probed[:1])
            oldest = ".".join(map(str, OLDEST_PYTHON))
            raise UserError(
                f"{self.name}: {named} no Python {oldest} or newer there{older}: install one, or "
                "name another"
            )
        if needs_numpy and not fitting[-1]["numpy"]:
            raise UserError(
                f"{self.name}: Python {_version(fitting[0])} ({fitting[0]['python']}) has no "
                "numpy there: install python3-numpy, or bootstrap an environment"
            )
        return cache, fitting[-1]["python"]

    def _bootstrap(self) -> None:
        """Make the virtual environment there, unless it is there.

        Raises:
            UserError: it cannot be made; the message says where the log is.
        """
        folder, log = f"{self.cache}/venv", f"{self.cache}/bootstrap.log"
        arguments = {"folder": folder, "packages": list(BOOTSTRAP_PACKAGES), "log": log}
        with self._calling("make_environment", **arguments) as (_, reply):
            while "line" in (said := reply()):
                self._report(f"{self.name}: {said['line']}", 0, None)
        if said["error"]:
            raise UserError(f"{self.name}: cannot bootstrap: {said['error']} (log there: {log})")
        self.python = f"{folder}/bin/python"

    def _transfer(self, path: Path, there: str, digest: str, size: int) -> None:
        """Copy a file unless it is there.

        Raises:
            UserError: it cannot be stored there.
            OSError: it cannot be read here.
        """
        label = f"copying {path.name} to {self.name}"
        with self._calling("receive", path=there, sha256=digest) as (process, reply):
            answer = reply()
            if answer.get("there") is False:
                with path.open("rb") as file, contextlib.suppress(BrokenPipeError):
                    done = 0
                    while chunk := file.read(CHUNK_BYTES):
                        process.stdin.write(chunk)
                        done += len(chunk)
                        self._report(label, done, size)
                    process.stdin.close()
            if "error" not in answer:
                answer = reply()
        if answer["error"]:
            raise UserError(
                f"{path}: cannot be stored in {self.cache} on {self.name}: {answer['error']}"
            )

    @contextlib.contextmanager
    def _calling(
        self, function: str, **arguments: object
    ) -> Iterator[tuple[Piped, Callable[[], dict]]]:
        """Call a function of `remote` there.

        Yields:
            The process, whose stdin the function reads, and a function that returns its next reply.

        Raises:
            UserError: the connection or the function ended.
        """
        command = f"exec {shlex.quote(self.python)} -c {shlex.quote(CALL)}"
        with tempfile.TemporaryFile() as stderr:
            process = popen(self._ssh(command), stderr)

            def reply() -> dict:
                if (line := process.stdout.readline()).endswith(b"\n"):
                    return json.loads(line)
                raise UserError(f"{self.name}: {exit_reason(process.wait(), _tail(stderr))}")

            try:
                call = json.dumps([inspect.getsource(remote), function, arguments])
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(call.encode() + b"\n")
                    process.stdin.flush()
                yield process, reply
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.kill()
                process.wait()
                process.stdout.close()

    def _run_script(self, script: str) -> str:
        """What a shell script prints there.

        The script goes through stdin, so that its quoting does not depend on the login shell.

        Raises:
            UserError: it failed.
        """
        try:
            run = subprocess.run(
                self._ssh("exec sh"),
                input=script.encode(),
                capture_output=True,
                timeout=PROBE_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{self.name}: gave no answer within {PROBE_S:g} s") from error
        if run.returncode:
            said = run.stderr.decode(errors="replace")
            raise UserError(f"{self.name}: the set-up there {exit_reason(run.returncode, said)}")
        return run.stdout.decode(errors="surrogateescape")

    def _ssh(self, command: str, master: bool = False) -> list[str]:
        """The command line that runs `command` there over the shared connection.

        Some servers allow few sessions on one connection; then ssh opens another by itself.
        """
        options = {
            "BatchMode": "yes",  # a question would be lost among the progress bars
            "ConnectTimeout": CONNECT_S,
            "ServerAliveInterval": ALIVE_INTERVAL_S,
            "ServerAliveCountMax": ALIVE_COUNT,
            "ControlMaster": "yes" if master else "no",
            "ControlPersist": "no",
            # These may be set in the configuration for interactive shells, and would disturb here.
            "ClearAllForwardings": "yes",
            "RemoteCommand": "none",
            "LogLevel": "INFO",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        socket = str(self._folder / "s").replace("%", "%%")
        return ["ssh", "-T", "-a", "-x", *flags, "-S", socket, *self._where(), command]

    def _where(self) -> list[str]:
        """The host as ssh takes it."""
        port = ["-p", str(self._port)] if self._port else []
        user = f"{self._user}@" if self._user else ""
        return [*port, "--", user + self._host.strip("[]")]  # after `--` comes no option

    def _by_hand(self, *command: str) -> str:
        """What a user types to run a command there, or a shell."""
        return shlex.join(["ssh", *(word for word in self._where() if word != "--"), *command])


def _parse(url: str) -> tuple[str | None, str, int | None]:
    """User, host and port of an address.

    Raises:
        UserError: it is not valid.
    """
    parts = ADDRESS.fullmatch(url)
    port = int(parts["port"]) if parts and parts["port"] else None
    if not parts or (port is not None and not 1 <= port <= 65535):
        raise UserError(f"{url!r} is not the address of a host: give ssh://[user@]host[:port]")
    return parts["user"], parts["host"], port


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    return stderr.read().decode(errors="replace").strip()


def _version(probed: dict) -> str:
    return ".".join(map(str, probed["version"]))
