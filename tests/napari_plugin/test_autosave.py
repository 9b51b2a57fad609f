"""Label maps survive the process: written aside, found again, never those of a running program."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Layer

from medseg.errors import ReadError, WriteError
from medseg.reading import read_scan
from medseg.runtime.progress import silent
from medseg.volume import Code, LabelMap, LabelTable
from medseg_napari.editing import label_tables
from medseg_napari.editing.autosave import (
    FOLDER_VARIABLE,
    Session,
    default_folder,
    recoverable_sessions,
)
from medseg_napari.editing.restore import add, prepare, session_text
from medseg_napari.editing.saved_layers import mark_saved, snapshot
from medseg_napari.layers import KEY, labels_from_layer, layer_from_labels, layer_from_scan
from medseg_napari.writer import write_labels_layer

NAME = "DOE^JANE liver"


@pytest.fixture
def viewer(hippocampus) -> ViewerModel:
    """A scan and labels painted on it, without a window."""
    viewer = ViewerModel()
    scan = read_scan(hippocampus)
    values = np.zeros(scan.grid.shape, np.uint8)
    values[5:12, 6:20, 7:15] = 3
    labels = LabelMap(values, scan.grid, LabelTable.of({3: "left head"}), scan.provenance)
    viewer.add_layer(Layer.create(*layer_from_scan(scan, "scan")))
    viewer.add_layer(Layer.create(*layer_from_labels(labels, NAME)))
    return viewer


def keep(session: Session, viewer: ViewerModel) -> int:
    labels = [one for one in viewer.layers if hasattr(one, "selected_label")]
    return session.save([snapshot(one, viewer.layers) for one in labels])


def test_what_is_kept_comes_back_bit_by_bit(viewer, tmp_path, hippocampus) -> None:
    session = Session(tmp_path / "a")
    viewer.layers[1].selected_label = 3
    assert keep(session, viewer) == 1
    assert recoverable_sessions(session.root) == [], "its program still runs"
    session.close()
    (found,) = recoverable_sessions(session.root)
    assert NAME in session_text(found, found.saved_at + 120)
    assert "2 min ago" in session_text(found, found.saved_at + 120)

    fresh = ViewerModel()
    prepared = prepare(found, [], silent)
    assert prepared.warnings == []
    (layer,) = add(fresh, prepared)
    scan = fresh.layers[0]
    assert scan.name == "scan"
    assert np.array_equal(scan.data, viewer.layers[0].data)
    assert layer.name == NAME
    assert layer.selected_label == 3
    old, new = (
        labels_from_layer(*one.as_layer_data_tuple()[:2]) for one in (viewer.layers[1], layer)
    )
    assert new.grid.affine.tobytes() == old.grid.affine.tobytes()
    assert new.values.tobytes() == old.values.tobytes()
    assert new.values.dtype == old.values.dtype
    assert new.table == old.table
    assert new.provenance.files == (hippocampus,)
    (again,) = add(fresh, prepare(found, [scan.metadata[KEY]], silent))
    assert len(fresh.layers) == 3, "a scan that is open is not opened twice"
    assert np.array_equal(again.data, layer.data)
    found.discard()
    assert recoverable_sessions(session.root) == []
    assert list(session.root.iterdir()) == []


def test_names_and_rights_of_files_tell_nothing(viewer, tmp_path) -> None:
    session = Session(tmp_path / "a")
    keep(session, viewer)
    for path in session.root.rglob("*"):
        relative = path.relative_to(session.root).as_posix()
        allowed = r"[0-9a-f]{32}(/([0-9a-f]{32}-[0-9a-f]{16}\.nii\.gz|session\.json|lock))?"
        assert re.fullmatch(allowed, relative), relative
    assert stat.S_IMODE(session.folder.stat().st_mode) == 0o700
    session.clear()


def test_only_changes_are_written_and_saved_ones_need_no_keeping(viewer, tmp_path) -> None:
    session, layer = Session(tmp_path / "a"), viewer.layers[1]
    assert keep(session, viewer) == 1
    assert keep(session, viewer) == 0
    layer.data[0, 0, 0] = 3
    assert keep(session, viewer) == 1
    assert len(list(session.folder.glob("*.nii.gz"))) == 1
    write_labels_layer(str(tmp_path / "out.nii.gz"), *layer.as_layer_data_tuple()[:2])
    assert keep(session, viewer) == 0
    assert not session.folder.exists(), "all of it lies in a file of the person's"
    layer.data[0, 0, 1] = 3
    assert keep(session, viewer) == 1
    layer.data[:] = 0
    assert keep(session, viewer) == 0
    assert not session.folder.exists(), "there is nothing to lose"
    mark_saved(layer.data, {})


@pytest.mark.parametrize(
    "change", [{"name": "head"}, {"color": (1, 2, 3)}, {"code": Code("10200004", "SCT", "Liver")}]
)
def test_a_change_of_the_table_alone_is_kept(viewer, tmp_path, change) -> None:
    session, layer = Session(tmp_path / "a"), viewer.layers[1]
    mark_saved(layer.data, {"metadata": layer.metadata})
    assert keep(session, viewer) == 0
    before = label_tables.table_of(layer)
    label_tables.edit_label(layer, 3, **change)
    assert keep(session, viewer) == 1
    label_tables.set_table(layer, before)
    assert keep(session, viewer) == 0
    label_tables.adopt_layer(layer, [], [3, 9])
    assert len(label_tables.table_of(layer)) == 2
    assert keep(session, viewer) == 0, "a name that medseg gave by itself is none"


def test_a_changed_or_missing_scan_is_told_and_the_labels_come_back(
    viewer, tmp_path, hippocampus
) -> None:
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(hippocampus.read_bytes())
    scan = read_scan(copy)
    own = ViewerModel()
    own.add_layer(Layer.create(*layer_from_scan(scan, "scan")))
    own.add_layer(viewer.layers[1])
    session = Session(tmp_path / "a")
    keep(session, own)
    session.close()
    os.utime(copy, (1, 1))
    (found,) = recoverable_sessions(session.root)
    prepared = prepare(found, [], silent)
    assert "changed" in prepared.warnings[0]
    assert len(prepared.scans) == 1
    copy.unlink()
    prepared = prepare(found, [], silent)
    assert "not where it was" in prepared.warnings[1]
    (layer,) = add(ViewerModel(), prepared)
    assert np.array_equal(layer.data, viewer.layers[1].data)
    grid = labels_from_layer(*layer.as_layer_data_tuple()[:2]).grid
    assert grid.affine.tobytes() == scan.grid.affine.tobytes()


def test_a_round_copies_no_voxel_on_the_gui_thread(viewer, tmp_path) -> None:
    layer = viewer.layers[1]
    taken = snapshot(layer, viewer.layers)
    assert np.shares_memory(taken.data, layer.data)
    labels, _ = taken.frozen()  # in the worker
    layer.data[0, 0, 0] = 3
    assert labels.values.sum() == np.sum(layer.data) - 3, "what is written does not change"


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5)])
def test_a_layer_that_is_no_volume_is_kept_too(viewer, tmp_path, shape) -> None:
    values = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    scale = np.arange(2.0, 2.0 + len(shape))
    viewer.add_labels(values, name="drawn elsewhere", scale=scale)
    session = Session(tmp_path / "a")
    assert keep(session, viewer) == 2
    session.close()
    (saved,) = recoverable_sessions(session.root)
    fresh = ViewerModel()
    (_, layer) = add(fresh, prepare(saved, [], silent))
    assert (layer.name, layer.data.shape) == ("drawn elsewhere", shape)
    assert np.array_equal(layer.data, values)
    assert np.array_equal(layer.scale, scale)


def test_damage_is_noticed_and_the_rest_restored(viewer, tmp_path) -> None:
    second = Layer.create(
        *layer_from_labels(labels_from_layer(*viewer.layers[1].as_layer_data_tuple()[:2]), "second")
    )
    second.data[0, 0, 0] = 3
    viewer.add_layer(second)
    session = Session(tmp_path / "a")
    assert keep(session, viewer) == 2
    session.close()
    (found,) = recoverable_sessions(session.root)
    file = session.folder / found.layers[0].file
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ReadError, match="cannot be read"):
        found.labels(found.layers[0])
    prepared = prepare(found, [], silent)
    assert len(prepared.warnings) == 1
    assert [layer[1]["name"] for layer, _ in prepared.labels] == ["second"]
    (session.folder / "session.json").write_bytes(b"{}")
    assert recoverable_sessions(session.root) == []


def test_a_round_that_fails_leaves_the_last_one(viewer, tmp_path, monkeypatch) -> None:
    session = Session(tmp_path / "a")
    keep(session, viewer)
    kept = np.array(viewer.layers[1].data)
    viewer.layers[1].data[0, 0, 0] = 3

    def full(*_args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match="the disk is full"):
        keep(session, viewer)
    monkeypatch.undo()
    session.close()
    (found,) = recoverable_sessions(session.root)
    assert np.array_equal(layer_from_labels(found.labels(found.layers[0]), "")[0], kept)


def test_a_folder_that_cannot_be_made_is_one_sentence(viewer, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=FOLDER_VARIABLE):
        keep(Session(tmp_path / "file" / "a"), viewer)


def test_the_folder_is_the_persons_own(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder().parts[-2:] == ("medseg", "autosave")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"


CRASHING = """
    import os, signal, sys
    import napari, npe2
    import numpy as np
    from pathlib import Path
    from qtpy.QtWidgets import QApplication
    import medseg_napari
    from medseg_napari.panels.dock import open_tab
    manager = npe2.PluginManager.instance()
    if "medseg" not in manager:
        manager.register(npe2.PluginManifest.from_file(
            Path(medseg_napari.__file__).parent / "napari.yaml"))
    viewer = napari.Viewer(show=False)
    viewer.open(sys.argv[1], plugin="medseg")
    panel = open_tab(viewer, "Labels")
    panel.form.buttons["New labels"].click()
    layer = viewer.layers[1]
    panel.form.label_list.item(0, 2).setText("right head")
    layer.data[10:20, 12:30, 8:20] = 1
    done = []
    panel.autosave.saved.connect(done.append)
    panel.autosave.save()
    while not done:
        QApplication.processEvents()
    assert done == [""], done
    np.save(sys.argv[2], layer.data)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_program_costs_nothing(
    make_napari_viewer, qtbot, hippocampus, tmp_path, monkeypatch, save_picture
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "autosave"))
    script = tmp_path / "crash.py"
    script.write_text(textwrap.dedent(CRASHING))
    paths = os.pathsep.join(dict.fromkeys(sys.path))
    done = subprocess.run(
        [sys.executable, str(script), str(hippocampus), str(tmp_path / "truth.npy")],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == -9, done.stderr

    from medseg_napari.panels.labels import LabelsPanel

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    panel = LabelsPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Labels")
    bar = panel.restore
    assert not bar.isHidden()
    qtbot.waitUntil(bar.isVisible, timeout=10_000)
    assert "Unsaved labels" in bar.offer.text()
    save_picture(viewer, "restore-bar.png")
    bar.restore.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    scan, layer = viewer.layers
    assert np.array_equal(layer.data, np.load(tmp_path / "truth.npy"))
    assert scan.metadata[KEY]["provenance"].files == (Path(hippocampus),)
    assert [one.name for one in layer.metadata[KEY]["table"]] == ["right head"]
    assert not bar.isVisible()
    session = panel.autosave.session
    root = session.root
    # kept in this session before the old one was removed
    qtbot.waitUntil(lambda: list(root.iterdir()) == [session.folder], timeout=20_000)
    assert (session.folder / "session.json").exists()

    layer.save(str(tmp_path / "saved.nii.gz"), plugin="medseg")
    with qtbot.waitSignal(panel.autosave.saved, timeout=20_000):
        panel.autosave.save()
    assert list(root.iterdir()) == [], "saved, so nothing is kept"
    panel.close()


def test_declining_removes_and_switched_off_keeps_nothing(
    make_napari_viewer, viewer, tmp_path, monkeypatch
) -> None:
    from medseg_napari.panels import autosave
    from medseg_napari.panels.labels import LabelsPanel

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "autosave"))
    session = Session(default_folder())
    keep(session, viewer)
    session.close()
    settings = {"enabled": False, "minutes": 7}
    monkeypatch.setattr(autosave, "setting", lambda _section, name: settings[name])
    panel = LabelsPanel(make_napari_viewer())
    assert not panel.restore.isHidden()
    panel.restore.discard.click()
    assert panel.restore.isHidden()
    assert recoverable_sessions(session.root) == []
    panel.viewer.add_labels(np.ones((3, 4, 5), np.uint8))
    panel.autosave.save()
    assert list(session.root.iterdir()) == []
    assert panel.autosave._timer.interval() == 7 * 60_000
    panel.close()


