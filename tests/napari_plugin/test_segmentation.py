"""What the panel runs, with the library's own predictor and an untrained network; no Qt."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

pytest.importorskip("napari")

from job_hands import heard
from medseg.errors import Cancelled
from medseg.model_package import Card, Manifest, ModelPackage, find_package, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network, suggestion
from medseg.planning import Component, Normalisation, Plan, Stages
from medseg.volume import Grid, LabelTable, Scan
from medseg_napari.inference.run import InferenceOptions, Request, Runner, model_summary
from medseg_napari.jobs import Done, Job, Partial, Progress, Stopped
from medseg_napari.layers import layer_from_scan
from medseg_napari.run_record import maker_of, run_facts, runs_of
from nnunet_folders import configuration, network_of, plans, write_trained

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 16, 16),
    batch=2,
    network=Component(
        name="unet",
        settings={
            "features": [4, 8],
            "strides": [[1, 1, 1], [2, 2, 2]],
            "kernels": [[3, 3, 3], [3, 3, 3]],
        },
    ),
)


@pytest.fixture
def toy(tmp_path) -> ModelPackage:
    manifest = Manifest(
        name="toy",
        plan=PLAN,
        labels=LabelTable.of({1: "a", 2: "b"}),
        card=Card(licence="CC0"),
        scores={"foreground": 0.25},
        weights=UNSAVED,
    )
    return save_package(tmp_path / "toy", manifest, build_network(PLAN, classes=3))


@pytest.fixture
def request_for(toy):
    affine = np.array([[0, 0, 1.0, 5], [-1.0, 0, 0, 6], [0, -1.0, 0, 7], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).normal(size=(1, 20, 24, 28)).astype(np.float32)
    scan = Scan(voxels, Grid((20, 24, 28), affine), "MR")
    data, attributes, _ = layer_from_scan(scan, "scan")
    return Request(data, attributes, toy, "cpu")


def test_a_real_predictor_runs_in_a_job(request_for) -> None:
    runner = Runner()
    job = Job(lambda progress: runner.run(request_for, progress))
    events = heard(job)
    assert isinstance(events[-1], Done), events[-1]
    assert any(isinstance(event, Progress) and event.total > 1 for event in events)
    values, attributes, kind = events[-1].result.labels
    assert (kind, values.shape) == ("labels", request_for.data.shape)
    assert attributes["name"] == "scan: toy"
    assert attributes["translate"] == request_for.attributes["translate"]
    assert list(attributes["features"]["name"]) == ["background", "a", "b"]


def test_a_folder_of_nnunet_runs_as_a_package_does(request_for, tmp_path):
    folder = write_trained(
        tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres",
        {"0": network_of()},
        plans_json=plans({"3d_fullres": configuration()}),
    )
    request = replace(request_for, package=find_package(folder))
    job = Job(lambda progress: Runner().run(request, progress))
    done = heard(job)[-1]
    assert isinstance(done, Done), done
    values, attributes, _ = done.result.labels
    assert values.shape == request.data.shape
    assert list(attributes["features"]["name"]) == ["background", "liver", "tumour"]


@pytest.mark.parametrize("name", ["fcn", "deeplab", "pspnet", "resenc_unet", "segresnet"])
@pytest.mark.parametrize("plane", [None, "axial"])
def test_every_network_runs_here_with_no_word_of_its_own(request_for, tmp_path, name, plane):
    dims = 3 if plane is None else 2
    stages = Stages(
        patch=(16,) * dims,
        features=(8, 16),
        strides=((1,) * dims, (2,) * dims),
        kernels=((3,) * dims,) * 2,
    )
    plan = msgspec.structs.replace(
        PLAN,
        network=suggestion(name)(stages),
        plane=plane,
        mirror_axes=(0, 1),
        patch=(16, 16, 16) if plane is None else (16, 16, 1),
    )
    manifest = Manifest(
        name=name, plan=plan, labels=LabelTable.of({1: "a", 2: "b"}), weights=UNSAVED
    )
    package = save_package(tmp_path / name, manifest, build_network(plan, classes=3))
    request = replace(request_for, package=package)
    job = Job(lambda progress: Runner().run(request, progress))
    last = heard(job)[-1]
    assert isinstance(last, Done), last
    assert last.result.labels[0].shape == request.data.shape


def test_a_job_stops_between_tiles(request_for) -> None:
    tiles = 0

    def stop_at_the_first_tile(done: int, total: int, message: str) -> None:
        nonlocal tiles
        tiles += total > 1
        if tiles:
            raise Cancelled(message)

    job = Job(lambda _progress: list(Runner().run(request_for, stop_at_the_first_tile)))
    assert heard(job) == [Stopped()]
    assert tiles == 1


def test_the_model_is_loaded_once_per_choice(request_for, halves) -> None:
    loads = []
    runner = Runner(load=lambda request: loads.append(request.device) or halves())
    for _ in range(2):
        list(runner.run(request_for, lambda *_: None))
    assert loads == ["cpu"]


def test_a_box_of_the_layer_is_the_same_voxels_of_the_scan(request_for, halves) -> None:
    predictor = halves()
    box = (slice(2, 9), slice(0, 5), slice(7, 20))
    request = replace(
        request_for, options=InferenceOptions(roi=box, overlap=0.25, postprocessing=())
    )
    (outcome,) = results(Runner(load=lambda _request: predictor), request)
    found = predictor.options
    scan = predictor.scans[0]
    np.testing.assert_array_equal(
        np.sort(scan.voxels[0][found.roi], axis=None), np.sort(request.data[box], axis=None)
    )
    assert (outcome.roi, found.overlap, found.postprocessing) == (box, 0.25, ())


def test_a_preview_comes_only_where_it_is_quicker(request_for, toy) -> None:
    request = replace(request_for, options=InferenceOptions(preview=True, uncertainty=True))
    preview, whole = results(Runner(), request)
    assert (preview.preview, whole.preview) == (True, False)
    assert (len(preview.maps), len(whole.maps)) == (0, 1)
    one_tile = replace(
        request, data=request.data[:16, :16, :16], attributes={**request.attributes, "metadata": {}}
    )
    (only,) = results(Runner(), one_tile)
    assert not only.preview


def test_a_forecast_of_the_library_is_told(request_for) -> None:
    found = Runner().forecast(request_for, lambda *_: None)
    assert found.on_cpu
    assert found.estimate.tiles == 12
    assert "12 tiles" in found.text
    assert found.fits


def results(runner, request) -> list:
    """First results and the last one."""
    last = heard(Job(lambda progress: runner.run(request, progress)))
    assert isinstance(last[-1], Done), last[-1]
    return [event.result for event in last if isinstance(event, Partial | Done)]


def test_what_is_told_of_a_model(toy) -> None:
    assert model_summary(toy) == "finds a, b; mean Dice 0.25 on held-out cases; licence CC0."


def test_a_result_tells_how_it_came_about(request_for) -> None:
    box = (slice(2, 18), slice(4, 20), slice(4, 20))
    boxed = replace(request_for, options=InferenceOptions(roi=box, postprocessing=()))
    job = Job(lambda progress: Runner().run(boxed, progress))
    *_, last = heard(job)
    assert isinstance(last, Done), last
    values, attributes, _ = last.result.labels
    (run,) = runs_of(attributes)
    record, model = run.record, run.record.model
    assert record.seconds["segment"] > 0
    assert (model.name, model.version, model.licence) == ("toy", "1", "CC0")
    assert model.weights == request_for.package.manifest.weights.sha256
    assert "CPU" in record.device
    assert record.settings == {"only a box of": "16 x 16 x 16", "postprocessing": "none"}
    assert "only a box of 16 x 16 x 16" in run_facts((run,))["Settings"]
    assert maker_of(values, attributes).kind == "automatic"
    values[0, 0, 0] = 3 - values[0, 0, 0]
    assert maker_of(values, attributes).kind == "semiautomatic"
