"""What the panel runs, with the library's own predictor and an untrained network; no Qt."""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec
import numpy as np
import pytest

pytest.importorskip("napari")

from medseg.modelpack import Card, Manifest, ModelPackage, save_package
from medseg.modelpack.package import UNSAVED
from medseg.networks import build_network, suggestion
from medseg.planning import Choice, Normalisation, Plan, Stages
from medseg.volume import Grid, LabelTable, Scan
from medseg_napari.jobs import Alive, Done, Job, Progress, Stopped
from medseg_napari.layers import layer_from_scan
from medseg_napari.segmentation import Request, Runner, model_words

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0), channels=("MR",), normalisation=(Normalisation(),),
    patch=(16, 16, 16), batch=2,
    network=Choice(name="unet", settings={
        "features": [4, 8], "strides": [[1, 1, 1], [2, 2, 2]], "kernels": [[3, 3, 3], [3, 3, 3]],
    }),
)  # fmt: skip


@pytest.fixture
def toy(tmp_path) -> ModelPackage:
    manifest = Manifest(
        name="toy", plan=PLAN, labels=LabelTable.of({1: "a", 2: "b"}),
        card=Card(licence="CC0"), scores={"foreground": 0.25}, weights=UNSAVED,
    )  # fmt: skip
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
    events = [event for event in job.events() if not isinstance(event, Alive)]
    assert isinstance(events[-1], Done), events[-1]
    assert any(isinstance(event, Progress) and event.total > 1 for event in events)
    values, attributes, kind = events[-1].result
    assert (kind, values.shape) == ("labels", request_for.data.shape)
    assert attributes["name"] == "scan: toy"
    assert attributes["translate"] == request_for.attributes["translate"]
    assert list(attributes["features"]["name"]) == ["background", "a", "b"]


@pytest.mark.parametrize("name", ["fcn", "deeplab", "pspnet", "resenc_unet", "segresnet"])
@pytest.mark.parametrize("plane", [None, "axial"])
def test_every_network_runs_here_with_no_word_of_its_own(request_for, tmp_path, name, plane):
    dims = 3 if plane is None else 2
    stages = Stages(
        patch=(16,) * dims, features=(8, 16), strides=((1,) * dims, (2,) * dims),
        kernels=((3,) * dims,) * 2,
    )  # fmt: skip
    plan = msgspec.structs.replace(
        PLAN, network=suggestion(name)(stages), plane=plane, mirror_axes=(0, 1),
        patch=(16, 16, 16) if plane is None else (16, 16, 1),
    )  # fmt: skip
    manifest = Manifest(
        name=name, plan=plan, labels=LabelTable.of({1: "a", 2: "b"}), weights=UNSAVED
    )
    package = save_package(tmp_path / name, manifest, build_network(plan, classes=3))
    request = replace(request_for, package=package)
    job = Job(lambda progress: Runner().run(request, progress))
    last = list(job.events())[-1]
    assert isinstance(last, Done), last
    assert last.result[0].shape == request.data.shape


def test_a_job_stops_between_tiles(request_for) -> None:
    runner, stop = Runner(), threading.Event()
    job = Job(lambda progress: runner.run(request_for, progress), cancel=stop)
    events = job.events()
    for event in events:
        if isinstance(event, Progress) and event.total > 1:
            stop.set()
            break
    assert isinstance(list(events)[-1], Stopped | Done)


def test_the_model_is_loaded_once_per_choice(request_for, halves) -> None:
    loads = []
    runner = Runner(load=lambda package, device: loads.append(device) or halves())
    for _ in range(2):
        runner.run(request_for, lambda *_: None)
    assert loads == ["cpu"]


def test_what_is_told_of_a_model(toy) -> None:
    assert model_words(toy) == "finds a, b; mean Dice 0.25 on held-out cases; licence CC0."
