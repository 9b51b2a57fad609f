"""Files dropped on napari's window: asked about, or medseg's, as the person chose."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import nibabel as nib

from medseg_napari.display import setup
from medseg_napari.display_settings import choose, setting
from medseg_napari.panels.dock import open_tab


def a_reader(_path):
    return lambda _: [(np.zeros((3, 3)), {"name": "of another plugin"}, "image")]


@pytest.fixture
def readers(settings):
    """napari's own choices of readers, empty."""
    from napari.settings import get_settings

    plugins = get_settings().plugins
    plugins.extension2reader = {}
    yield plugins
    plugins.extension2reader = {}


@pytest.fixture
def asked(monkeypatch):
    """What napari would have asked about."""
    found: list[str] = []
    monkeypatch.setattr(
        "napari._qt.qt_viewer.handle_gui_reading", lambda paths, *_, **__: found.extend(paths)
    )
    return found


def drop(viewer, path) -> None:
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    left, no_keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    event = QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, data, left, no_keys)
    viewer.window._qt_viewer.dropEvent(event)


def series(path):
    image = nib.Nifti1Image(np.ones((5, 6, 7, 4), np.int16), np.diag([1, 1, 3, 1]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2
    nib.save(image, path)
    return path


def test_a_dropped_file_opens_without_a_question_once_it_was_asked_for(
    make_napari_viewer, readers, npe2pm, asked, tmp_path, qtbot
):
    from qtpy.QtCore import Qt

    path = series(tmp_path / "series.nii.gz")
    with npe2pm.tmp_plugin(name="another") as other:
        other.contribute.reader(filename_patterns=["*.gz", "*.nii.gz"], accepts_directories=True)(
            a_reader
        )
        viewer = make_napari_viewer(show=True)
        panel = open_tab(viewer, "Study")
        drop(viewer, path)
        assert asked == [str(path)]
        assert not viewer.layers
        asked.clear()
        setup.toggle_dropped_files(viewer)
        drop(viewer, path)
        assert not asked
        assert viewer.layers[0].axis_labels == ("T", "I", "P", "L")
        drop(viewer, tmp_path)  # a folder is anybody's
        assert asked == [str(tmp_path)]
        asked.clear()
        setup.toggle_dropped_files(viewer)
        drop(viewer, path)
        assert asked == [str(path)]

        viewer.dims.set_point(0, 4.0)
        qtbot.mouseClick(panel.form.time_point, Qt.MouseButton.LeftButton)
        assert viewer.layers[-1].name == "series, time 3"
        assert viewer.layers[-1].data.shape == (7, 6, 5)


def test_what_was_chosen_for_other_plugins_stays(make_napari_viewer, readers):
    readers.extension2reader = {"*.nrrd": "another", "*.tif": "medseg"}
    setup.install(make_napari_viewer())
    assert readers.extension2reader == {"*.nrrd": "another", "*.tif": "medseg"}
    choose("files", "take_dropped", True)
    ours = dict.fromkeys(("*.dcm", "*.nii", "*.nii.gz", "*.mha"), "medseg")
    assert readers.extension2reader == {**ours, "*.nrrd": "another", "*.tif": "medseg"}
    choose("files", "take_dropped", False)
    assert readers.extension2reader == {"*.nrrd": "another", "*.tif": "medseg"}
    assert setting("files", "take_dropped") is False
