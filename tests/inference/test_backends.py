"""A model on every backend that is installed: torch's labels, and torch where nothing else can."""

import importlib
import os
import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import InputError
from medseg.inference import Predictor, backends
from medseg.inference.backends import choice, compiled
from medseg.inference.backends.choice import LARGEST_SHARE, Trial, fastest, has_labels
from medseg.inference.backends.on_backend import OnBackend
from medseg.inference.oom_fallback import Fallback
from medseg.inference.sliding_window import SlidingWindow
from medseg.model_package import Manifest, find_package, save_package
from medseg.model_package.backend_choice import Choice, kept_choices
from medseg.model_package.manifest import FoldScores
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.networks.adapters.any_size import AnySize
from medseg.networks.adapters.ensemble import Ensemble
from medseg.phantoms import abdominal_ct
from medseg.planning import Component, Normalisation, Plan
from medseg.runtime.cache_folder import VARIABLE, cache_folder
from medseg.runtime.device import Device
from medseg.volume import Grid, LabelTable

pytestmark = pytest.mark.usefixtures("one_thread", "cache")

EXACT = Device(torch.device("cpu"), None, "CPU, float32")
SMALL = Grid((40, 36, 24), np.diag([-8.0, -8.0, 8.0, 1.0]))
RULE = Normalisation(scheme="clip_zscore", low=-200, high=300, std=100)
SETTINGS = {"features": [4, 8], "strides": [[1] * 3, [2] * 3], "kernels": [[3] * 3] * 2}
FLAT = {"features": [4, 8], "strides": [[1] * 2, [2] * 2], "kernels": [[3] * 2] * 2}
SOLID = Plan(
    spacing_mm=(6.0, 6.0, 6.0),
    channels=("CT",),
    normalisation=(RULE,),
    patch=(16, 16, 16),
    batch=1,
    mirror_axes=(0, 1),
    network=Component(name="unet", settings=SETTINGS),
)
PLANS = {
    "3-D": SOLID,
    "2-D": msgspec.structs.replace(
        SOLID,
        plane="axial",
        patch=(32, 32, 1),
        network=Component(name="unet", settings=FLAT),
    ),
    "residual": msgspec.structs.replace(
        SOLID, network=Component(name="resenc_unet", settings={"features": [4, 8]})
    ),
    "regions": msgspec.structs.replace(SOLID, regions=((1, 2), (2,))),
}


def packed(folder, plan=SOLID, *, folds=()):
    """A model with weights from a seed, of one network or of several folds."""
    torch.manual_seed(0)
    labels = LabelTable.of({1: "a", 2: "b"})
    networks = [build_network(plan, classes=plan.outputs(labels)) for _ in folds or (0,)]
    named = {f"fold_{number}": network for number, network in zip(folds, networks, strict=False)}
    manifest = Manifest(
        name="toy",
        plan=plan,
        labels=labels,
        folds=tuple(FoldScores(number=number, cases=1) for number in folds),
        weights=UNSAVED,
    )
    return save_package(folder, manifest, Ensemble(named) if folds else networks[0])


def library(name):
    if not compiled.version(name):
        pytest.skip(f"{name} is not installed, or what writes ONNX is not")
    return name


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder for what is kept, shared by the tests, since writing a network takes seconds."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        yield folder


@pytest.fixture
def fresh(cache, tmp_path, monkeypatch):
    """A folder in which nothing is kept yet."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "fresh"))
    return tmp_path / "fresh"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def undecided(package, cache):
    for file in cache.rglob("choice-*.json"):
        file.unlink()
    return package


@pytest.fixture
def exactly(monkeypatch):
    """Every CPU computes in float32, so that logits can be compared."""
    for place in ("medseg.inference.backends.on_backend", "medseg.inference.oom_fallback"):
        monkeypatch.setattr(importlib.import_module(place), "choose_device", lambda _: EXACT)


@pytest.fixture(params=compiled.LIBRARIES)
def backend(request, exactly, cache):
    return library(request.param)


@pytest.fixture(scope="module")
def scan():
    return abdominal_ct(1, SMALL)[0]


def same(found, wanted):
    assert (found != wanted).mean() <= LARGEST_SHARE
    assert len(np.unique(wanted)) > 1


def only_by_the_library(predictor):
    """The same predictor without torch's own network."""
    for module in predictor.network.modules():
        if isinstance(module, OnBackend):
            module.network = nn.Identity()
    return predictor


@pytest.mark.parametrize("kind", PLANS)
def test_labels_are_torchs(tmp_path, scan, backend, kind):
    package = packed(tmp_path / "toy", PLANS[kind])
    wanted = Predictor.load(package).predict(scan)
    found = only_by_the_library(Predictor.load(package, backend=backend)).predict(scan)
    same(found.values, wanted.values)


