"""The measurement: worker processes, schedule, result schema."""

import sys

from edgecifar import CallablePackage

# So that `edgecifar.bench(...)` is the function of the Python API.
sys.modules[__name__].__class__ = CallablePackage
