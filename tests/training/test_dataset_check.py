"""What a look at every case finds, and what a training makes of it."""

from __future__ import annotations

import json
import shutil
import threading
import warnings
from contextlib import suppress

import msgspec
import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg.errors import Cancelled, InputError
from medseg.planning import take_fingerprint
from medseg.planning.fingerprint import fingerprint_of
from medseg.training import TrainingOptions, dataset_check, first_look, open_dataset
from medseg.training.dataset_check import check_dataset, look_at
from medseg.training.training_estimate import estimate_training
from toy_dataset import TOY_PLAN, toy_case, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(steps=1, validations=0, device="cpu")


@pytest.fixture
def root(tmp_path):
    return write_toy(tmp_path / "toy", cases=6)


def write(root, name, *, image=None, labels=None, affine=None):
    affine = np.diag([1.2, 1.2, 1.2, 1]) if affine is None else affine
    for part, array in (("images", image), ("labels", labels)):
        if array is not None:
            nib.save(nib.Nifti1Image(array, affine), root / part / f"{name}.nii.gz")


def codes(root, **options):
    report = check_dataset(open_dataset(root), **options)
    return {(finding.severity, finding.code, finding.case) for finding in report.findings}


def splits(root, *, train, val):
    (root / "splits.json").write_text(json.dumps([{"train": train, "val": val}]))


def test_a_fold_that_holds_out_nothing_is_told(root):
    splits(root, train=["c0", "c1"], val=[])
    assert ("warning", "NONE_HELD_OUT", "") in codes(root, fold=0)


def test_numbers_of_objects_are_told_from_structures_and_learnt_as_one(root):
    (root / "labels.json").unlink()
    for number in range(6):
        _, labels = toy_case(number)
        objects = np.zeros(labels.shape, np.uint16)
        objects[labels > 0] = np.arange(np.count_nonzero(labels)) % (40 if number else 60) + 1
        write(root, f"c{number}", labels=objects)
    assert ("error", "INSTANCES", "") not in codes(root), "most are in many cases"
    for number in range(1, 6):
        _, labels = toy_case(number)
        write(root, f"c{number}", labels=labels.astype(np.uint16))
    (finding,) = check_dataset(open_dataset(root)).of("error")
    assert finding.code == "INSTANCES"
    assert finding.message.startswith("60 labels have no name and most are in less than half")
    assert '{"labels": {"object": [1, 2, ..., 60]}, "regions_class_order": [1]}' in finding.message
    advised = {"labels": {"object": [*range(1, 61)]}, "regions_class_order": [1]}
    (root / "labels.json").write_text(json.dumps(advised))
    dataset = open_dataset(root)
    assert not check_dataset(dataset).of("error")
    plan = msgspec.structs.replace(TOY_PLAN, regions=((1,),))
    medseg.train(dataset, root.parent / "run", options=OPTIONS, plan=plan)
    scores = json.loads((root.parent / "run" / "held_out" / "scores.json").read_text())
    assert set(scores["mean"]) == {"object", "foreground"}


def test_nothing_is_said_of_a_dataset_that_is_well(root):
    report = check_dataset(open_dataset(root))
    assert report.trainable
    assert not report.findings
    image, labels = toy_case(2)
    facts = report.cases[2]
    assert facts.channels[0].low == image.min()
    assert facts.channels[0].mean == pytest.approx(image.mean(dtype=np.float64))
    assert facts.channels[0].std == pytest.approx(image.std(dtype=np.float64))
    assert facts.volumes_ml["core"] == pytest.approx((labels == 2).sum() * 1.2**3 / 1000)
    decoded = msgspec.json.decode(msgspec.json.encode(report), type=dataset_check.DatasetReport)
    assert decoded == report


def test_planning_needs_no_second_reading(root):
    data = open_dataset(root)
    look = look_at(data)
    assert fingerprint_of([look.sketches[case.name] for case in data.cases]) == take_fingerprint(
        data.read(case) for case in data.cases
    )


def test_copies_are_found_by_their_voxels(root):
    image, labels = toy_case(1)
    write(root, "again", image=image.astype(np.float64), labels=labels)
    splits(root, train=["c0", "c1", "c2", "c3"], val=["c4", "again"])
    assert codes(root) == {("warning", "SAME_SCAN_HELD_OUT", "")}
    splits(root, train=["c0", "c1", "again"], val=["c4"])
    assert codes(root) == {("warning", "SAME_SCAN", "")}
    write(root, "again", labels=np.roll(labels, 1, axis=0))
    assert codes(root) == {("error", "TWO_TRUTHS", "")}
    write(root, "again", image=image + 1, labels=labels)
    assert codes(root) == {("note", "SAME_LABELS", "")}


def test_labels_that_a_fold_does_not_train_or_measure_are_named(root):
    for name in ("c0", "c1", "c2", "c3"):
        _, labels = toy_case(int(name[1]))
        write(root, name, labels=np.minimum(labels, 1))
    splits(root, train=["c0", "c1", "c2", "c3"], val=["c4", "c5"])
    assert codes(root) == {("warning", "NOT_TRAINED", "")}
    splits(root, train=["c2", "c3", "c4", "c5"], val=["c0", "c1"])
    assert codes(root) == {("note", "NOT_MEASURED", "")}
    assert not codes(root, fold=None)


def test_training_labels_that_are_all_empty_are_an_error(root):
    splits(root, train=["c0", "c1"], val=["c2"])
    for name in ("c0", "c1"):
        write(root, name, labels=np.zeros((20, 20, 20), np.uint8))
    assert ("error", "NO_LABELS", "") in codes(root)
    assert ("warning", "NOTHING_DRAWN", "c1") in codes(root)


