"""Whole runs: what there is afterwards, what a second one does, and which scans are taken."""

import hashlib
import os
import sys
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from batch.conftest import SMALL
from batch_stand_ins import World, files_below, found, rows, table, without_times
from medseg.phantoms import abdominal_ct
from medseg.writing import write_labels, write_scan
from medseg_pipelines.batch.archive.rules import make_rules
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.ledger.provenance import record_in
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import plan_batch
from toy_model import tiny_model


def upwards(folder):
    """Slices of a series from the feet to the head."""
    return sorted(folder.iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2])


def record_of(output, row):
    return record_in(Places(output).file(row.folder, "case.json"))


def dicom_row(output, number=0):
    return [row for row in rows(output) if row.scan.facts.get("format") == "dicom"][number]


# ------------------------------------------------------------------------- what there is afterwards


def test_the_good_are_done_the_bad_is_refused_and_everything_is_told(go, output):
    diary = go()
    assert (diary.plan.scans, diary.plan.new) == (5, 5)
    assert (diary.tally.done, diary.tally.refused, diary.tally.failed) == (4, 1, 0)
    assert (diary.tally.codes, diary.tally.left) == ({"UNREADABLE": 1}, 0)
    assert len(diary.started) == len(diary.rows) == 5
    for row in rows(output):
        files = Places(output).files(row.folder)
        if row.state == "refused":
            assert not files
            continue
        assert sorted(files) == ["case.json", "labels.nii.gz", "thumbnail.png"]
        record = record_of(output, row)
        assert record.files == {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in files.items()
            if name != "case.json"
        }
        assert (record.volumes_ml, record.source.content) == (row.volumes_ml, row.content)
        assert record.versions["medseg"]
        assert record.model.name == "tiny"
    assert not list(Places(output).staging.iterdir())
    assert not list(Places(output).scratch.glob("*"))


def test_volumes_are_those_of_the_file(go, output):
    go()
    row = dicom_row(output)
    image = nibabel.load(output / row.folder / "labels.nii.gz")
    counts = np.bincount(np.asarray(image.dataobj).ravel(), minlength=7)
    ml = counts[1:] * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert list(row.volumes_ml.values()) == pytest.approx(list(ml[: len(row.volumes_ml)]))


def test_the_record_names_the_slices_it_was_made_of(go, output, archive):
    go()
    uids = {dcmread(path).SOPInstanceUID for path in (archive / "p3").iterdir()}
    records = [record_of(output, row) for row in rows(output)]
    assert any(record is not None and set(record.source.instances) == uids for record in records)


def test_every_format_of_a_dicom_series_and_a_refusal_of_what_is_none(go, output):
    formats = ("nifti", "nrrd", "dicom-seg", "rtstruct", "sr", "preview")
    diary = go(settings=Settings(formats=formats))
    assert diary.tally.codes == {"NO_DICOM_SOURCE": 2, "UNREADABLE": 1}
    names = {path.name for path in (output / dicom_row(output).folder).iterdir()}
    assert names == {
        "labels.nii.gz",
        "labels.seg.nrrd",
        "seg.dcm",
        "labels.rtstruct.dcm",
        "measurements.sr.dcm",
        "preview.png",
        "thumbnail.png",
        "case.json",
    }


def test_scans_of_another_kind_than_the_model_knows_are_done_with_a_warning(go, output, archive):
    for path in (archive / "p3").iterdir():
        slice_ = dcmread(path)
        slice_.Modality = "MR"
        slice_.save_as(path)
    go()
    warned = [row.warnings for row in rows(output) if row.warnings]
    assert len(warned) == 1
    assert "trained on CT, this scan is MR" in warned[0][0]


# ------------------------------------------------------------------------- again


def test_a_second_run_starts_no_worker_and_changes_nothing(go, output):
    go()
    before, stamps = files_below(output), _stamps(output)
    with Ledger.of(output) as ledger:
        cases = table(ledger)

    def no_pool():
        raise AssertionError("there is nothing to do")

    diary = go(pool=no_pool)
    assert (diary.plan.kept, diary.plan.refused, diary.plan.todo) == (4, {"UNREADABLE": 1}, 0)
    assert (files_below(output), _stamps(output)) == (before, stamps)
    with Ledger.of(output) as ledger:
        assert table(ledger) == cases


def _stamps(output):
    return {
        path: path.stat().st_mtime_ns for path in output.rglob("*") if ".medseg" not in path.parts
    }


MOST_CALLS = 300
"""Of functions, for a finished series: about a third of a millisecond on a slow machine."""


def test_a_finished_series_costs_far_below_a_millisecond(tmp_path):
    world = World.at(tmp_path / "out")
    scans = [(found(number), None) for number in range(3000)]
    with world.ledger() as ledger:
        queue = world.queue(ledger)
        queue.enqueue(scans)
        with ledger.writing() as db:
            db.execute("UPDATE cases SET state = 'done', content = 'c'")
        for one, _ in scans:
            place = world.places.final(one.folder)
            place.mkdir(parents=True)
            (place / "case.json").touch()
        calls = Counter()
        sys.setprofile(lambda _frame, event, _argument: calls.update((event,)))
        try:
            verdicts = queue.enqueue(scans)
        finally:
            sys.setprofile(None)
    assert {one.action for one in verdicts} == {"kept"}
    assert (calls["call"] + calls["c_call"]) / len(scans) < MOST_CALLS


def test_two_runs_give_the_same_bytes(go, output, tmp_path):
    go()
    go(to=tmp_path / "other")
    assert without_times(files_below(output)) == without_times(files_below(tmp_path / "other"))


