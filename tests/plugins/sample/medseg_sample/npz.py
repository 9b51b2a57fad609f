"""Sample NPZ: scans and label maps as NumPy archives with their affine; a reader and a writer."""

from __future__ import annotations

import zipfile

import numpy as np

from medseg.errors import ReadError, WriteError
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.writing import atomic

SUFFIX = ".sample.npz"
suffixes = (SUFFIX,)


def recognises(path):
    return path.name.lower().endswith(SUFFIX)


def read(path, *, series, progress):
    voxels, grid = _content(path)
    return Scan(voxels, grid)


def read_labels(path, *, table):
    values, grid = _content(path)
    names = {int(value): f"label {value}" for value in np.unique(values) if value}
    return LabelMap(values, grid, table or LabelTable.of(names))


def write_labels(labels, path):
    _write(path, labels.values, labels.grid)


def write_scan(scan, path):
    _write(path, scan.voxels, scan.grid)


def _content(path):
    try:
        with np.load(path, allow_pickle=False) as stored:
            values, affine = stored["values"], stored["affine"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(f"'{path}' is no archive of this format: {error}") from error
    return values, Grid(values.shape[-3:], affine)


def _write(path, values, grid):
    with atomic(path, suffix=SUFFIX) as temporary:
        with temporary.open("wb") as stream:
            np.savez(stream, values=values, affine=grid.affine)
        if not np.array_equal(_content(temporary)[0], values):
            raise WriteError("the file did not read back equal and was removed", code="SELF_CHECK")
