"""From a checkpoint to verified TFLite and ONNX files, and the cards beside them."""

import sys

from edgecifar import CallablePackage

# So that `edgecifar.export(...)` is the function of the Python API.
sys.modules[__name__].__class__ = CallablePackage
