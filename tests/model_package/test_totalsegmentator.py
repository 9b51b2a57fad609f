"""TotalSegmentator's folder as models of its tasks: parts, names, licences, where they look."""

import json
from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.inference.estimate import Probe
from medseg.model_package import find_package
from medseg.model_package.interop.totalsegmentator import import_tasks, recognises
from medseg.model_package.interop.totalsegmentator_table import table
from medseg.volume import Grid, Scan
from nnunet_folders import configuration, dataset, network_of, plans, write_trained

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_MODELS", str(tmp_path / "models"))
    (tmp_path / ".totalsegmentator" / "nnunet" / "results").mkdir(parents=True)
    return tmp_path / ".totalsegmentator"


def write(home, number, labels, name="3d_fullres", spacing=(1.5, 1.5, 1.5)):
    names = {"background": 0, **{f"label {n}": n for n in range(1, labels + 1)}}
    write_trained(
        home
        / f"nnunet/results/Dataset{number:03d}_x/nnUNetTrainerNoMirroring__nnUNetPlans__{name}",
        {"0": network_of(heads=labels + 1, seed=number)},
        plans_json=plans({name: configuration(spacing=list(spacing))}),
        dataset_json=dataset(labels=names),
        inference_allowed_mirroring_axes=None,
    )


def test_every_task_of_the_table_has_its_labels_and_its_crop():
    for name, row in table().tasks.items():
        sizes = [len(table().parts.get(str(number), ())) for number in row.ids]
        if len(row.ids) > 1:
            named = {label for number in row.ids for label in table().parts[str(number)]}
            assert named == {*table().labels[row.labels]}, name
            assert min(sizes) > 0
        if row.crop:
            assert {*row.crop} <= {*table().labels[table().tasks[row.crop_by].labels]}, name


def test_the_same_value_has_other_names_in_other_versions():
    assert table().labels["total"][25] == "vertebrae_S1"
    assert table().labels["total_v3"][25] == "vertebrae_L6"
    assert table().parts["292"][1] == "vertebrae_S1"
    assert table().parts["832"][1] == "vertebrae_L6"


def test_parts_of_total_are_one_model_by_name(home):
    for number in table().tasks["total"].ids:
        write(home, number, len(table().parts[str(number)]))
    assert recognises(home)
    (outcome,) = import_tasks(home)
    manifest = outcome.package.manifest
    assert (outcome.task, outcome.licence) == ("total", "Apache-2.0")
    assert manifest.labels.names == tuple(table().labels["total"])
    assert manifest.labels.labels[4].code.value == "10200004"
    assert manifest.parts == tuple(f"dataset_{n}" for n in (291, 292, 293, 294, 295))
    part = outcome.package.inner("dataset_292").manifest
    assert part.labels.names[:2] == ("sacrum", "vertebrae_S1")
    plan = part.plan
    assert (plan.orientation, plan.spacing_mm, plan.mirror_axes) == ("SAR", (1.5, 1.5, 1.5), ())
    assert (plan.normalise_first, plan.resampling.image.order) == (False, 1)
    assert find_package("totalsegmentator-total").manifest == manifest
    assert import_tasks(home)[0].reason == "was there already"


def test_a_missing_part_is_told(home):
    write(home, 291, len(table().parts["291"]))
    (outcome,) = import_tasks(home)
    assert outcome.package is None
    assert "292, 293, 294, 295" in outcome.reason


def test_licensed_tasks_need_their_owners_number(home):
    write(home, 303, 1)
    (outcome,) = import_tasks(home)
    assert (outcome.package, "license_number" in outcome.reason) == (None, True)
    (home / "config.json").write_text(json.dumps({"license_number": "aca_" + "0" * 14}))
    (outcome,) = import_tasks(home)
    assert outcome.package.manifest.labels.names == ("face",)
    assert "licence number" in outcome.package.manifest.card.licence


def test_a_licensed_folder_given_alone_needs_the_number_too(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = "Dataset303_face_1559subj"
    own = tmp_path / "elsewhere" / name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    file = plans({"3d_fullres": configuration()}, dataset_name=name)
    write_trained(
        own,
        {"0": network_of(heads=2)},
        plans_json=file,
        dataset_json=dataset(labels={"background": 0, "face": 1}),
    )
    for given in (own, own.parent):
        with pytest.raises(PackageError, match="task face, which needs the licence") as caught:
            find_package(given)
        assert caught.value.code == "LICENCE"
    (home / "config.json").write_text(json.dumps({"license_number": "aca_" + "0" * 14}))
    assert find_package(own).manifest.labels.names == ("face",)


def test_weights_of_another_version_are_refused(home):
    write(home, 299, 5)
    (outcome,) = import_tasks(home)
    assert (outcome.package, "another version" in outcome.reason) == (None, True)


def test_a_task_looks_around_what_another_finds(home):
    write(home, 258, 2)
    (outcome,) = import_tasks(home)
    assert "dataset 298" in outcome.reason
    write(home, 298, len(table().labels["total"]), spacing=(6.0, 6.0, 6.0))
    (outcome,) = import_tasks(home, "lung_vessels_LEGACY")
    crop = outcome.package.manifest.crop
    assert (crop.labels[0], crop.margin_mm) == ("lung_upper_lobe_left", 3)
    predictor = Predictor.load(outcome.package, device="cpu")
    rng = np.random.default_rng(0)
    grid = Grid((40, 36, 30), np.diag([3.0, 3.0, 3.0, 1.0]))
    scan = Scan(rng.normal(30, 60, (1, 40, 36, 30)).astype(np.float32), grid)
    seen = predictor.around.model.predict(scan)
    values, counts = np.unique(seen.values[seen.values > 0], return_counts=True)
    rarest = int(values[counts.argmin()])
    name = seen.table.names[rarest - 1]
    predictor = replace(predictor, around=replace(predictor.around, labels=(name,)))
    inner = replace(predictor, around=None)
    probe = Probe(1.0, 10, 6, around=Probe(0.5, 5, 2))
    first = predictor.around.model.estimate(scan.grid, probe=probe.around)
    whole, alone = (each.estimate(scan.grid, probe=probe) for each in (predictor, inner))
    assert whole.tiles == first.tiles + alone.tiles == predictor.tiles(scan.grid)
    assert whole.seconds == first.seconds + alone.seconds
    labels = predictor.predict(scan)
    assert labels.table.names == ("lung_vessels", "lung_trachea_bronchia")
    at = [np.flatnonzero((seen.values == rarest).any(axis=axes)) for axes in AXES]
    box = tuple(
        slice(max(0, rows[0] - 1), min(n, rows[-1] + 2))
        for rows, n in zip(at, grid.shape, strict=True)
    )
    inside = np.zeros(grid.shape, bool)
    inside[box] = True
    assert not labels.values[~inside].any()
    cut = Scan(scan.voxels[(slice(None), *box)], grid.cropped(box))
    alone = replace(predictor, around=None).predict(cut)
    assert np.array_equal(labels.values[box], alone.values)
    blind = replace(predictor, around=replace(predictor.around, labels=("no such label",)))
    nothing = blind.predict(scan)
    assert not nothing.values.any()
    assert "nowhere to look" in nothing.provenance.notes[-1]


AXES = ((1, 2), (0, 2), (0, 1))


def test_tasks_and_folders_that_are_not_there(home, tmp_path):
    with pytest.raises(PackageError, match="no task 'totl'; it has total, total-fast"):
        import_tasks(home, "totl")
    with pytest.raises(PackageError, match="holds no weights"):
        import_tasks(home)
    assert not recognises(tmp_path)