@pytest.mark.slow
def test_folds_and_mirror_images_are_run_by_the_library_too(tmp_path, scan, backend):
    package = packed(tmp_path / "toy", folds=(0, 2))
    for tta in (False, True):
        wanted = Predictor.load(package, tta=tta).predict(scan)
        predictor = only_by_the_library(Predictor.load(package, tta=tta, backend=backend))
        same(predictor.predict(scan).values, wanted.values)
    one = Predictor.load(package.of_fold(2), backend=backend).predict(scan)
    same(one.values, Predictor.load(package.of_fold(2)).predict(scan).values)


@pytest.mark.slow
def test_the_shipped_model_labels_alike(backend):
    package = find_package("hippocampus-mr")
    image = torch.randn(1, 1, *package.manifest.plan.patch)
    network = Predictor.load(package, backend=backend).network
    with torch.inference_mode():
        logits, wanted = network(image), package.load_network()(image)
    same(logits.argmax(1).numpy(), wanted.argmax(1).numpy())


def test_several_tiles_and_tiles_of_another_size(package, backend):
    network, own = Predictor.load(package, backend=backend).network, package.load_network()
    with torch.inference_mode():
        for shape in ((3, 1, 16, 16, 16), (1, 1, 8, 16, 8)):
            tiles = torch.randn(shape)
            torch.testing.assert_close(network(tiles), own(tiles), rtol=0, atol=1e-4)


def test_smaller_tiles_when_memory_ran_out_are_torchs(package, backend):
    network = Predictor.load(package, backend=backend).network
    network.runner = None
    window = SlidingWindow(network, Fallback(EXACT, torch.device("cpu"), (8, 8, 8)), 0.5)
    assert window.logits(torch.zeros(1, 16, 16, 16), (0, 0, 0)).shape == (3, 8, 8, 8)


def test_logits_stay_when_the_next_tile_is_run(package, backend):
    network = Predictor.load(package, backend=backend).network
    with torch.inference_mode():
        first = network(torch.randn(1, 1, 16, 16, 16))
        kept = first.clone()
        network(torch.randn(1, 1, 16, 16, 16))
    assert torch.equal(first, kept)


@pytest.mark.slow
def test_what_was_written_is_used_again(package, fresh, backend, monkeypatch):
    tile = torch.randn(1, 1, 16, 16, 16)
    first = Predictor.load(package, backend=backend).network(tile)
    assert list(fresh.rglob("network.onnx"))
    monkeypatch.setattr("medseg.model_package.onnx.trace", None)
    assert torch.equal(Predictor.load(package, backend=backend).network(tile), first)


