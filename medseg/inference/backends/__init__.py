"""The network of a model run by another library than torch, where that is faster on a CPU.

`protocol.py` says what a library offers, `compiled.py` brings a network to it, `on_backend.py` is
the network then, and `choice.py` measures which is the fastest here.
"""

from medseg.inference.backends.compiled import Compilation
from medseg.inference.backends.on_backend import BACKENDS, backend_of, device_for, on_backend

__all__ = ["BACKENDS", "Compilation", "backend_of", "device_for", "on_backend"]
