"""The Export panel in a real viewer: it says what it will write, and writes that."""

from __future__ import annotations

import csv
import logging
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtGui import QGuiApplication

from medseg import __version__
from medseg.metrics import volumes_ml
from medseg.reading import read_labels, read_scan
from medseg.volume import LabelMap, LabelTable
from medseg.workflows.record import ModelUsed, Record
from medseg_napari.layers import layer_from_labels, layer_from_scan
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.export import ExportPanel
from medseg_napari.run_record import RUN_KEY, RunRecord, checksum

SLICES = 4
COARSE = 6
NAMES = {1: "left part", 2: "right part"}


@pytest.fixture
def open_panel(make_napari_viewer, qtbot):
    """A viewer with the docked panel, and a scan and labels in it."""

    def _open(scan=None, labels=None) -> tuple:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1240, 1000)
        if scan is not None:
            data, attributes, _ = layer_from_scan(scan, "the scan")
            viewer.add_image(data, **attributes)
        if labels is not None:
            data, attributes, _ = layer_from_labels(labels, "DOE JOHN")
            viewer.add_labels(data, **attributes)
        panel = open_tab(viewer, "Export")
        assert isinstance(panel, ExportPanel)
        return viewer, panel

    return _open


@pytest.fixture
def ct(shared_data: Path, tmp_path: Path):
    """The middle of a few slices of the real CT, with UIDs in place of its blank ones."""
    from pydicom import dcmread

    folder = tmp_path / "ct"
    folder.mkdir()
    for path in sorted((shared_data / "ct_mr_organs/example_ct_dicom").iterdir())[:SLICES]:
        slice_ = dcmread(path)
        slice_.decompress()
        pixels = np.ascontiguousarray(slice_.pixel_array[200:360, 100:400])
        slice_.Rows, slice_.Columns = pixels.shape
        slice_.PixelData = pixels.tobytes()
        slice_.SOPInstanceUID = path.name.removeprefix("CT.")
        slice_.SOPClassUID = slice_.file_meta.MediaStorageSOPClassUID
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(slice_, keyword, f"1.2.826.0.1.3680043.8.498.{len(keyword)}")
        slice_.PatientName = "DOE^JOHN"
        slice_.save_as(folder / path.name)
    return read_scan(folder)


