"""Datasets of nnU-Net with several configurations: cascades, ensembles, and what is asked back."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from medseg.errors import InputError, PackageError
from medseg.inference import Options, Predictor, oom_fallback
from medseg.inference.estimate import Probe
from medseg.model_package import Manifest, find_package, import_model, save_package
from medseg.model_package.interop.nnunet.options import ImportOptions
from medseg.model_package.package import NONE
from medseg.runtime import device
from medseg.volume import Grid, LabelTable, Scan
from nnunet_folders import configuration, network_of, plans, write_trained

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINER = "nnUNetTrainer__nnUNetPlans__"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_MODELS", str(tmp_path / "models"))


@pytest.fixture
def scan():
    rng = np.random.default_rng(0)
    grid = Grid((24, 20, 10), np.diag([1.0, 1.5, 3.0, 1.0]))
    return Scan(rng.normal(30, 60, (1, 24, 20, 10)).astype(np.float32), grid)


def write(tmp_path, **networks):
    """A dataset with some of 2d, 3d_lowres, 3d_fullres, 3d_cascade_fullres."""
    file = plans(
        {
            "2d": configuration(dims=2),
            "3d_fullres": configuration(),
            "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [6.0, 3.0, 2.0]},
            "3d_cascade_fullres": {
                "inherits_from": "3d_fullres",
                "previous_stage": "3d_lowres",
            },
        }
    )
    dataset = tmp_path / "Dataset007_Liver"
    for name, network in networks.items():
        write_trained(
            dataset / f"{TRAINER}{name}",
            {"0": network},
            plans_json=file,
            inference_allowed_mirroring_axes=(0, 1),
        )
    return dataset


def cascade(tmp_path):
    return write(
        tmp_path,
        **{"3d_lowres": network_of(), "3d_cascade_fullres": network_of(channels=3, seed=1)},
    )


def test_two_stages_are_a_cascade(tmp_path, scan):
    dataset = cascade(tmp_path)
    package = import_model(dataset)
    assert (package.manifest.previous, package.manifest.plan.previous_labels) == ("previous", 2)
    assert package.inner("previous").manifest.plan.spacing_mm == (6.0, 3.0, 2.0)
    labels = Predictor.load(package, device="cpu").predict(scan)
    alone = Predictor.load(package.inner("previous"), device="cpu").predict(scan)
    assert (labels.values != alone.values).any()
    second = dataset / f"{TRAINER}3d_cascade_fullres"
    assert find_package(second).manifest.previous == "previous"


def test_a_stage_without_the_one_before_is_refused(tmp_path):
    dataset = write(tmp_path, **{"3d_cascade_fullres": network_of(channels=3)})
    with pytest.raises(PackageError, match="its first, 'nnUNetTrainer__nnUNetPlans__3d_lowres'"):
        import_model(dataset)


def test_an_inner_model_that_was_changed_is_refused(tmp_path):
    package = import_model(cascade(tmp_path))
    path = package.folder / "previous" / "manifest.json"
    path.write_text(path.read_text().replace('"CT"', '"MR"'))
    with pytest.raises(PackageError, match="is not the one that"):
        Predictor.load(package, device="cpu")


def test_several_configurations_are_listed_and_one_can_be_chosen(tmp_path):
    dataset = write(tmp_path, **{"3d_fullres": network_of(), "2d": network_of(dims=2)})
    for way in (import_model, find_package):
        with pytest.raises(PackageError, match=r"several .*__2d, .*__3d_fullres.*--configuration"):
            way(dataset)
    package = import_model(dataset, ImportOptions(configuration="2d"))
    assert package.manifest.plan.plane == "first"
    with pytest.raises(PackageError, match="no configuration '3d_lowres'"):
        import_model(dataset, ImportOptions(name="x", configuration="3d_lowres"))


def told_best(dataset, *names, steps=None):
    """``inference_information.json`` as nnU-Net writes it, with paths of another machine."""
    place = "ensembles/ensemble___a___b___0" if len(names) > 1 else f"{TRAINER}{names[0]}/cv"
    best = {
        "postprocessing_file": f"/other/results/{dataset.name}/{place}/postprocessing.pkl",
        "selected_model_or_models": [
            {
                "configuration": name,
                "trainer": "nnUNetTrainer",
                "plans_identifier": "nnUNetPlans",
            }
            for name in names
        ],
    }
    information = {"folds": [0], "best_model_or_ensemble": best}
    (dataset / "inference_information.json").write_text(json.dumps(information))
    (dataset / place).mkdir(parents=True)
    (dataset / place / "postprocessing.json").write_text(json.dumps(steps or {}))


def test_the_configuration_that_was_best_is_taken(tmp_path):
    dataset = write(tmp_path, **{"3d_fullres": network_of(), "2d": network_of(dims=2)})
    step = "remove_all_but_largest_component_from_segmentation"
    steps = {
        "postprocessing_fns": [step],
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}],
    }
    told_best(dataset, "3d_fullres", steps=steps)
    manifest = import_model(dataset).manifest
    assert manifest.plan.plane is None
    assert manifest.postprocessing[0].settings["labels"] == [1, 2]
    told = json.loads((dataset / "inference_information.json").read_text())
    told["best_model_or_ensemble"]["selected_model_or_models"][0]["configuration"] = "3d_lowres"
    (dataset / "inference_information.json").write_text(json.dumps(told))
    with pytest.raises(PackageError, match="__3d_lowres as best, which is not there"):
        import_model(dataset, ImportOptions(name="other"))


def test_an_ensemble_is_the_mean_of_its_members(tmp_path, scan):
    dataset = write(tmp_path, **{"3d_fullres": network_of(), "2d": network_of(dims=2)})
    told_best(dataset, "3d_fullres", "2d")
    package = import_model(dataset)
    assert package.manifest.members == ("3d_fullres", "2d")
    predictor = Predictor.load(package, device="cpu")
    found = predictor.run(scan, Options(probabilities=True, uncertainty=True))
    shares = [
        Predictor.load(package.inner(name), device="cpu")
        .run(scan, Options(probabilities=True))
        .probabilities.voxels.astype(float)
        for name in package.manifest.members
    ]
    mean = np.mean(shares, axis=0)
    assert np.array_equal(found.labels.values, mean.argmax(axis=0))
    assert np.abs(found.probabilities.voxels - mean).max() <= 0.5
    assert (shares[0].argmax(axis=0) != shares[1].argmax(axis=0)).any()
    wrong = 100 * (1 - mean.max(axis=0) / 255)
    assert np.abs(found.uncertainty.voxels[0] - wrong).max() <= 0.5 + 1e-6
    sure = predictor.run(scan, Options(probability_of="liver")).probability.voxels[0]
    assert np.abs(sure - mean[1] / 2.55).max() <= 0.5 + 1e-6


def test_what_an_ensemble_takes_is_told_in_advance(tmp_path, scan):
    dataset = write(tmp_path, **{"3d_fullres": network_of(), "2d": network_of(dims=2)})
    told_best(dataset, "3d_fullres", "2d")
    predictor = Predictor.load(import_model(dataset), device="cpu")
    probe = Probe(1.0, 10, 6, inside=(Probe(1.0, 10, 4), Probe(0.5, 5, 2)))
    each = [
        model.estimate(scan.grid, probe=own)
        for model, own in zip(predictor.together.models, probe.inside, strict=True)
    ]
    both = predictor.estimate(scan.grid, probe=probe)
    assert both.tiles == sum(own.tiles for own in each)
    assert both.seconds == sum(own.seconds for own in each)


def test_an_ensemble_whose_sums_do_not_fit_is_refused_with_numbers(tmp_path, scan, monkeypatch):
    dataset = write(tmp_path, **{"3d_fullres": network_of(), "2d": network_of(dims=2)})
    told_best(dataset, "3d_fullres", "2d")
    predictor = Predictor.load(import_model(dataset), device="cpu")
    monkeypatch.setattr(oom_fallback, "free_memory_bytes", lambda: 100)
    with pytest.raises(
        InputError, match=r"probabilities of all labels .* 0\.0 GB are free"
    ) as caught:
        predictor.predict(scan)
    assert caught.value.code == "OUT_OF_MEMORY"


def test_a_cpu_computes_as_nnunet_there_unless_asked(tmp_path, monkeypatch):
    dataset = write(tmp_path, **{"3d_fullres": network_of()})
    fast = device.Device(torch.device("cpu"), torch.bfloat16, "CPU, 1 thread, bfloat16")
    monkeypatch.setattr(device, "_cpu", lambda: fast)
    for name, half, words in [
        ("cpu", None, "CPU, 1 thread, float32"),
        ("cpu:float32", None, "CPU, 1 thread, float32"),
        ("cpu:bfloat16", torch.bfloat16, "CPU, 1 thread, bfloat16"),
    ]:
        found = Predictor.load(dataset, device=name).device
        assert (found.half, found.description) == (half, words)
    monkeypatch.setattr(device, "_cpu", lambda: replace(fast, half=None))
    for name in ("cpu:bfloat16", "cpu:float8"):
        with pytest.raises(InputError, match=f"device '{name}'.* used in float32;"):
            Predictor.load(dataset, device=name)


def test_a_model_of_several_is_no_single_network(tmp_path):
    dataset = write(tmp_path, **{"3d_fullres": network_of(), "2d": network_of(dims=2)})
    told_best(dataset, "3d_fullres", "2d")
    package = import_model(dataset)
    with pytest.raises(PackageError, match=r"made of several \(3d_fullres, 2d\)"):
        package.load_network()


def test_parts_are_merged_by_name_and_the_last_one_wins(tmp_path, scan):
    tables = ({1: "spleen", 2: "liver"}, {1: "liver", 2: "aorta"})
    inner = {}
    for number, table in enumerate(tables):
        dataset = write(tmp_path / str(number), **{"3d_fullres": network_of(seed=number)})
        one = import_model(dataset, ImportOptions(name=f"part{number}"))
        manifest = msgspec.structs.replace(one.manifest, labels=LabelTable.of(table))
        network = one.load_network()
        folder = tmp_path / f"part{number}"
        inner[f"part{number}"] = save_package(folder, manifest, network, exact=True).folder
    whole = LabelTable.of({1: "aorta", 7: "liver", 300: "spleen"})
    manifest = Manifest(
        name="whole", plan=one.manifest.plan, labels=whole, parts=tuple(inner), weights=NONE
    )
    alone = [Predictor.load(folder, device="cpu").predict(scan) for folder in inner.values()]
    package = save_package(tmp_path / "whole", manifest, None, inner=inner)
    predictor = Predictor.load(package, device="cpu")
    labels = predictor.predict(scan).values
    expected = np.array([0, 300, 7])[alone[0].values]
    later = np.array([0, 7, 1])[alone[1].values]
    assert np.array_equal(labels, np.where(later > 0, later, expected))
    assert len(np.unique(labels)) > 2
    with pytest.raises(InputError, match="made of 2 parts"):
        predictor.run(scan, Options(probabilities=True))
    with pytest.raises(Exception, match="cannot label a prepared"):
        predictor.predict_prepared(torch.zeros(1, 4, 4, 4), scan.grid)
