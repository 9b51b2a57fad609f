"""medseg in napari: scans and label maps as layers in true places, and a panel that segments.

The plugin computes nothing: it carries layers to the library and results back.
"""
