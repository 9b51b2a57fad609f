"""What can be saved, and what must not leave the machine: without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image, Labels, Layer
from npe2 import write

from medseg.errors import Cancelled, WriteError
from medseg.phantoms.abdomen import abdominal_ct
from medseg.reading import read_labels, read_scan
from medseg.runtime.progress import silent
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.workflows.figures import Views, key_image
from medseg.writing import label_suffixes
from medseg_napari.export.case_report import facts_of, write_report
from medseg_napari.export.collect import scan_under, stem_for, subject_of
from medseg_napari.export.export import Request, file_stem, plan_export, write_files
from medseg_napari.export.formats import Subject
from medseg_napari.layers import layer_from_labels, layer_from_scan
from medseg_napari.run_record import bug_report, without_patient


def small(affine=None, format_: str = "nifti") -> tuple[Scan, LabelMap]:
    grid = Grid((8, 7, 6), np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    source = Provenance(format=format_)
    voxels = np.random.default_rng(1).normal(size=(1, *grid.shape)).astype(np.float32)
    values = np.zeros(grid.shape, np.uint8)
    values[2:5, 2:5, 1:3], values[6, 6, 5] = 1, 2
    table = LabelTable.of({1: "liver", 2: "a/b: c", 3: "nothing"})
    return Scan(voxels, grid, "MR", source), LabelMap(values, grid, table, source)


def plan(subject: Subject, folder: Path, *formats: str, replace: bool = False):
    return plan_export(subject, Request(formats, folder, "x", replace))


def test_every_suffix_of_the_library_can_be_saved_to_from_the_file_menu() -> None:
    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest("medseg")
    (ours,) = (w for w in manifest.contributions.writers if w.command == "medseg.write_labels")
    napari_has_them = {".png", ".tif", ".tiff"}
    suffixes = {*label_suffixes(), ".seg.nrrd"} - napari_has_them
    assert sorted(ours.filename_extensions) == sorted(suffixes)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".mha", ".csv", ".ply", ".obj"])
def test_labels_are_saved_in_the_format_of_the_ending(tmp_path: Path, suffix: str) -> None:
    _, labels = small()
    layer = Layer.create(*layer_from_labels(labels, "labels"))
    path = tmp_path / f"a{suffix}"
    assert write(str(path), [layer], plugin_name="medseg") == [str(path)]
    if suffix in (".seg.nrrd", ".mha"):
        np.testing.assert_array_equal(read_labels(path).values, labels.values)


def test_a_scan_is_saved_on_its_own_grid_bit_for_bit(tmp_path: Path) -> None:
    affine = np.array([[0, -1.5, 0.2, 3], [0.9, 0, 0.1, -7], [0.1, 0.2, 2.5, 11], [0, 0, 0, 1.0]])
    scan, _ = small(affine)
    path = tmp_path / "scan.nii.gz"
    layer = Layer.create(*layer_from_scan(scan, "scan"))
    assert write(str(path), [layer], plugin_name="medseg") == [str(path)]
    back = read_scan(path)
    np.testing.assert_array_equal(back.voxels, scan.voxels)
    np.testing.assert_allclose(back.grid.affine, scan.grid.affine, atol=1e-6)


def test_the_scan_is_found_by_its_grid_not_by_its_name() -> None:
    scan, labels = small()
    other, _ = small(np.diag([1.0, 2.0, 3.5, 1.0]))
    images = [layer_from_scan(one, "scan")[:2] for one in (other, scan, other)]
    assert scan_under(layer_from_labels(labels, "labels")[:2], images) == 1
    assert scan_under(layer_from_labels(labels, "labels")[:2], images[:1]) is None
    painted = Labels(
        np.zeros(images[1][0].shape, np.uint8),
        scale=images[1][1]["scale"],
        translate=images[1][1]["translate"],
    ).as_layer_data_tuple()[:2]
    assert scan_under(painted, images) == 1
    subject = subject_of(painted, images[1])
    assert subject.labels.grid.affine.tobytes() == scan.grid.affine.tobytes()
    foreign = Image(np.zeros((4, 4, 4))).as_layer_data_tuple()[:2]
    assert scan_under(painted, [foreign]) is None


def test_each_refusal_says_what_to_do(tmp_path: Path) -> None:
    scan, labels = small()
    assert plan(Subject(labels), tmp_path, "html").refused == (
        "Report with key images (HTML): needs the scan under the labels; open it in this viewer",
    )
    sheared = np.array([[1, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    _, tilted = small(sheared)
    assert "tilted gantry" in plan(Subject(tilted), tmp_path, "seg_nrrd").refused[0]
    empty = LabelMap(labels.values * np.uint8(0), labels.grid, labels.table)
    assert "no voxel" in plan(Subject(empty, scan), tmp_path, "stl").refused[0]
    blank = Provenance("dicom", (Path("a"),) * 6, "1.2", ("",) * 6)
    nameless = LabelMap(labels.values, labels.grid, labels.table, blank)
    assert "blank SOPInstanceUIDs" in plan(Subject(nameless), tmp_path, "rtstruct").refused[0]
    (tmp_path / "x.csv").mkdir()
    found = plan(Subject(labels), tmp_path, "csv", replace=True)
    assert (found.files, len(found.refused)) == ((), 1)


def test_surfaces_are_of_the_structures_that_are_there(tmp_path: Path) -> None:
    _, labels = small()
    found = plan(Subject(labels), tmp_path, "stl")
    assert [file.path.name for file in found.files] == ["x_liver.stl", "x_a_b__c.stl"]
    write_files(Subject(labels), found, silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x_a_b__c.stl", "x_liver.stl"]


def test_all_files_or_none(tmp_path: Path) -> None:
    _, labels = small()
    found = plan(Subject(labels), tmp_path, "nifti", "csv", "ply")

    def stop(done: int, _total: int, _message: str, /) -> None:
        if done == 2:
            raise Cancelled("stopped as asked")

    with pytest.raises(Cancelled):
        write_files(Subject(labels), found, stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.ply").write_text("came meanwhile")
    with pytest.raises(WriteError, match="appeared"):
        write_files(Subject(labels), found, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["x.ply"]
    assert (tmp_path / "x.ply").read_text() == "came meanwhile"


def test_key_images_show_the_right_on_the_left_and_pass_through_the_structure() -> None:
    scan, labels = abdominal_ct(7)
    views = Views.of(scan, labels, (-160, 240))
    for label in labels.table:
        assert views.values[views.middle_of(label)] == label.value
    liver, spleen = labels.table.labels[:2]
    assert views.middle_of(liver)[2] < views.middle_of(spleen)[2]
    figure = key_image(views, liver, "footer")
    axial = figure.axes[0]
    shown = axial.images[0].get_array()
    np.testing.assert_array_equal(shown, views.image[views.middle_of(liver)[0]])
    assert axial.get_title() == f"Axial, slice {views.middle_of(liver)[0] + 1} of 48"
    assert [text.get_text() for text in axial.texts] == ["R", "L", "A", "P"]
    width, height = 128 * 3.0, 48 * 5.0
    assert figure.axes[1].images[0].get_extent() == [0.0, width, height, 0.0]
    assert "footer" in [text.get_text() for text in figure.texts]


def test_names_of_files_are_never_those_of_dicom_folders() -> None:
    assert stem_for(Provenance("dicom", (Path("DOE JOHN/1.dcm"),), "1.2", ("1.3",))) == (
        "segmentation"
    )
    assert stem_for(Provenance("nifti", (Path("case_7.nii.gz"),))) == "case_7_seg"
    assert file_stem("a/b\\c:d") == "a_b_c_d"
    assert file_stem(" .. ") == "segmentation"


@pytest.mark.parametrize(
    "line",
    [
        'File "/srv/DOE/lib/jobs.py", line 3, in run',
        "'/data/John DOE/scan.nii.gz' cannot be read",
        "/data/John DOE/scan.nii cannot be read",
        r"C:\scans\DOE\1.dcm cannot be read",
        "DOE_1.nii.gz holds NaN",
        "layer 'DOE JOHN' has shape (3, 4)",
        "the folder 'DOE' is empty",
        "series 1.2.840.10008.5.1.4 of DOEX",
    ],
)
def test_a_bug_report_tells_no_names(line: str) -> None:
    told = without_patient(line, hidden=["DOEX"])
    assert "DOE" not in told
    assert "1.2.840" not in told
    assert told.split()[-1] in line + "<hidden>"
    assert told in bug_report([line], hidden=["DOEX"])


def test_a_bug_report_keeps_what_helps() -> None:
    line = "WARNING medseg: tile 7/8 and/or 0.5 s: KeyError: 'spacing_mm'"
    assert without_patient(line) == line
    assert "jobs.py, line 3" in without_patient('File "/srv/x/jobs.py", line 3')


def test_a_report_in_pdf_has_a_page_for_every_thirty_structures(tmp_path: Path) -> None:
    grid = Grid((12, 12, 8), np.eye(4))
    values = (np.arange(grid.shape[0])[:, None, None] % 2 * np.ones(grid.shape)).astype(np.uint8)
    table = LabelTable.of({value: f"structure {value}" for value in range(1, 42)})
    source = Provenance("dicom", notes=("'/data/DOE/1.dcm' was repaired, " + "word " * 60,))
    labels = LabelMap(values, grid, table, source)
    scan = Scan(values[None].astype(np.int16), grid, "CT", source)
    path = tmp_path / "a.pdf"
    write_report(Subject(labels, scan), path)
    assert path.read_bytes().count(b"/Type /Page ") == 3
    assert "DOE" not in str(facts_of(labels, scan))