def test_a_dicom_series_comes_back_and_its_codes_reach_the_segmentation(
    shared_data, tmp_path
) -> None:
    import pydicom

    from medseg.discovery import find_scans
    from medseg.volume import Label
    from medseg_napari.editing.label_tables import new_layer, set_table

    folder = shared_data / "hippocampus_dicom_crops" / "Study1"
    source = next(one for one in find_scans(folder) if one.series_uid)
    scan = read_scan(source.path, series=source.series_uid)
    viewer = ViewerModel()
    image = viewer.add_layer(Layer.create(*layer_from_scan(scan, "series")))
    layer = viewer.add_layer(new_layer(image))
    layer.data[1:4, 2:9, 3:8] = 1
    code = Code("10200004", "SCT", "Liver")
    set_table(layer, LabelTable((Label(value=1, name="liver", color=(9, 9, 9), code=code),)))
    session = Session(tmp_path / "a")
    keep(session, viewer)
    session.close()

    (found,) = recoverable_sessions(session.root)
    fresh = ViewerModel()
    prepared = prepare(found, [], silent)
    assert prepared.warnings == []
    (restored,) = add(fresh, prepared)
    assert np.array_equal(fresh.layers[0].data, image.data)
    path = tmp_path / "seg.dcm"
    write_labels_layer(str(path), *restored.as_layer_data_tuple()[:2])
    (segment,) = pydicom.dcmread(path).SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (segment.SegmentLabel, kind.CodeValue, kind.CodeMeaning) == (
        "liver",
        "10200004",
        "Liver",
    )
