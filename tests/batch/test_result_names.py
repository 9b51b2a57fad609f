"""Results by names that people know: which each scan gets, and that they stay."""

import csv
import json
import os
import re
from types import SimpleNamespace

import pytest
from pyarrow import parquet

from batch.conftest import SMALL
from batch_stand_ins import files_below, found, rows, without_times
from medseg.errors import InputError
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import write_series
from medseg.writing import write_scan
from medseg_pipelines.batch.archive.result_names import mirrored
from medseg_pipelines.batch.ledger.ledger import AllCases, Ledger
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.reports.label_maps import label_maps
from medseg_pipelines.batch.reports.report import write_report
from medseg_pipelines.batch.reports.status import explain_case
from medseg_pipelines.batch.reports.summary import write_summary

ENDS = (".nii.gz", ".case.json", ".thumbnail.png")
DIGESTS = re.compile(r"(patient-\w{16}/study-\w{16}/series|files/file)-[0-9a-f]{16}")


def file_at(root, path, **more):
    facts = {"format": "nifti"}
    return found(0, path=str(root / path), lineage=path, series="", **{"facts": facts, **more})


def series_at(root, path, name="", **facts):
    facts = {"format": "dicom", "Modality": "CT", **facts}
    return found(0, path=str(root / path), lineage=path + name, facts=facts)


def places(root, *scans, given=None):
    return [scan.folder for scan in mirrored(scans, root, given or {})]


def test_a_file_keeps_its_name_and_its_folders(tmp_path):
    paths = ("case_007.nii.gz", "a/b c/1.2.3.nrrd", "a/UPPER.NII", "p.q/r.mha")
    expected = ["case_007.*", "a/b c/1.2.3.*", "a/UPPER.*", "p.q/r.*"]
    assert places(tmp_path, *(file_at(tmp_path, path) for path in paths)) == expected


def test_a_series_has_a_folder_by_number_and_modality(tmp_path):
    scans = [
        series_at(tmp_path, "p1/chest", SeriesNumber=3),
        series_at(tmp_path, "p1/chest", "again", SeriesNumber=3),
        series_at(tmp_path, "", "loose", SeriesNumber=4, Modality="MR"),
        series_at(tmp_path, "old/study.zip", SeriesNumber=None),
    ]
    assert places(tmp_path, *scans) == [
        "p1/chest/series-3-CT",
        "p1/chest/series-3-CT-2",
        "series-4-MR",
        "old/study/series-CT",
    ]


def test_files_that_only_their_formats_tell_apart_keep_these(tmp_path):
    scans = [file_at(tmp_path, f"s/a{end}") for end in (".nii", ".nii.gz", ".nrrd")]
    assert places(tmp_path, *scans) == ["s/a.nii.*", "s/a.nii.gz.*", "s/a.nrrd.*"]
    first = mirrored(scans[:1], tmp_path, {})
    given = {scan.lineage: scan.folder for scan in first}
    assert places(tmp_path, *scans, given=given) == ["s/a.*", "s/a.nii.gz.*", "s/a.nrrd.*"]


@pytest.mark.parametrize(
    "paths",
    [
        ("a.nii.gz", "A.nii.gz"),
        ("a.nii.gz", "a.probabilities.nii.gz"),
        ("a?.nii.gz", "a*.nii.gz", "a_.nii.gz"),
        ("x" * 300 + "1.nii", "x" * 300 + "2.nii"),
        ("a.nii", "a.nii.gz", "a.nii.nii"),
    ],
)
def test_no_two_scans_have_files_of_one_name(tmp_path, paths):
    given = places(tmp_path, *(file_at(tmp_path, path) for path in paths))
    stems = [place.removesuffix(".*") for place in given]
    ends = (".nii.gz", ".probabilities.nii.gz", ".seg.nrrd", ".case.json", ".preview.png")
    files = [stem.lower() + end for stem in stems for end in ends]
    assert len(set(files)) == len(files)
    assert all(len(file.encode()) < 230 for file in files)


def test_names_do_not_hang_on_the_order_of_the_scans(tmp_path):
    paths = ("a.nii", "b/a.nii", "a.nii.gz", "c.mha", "c.nrrd", "d.nii")
    scans = [file_at(tmp_path, path) for path in paths]
    forward = dict(zip(paths, places(tmp_path, *scans), strict=True))
    assert dict(zip(paths[::-1], places(tmp_path, *scans[::-1]), strict=True)) == forward


def test_what_windows_or_the_batch_itself_cannot_have_is_never_a_name(tmp_path):
    scans = [file_at(tmp_path, 'a:b/c"d\\e\n.nii'), series_at(tmp_path, "report.html", Modality="")]
    scans += [series_at(tmp_path, "case.nii.gz/deep", Modality="CT/../x")]
    assert places(tmp_path, *scans) == [
        "a_b/c_d_e_.*",
        "report.html_/series",
        "case/deep/series-CT_.._x",
    ]


