"""A model of several channels in the Segment panel: layers by name, by choice, or one layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.layers import Labels

import medseg
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.volume import Grid
from medseg.writing import write_labels, write_scan
from medseg_napari.layers import labels_from_layer, layer_from_scan
from medseg_napari.panels.dock import open_tab
from medseg_napari.reader import read_layers, volume_reader
from toy_model import tiny_model

SMALL = ct_grid(shape=(16, 14, 8), spacing_mm=(20.0, 19.0, 30.0))


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def pair_model(tmp_path_factory):
    torch.manual_seed(1)
    return tiny_model(tmp_path_factory.mktemp("pair") / "pair", name="pair", channels=("T1", "T2"))


@pytest.fixture
def pair():
    scan = abdominal_ct(1, SMALL)[0]
    return scan, dataclasses.replace(scan, voxels=100 - scan.voxels)


@pytest.fixture
def wanted(pair, pair_model):
    """Labels of the channels in order; in the other order they are far from them."""
    predictor = medseg.Predictor.load(pair_model, device="cpu")
    there, turned_round = (
        predictor.predict(dataclasses.replace(pair[0], voxels=np.concatenate(voxels))).values
        for voxels in ([pair[0].voxels, pair[1].voxels], [pair[1].voxels, pair[0].voxels])
    )
    assert not same(there, turned_round)
    return there


def same(labels, others):
    """Whether labels are the same but for ties: sums differ by the number of threads."""
    return (labels == others).mean() > 0.98


@pytest.fixture
def panel(make_napari_viewer, qtbot, pair_model):
    viewer = make_napari_viewer(show=True)
    panel = open_tab(viewer, "Segment")
    qtbot.waitUntil(lambda: panel.form.postprocessing.count() > 2, timeout=60_000)
    panel.form.model.offer(pair_model)
    panel.form.model.choose(pair_model)
    return panel


def result_of(panel, qtbot):
    panel.form.run.click()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=60_000)
    assert panel.form.job.message.text().startswith("done in"), panel.form.job.message.text()
    layer = next(one for one in reversed(panel.viewer.layers) if isinstance(one, Labels))
    return labels_from_layer(*layer.as_layer_data_tuple()[:2])


def case(folder, pair, *names):
    folder.mkdir()
    for scan, name in zip(pair, names, strict=True):
        write_scan(scan, folder / name)
    return folder


def add(viewer, scan, name):
    data, attributes, _ = layer_from_scan(scan, name)
    return viewer.add_image(data, **attributes)


def test_a_folder_of_numbered_files_is_opened_and_segmented(panel, qtbot, pair, wanted, tmp_path):
    folder = case(tmp_path / "case", pair, "c_0000.nii.gz", "c_0001.nii.gz")
    panel.viewer.open(str(folder), plugin="medseg")
    assert [layer.name for layer in panel.viewer.layers] == ["c_0000", "c_0001"]
    assert panel.form.scans.layer().name == "c_0000"
    assert panel.form.channels.isVisibleTo(panel)
    labels = result_of(panel, qtbot)
    assert same(labels.values, wanted)
    assert labels.grid.same_as(pair[0].grid, tolerance_mm=1e-3)
    other = case(tmp_path / "other", pair[::-1], "d_0000.nii.gz", "d_0001.nii.gz")
    panel.viewer.open(str(other), plugin="medseg")
    assert panel.form.scans.layer().name == "d_0000"
    assert panel.form.channels.combos[0].layer().name == "d_0001"


def test_a_channel_without_a_layer_is_named_until_it_is_chosen(panel, qtbot, pair, wanted):
    first = add(panel.viewer, pair[0], "anatomy")
    panel.form.run.click()
    message = panel.form.job.message.text()
    assert "2 channels (T1, T2); the scan is T1: choose the layer of T2" in message
    second = add(panel.viewer, pair[1], "other")
    panel.form.scans.choose(first)
    panel.form.channels.combos[0].choose(second)
    assert same(result_of(panel, qtbot).values, wanted)


def test_layers_on_two_grids_are_refused_by_name(panel, qtbot, pair):
    first = add(panel.viewer, pair[0], "anatomy")
    moved = Grid(pair[1].grid.shape, pair[1].grid.affine @ np.diag([1, 1, 1.5, 1]))
    panel.form.channels.combos[0].choose(
        add(panel.viewer, dataclasses.replace(pair[1], grid=moved), "other")
    )
    panel.form.scans.choose(first)
    panel.form.run.click()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=60_000)
    message = panel.form.job.message.text()
    assert "'other' does not lie on the grid of 'anatomy'" in message


def test_one_layer_of_all_channels_needs_no_other(panel, qtbot, pair, wanted):
    both = dataclasses.replace(pair[0], voxels=np.concatenate([one.voxels for one in pair]))
    add(panel.viewer, both, "both")
    assert not panel.form.channels.isVisibleTo(panel)
    assert same(result_of(panel, qtbot).values, wanted)


def test_which_folders_are_one_case(pair, tmp_path):
    named = case(tmp_path / "P7", pair, "P7_t1.nii.gz", "P7_t2.nii.gz")
    write_labels(abdominal_ct(1, SMALL)[1], named / "P7_seg.nii.gz")
    kinds = [kind for _, _, kind in read_layers(str(named))]
    assert sorted(kinds) == ["image", "image", "labels"]
    patients = case(tmp_path / "many", pair, "a_0000.nii.gz", "b_0000.nii.gz")
    gap = case(tmp_path / "gap", pair, "a_0000.nii.gz", "a_0002.nii.gz")
    (tmp_path / "empty").mkdir()
    readers = [volume_reader(str(one)) for one in (patients, gap, tmp_path / "empty")]
    assert readers == [None, None, None]
