"""The measurement: cases, runner, workers, hosts and results."""

import sys

from edgecifar import CallablePackage

# So that `edgecifar.bench(...)` is the function of the Python API.
sys.modules[__name__].__class__ = CallablePackage