@pytest.mark.slow
def test_nothing_is_kept_of_a_network_that_was_given(tmp_path, fresh, backend):
    own = build_network(SOLID, classes=3)
    plan = msgspec.structs.replace(SOLID, network=Component(name="given:Net"))
    manifest = Manifest(
        name="own", plan=plan, labels=LabelTable.of({1: "a", 2: "b"}), weights=UNSAVED
    )
    package = save_package(tmp_path / "own", manifest, AnySize(own, 3))
    predictor = Predictor.load(package, backend=backend, network=own)
    assert predictor.network(torch.zeros(1, 1, 16, 16, 16)).shape[1] == 3
    assert not list(fresh.rglob("*.onnx"))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_stops_nobody(package, tmp_path, backend, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    network = Predictor.load(package, backend=backend).network
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape[1] == 3


def test_a_network_that_cannot_be_brought_over(package, fresh, scan, backend, monkeypatch):
    def fail(*_):
        raise NotImplementedError("an operator without a name")

    monkeypatch.setattr("medseg.model_package.onnx.trace", fail)
    with pytest.raises(InputError, match=f"cannot run on {backend}: an operator without") as info:
        Predictor.load(package, backend=backend)
    assert info.value.code == "BACKEND"
    prediction = Predictor.load(package, backend="auto").run(scan)
    assert prediction.backend.startswith("torch (measured: torch")
    assert f"{backend} not: the network 'unet' of the model 'toy' cannot run" in prediction.backend
    assert np.array_equal(
        prediction.labels.values, Predictor.load(package, backend="torch").predict(scan).values
    )


def test_a_library_that_is_not_installed_is_named(package, monkeypatch):
    monkeypatch.setattr(compiled, "version", lambda _: "")
    monkeypatch.setattr(choice, "version", lambda _: "")
    with pytest.raises(InputError, match=r"pip install 'medseg\[openvino\]'") as info:
        Predictor.load(package, backend="openvino")
    assert info.value.code == "NOT_INSTALLED"
    network = Predictor.load(package, device="cpu", backend="auto").network
    assert "neither openvino nor onnxruntime is installed" in backends.backend_of(network)


def test_an_unknown_backend_or_device(package):
    with pytest.raises(InputError, match="unknown backend 'tensorrt'; choose one of: torch, open"):
        Predictor.load(package, backend="tensorrt")
    with pytest.raises(InputError, match="runs on the CPU and the device is 'cuda'"):
        Predictor.load(package, backend="openvino", device="cuda")


def test_openvino_does_not_start_where_it_would_crash(package, monkeypatch):
    library("openvino")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(InputError, match="ONEDNN_MAX_CPU_ISA=AVX2; unset it"):
        Predictor.load(package, backend="openvino")


def test_openvino_reports_nothing_over_the_network(tmp_path):
    library("openvino")
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('it was imported')")
    code = "from medseg.inference.backends.openvino import without_telemetry as w; print(w().Core)"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "Core" in told.stdout


def test_auto_measures_at_the_first_tile_with_labels_and_keeps_it(undecided, scan, backend):
    before = Predictor.load(undecided, backend="auto")
    assert "no tile had labels" in backends.backend_of(before.network)
    prediction = before.run(scan)
    (kept,) = kept_choices(undecided)
    assert {"torch", backend} <= set(kept.seconds)
    assert all(share <= LARGEST_SHARE for share in kept.share.values())
    assert prediction.backend == str(kept)
    again = Predictor.load(undecided, backend="auto")
    assert again.network.trial is None
    assert backends.backend_of(again.network) == str(kept)
    same(again.predict(scan).values, Predictor.load(undecided).predict(scan).values)


def test_the_file_is_exact_though_a_prediction_in_16_bits_wrote_it(package, fresh, backend):
    network, half = package.load_network(), replace(EXACT, half=torch.bfloat16)
    trial = Trial(compiled.Compilation(package, network, half))
    tile = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode(), half.autocast():
        trial.measure(tile, regions=False)
    exact = compiled.Compilation(package, network, EXACT).runner(backend)
    torch.testing.assert_close(exact(tile), network(tile), rtol=0, atol=1e-4)


def test_auto_takes_none_whose_labels_differ(undecided, backend, monkeypatch):
    def other(tile):
        return torch.randn(1, 3, *tile.shape[2:], generator=torch.Generator().manual_seed(1))

    monkeypatch.setattr(compiled.Compilation, "runner", lambda *_: other)
    network = Predictor.load(undecided, backend="auto").network
    tile = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        network(tile)
        assert network.runner is None
        torch.testing.assert_close(network(tile), undecided.load_network()(tile))
    (kept,) = kept_choices(undecided)
    assert kept.backend == "torch"
    assert kept.share[backend] > 0.2


def test_what_another_process_measured_meanwhile_is_taken(undecided, backend, monkeypatch):
    tile = torch.randn(1, 1, 16, 16, 16)
    first, second = (Predictor.load(undecided, backend="auto").network for _ in range(2))
    with torch.inference_mode():
        first(tile)
        monkeypatch.setattr(choice.Trial, "measure", None)
        second(tile)
    assert second.description == first.description
    assert second.trial is None


@pytest.mark.parametrize(
    ("seconds", "share", "taken"),
    [
        ({"torch": 1.0, "openvino": 0.5}, {"torch": 0.0, "openvino": 0.0005}, "openvino"),
        ({"torch": 1.0, "openvino": 0.5}, {"torch": 0.0, "openvino": 0.002}, "torch"),
        ({"torch": 1.0, "openvino": 0.5}, {"torch": 0.003, "openvino": 0.002}, "openvino"),
        ({"torch": 1.0, "openvino": 0.95}, {"torch": 0.0, "openvino": 0.0}, "torch"),
        (
            {"torch": 1.0, "openvino": 0.3, "onnxruntime": 0.5},
            {"torch": 0.0, "openvino": 0.5, "onnxruntime": 0.0},
            "onnxruntime",
        ),
        ({"torch": 1.0}, {"torch": 0.0}, "torch"),
    ],
)
def test_the_fastest_of_those_with_torchs_labels(seconds, share, taken):
    assert fastest(seconds, share) == taken


@pytest.mark.parametrize("regions", [False, True])
def test_a_tile_of_background_tells_nothing(regions):
    logits = torch.full((1, 2, 8, 8, 8), -1.0)
    logits[:, 0] = -0.5
    assert not has_labels(logits, regions=regions)
    logits[0, 1, 0, 0, :4] = 1.0
    assert has_labels(logits, regions=regions)


def test_a_choice_is_told_with_its_numbers():
    told = str(
        Choice(
            backend="openvino",
            seconds={"torch": 1.234, "openvino": 0.5},
            share={"torch": 0.0, "openvino": 0.00021},
            failed={"onnxruntime": "it is odd"},
        )
    )
    assert told == (
        "openvino (measured: torch 1.23 s a tile, 0.00% of labels differ; openvino 0.5 s a tile,"
        " 0.02% of labels differ; onnxruntime not: it is odd)"
    )


@pytest.mark.parametrize(
    ("platform", "variable"), [("linux", "XDG_CACHE_HOME"), ("win32", "LOCALAPPDATA")]
)
def test_where_the_cache_is(platform, variable, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv(VARIABLE)
    assert cache_folder() == tmp_path / "medseg"
