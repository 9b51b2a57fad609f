import numpy as np
import pydicom
import pytest

from medseg.reading import read_labels, read_scan


@pytest.mark.parametrize("name", ["out.nii.gz", "deep/er/out.nii.gz", "out.nrrd"])
def test_a_label_map_lies_on_the_grid_of_its_scan(run, scan_file, model, tmp_path, name):
    output = tmp_path / name
    result = run("segment", scan_file, "--model", model, "--output", output, "--device", "cpu")
    assert result.exit_code == 0, result.output
    labels = read_labels(output)
    assert labels.grid.same_as(read_scan(scan_file).grid, tolerance_mm=1e-3)
    assert "32 x 24 x 20 voxels" in result.output
    assert "CPU" in result.output
    assert "liver" in result.output
    assert str(output) in result.output


def test_nifti_keeps_the_affine_bit_for_bit(run, scan_file, model, tmp_path):
    output = tmp_path / "out.nii.gz"
    assert run("segment", scan_file, "--model", model, "--output", output).exit_code == 0
    assert np.array_equal(read_labels(output).grid.affine, read_scan(scan_file).grid.affine)


def test_mirroring_is_another_answer_on_the_same_grid(run, scan_file, model, tmp_path):
    outputs = [tmp_path / "plain.nii.gz", tmp_path / "mirrored.nii.gz"]
    for output, more in zip(outputs, [[], ["--tta"]], strict=True):
        assert run("segment", scan_file, "--model", model, "--output", output, *more).exit_code == 0
    plain, mirrored = (read_labels(output) for output in outputs)
    assert mirrored.grid.same_as(plain.grid)
    assert (mirrored.values != plain.values).any()


def test_a_dicom_series_becomes_a_dicom_seg(run, series, model, tmp_path):
    output = tmp_path / "out.dcm"
    result = run("segment", series, "--model", model, "--output", output)
    assert result.exit_code == 0, result.output
    labels = read_labels(output)
    assert (
        set(labels.table.names)
        <= {"liver", "spleen", "left_kidney", "right_kidney", "stomach", "aorta"}
        or labels.values.any()
    )


@pytest.mark.parametrize(("encoding", "kind"), [("labelmap", "LABELMAP"), ("binary", "BINARY")])
def test_the_encoding_of_a_dicom_seg(run, series, model, tmp_path, encoding, kind):
    output = tmp_path / "out.dcm"
    result = run("segment", series, "--model", model, "--output", output, "--encoding", encoding)
    assert result.exit_code == 0, result.output
    assert pydicom.dcmread(output, stop_before_pixels=True).SegmentationType == kind


def test_an_encoding_of_another_format_is_refused_before_computing(run, scan_file, model, tmp_path):
    output = tmp_path / "out.nii.gz"
    result = run("segment", scan_file, "--model", model, "--output", output, "--encoding", "auto")
    assert result.exit_code == 2
    assert "encoding" in result.stderr
    assert "Model:" not in result.stdout


def test_an_uneven_series_becomes_a_dicom_seg_on_its_own_slices(run, series, model, tmp_path):
    heights = {}
    for path in (path for path in series.rglob("*") if path.is_file()):
        source = pydicom.dcmread(path)
        x, y, z = source.ImagePositionPatient
        source.ImagePositionPatient = [x, y, round(z + 4 * np.sin(z), 3)]
        source.save_as(path)
        heights[source.SOPInstanceUID] = source.ImagePositionPatient[2]
    output = tmp_path / "out.dcm"
    result = run("segment", series, "--model", model, "--output", output, "--irregular", "resample")
    assert result.exit_code == 0, result.output
    frames = pydicom.dcmread(output).PerFrameFunctionalGroupsSequence
    found = {
        frame.DerivationImageSequence[0]
        .SourceImageSequence[0]
        .ReferencedSOPInstanceUID: frame.PlanePositionSequence[0].ImagePositionPatient[2]
        for frame in frames
    }
    assert found == heights


@pytest.mark.parametrize(
    ("output", "word"),
    [("out.png", ".nii.gz"), ("folder.nii.gz", "folder"), ("out.dcm", "DICOM series")],
)
def test_a_bad_output_is_refused_before_computing(run, scan_file, model, tmp_path, output, word):
    (tmp_path / "folder.nii.gz").mkdir()
    result = run("segment", scan_file, "--model", model, "--output", tmp_path / output)
    assert result.exit_code == 2
    assert word in result.stderr
    assert "Model:" not in result.stdout


def test_the_scan_is_never_overwritten(run, scan_file, model):
    before = scan_file.read_bytes()
    result = run("segment", scan_file, "--model", model, "--output", scan_file)
    assert result.exit_code == 2
    assert scan_file.read_bytes() == before


def test_an_unknown_device_names_those_there_are(run, scan_file, model, tmp_path):
    result = run(
        "segment", scan_file, "--model", model, "--output", tmp_path / "o.nii", "--device", "tpu"
    )
    assert result.exit_code == 2
    assert "cpu" in result.stderr


def test_a_model_for_another_modality_is_warned_about(run, series, model, tmp_path):
    manifest = model / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"modality": "CT"', '"modality": "MR"'))
    result = run("segment", series, "--model", model, "--output", tmp_path / "a.nii.gz")
    assert result.exit_code == 0, result.output
    assert "trained on MR, this scan is CT" in " ".join(result.output.split())
