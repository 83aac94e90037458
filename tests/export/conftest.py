"""One export of each kind, shared."""

import shutil

import pytest

from edgecifar.data import shipped


@pytest.fixture(scope="session")
def tiny_export(tiny_run, tmp_path_factory):
    """The export of a narrow MobileNetV2, int8 files included: its folder and its report."""
    from edgecifar.export.exporter import export
    from edgecifar.export.settings import INT8

    out = tmp_path_factory.mktemp("exported")
    return out, export(tiny_run.checkpoint, out, INT8)


@pytest.fixture(scope="session")
def small_export(small_run, first_test_images, tmp_path_factory):
    """The export of one convolution at 32 px, int8 files included; few test images."""
    from edgecifar.export.exporter import export
    from edgecifar.export.settings import INT8

    out = tmp_path_factory.mktemp("small-exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "test_set", lambda: first_test_images)
        return out, export(small_run.checkpoint, out, INT8)


@pytest.fixture
def exported(small_export, few_test_images, tmp_path):
    """A copy of that export, to change; few test images."""
    return shutil.copytree(small_export[0], tmp_path / "exported")
