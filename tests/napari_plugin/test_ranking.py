"""Unlabelled scans ranked: the least certain first, kept, and taken up again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from medseg.errors import Cancelled, InputError, MedsegError
from medseg.inference import Options, Predictor
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.reading import read_scan
from medseg.runtime.progress import silent
from medseg.writing import write_scan
from medseg_napari.config_files import config_folder
from medseg_napari.training import active_learning, model_list
from toy_model import tiny_model


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "model")


@pytest.fixture
def scans(tmp_path) -> Path:
    """Two files, a DICOM series, and a file that is no scan."""
    folder = tmp_path / "Doe^Jane"
    folder.mkdir()
    grid = ct_grid(shape=(24, 20, 16), spacing_mm=(12.0, 12.0, 14.0))
    for seed in range(2):
        write_scan(abdominal_ct(seed, grid)[0], folder / f"scan{seed}.nii.gz")
    write_series(abdominal_ct(2, grid)[0], folder / "series", patient=1)
    (folder / "broken.nii.gz").write_bytes(b"not a scan")
    return folder


def test_the_least_certain_comes_first_and_what_is_broken_last(scans, model, tmp_path) -> None:
    rows = active_learning.rank(scans, model, silent, device="cpu")
    assert len(rows) == 4
    uncertainties = [row.uncertainty.mean_percent for row in rows[:3]]
    assert uncertainties == sorted(uncertainties, reverse=True)
    assert rows[3].uncertainty is None
    assert "broken" in rows[3].error

    predictor = Predictor.load(model, device="cpu")
    scan = read_scan(rows[0].source.path, series=rows[0].source.series_uid or None)
    found = predictor.run(scan, Options(uncertainty=True))
    inside = found.labels.values > 0
    assert rows[0].uncertainty.found_ml == pytest.approx(
        inside.sum() * scan.grid.voxel_volume_mm3 / 1000
    )
    border = np.zeros_like(inside)
    for index in np.argwhere(inside):
        for axis in range(3):
            for step in (-2, -1, 0, 1, 2):
                place = index.copy()
                place[axis] += step
                if 0 <= place[axis] < inside.shape[axis]:
                    border[tuple(place)] = True
    inner = found.uncertainty.voxels[0][border].astype(float)
    assert rows[0].uncertainty.mean_percent == pytest.approx(inner.mean(), abs=2.0)

    kept = "".join(path.read_text() for path in (tmp_path / "config").rglob("*.json"))
    for words in ("Doe", "scan0", "series", str(tmp_path)):
        assert words not in kept


def test_a_search_that_was_stopped_goes_on(scans, model, monkeypatch) -> None:
    looked = []
    real = active_learning._look_at

    def look_at(predictor, source, progress):
        looked.append(source.name)
        return real(predictor, source, progress)

    def stop_in_second(done, total, message):
        if done == 2:
            raise Cancelled("enough")

    monkeypatch.setattr(active_learning, "_uncertainty_of", look_at)
    with pytest.raises(Cancelled):
        active_learning.rank(scans, model, stop_in_second, device="cpu")
    before = len(looked)
    assert before < 4
    rows = active_learning.rank(scans, model, silent, device="cpu")
    assert sum(row.uncertainty is not None for row in rows) == 3
    assert len(looked) == before + 3, "the stopped one, the one not begun, and the broken one"

    looked.clear()
    os.utime(scans / "scan0.nii.gz", (1, 1))
    active_learning.rank(scans, model, silent, device="cpu")
    assert len(looked) == 2, "the changed one and the broken one"


def test_a_folder_without_scans_is_told(tmp_path, model) -> None:
    with pytest.raises(InputError, match="no scans"):
        active_learning.rank(tmp_path / "model", model, silent)


def test_models_are_kept_told_and_forgotten_when_gone(model, tmp_path) -> None:
    class Panel:
        def __init__(self) -> None:
            self.offered = []

        def offer(self, package) -> None:
            self.offered.append(package.folder)

    panel, gone = Panel(), Panel()
    model_list.connect(panel.offer)
    model_list.connect(gone.offer)
    del gone
    other = tiny_model(tmp_path / "other", name="other")
    for folder in (model.folder, other.folder, model.folder):
        model_list.add(folder)
    assert panel.offered == [model.folder, other.folder, model.folder]
    assert [one.folder for one in model_list.all()] == [model.folder, other.folder]
    with pytest.raises(MedsegError, match="no model"):
        model_list.add(tmp_path / "config")
    (other.folder / "manifest.json").unlink()
    assert [one.folder for one in model_list.all()] == [model.folder]
    (config_folder() / model_list.FILE).write_text("damaged")
    assert model_list.all() == []
