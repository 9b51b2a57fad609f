"""A series that cannot fit is refused before a slice is read."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

pytest.importorskip("napari")

from dicom_phantom import Series, random_stored
from medseg.discovery import series_list as reading
from medseg.errors import InputError
from medseg.runtime.progress import silent
from medseg_napari.memory_check import least_bytes
from medseg_napari.study_rows import list_entries, open_entry, openings_of


@pytest.fixture
def entry(tmp_path):
    Series(random_stored((6, 5, 4))).write(tmp_path)
    (found,) = list_entries(tmp_path, silent)
    return found


def free(monkeypatch, size_bytes):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size_bytes))


def test_what_does_not_fit_is_not_read(entry, monkeypatch):
    assert least_bytes(entry) == 6 * 5 * 4 * 2 * 2
    read = []
    monkeypatch.setattr(reading, "read_volumes", lambda *_a, **_k: read.append(1))
    free(monkeypatch, least_bytes(entry) - 1)
    with pytest.raises(InputError, match=r"0\.0 GB is free") as caught:
        open_entry(entry, openings_of(entry)[0], silent)
    assert caught.value.code == "MEMORY"
    assert not read


def test_what_fits_is_read(entry, monkeypatch):
    free(monkeypatch, least_bytes(entry))
    (layer,) = open_entry(entry, openings_of(entry)[0], silent)
    assert layer[0].size == 6 * 5 * 4