def test_touched_files_are_read_and_nothing_is_written(go, output, archive):
    go()
    before = files_below(output)
    for path in archive.rglob("*"):
        os.utime(path, (1, 1))
    diary = go()
    assert (diary.plan.again, diary.tally.done, diary.tally.refused) == (5, 4, 1)
    assert files_below(output) == before
    assert go(pool=None).plan.todo == 0


def test_a_new_file_is_picked_up(go, archive):
    go()
    write_scan(abdominal_ct(9, SMALL)[0], archive / "new.nii.gz")
    diary = go()
    assert (diary.plan.new, diary.plan.kept, diary.tally.done) == (1, 4, 1)


def test_a_late_slice_gives_a_new_result_that_names_the_former(go, output, archive):
    last = upwards(archive / "p3")[-1]
    late = last.rename(archive.parent / "late.dcm")
    go()
    (small,) = [row for row in rows(output) if row.scan.facts.get("slices") == 7]
    old = files_below(output / small.folder)
    late.rename(last)
    diary = go()
    assert (diary.plan.new, diary.plan.kept) == (1, 3)
    (grown,) = diary.rows
    record = record_of(output, grown)
    assert record.supersedes.case == small.case
    assert len(record.source.instances) == 8
    former = (output / grown.folder).with_name(record.supersedes.folder)
    assert files_below(former) == old
    with Ledger.of(output) as ledger:
        assert ledger.row(small.case).superseded_by == grown.case
        assert len(ledger.rows()) == 5
    assert go(pool=None).plan.todo == 0


def test_a_changed_file_gives_a_new_result_and_a_damaged_one_none(go, output, archive):
    go()
    path = archive / "scan-1.nii.gz"
    write_scan(abdominal_ct(7, SMALL)[0], path)
    (row,) = go().rows
    former = output / f"scan-1.superseded-{row.case[:8]}.nii.gz"
    assert row.state == "done"
    assert former.is_file()
    path.write_bytes(path.read_bytes()[:100])
    (row,) = go().rows
    assert row.state == "refused"
    assert not Places(output).files(row.folder)


def test_all_computes_again_what_is_done(go, output):
    go()
    diary = go(only="all")
    assert (diary.plan.again, diary.tally.done) == (5, 4)
    assert all(record_of(output, row).supersedes for row in rows(output) if row.state == "done")


def test_another_model_and_other_settings_are_other_cases(go, output, tmp_path):
    go()
    other = tiny_model(tmp_path / "other", name="other").folder
    assert go(by=other).tally.done == 4
    assert go(by=other, settings=Settings(formats=("nrrd",))).tally.done == 4
    with Ledger.of(output) as ledger:
        assert ledger.counts()["done"] == 4
        assert ledger.superseded() == 8
    assert record_of(output, dicom_row(output)).model.name == "other"


# ------------------------------------------------------------------------- which


def test_shares_are_done_apart_and_together_are_everything(go, output):
    cases = []
    for k in (1, 2, 3):
        diary = go(shard=(k, 3))
        assert diary.tally.left == 0
        cases += [row.case for row in diary.rows]
    assert len(cases) == len(set(cases)) == 5
    assert go(pool=None).plan.todo == 0


def test_rules_and_short_stacks_are_refused_before_anything_is_read(go, output):
    diary = go(rules=make_rules(where=["Modality=CT"]), min_slices=8)
    assert diary.plan.refused == {"RULE": 3}
    assert diary.tally.done == 2
    diary = go(rules=make_rules(where=["Modality=CT"]), min_slices=9)
    assert diary.plan.kept == 2
    assert go().tally.done == 2


def test_label_maps_beside_scans_are_told_and_not_segmented(model, output, tmp_path):
    root, (scan, labels) = tmp_path / "dataset", abdominal_ct(1, SMALL)
    for name in ("images/a.nii.gz", "labels/a.nii.gz", "b/scan.nii.gz", "b/labels/a.nii.gz"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scan(scan, path)
    write_labels(labels, root / "b" / "scan.seg.nrrd")
    verdicts = plan_batch(root, model=model, output=output)
    told = {
        str(Path(one.scan.path).relative_to(root)): one.fault.code
        for one in verdicts
        if one.fault is not None
    }
    labels = ("labels/a.nii.gz", "b/labels/a.nii.gz", "b/scan.seg.nrrd")
    assert told == dict.fromkeys(labels, "LABEL_MAP")
    assert len(verdicts) == 5


def test_what_may_be_repaired_is_not_refused_by_its_headers(go, archive):
    upwards(archive / "p3")[3].unlink()
    assert go().plan.refused == {"MISSING_SLICE": 1}
    diary = go(settings=Settings(missing="interpolate"))
    assert (diary.plan.refused, diary.tally.done) == ({}, 4)


def test_a_dry_run_tells_everything_and_writes_nothing(go, output, archive, model):
    diary = go(dry_run=True)
    assert (diary.plan.new, diary.tally) == (5, None)
    assert not output.exists()
    go(shard=(1, 2))
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    options = BatchOptions(dry_run=True, min_slices=9)
    verdicts = plan_batch(archive, model=model, output=output, options=options)
    assert {one.action for one in verdicts} <= {"new", "kept", "refused"}
    assert any(one.fault and one.fault.code == "FEW_SLICES" for one in verdicts)
    names = {path.name for path in before}
    after = {path: path.read_bytes() for path in output.rglob("*") if path.name in names}
    same = [name for name in before if "sqlite" not in name.name]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_mirroring_is_another_way_and_so_another_case(go, output):
    def volumes():
        return {row.key: row.volumes_ml for row in rows(output) if row.state == "done"}

    go()
    plain = volumes()
    diary = go(settings=Settings(tta=True))
    assert (diary.plan.new, diary.tally.done) == (5, 4)
    mirrored = volumes()
    assert plain.keys() == mirrored.keys()
    assert all(plain[key] != mirrored[key] for key in plain)
