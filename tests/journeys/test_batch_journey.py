import csv

import pytest

from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.writing import write_scan


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    small = ct_grid(shape=(24, 20, 16), spacing_mm=(14.0, 13.0, 15.0))
    flat = ct_grid(shape=(24, 20, 2), spacing_mm=(14.0, 13.0, 15.0))
    write_scan(abdominal_ct(1, small)[0], folder / "one.nii.gz")
    write_scan(abdominal_ct(2, small)[0], folder / "deep" / "two.nii.gz")
    write_scan(abdominal_ct(2, flat)[0], folder / "scout.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    return folder


def rows(output):
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def test_one_bad_file_does_not_stop_the_rest(run, folder, model, tmp_path):
    output = tmp_path / "out"
    result = run("batch", folder, "--model", model, "--output", output)
    assert result.exit_code == 1, result.output
    assert (output / "one.nii.gz").is_file()
    assert (output / "two.nii.gz").is_file()
    table = rows(output)
    assert {name: row["status"] for name, row in table.items()} == {
        "one": "done", "two": "done", "scout": "skipped", "broken": "failed",
    }  # fmt: skip
    assert table["broken"]["code"]
    assert "broken" in table["broken"]["message"]
    assert float(table["one"]["liver_ml"]) >= 0
    assert "--min-slices" in table["scout"]["message"]
    names = {path.name for path in output.iterdir()}
    assert names == {"one.nii.gz", "two.nii.gz", "summary.csv"}


def test_pictures_and_archives_without_dicom_are_named(run, folder, model, tmp_path):
    (folder / "broken.nii.gz").unlink()
    (folder / "deep" / "two.nii.gz").unlink()
    (folder / "shot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run("batch", folder, "--model", model, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "passed over shot.png" in " ".join(result.output.split())
    assert "shot" not in rows(tmp_path / "out")


def test_running_again_keeps_what_is_there(run, folder, model, tmp_path):
    output = tmp_path / "out"
    (folder / "broken.nii.gz").unlink()
    assert run("batch", folder, "--model", model, "--output", output).exit_code == 0
    before, stamp = rows(output), (output / "one.nii.gz").stat().st_mtime_ns
    (output / "two.nii.gz").unlink()
    assert run("batch", folder, "--model", model, "--output", output).exit_code == 0
    after = rows(output)
    assert (after["one"]["status"], after["two"]["status"]) == ("kept", "done")
    assert after["one"]["liver_ml"] == before["one"]["liver_ml"]
    assert (output / "one.nii.gz").stat().st_mtime_ns == stamp
    assert run("batch", folder, "--model", model, "--output", output, "--overwrite").exit_code == 0
    assert rows(output)["one"]["status"] == "done"


def test_a_dicom_folder_gives_both_formats(run, series, model, tmp_path):
    output = tmp_path / "out"
    result = run(
        "batch", series.parent / "series", "--model", model, "--output", output,
        "--format", "nifti", "--format", "dicom-seg",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [path.suffix for path in (output / "nifti").iterdir()] == [".gz"]
    assert [path.suffix for path in (output / "dicom-seg").iterdir()] == [".dcm"]
    assert next(iter(rows(output).values()))["series_uid"].startswith("2.25.")


def test_short_stacks_can_be_asked_for(run, folder, model, tmp_path):
    (folder / "broken.nii.gz").unlink()
    result = run(
        "batch", folder, "--model", model, "--output", tmp_path / "out", "--min-slices", "2"
    )
    assert result.exit_code == 0
    assert rows(tmp_path / "out")["scout"]["status"] == "done"


def test_a_folder_without_scans_is_bad_input(run, model, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("batch", tmp_path / "empty", "--model", model, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