def halves(scan, threshold: float) -> LabelMap:
    """What is bright, in coarse blocks; 1 in one half and 2 in the other."""
    coarse = scan.voxels[0][::COARSE, ::COARSE] > threshold
    blocks = np.kron(coarse, np.ones((COARSE, COARSE, 1), np.uint8))
    values = blocks[: scan.grid.shape[0], : scan.grid.shape[1]]
    values[: values.shape[0] // 2] *= 2
    return LabelMap(values, scan.grid, LabelTable.of(NAMES), scan.provenance)


def choose(panel: ExportPanel, qtbot, folder: Path, *formats: str) -> None:
    """Tick exactly these formats and wait for the preview."""
    for name, box in panel.form.formats.items():
        box.setChecked(name in formats)
    panel.ask_folder = lambda _title: str(folder)
    panel.form.browse.click()
    previewed(panel, qtbot)


def previewed(panel: ExportPanel, qtbot) -> str:
    qtbot.waitUntil(lambda: panel.plan is not None and not panel._pause.isActive(), timeout=20_000)
    return panel.form.preview.toPlainText()


def export(panel: ExportPanel, qtbot) -> str:
    panel.form.export.click()
    assert panel.job.busy
    qtbot.waitUntil(lambda: not panel.job.busy, timeout=60_000)
    return panel.job.message.text()


def test_what_is_said_is_written_and_reads_back_equal(
    open_panel, qtbot, ct, tmp_path, save_picture
) -> None:
    labels = halves(ct, 100)
    viewer, panel = open_panel(ct, labels)
    folder = tmp_path / "out"
    folder.mkdir()
    formats = ("nifti", "seg_nrrd", "dicom_seg", "rtstruct", "sr", "csv", "stl")
    choose(panel, qtbot, folder, *formats)
    assert panel.form.scan.text() == "the scan"
    planned = {file.path.name for file in panel.plan.files}
    said = panel.form.preview.toPlainText()
    assert f"encoding; manual; refers to the {SLICES} source slices" in said
    assert "Not possible" not in said
    assert not list(folder.iterdir())
    save_picture(viewer, "export-panel.png")

    assert export(panel, qtbot) == f"written: 8 files in {folder}"
    names = {path.name for path in folder.iterdir()}
    assert names == planned
    assert all(name in said for name in names)
    assert not any("DOE" in name for name in names)
    for name in ("segmentation.nii.gz", "segmentation.seg.nrrd", "segmentation.dcm"):
        back = read_labels(folder / name)
        assert back.table.names == tuple(NAMES.values()), name
        assert_same_voxels(back, labels)
    structures = read_labels(folder / "segmentation.rtstruct.dcm", like=ct)
    assert_same_voxels(structures, labels)
    stored = nib.load(folder / "segmentation.nii.gz")
    assert stored.affine.tobytes() == ct.grid.affine.tobytes()
    np.testing.assert_array_equal(np.asarray(stored.dataobj), labels.values)
    with (folder / "segmentation.csv").open() as table:
        found = {row["label"]: float(row["volume_ml"]) for row in csv.DictReader(table)}
    assert found == pytest.approx(volumes_ml(labels))


def assert_same_voxels(back: LabelMap, labels: LabelMap) -> None:
    """The same millimetres hold the same names, whatever the order of the axes."""
    for label in labels.table:
        (value,) = (one.value for one in back.table if one.name == label.name)
        inside = labels.grid.to_world(np.argwhere(labels.values == label.value))
        index = np.rint(back.grid.to_index(inside)).astype(int)
        assert (back.values[tuple(index.T)] == value).all(), label.name
        assert (back.values == value).sum() == len(inside), label.name


def test_what_cannot_be_is_said_before_and_nothing_is_replaced_unasked(
    open_panel, qtbot, hippocampus, tmp_path
) -> None:
    scan = read_scan(hippocampus)
    viewer, panel = open_panel(scan, halves(scan, np.percentile(scan.voxels, 90)))
    assert panel.form.stem.text() == "hippocampus_001_seg"
    choose(panel, qtbot, tmp_path, "nifti", "dicom_seg", "csv")
    said = panel.form.preview.toPlainText()
    assert "DICOM SEG: needs a DICOM series, and this scan came from nifti" in said
    old = tmp_path / "hippocampus_001_seg.csv"
    old.write_text("old")
    panel.form.stem.setText("x")
    panel.form.stem.setText("hippocampus_001_seg")
    assert "csv: is there already" in previewed(panel, qtbot)
    assert "written: 1 file in" in export(panel, qtbot)
    assert old.read_text() == "old"

    layer = viewer.layers["DOE JOHN"]
    layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 2)
    panel.form.replace.setChecked(True)
    assert "is there already" not in previewed(panel, qtbot)
    assert "written: 2 files in" in export(panel, qtbot)
    assert old.read_text().startswith("value,label")
    back = read_labels(tmp_path / "hippocampus_001_seg.nii.gz")
    turned = back.values.transpose(2, 1, 0)[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(turned, layer.data)
    assert back.grid.affine.tobytes() == scan.grid.affine.tobytes()


def test_a_target_that_may_not_be_written_is_one_sentence_and_leaves_nothing(
    open_panel, qtbot, hippocampus, tmp_path, monkeypatch
) -> None:
    scan = read_scan(hippocampus)
    _, panel = open_panel(scan, halves(scan, 1000.0))
    choose(panel, qtbot, tmp_path / "new" / "folder", "nifti")
    assert "written: 1 file in" in export(panel, qtbot)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1
    shutil.rmtree(tmp_path / "new")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    choose(panel, qtbot, tmp_path, "nifti", "csv")
    monkeypatch.setattr("medseg_napari.export.export.tempfile.mkdtemp", refuse)
    said = export(panel, qtbot)
    assert "may not be written (Permission denied), so nothing was saved; choose another" in said
    monkeypatch.undo()
    monkeypatch.setattr("medseg.writing.volume_table._csv", refuse)
    said = export(panel, qtbot)
    assert "csv' could not be written (Permission denied), so nothing was saved" in said
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert "written: 2 files" in export(panel, qtbot)


def run_of(name, *, version="2", weights="ab", crc32=0, **made):
    """A run of a model as layers keep it."""
    model = ModelUsed(name=name, version=version, digest="ef" * 32, weights=weights * 32)
    return RunRecord(record=Record(model=model, device="CPU", **made), crc32=crc32)


def test_a_report_shows_every_structure_and_no_patient(
    open_panel, qtbot, hippocampus, tmp_path
) -> None:
    scan = read_scan(hippocampus)
    labels = halves(scan, np.percentile(scan.voxels, 95))
    viewer, panel = open_panel(scan, labels)
    viewer.layers["DOE JOHN"].metadata[RUN_KEY] = run_of("halves", version="3")
    choose(panel, qtbot, tmp_path, "html", "pdf", "png")
    assert "written: 3 files" in export(panel, qtbot)
    page = (tmp_path / "hippocampus_001_seg.report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page
    assert page.count("not for diagnosis") >= 2
    for name, millilitres in volumes_ml(labels).items():
        assert name in page
        assert f"{millilitres:.2f}" in page
    assert "halves, version 3" in page
    words = re.sub('data:image/png;base64,[^"]+', "", page)
    assert "DOE" not in words
    assert hippocampus.name not in words
    pages = (tmp_path / "hippocampus_001_seg.report.pdf").read_bytes()
    assert pages.startswith(b"%PDF")
    assert pages.count(b"/Type /Page ") == 3
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    from matplotlib.image import imread

    saved = imread(tmp_path / "hippocampus_001_seg.png")
    assert saved.shape == canvas.shape
    np.testing.assert_allclose(saved * 255, canvas, atol=1)


def test_provenance_hides_identifiers_and_the_bug_report_patients(
    open_panel, qtbot, ct, tmp_path
) -> None:
    viewer, panel = open_panel(ct, halves(ct, 100))
    run = run_of("organs", weights="cd", settings={"overlap": "0.5"}, seconds={"segment": 3.2})
    viewer.layers["DOE JOHN"].metadata[RUN_KEY] = run
    panel._show_origin()
    shown = panel.form.origin.text()
    for word in ("organs, version 2", "cdcdcdcd", "overlap 0.5", "3.2 s", f"{SLICES} files"):
        assert word in shown, word
    assert ct.provenance.series_uid not in shown
    panel.form.show_uids.click()
    assert ct.provenance.series_uid in panel.form.origin.text()

    logging.getLogger("medseg_napari").error("'/data/DOE/scan.nii' of DOE JOHN cannot be read")
    panel.form.copy_report.click()
    told = QGuiApplication.clipboard().text()
    assert "- napari 0." in told
    assert "<path> of <hidden> cannot be read" in told
    assert "DOE" not in told


def test_closing_lets_go(open_panel, qtbot, tmp_path) -> None:
    viewer, panel = open_panel()
    qtbot.waitUntil(lambda: "Open or draw labels" in panel.form.preview.toPlainText())
    assert not panel.form.export.isEnabled()
    panel.close()
    viewer.add_labels(np.zeros((3, 4, 5), np.uint8))
    assert not panel._pause.isActive()
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("edited", [False, True])
def test_dicom_says_which_model_drew_and_whether_a_person_did_too(
    open_panel, qtbot, ct, tmp_path, edited
) -> None:
    from pydicom import dcmread

    viewer, panel = open_panel(ct, halves(ct, 100))
    layer = viewer.layers["DOE JOHN"]
    layer.metadata[RUN_KEY] = run_of("organs", crc32=checksum(layer.data))
    if edited:
        layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 2)
    choose(panel, qtbot, tmp_path, "dicom_seg", "rtstruct", "sr")
    kind = "semiautomatic" if edited else "automatic"
    assert f"{kind} by organs 2" in panel.form.preview.toPlainText()
    assert "written: 3 files" in export(panel, qtbot)
    for segment in dcmread(tmp_path / "segmentation.dcm").SegmentSequence:
        assert segment.SegmentAlgorithmType == kind.upper()
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmName == "organs"
        assert algorithm.AlgorithmVersion == f"2, medseg {__version__}"
    for region in dcmread(tmp_path / "segmentation.rtstruct.dcm").StructureSetROISequence:
        assert region.ROIGenerationAlgorithm == kind.upper()
    seg, report = (dcmread(tmp_path / f"segmentation{end}") for end in (".dcm", ".sr.dcm"))
    assert str(seg.SOPInstanceUID) in str(report)
    assert "organs" in str(report)
