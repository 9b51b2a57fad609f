"""The command line, the batch worker, the napari panel and the library decide alike."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console as RichConsole

import medseg
from batch_rows import found
from medseg.errors import MedsegError
from medseg.model_package import ModelPackage
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.reading import read_labels, read_scan
from medseg.runtime.device import choose_device
from medseg.runtime.progress import silent
from medseg.volume import Grid, LabelMap
from medseg.workflows.record import model_digest
from medseg.writing import write_scan
from medseg_napari.export.formats import FORMATS, Subject, obstacle
from medseg_napari.inference.run import Request, Runner
from medseg_napari.layers import labels_from_layer, layer_from_scan
from medseg_napari.run_record import runs_of
from medseg_pipelines.batch.messages import Settings, Task
from medseg_pipelines.batch.workers.case import work
from medseg_pipelines.console import Console
from medseg_pipelines.segment import segment_scan
from toy_model import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
"""Sums in another order would turn near ties of an untrained network."""
SMALL = ct_grid(shape=(24, 20, 12), spacing_mm=(14.0, 15.0, 24.0), turn_degrees=(0, 0, 7))
CT_OR_MR = "was trained on MR, this scan is CT; its labels mean nothing here unless you know better"


@dataclass
class Answer:
    """What a person gets: labels, and every sentence that is shown or stored."""

    labels: LabelMap
    text: str


def by_command_line(path: Path, package: ModelPackage, folder: Path) -> Answer:
    shown = io.StringIO()
    console = Console(RichConsole(file=shown, width=400))
    output = folder / "command_line.nii.gz"
    segment_scan([path], model=package.folder, output=output, device="cpu", console=console)
    return Answer(read_labels(output), shown.getvalue())


def by_batch(path: Path, package: ModelPackage, folder: Path) -> Answer:
    result = batch_result(path, package, folder)
    assert result.state == "done", result.fault
    return Answer(read_labels(folder / "staging" / "labels.nii.gz"), "\n".join(result.warnings))


def batch_result(path: Path, package: ModelPackage, folder: Path, *formats: str):
    task = Task(
        case="case",
        token="token",
        scan=found(1, path=str(path), series=""),
        staging=str(folder / "staging"),
        model=str(package.folder),
        model_digest=model_digest(package),
        settings=Settings(formats=formats or ("nifti",)),
        device="cpu",
    )
    return work(task, lambda step: None)


def by_napari(path: Path, package: ModelPackage, folder: Path) -> Answer:
    data, attributes, _ = layer_from_scan(read_scan(path), "scan")
    outcome = last(Runner().run(Request(data, attributes, package, "cpu"), silent))
    return Answer(labels_from_layer(*outcome.labels[:2]), "\n".join(outcome.notes))


def by_library(path: Path, package: ModelPackage, folder: Path) -> Answer:
    output = folder / "library.nii.gz"
    result = medseg.segment(path, package.folder, output, device="cpu")
    np.testing.assert_array_equal(read_labels(output).values, result.labels.values)
    return Answer(read_labels(output), "\n".join(result.warnings))


ENTRY_POINTS = (by_command_line, by_batch, by_napari, by_library)


def last(generator):
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def for_mr(package, tmp_path) -> ModelPackage:
    """The same model, which says that it is for MR."""
    folder = shutil.copytree(package.folder, tmp_path / "for-mr")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"modality": "CT"', '"modality": "MR"'))
    return ModelPackage.open(folder)


@pytest.fixture
def nifti(tmp_path) -> Path:
    return write_scan(abdominal_ct(1, SMALL)[0], tmp_path / "scan.nii.gz")


@pytest.fixture
def series(tmp_path) -> Path:
    write_series(abdominal_ct(1, SMALL)[0], tmp_path / "series", patient=1)
    return tmp_path / "series"


@pytest.fixture
def without_laterality(tmp_path) -> Path:
    """A NIfTI file that says nothing of where its voxels lie."""
    voxels = np.asarray(abdominal_ct(1, SMALL)[0].voxels[0], np.int16)
    image = nibabel.Nifti1Image(voxels, None)
    image.header.set_zooms((14.0, 15.0, 24.0))
    nibabel.save(image, tmp_path / "plain.nii")
    return tmp_path / "plain.nii"


@pytest.mark.parametrize("kind", ["nifti", "series", "without_laterality"])
def test_the_same_scan_gives_the_same_voxels(kind, package, tmp_path, request):
    path = request.getfixturevalue(kind)
    answers = [entry_point(path, package, tmp_path) for entry_point in ENTRY_POINTS]
    first = answers[0].labels
    assert first.values.any()
    for answer in answers[1:]:
        assert answer.labels.grid.same_as(first.grid, tolerance_mm=1e-3)
        np.testing.assert_array_equal(answer.labels.values, first.values)
        assert answer.labels.table.names == first.table.names


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_another_modality_gives_the_same_warning(entry_point, series, for_mr, tmp_path):
    assert f"tiny {CT_OR_MR}" in entry_point(series, for_mr, tmp_path).text


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_the_same_modality_gives_none(entry_point, series, package, tmp_path):
    assert "was trained on" not in entry_point(series, package, tmp_path).text


def test_laterality_is_a_field_that_results_keep(without_laterality, nifti, package, tmp_path):
    assert read_scan(nifti).provenance.laterality_known
    scan = read_scan(without_laterality)
    assert not scan.provenance.laterality_known
    assert scan.provenance.has_physical_size
    result = medseg.segment(without_laterality, package.folder, tmp_path / "a.nii.gz")
    assert not result.labels.provenance.laterality_known


@pytest.mark.parametrize("kind", ["nifti", "zipped", "nameless"])
def test_the_same_refusal_of_a_dicom_result(kind, series, nifti, package, tmp_path):
    path, code = {
        "nifti": lambda: (nifti, "NO_DICOM_SOURCE"),
        "zipped": lambda: (zipped(series), "NO_DICOM_SOURCE"),
        "nameless": lambda: (nameless(series), "BLANK_UIDS"),
    }[kind]()
    scan = read_scan(path)
    labels = LabelMap(
        np.ones(scan.grid.shape, np.uint8), scan.grid, package.manifest.labels, scan.provenance
    )
    reason = obstacle(Subject(labels), FORMATS["dicom_seg"])
    assert "write .nii.gz instead" in reason
    with pytest.raises(MedsegError) as by_hand:
        segment_scan(
            [path], model=package.folder, output=tmp_path / "a.dcm", device="cpu", console=Console()
        )
    with pytest.raises(MedsegError) as by_code:
        medseg.segment(path, package.folder, tmp_path / "a.dcm")
    fault = batch_result(path, package, tmp_path, "nifti", "dicom-seg").fault
    assert [by_hand.value.code, by_code.value.code, fault.code] == [code] * 3
    for sentence in (str(by_hand.value), str(by_code.value), fault.message):
        assert reason in sentence
    assert not (tmp_path / "a.dcm").exists()


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder.with_name("archive")), "zip", folder))


def nameless(folder: Path) -> Path:
    """The series with blank SOPInstanceUIDs."""
    from pydicom import dcmread

    for path in folder.rglob("*"):
        if path.is_file():
            dataset = dcmread(path)
            dataset.SOPInstanceUID = ""
            dataset.save_as(path)
    return folder


def test_a_sheared_scan_is_refused_before_it_is_segmented(package, tmp_path):
    scan, _ = abdominal_ct(1, SMALL)
    affine = SMALL.affine.copy()
    affine[1, 2] += 8.0
    sheared = Grid(SMALL.shape, affine)
    path = write_scan(type(scan)(scan.voxels, sheared, "CT"), tmp_path / "tilted.nii.gz")
    with pytest.raises(MedsegError, match="tilted gantry") as refusal:
        medseg.segment(path, package.folder, tmp_path / "a.nrrd")
    fault = batch_result(path, package, tmp_path, "nrrd").fault
    assert refusal.value.code == fault.code == "SHEARED"


def test_the_record_names_the_device_of_the_predictor(nifti, package):
    """The panel asks for a device; what the predictor took may be another one."""
    real = choose_device("cpu")

    class Elsewhere:
        device = replace(real, description="the predictor's own device")

        def run(self, scan, options, *, progress):
            from medseg.inference import Prediction

            values = np.ones(scan.grid.shape, np.uint8)
            table = package.manifest.labels
            return Prediction(LabelMap(values, scan.grid, table, scan.provenance))

    data, attributes, _ = layer_from_scan(read_scan(nifti), "scan")
    runner = Runner(load=lambda request: Elsewhere())
    outcome = last(runner.run(Request(data, attributes, package, "auto"), silent))
    (run,) = runs_of(outcome.labels[1])
    assert run.record.device == "the predictor's own device"
    assert run.record.model.digest == model_digest(package)
    assert run.record.versions["medseg"] == medseg.__version__
