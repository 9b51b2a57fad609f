"""Packages of bioimage.io: their processing by its formulas, axes in any order, and refusals."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.inference.processing_steps import STEPS
from medseg.model_package import find_package
from medseg.volume import Grid, Scan

torch = pytest.importorskip("torch")


def identity_onnx(path, rank, *, channels=1, doubled=False):
    """A network of ONNX that gives its input, or the input and its opposite as two channels."""
    shape = [None] * rank
    shape[1] = channels
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    shape = [None] * rank
    shape[1] = 2 * channels if doubled else channels
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    if doubled:
        minus = numpy_helper.from_array(np.float32(-1), "minus")
        nodes = [
            helper.make_node("Mul", ["x", "minus"], ["z"]),
            helper.make_node("Concat", ["z", "x"], ["y"], axis=1),
        ]
        graph = helper.make_graph(nodes, "g", [given], [answer], [minus])
    else:
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], "g", [given], [answer]
        )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def space(ids, size=None):
    return [{"type": "space", "id": axis, "size": size or {"min": 8, "step": 8}} for axis in ids]


def written(folder, spatial="yx", *, before=(), after=(), names=("cells",), **changes):
    """A package of format 0.5 whose network gives its input."""
    folder.mkdir()
    digest = identity_onnx(folder / "weights.onnx", 2 + len(spatial), doubled=len(names) == 2)
    axes = [{"type": "batch"}, {"type": "channel", "channel_names": ["gray"]}]
    outs = [{"type": "batch"}, {"type": "channel", "channel_names": list(names)}]
    content = {
        "format_version": "0.5.3",
        "name": "identity",
        "license": "CC0-1.0",
        "authors": [{"name": "Nobody"}],
        "inputs": [{"id": "raw", "axes": axes + space(spatial), "preprocessing": list(before)}],
        "outputs": [
            {
                "id": "mask",
                "axes": outs + space(spatial, {"tensor_id": "raw", "axis_id": "x"}),
                "postprocessing": list(after),
            }
        ],
        "weights": {"onnx": {"source": "weights.onnx", "sha256": digest, "opset_version": 18}},
    } | changes
    (folder / "bioimageio.yaml").write_text(json.dumps(content))  # JSON is YAML
    return folder


def scan(shape=(21, 17, 5), seed=0):
    values = np.random.default_rng(seed).normal(50, 20, (1, *shape)).astype(np.float32)
    return Scan(values, Grid(shape, np.diag([0.5, 0.7, 2, 1])))


def labels_of(folder, image):
    return Predictor.load(folder, device="cpu").predict(image).values


def test_a_network_for_pictures_labels_every_slice_by_its_own_statistics(tmp_path):
    step = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["x", "y"]}}
    image = scan()
    values = labels_of(written(tmp_path / "m", before=[step]), image)
    slices = image.voxels[0].astype(np.float64)
    mean, std = slices.mean((0, 1)), slices.std((0, 1))
    assert np.array_equal(values, (slices - mean) / (std + 1e-6) > 0.5)


@pytest.mark.parametrize("spatial", ["zyx", "xyz", "yzx"])
def test_axes_of_any_order_come_home(spatial, tmp_path):
    image = scan()
    step = {"id": "scale_linear", "kwargs": {"gain": 0.01}}
    values = labels_of(written(tmp_path / "m", spatial, before=[step]), image)
    assert np.array_equal(values, 0.01 * image.voxels[0] > 0.5)


def test_channels_that_exclude_each_other_are_compared(tmp_path):
    image = scan()
    folder = written(
        tmp_path / "m",
        "zyx",
        before=[{"id": "scale_linear", "kwargs": {"offset": -50}}],
        after=[{"id": "softmax", "kwargs": {"axis": "channel"}}],
        names=("background", "cells"),
    )
    assert np.array_equal(labels_of(folder, image), image.voxels[0] > 50)
    assert find_package(folder).manifest.labels.names == ("cells",)


def test_format_0_4_is_read_too(tmp_path):
    folder = written(tmp_path / "m")
    content = json.loads((folder / "bioimageio.yaml").read_text())
    content["format_version"] = "0.4.10"
    step = {"name": "scale_range", "kwargs": {"mode": "per_sample", "axes": "yx"}}
    shape = {"min": [1, 1, 16, 16], "step": [0, 0, 16, 16]}
    content["inputs"] = [{"name": "raw", "axes": "bcyx", "shape": shape, "preprocessing": [step]}]
    same = {"reference_tensor": "raw", "scale": [1, 0, 1, 1], "offset": [0, 0.5, 0, 0]}
    content["outputs"] = [{"name": "mask", "axes": "bcyx", "shape": same}]
    (folder / "bioimageio.yaml").unlink()
    (folder / "rdf.yaml").write_text(json.dumps(content))
    image = scan()
    low, high = image.voxels[0].min((0, 1)), image.voxels[0].max((0, 1))
    assert np.array_equal(labels_of(folder, image), (image.voxels[0] - low) / (high - low) > 0.5)


NUMBERS = np.array([[[1.0, 2, 3, 6]], [[-4, 0, 4, 8]]], np.float32)
"""Two channels of four pixels."""
FORMULAS = {
    "binarize": ({"threshold": [2, 3]}, [[0, 0, 1, 1], [0, 0, 1, 1]]),
    "clip": ({"min": 0, "max": 4}, [[1, 2, 3, 4], [0, 0, 4, 4]]),
    "ensure_dtype": ({"dtype": "uint8"}, [[1, 2, 3, 6], [252, 0, 4, 8]]),
    "fixed_zero_mean_unit_variance": (
        {"mean": [1, 0], "std": [1, 2]},
        [[0, 1, 2, 5], [-2, 0, 2, 4]],
    ),
    "scale_linear": ({"gain": [2, 1], "offset": [0, 1]}, [[2, 4, 6, 12], [-3, 1, 5, 9]]),
    "scale_range": (
        {"by_channel": True, "eps": 0.0},
        [[0, 0.2, 0.4, 1], [0, 1 / 3, 2 / 3, 1]],
    ),
    "sigmoid": ({}, 1 / (1 + np.exp(-NUMBERS[:, 0]))),
    "softmax": ({}, [1 / (1 + np.exp([-5, -2, 1, 2])), 1 / (1 + np.exp([5, 2, -1, -2]))]),
    "zero_mean_unit_variance": (
        {"by_channel": True, "eps": 0.0},
        [(NUMBERS[0, 0] - 3) / np.sqrt(3.5), (NUMBERS[1, 0] - 2) / np.sqrt(20)],
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_processing_follows_its_formula(name):
    settings, expected = FORMULAS[name]
    tensor = torch.from_numpy(NUMBERS)
    assert np.allclose(STEPS[name](tensor, tensor, settings)[:, 0], expected, atol=1e-5)


def test_scale_mean_variance_takes_those_of_the_scan():
    tensor, image = torch.from_numpy(NUMBERS), torch.arange(8.0).reshape(1, 2, 4)
    made = STEPS["scale_mean_variance"](tensor, image, {"eps": 0.0})
    assert np.isclose(made.mean(), 3.5)
    assert np.isclose(made.std(correction=0), np.arange(8).std())


REFUSED = {
    "another processing": (
        {"before": [{"id": "custom", "kwargs": {}}]},
        "asks for the processing 'custom'",
    ),
    "statistics of lines": (
        {"before": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["x"]}}]},
        "statistics over the axes",
    ),
    "other weights": ({"weights": {"torchscript": {}}}, "weights as torchscript"),
    "weights far away": (
        {"weights": {"onnx": {"source": "https://example.org/w.onnx"}}},
        "weights at https://example.org",
    ),
    "weights above": ({"weights": {"onnx": {"source": "../w.onnx"}}}, "is missing"),
    "an older format": ({"format_version": "0.3.2"}, "format_version 0.3.2"),
    "several inputs": ({"inputs": [{}, {}]}, "2 inputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_does_not_do_is_refused_by_name(case, tmp_path):
    changes, words = REFUSED[case]
    with pytest.raises(PackageError, match=words):
        find_package(written(tmp_path / "m", **changes))


def test_altered_weights_are_refused(tmp_path):
    folder = written(tmp_path / "m")
    identity_onnx(folder / "weights.onnx", 5)
    with pytest.raises(PackageError, match="altered or damaged"):
        find_package(folder)