# ------------------------------------------------------------------------- runs


def test_results_are_called_as_their_scans_and_tables_say_which_is_which(go, output, archive):
    inner = archive / "more" / "deep"
    inner.mkdir(parents=True)
    (archive / "scan-2.nii.gz").rename(inner / "scan-1.nii.gz")
    go()
    for name in ("scan-1", "more/deep/scan-1"):
        for end in ENDS:
            assert (output / f"{name}{end}").is_file()
    assert {path.parent.name for path in output.rglob("labels.nii.gz")} == {"series-1-CT"}
    write_summary(output, AllCases(output))
    with (output / "summary.csv").open(newline="") as file:
        plain = {row["source"]: row for row in csv.DictReader(file)}
    typed = {
        row["source"]: row for row in parquet.read_table(output / "summary.parquet").to_pylist()
    }
    assert (
        plain.keys()
        == typed.keys()
        == {
            *(str(archive / name) for name in ("broken.nii.gz", "scan-1.nii.gz", "p3", "p4")),
            str(inner / "scan-1.nii.gz"),
        }
    )
    assert plain[str(archive / "scan-1.nii.gz")]["folder"] == "scan-1.*"
    assert typed[str(archive / "broken.nii.gz")]["folder"] == ""
    page = write_report(output, AllCases(output)).read_text()
    assert ">more/deep/scan-1<" in page
    assert 'href="more/deep/"' in page
    with pytest.raises(InputError, match=r"two results .* called 'scan-1'"):
        label_maps(output)


def test_a_case_is_explained_by_the_name_of_its_results(go, output):
    go()
    said = []
    console = SimpleNamespace(print=said.append)
    for name in ("scan-1", str(output / "scan-1.nii.gz"), str(output / "scan-1.case.json")):
        explain_case(output, name, as_json=True, console=console)
    told = [json.loads(text) for text in said]
    assert told[0] == told[1] == told[2]
    assert told[0]["provenance"] == "scan-1.case.json"
    assert set(told[0]["results"]) == {f"scan-1{end}" for end in ENDS}


def test_a_second_run_and_a_new_file_beside_change_no_name(go, output, archive):
    go()
    before = files_below(output)
    assert go(pool=None).plan.todo == 0
    write_scan(abdominal_ct(9, SMALL)[0], archive / "scan-1.nrrd")
    diary = go()
    assert (diary.plan.new, diary.plan.kept) == (1, 4)
    assert before.items() <= files_below(output).items()
    assert (output / "scan-1.nrrd.nii.gz").is_file()


def test_a_label_map_that_was_removed_is_made_again(go, output):
    go()
    before = without_times(files_below(output))
    (output / "scan-1.nii.gz").unlink()
    assert go().plan.again == 1
    again = without_times(files_below(output))
    assert again["scan-1.nii.gz"] == before["scan-1.nii.gz"]


def test_an_output_goes_on_as_it_was_begun(go, output, tmp_path):
    go(anonymous_names=True)
    assert all(DIGESTS.fullmatch(row.folder) for row in rows(output))
    assert go(pool=None).plan.todo == 0
    write_summary(output, AllCases(output))
    with (output / "summary.csv").open(newline="") as file:
        assert {(row["source"], row["series"]) for row in csv.DictReader(file)} == {("", "")}
    assert "archive" not in write_report(output, AllCases(output)).read_text()
    go(to=tmp_path / "named")
    with pytest.raises(InputError, match="give another --output"):
        go(to=tmp_path / "named", anonymous_names=True)
    with pytest.raises(InputError, match="give another --output"):
        go(to=tmp_path / "named", settings=Settings(deidentify=True))


def test_de_identified_results_have_anonymous_names(go, output):
    go(settings=Settings(deidentify=True))
    assert all(DIGESTS.fullmatch(row.folder) for row in rows(output))


def test_shares_give_the_names_that_one_run_gives(go, output, archive, tmp_path):
    write_scan(abdominal_ct(9, SMALL)[0], archive / "scan-1.nrrd")
    write_series(abdominal_ct(5, SMALL)[0], tmp_path / "p5", patient=5)
    for path in (tmp_path / "p5").iterdir():
        path.rename(archive / "p3" / f"5-{path.name}")
    go(to=tmp_path / "whole")
    for k in (1, 2):
        go(shard=(k, 2))
    names = [{row.lineage: row.folder for row in rows(to)} for to in (output, tmp_path / "whole")]
    assert names[0] == names[1]
    assert len(set(names[0].values())) == 7


def test_a_file_of_somebody_else_is_moved_aside(go, output):
    output.mkdir()
    (output / "scan-1.nii.gz").write_bytes(b"by hand")
    go()
    assert (output / "scan-1.superseded-unknown.nii.gz").read_bytes() == b"by hand"
    assert (output / "scan-1.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
    with Ledger.of(output) as ledger:
        assert ledger.counts()["done"] == 4
    assert os.access(output / "scan-1.case.json", os.R_OK)
