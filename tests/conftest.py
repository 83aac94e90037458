"""How workers share the tests, and fixtures of all folders: caches, little data, small runs."""

import contextlib
import fcntl
import functools
import hashlib
import http.server
import io
import os
import resource
import signal
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecifar import files
from edgecifar.data import cifar10, intact, shipped, sources
from edgecifar.models.keras_loader import set_up_tensorflow

USERS_CACHE = os.environ.get("EDGECIFAR_CACHE")
set_up_tensorflow()  # which a test may import on its own
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # each worker has one core

# A shell starts a background job with Ctrl-C ignored, and so would be every process of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that all workers can lock, see `pytest_runtest_protocol`.
ROOM, QUEUE = (os.open(path, os.O_RDONLY) for path in (__file__, Path(__file__).parent))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each worker of pytest-xdist one file at a time, and the timing tests last, as one.

    What needs the run that takes longest to train stays together too: each worker would train it.
    The tests of a file that share nothing, and take long, are marked to be given one by one.
    """
    items.sort(key=is_timing)
    for item in items:
        group = item.nodeid.partition("::")[0]
        if is_timing(item):
            group = "timing"
        elif item.get_closest_marker("spread"):
            group = item.nodeid
        elif "tiny_run" in getattr(item, "fixturenames", ()):
            group = "tiny_run"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run a timing test while no other worker runs a test.

    Each test locks the room: a timing test for itself alone, another one together with others.
    Who waits for the room holds the queue, so that the tests that come later wait too.
    """
    fcntl.flock(QUEUE, fcntl.LOCK_EX)
    fcntl.flock(ROOM, fcntl.LOCK_EX if is_timing(item) else fcntl.LOCK_SH)
    fcntl.flock(QUEUE, fcntl.LOCK_UN)
    try:
        return (yield)
    finally:
        fcntl.flock(ROOM, fcntl.LOCK_UN)


def is_timing(item: pytest.Item) -> bool:
    """Whether other work on the machine can make a test fail."""
    return item.get_closest_marker("timing") is not None


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of the whole session: the shipped images are decoded into it once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGECIFAR_CACHE", str(folder))
        patch.setenv("EDGECIFAR_DATA", str(folder / "data"))  # no environments of the user's
        yield folder


@pytest.fixture(scope="session", autouse=True)
def coarse_plots() -> Iterator[None]:
    """Plots of few pixels: a short training spends most of its time on drawing them."""
    from edgecifar.training import plots

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DPI", 50)
        yield


@pytest.fixture
def users_cache() -> Path | None:
    """The user's own cache; None where the environment names none."""
    return Path(USERS_CACHE) if USERS_CACHE else None


@pytest.fixture
def full_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own cache with all six official files, else a skip that says why."""
    if not USERS_CACHE:
        pytest.skip("EDGECIFAR_CACHE holds no full CIFAR-10: it is not set")
    for name in cifar10.SHA256:
        path = Path(USERS_CACHE) / name
        if not path.is_file() or path.stat().st_size != cifar10.FILE_BYTES:
            pytest.skip(f"EDGECIFAR_CACHE holds no full CIFAR-10: no whole {name} in {USERS_CACHE}")
    monkeypatch.setenv("EDGECIFAR_CACHE", USERS_CACHE)
    return Path(USERS_CACHE)


@pytest.fixture
def imagenet_weights() -> Path:
    """The folder of Keras's downloaded weights, else a skip that says why."""
    home = os.environ.get("KERAS_HOME")
    if not home or not (Path(home) / "models").is_dir():
        pytest.skip("KERAS_HOME holds no ImageNet weights: it is not set, or has no models/")
    return Path(home) / "models"


@pytest.fixture
def file_size_limit() -> Callable[[int], contextlib.AbstractContextManager]:
    """A context in which no file can grow beyond so many bytes: what a full disk looks like.

    It holds for the whole process, and so for the file that pytest's own output may go to: keep
    nothing inside it but what is to fail.
    """

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def little_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose training files hold 200 images each.

    They are remembered as the official ones, so that a process of its own takes them for such too.
    """
    cache = tmp_path / "cache"
    cache.mkdir()
    contents = little_files(cifar10.TRAIN_FILES)
    monkeypatch.setenv("EDGECIFAR_CACHE", str(cache))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "sha256", lambda path: cifar10.SHA256[path.name])
        for name, content in contents.items():
            (cache / name).write_bytes(content)
            intact.remember(cache / name)
    return cache


@pytest.fixture
def little_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a server of six files of 200 images that are taken for the official."""
    contents = little_files(cifar10.SHA256)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(cifar10, "SHA256", hashes)
    monkeypatch.setattr(cifar10, "FILE_BYTES", 200 * cifar10.RECORD_BYTES)
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "c.tar.gz", "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    md5 = hashlib.md5((served / "c.tar.gz").read_bytes(), usedforsecurity=False).hexdigest()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/c.tar.gz"
        monkeypatch.setattr(sources, "OFFICIAL_URL", url)
        monkeypatch.setattr(sources, "OFFICIAL_MD5", md5)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "cache"
        server.shutdown()


def little_files(names: Iterable[str]) -> dict[str, bytes]:
    """The content of record files of 200 images each, from the training images that ship."""
    data = shipped.calibration_set()
    chosen = [np.arange(i % 5, 1000, 5) for i, _ in enumerate(names)]
    records = [cifar10.records_of(data.images(each), data.labels[each]) for each in chosen]
    return {name: each.tobytes() for name, each in zip(names, records, strict=True)}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory):
    """The run folder of a narrow MobileNetV2, trained once."""
    import tiny_training

    from edgecifar.training.trainer import train

    out = tmp_path_factory.mktemp("run")
    return train(
        tiny_training.MOBILENETV2,
        shipped.calibration_set(),
        out,
        tiny_training.no_progress,
        tiny_training.ignore,
    )


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes train one convolution in place of MobileNetV2."""
    import tiny_training

    from edgecifar.models import networks

    monkeypatch.setitem(networks.NETWORKS, "mobilenetv2", tiny_training.convolution_network)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, first_test_images: cifar10.ImageSet):
    """The run folder of one convolution at 32 px, trained once; few test images."""
    import tiny_training

    from edgecifar.models import networks
    from edgecifar.training import trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "mobilenetv2", tiny_training.convolution_network)
        patch.setattr(shipped, "test_set", lambda: first_test_images)
        return trainer.train(
            tiny_training.CONVOLUTION,
            shipped.calibration_set(),
            tmp_path_factory.mktemp("small"),
            tiny_training.no_progress,
            tiny_training.ignore,
        )


@pytest.fixture(scope="session")
def first_test_images(tmp_path_factory: pytest.TempPathFactory) -> cifar10.ImageSet:
    """The first 300 test images."""
    file = tmp_path_factory.mktemp("few") / "test.bin"
    test = shipped.test_set()
    file.write_bytes(cifar10.records_of(test.images(slice(300)), test.labels[:300]).tobytes())
    return cifar10.ImageSet([file])


@pytest.fixture
def few_test_images(monkeypatch: pytest.MonkeyPatch, first_test_images: cifar10.ImageSet) -> None:
    """The test set is its own first 300 images, where a run's end is not what is tested."""
    monkeypatch.setattr(shipped, "test_set", lambda: first_test_images)
