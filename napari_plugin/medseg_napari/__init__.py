"""medseg in napari: scans and label maps in true places; panels to segment, correct and learn.

The plugin computes nothing: it carries layers to the library and results back. From its first use
on it keeps the last lines of its log in memory, for a bug report.
"""

from medseg_napari.export.log_buffer import log_memory

log_memory.install()
