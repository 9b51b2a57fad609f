"""A dataset that grows case by case: a scan is one case, and only reviewed ones are learnt from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import GeometryError, InputError, PlanError, WriteError
from medseg.reading import read_labels, read_scan
from medseg.training import CaseFolder, open_dataset
from medseg.training.case_folder import scan_digest
from medseg.training.dataset_check import check_dataset
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from toy_dataset import toy_case, write_toy

OBLIQUE = np.array([[-1.1, 0.2, 0, 9], [0.2, 1.1, 0.3, -4], [0, -0.3, 1.3, 2], [0, 0, 0, 1]])
TABLE = LabelTable.of({1: "box", 2: "core"})


def case(seed: int, table: LabelTable = TABLE, **kind) -> tuple[Scan, LabelMap]:
    image, labels = toy_case(seed)
    grid = Grid(image.shape, OBLIQUE)
    return Scan(image[None], grid, **kind), LabelMap(labels, grid, table)


def test_a_case_lies_on_its_own_grid_bit_for_bit(tmp_path):
    folder = CaseFolder(tmp_path / "new")
    scan, labels = case(0, modality="MR")
    record = folder.add(scan, labels, status="reviewed")
    assert record.name == f"case-{scan_digest(scan)[:12]}"
    image, truth = folder.files(record.name)
    assert read_scan(image).voxels.tobytes() == scan.voxels.tobytes()
    stored = read_labels(truth)
    np.testing.assert_array_equal(stored.values, labels.values)
    np.testing.assert_allclose(stored.grid.affine, OBLIQUE, rtol=1e-6)
    dataset = open_dataset(folder.path)
    assert (dataset.modality, dataset.labels.names) == ("MR", ("box", "core"))


def test_the_same_scan_gets_new_labels_and_no_second_case(tmp_path):
    folder = CaseFolder(tmp_path)
    scan, labels = case(0)
    first = folder.add(scan, labels, status="raw", name="mine")
    values = labels.values.copy()
    values[0, 0, 0] = 1
    again = folder.add(scan, replace(labels, values=values), status="reviewed", name="other")
    assert (first.name, again.name, again.status) == ("mine", "mine", "reviewed")
    assert read_labels(folder.files("mine")[1]).values[0, 0, 0] == 1
    assert len(folder.records()) == 1


def test_a_series_is_known_by_its_identifiers():
    scan, _ = case(0)
    known = Provenance(series_uid="1.2.3", instance_uids=("1", "2"))
    one, other = (replace(scan, voxels=scan.voxels + n, provenance=known) for n in (0, 1))
    assert scan_digest(one) == scan_digest(other)
    phase = replace(scan, provenance=replace(known, instance_uids=("3", "4")))
    assert len({scan_digest(one), scan_digest(phase), scan_digest(scan)}) == 3


def test_structures_keep_their_number_by_name(tmp_path):
    folder = CaseFolder(tmp_path)
    folder.add(*case(0))
    swapped = LabelTable.of({1: "Core", 2: "cyst", 5: "never drawn"})
    scan, labels = case(1, swapped)
    name = folder.add(scan, labels).name
    assert dict(zip(folder.labels().names, folder.labels().values, strict=True)) == {
        "box": 1,
        "core": 2,
        "cyst": 3,
    }
    stored = read_labels(folder.files(name)[1], table=folder.labels())
    np.testing.assert_array_equal(stored.values == 2, labels.values == 1)
    np.testing.assert_array_equal(stored.values == 3, labels.values == 2)


def test_only_reviewed_cases_are_learnt_from_unless_asked(tmp_path):
    folder = CaseFolder(tmp_path)
    names = [
        folder.add(*case(seed), status=status).name
        for seed, status in enumerate(("raw", "draft", "draft"))
    ]
    with pytest.raises(InputError, match="none that is reviewed"):
        open_dataset(tmp_path)
    folder.set_status(names[0], "reviewed")
    assert [one.name for one in open_dataset(tmp_path).cases] == [names[0]]
    assert {one.name for one in open_dataset(tmp_path, status="draft").cases} == set(names)
    assert open_dataset(tmp_path, status="draft").source.status == "draft"
    with pytest.raises(InputError, match="no case 'ghost'"):
        folder.set_status("ghost", "draft")


def test_what_does_not_belong_is_refused(tmp_path):
    folder = CaseFolder(tmp_path / "set")
    scan, labels = case(0, modality="CT")
    moved = Grid(labels.grid.shape, np.diag([1, 1, 1, 1.0]))
    with pytest.raises(GeometryError, match="do not lie on the scan's grid"):
        folder.add(scan, replace(labels, grid=moved))
    for bad in ("../up", "a b", "Muller, Hans", "x" * 65):
        with pytest.raises(InputError, match="cannot be called"):
            folder.add(scan, labels, name=bad)
    folder.add(scan, labels, name="one")
    with pytest.raises(InputError, match="another scan is called 'one'"):
        folder.add(*case(1, modality="CT"), name="one")
    with pytest.raises(InputError, match="MR and those of 'set' are CT"):
        folder.add(*case(2, modality="MR"))
    double = replace(scan, voxels=np.concatenate([scan.voxels, scan.voxels]))
    with pytest.raises(InputError, match=r"2 channel.*have 1"):
        folder.add(double, labels)
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot make a dataset"):
        CaseFolder(tmp_path / "file").add(scan, labels)
    listed = json.loads((folder.path / "cases.json").read_text())
    listed["patient"] = "nobody"
    (folder.path / "cases.json").write_text(json.dumps(listed))
    with pytest.raises(PlanError, match="patient"):
        folder.records()


def test_a_check_tells_what_would_stop_or_spoil_a_training(tmp_path):
    root = write_toy(tmp_path / "toy", cases=3)
    fine = check_dataset(open_dataset(root))
    assert fine.trainable
    assert all(case.volumes_ml["core"] > 0 for case in fine.cases)
    assert fine.cases[0].volumes_ml["core"] == pytest.approx(64 * 1.2**3 / 1000)

    import nibabel as nib

    _, labels = toy_case(5)
    nib.save(nib.Nifti1Image(labels * 0, np.diag([1.2, 1.2, 1.2, 1])), root / "labels/c1.nii.gz")
    nib.save(nib.Nifti1Image(labels[:-1], np.eye(4)), root / "labels/c2.nii.gz")
    found = check_dataset(open_dataset(root))
    assert not found.trainable
    messages = [finding.message for finding in found.findings]
    assert "c2: " in messages[0]
    assert "grid" in messages[0]
    assert any("c1: its label map is empty" in message for message in messages)
    assert any("'core' is in one case only" in message for message in messages)
