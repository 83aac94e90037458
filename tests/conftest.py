"""Fixtures of every room: a cache of the tests' own, and the user's data where there is any."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecifar.data import cifar10

USERS_CACHE = os.environ.get("EDGECIFAR_CACHE")


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of the whole session: the shipped images are decoded into it once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGECIFAR_CACHE", str(folder))
        yield folder


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
