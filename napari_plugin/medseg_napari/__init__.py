"""medseg in napari: scans and label maps as layers in true places, and a panel that segments.

The plugin computes nothing: it carries layers to the library and results back. From its first use
on it keeps the last lines of its log in memory, for a bug report.
"""

from medseg_napari.log_memory import log_memory

log_memory.install()
