"""Fixtures of every room: a cache of the tests' own, and the user's data where there is any."""

import contextlib
import functools
import hashlib
import http.server
import io
import os
import resource
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecifar.data import cifar10, shipped, sources

USERS_CACHE = os.environ.get("EDGECIFAR_CACHE")


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of the whole session: the shipped images are decoded into it once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGECIFAR_CACHE", str(folder))
        patch.setenv("EDGECIFAR_DATA", str(folder / "data"))  # no environments of the user's
        yield folder


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
    """A cache whose training files hold 200 images each."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for name, content in little_files(cifar10.TRAIN_FILES).items():
        (cache / name).write_bytes(content)
    monkeypatch.setenv("EDGECIFAR_CACHE", str(cache))
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
def small_run(tmp_path_factory: pytest.TempPathFactory):
    """The run folder of one convolution at 32 px, trained once."""
    import tiny_training

    from edgecifar.models import networks
    from edgecifar.training import trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "mobilenetv2", tiny_training.convolution_network)
        return trainer.train(
            tiny_training.CONVOLUTION,
            shipped.calibration_set(),
            tmp_path_factory.mktemp("small"),
            tiny_training.no_progress,
            tiny_training.ignore,
        )


@pytest.fixture
def few_test_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The test set is its own first 300 images, where a run's end is not what is tested."""
    few = tmp_path_factory.mktemp("few") / "test.bin"
    few.write_bytes(
        cifar10.records_of(
            shipped.test_set().images(slice(300)), shipped.test_set().labels[:300]
        ).tobytes()
    )
    monkeypatch.setattr(shipped, "test_set", lambda: cifar10.ImageSet([few]))