def test_outliers_come_with_numbers(root):
    image, labels = toy_case(3)
    write(root, "c3", image=image + 5000, labels=labels, affine=np.diag([1.2, 1.2, 9.6, 1]))
    report = check_dataset(open_dataset(root, modality="CT"))
    told = {finding.code: finding for finding in report.findings}
    assert told["SPACING"].severity == told["INTENSITY"].severity == "warning"
    assert told["SPACING"].value == "9.6"
    assert "9.6 mm spacing feet-head where 1.2 is usual (robust z 9.3)" in told["SPACING"].message
    assert told["SIZE"].severity == "note"
    assert {finding.case for finding in report.findings} == {"c3"}


def test_turned_cases_are_a_note(root):
    image, labels = toy_case(3)
    affine = np.array([[-1.2, 0, 0, 22.8], [0, 1.2, 0, 0], [0, 0, 1.2, 0], [0, 0, 0, 1]])
    write(root, "c3", image=image[::-1], labels=labels[::-1], affine=affine)
    (finding,) = check_dataset(open_dataset(root)).findings
    assert finding.message == "case c3: axes do not grow to RAS as in most; all are turned"


def test_channels_are_counted_and_compared(root):
    image, _ = toy_case(2)
    write(root, "c2", image=np.stack([image, image], -1))
    assert codes(root) == {
        ("error", "CHANNELS", "c2"),
        ("warning", "SAME_CHANNELS", ""),
        ("note", "READING", "c2"),
    }
    two = msgspec.structs.replace(
        TOY_PLAN, channels=("a", "b"), normalisation=TOY_PLAN.normalisation * 2
    )
    wrong = codes(root, plan=two)
    assert {case for _, code, case in wrong if code == "CHANNELS"} == {"c0", "c1", "c3", "c4", "c5"}


def test_patients_on_both_sides_are_named(root):
    (root / "patients.csv").write_text("case;patient\nc0;x\nc1.nii.gz;x\nc2;y\n")
    data = open_dataset(root)
    assert data.patients == (frozenset({"c0", "c1"}),)
    assert not check_dataset(data).findings
    splits(root, train=["c0", "c2", "c3"], val=["c1"])
    (finding,) = check_dataset(open_dataset(root)).findings
    assert finding.code == "SAME_PATIENT"
    assert finding.message.startswith("c0 (trained on) and c1 (held out) are of one patient")
    assert "x" not in {finding.value, finding.case}


def test_all_cases_are_looked_at_and_the_order_is_kept(root, monkeypatch):
    threads, read = set(), medseg.training.Dataset.read

    def seen(self, case):
        threads.add(threading.get_ident())
        return read(self, case)

    monkeypatch.setattr(medseg.training.Dataset, "read", seen)
    told = []
    report = check_dataset(open_dataset(root), progress=lambda *step: told.append(step))
    assert [facts.name for facts in report.cases] == [f"c{number}" for number in range(6)]
    assert threading.get_ident() not in threads
    assert all(step[1:] == (6, "looking at the cases") for step in told)


def test_a_look_can_be_stopped(root):
    def stop(done, total, message):
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        check_dataset(open_dataset(root), progress=stop)


def test_errors_are_one_sentence_and_leave_no_run(root, tmp_path):
    image, _ = toy_case(0)
    write(root, "c0", image=image * 0 + 7)
    write(root, "c5", image=np.where(image > 200, np.nan, image))
    with pytest.raises(InputError, match=r"^c0: every voxel of the scan is 7; .* \(1 more: see"):
        medseg.train(root, tmp_path / "run", options=OPTIONS, plan=TOY_PLAN)
    assert not (tmp_path / "run").exists()


def test_warnings_are_told_once_for_their_kind(root, tmp_path):
    for name in ("c0", "c1"):
        write(root, name, labels=np.zeros((20, 20, 20), np.uint8))
    with pytest.warns(UserWarning, match=r"^c0: its label map is empty.* \(and 1 more; medseg"):
        medseg.train(root, tmp_path / "run", options=OPTIONS, plan=TOY_PLAN)


def stop_training(done, total, message):
    if message.startswith("training"):
        raise Cancelled("enough")


def test_a_resumed_run_looks_only_at_files_that_changed(root, tmp_path, monkeypatch):
    run, looks, look = tmp_path / "run", [], first_look.look_at
    monkeypatch.setattr(first_look, "look_at", lambda *a, **k: looks.append(1) or look(*a, **k))
    options = msgspec.structs.replace(OPTIONS, steps=3)
    with suppress(Cancelled):
        medseg.train(root, run, options=options, plan=TOY_PLAN, progress=stop_training)
    assert len(looks) == 1
    with suppress(Cancelled):
        medseg.train(None, run, resume=True, progress=stop_training)
    assert len(looks) == 1
    shutil.copy(root / "labels" / "c0.nii.gz", root / "images" / "c0.nii.gz")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(InputError, match=r"^c0: its scan"),
    ):
        medseg.train(None, run, resume=True)
    assert len(looks) == 2
    assert (run / "identity.json").is_file()


def test_an_estimate_counts_what_it_can(root):
    data = open_dataset(root)
    options = TrainingOptions(steps=100, validations=0, device="cpu")
    counted = estimate_training(data, look_at(data), options, plan=TOY_PLAN)
    assert (counted.steps, counted.patch, counted.batch) == (100, (16, 16, 16), 2)
    assert counted.cache_bytes == 6 * 20**3 * (4 + 1)
    assert counted.training_minutes == pytest.approx(100 * counted.step_s / 60)
    assert counted.memory_bytes > 2 * 8 * 16**3 * 4  # one map of the finest stage
