"""What is set before Keras is imported."""

import os
import platform

import pytest

from edgecifar.hardware import X86
from edgecifar.models.keras_loader import ONEDNN, load_keras


@pytest.mark.parametrize("given", [None, "0", "1"])
def test_tensorflow_uses_onednn_on_x86_unless_the_user_decides(monkeypatch, given):
    if given is None:
        monkeypatch.delenv(ONEDNN, raising=False)
    else:
        monkeypatch.setenv(ONEDNN, given)
    load_keras()
    by_default = "1" if platform.machine() in X86 else None
    assert os.environ.get(ONEDNN) == (given or by_default)
