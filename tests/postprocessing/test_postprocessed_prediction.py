"""Steps of a manifest, in the predictor and on the command line."""

import dataclasses

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.inference.postprocessed_argmax import PostprocessedArgmax
from medseg.inference.streaming_argmax import StreamingArgmax
from medseg.model_package.manifest import Manifest, Weights, decode_manifest
from medseg.planning import Component, Normalisation, Plan
from medseg.postprocessing import Postprocessing, build_postprocessing
from medseg.runtime.device import choose_device
from medseg.volume import Grid, LabelTable, Scan

TABLE = LabelTable.of({3: "bright", 300: "brighter"})
PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(scheme="none"),),
    patch=(8, 8, 8),
    batch=1,
    network=Component(name="unet"),
)


class Threshold(torch.nn.Module):
    """Says class 1 above 0.5 and class 2 above 1.5."""

    def forward(self, image):
        x = image.float()
        return torch.cat((torch.zeros_like(x), x - 0.5, 2 * x - 2), dim=1)


def predictor(*choices):
    return Predictor(Threshold(), PLAN, TABLE, choose_device("cpu"), build_postprocessing(choices))


def scan_of(values, spacing=(2.0, 1.0, 1.0)):
    return Scan(values[None].astype(np.float32), Grid(values.shape, np.diag((*spacing, 1.0))))


def test_label_steps_work_on_the_scans_voxels_in_its_millimetres():
    values = np.zeros((9, 12, 10))
    values[1:4, 1:8, 1:8] = 1
    values[6, 9:11, 3:5] = 2  # 4 voxels of 2 mm^3
    found = [
        predictor(Component(name="minimum_volume", settings={"smallest_mm3": mm3}))
        .predict(scan_of(values))
        .values
        for mm3 in (7.9, 8.1)
    ]
    assert [np.count_nonzero(one == 300) > 0 for one in found] == [True, False]
    assert all(np.count_nonzero(one == 3) for one in found)


def test_a_step_on_probabilities_that_changes_nothing_gives_the_streamed_labels():
    values = np.random.default_rng(0).normal(1, 0.6, (13, 17, 6))
    seen = []

    def spy(probabilities_LIJK, image_CIJK, *, spacing_mm):
        seen.append((probabilities_LIJK.shape[1:], image_CIJK.shape[1:], spacing_mm))
        return probabilities_LIJK

    streamed = predictor()
    whole = dataclasses.replace(streamed, postprocessing=Postprocessing(on_probabilities=(spy,)))
    scan = scan_of(values)
    assert np.array_equal(whole.predict(scan).values, streamed.predict(scan).values)
    ((probabilities, image, spacing_mm),) = seen
    assert probabilities == image == (26, 17, 6)
    assert spacing_mm == pytest.approx((1.0, 1.0, 1.0))


def test_a_crf_takes_the_noise_away():
    rng = np.random.default_rng(1)
    truth = np.zeros((16, 16, 16))
    truth[4:12, 4:12, 4:12] = 1
    scan = scan_of(truth + rng.normal(0, 0.35, truth.shape), spacing=(1.0, 1.0, 1.0))
    crf = Component(name="crf", settings={"smoothness_weight": 4.0, "appearance_weight": 0.5})
    noisy, clean = (one.predict(scan).values for one in (predictor(), predictor(crf)))
    assert (clean == 3 * truth).mean() > (noisy == 3 * truth).mean() + 0.01


def test_rows_of_padding_are_passed_over():
    stream = StreamingArgmax((4, 2, 2), (4, 2, 2))
    rows = PostprocessedArgmax(
        stream, Postprocessing(), torch.zeros(1, 4, 2, 2), spacing_mm=(1.0, 1.0, 1.0)
    )
    logits = torch.zeros(2, 4, 2, 2)
    logits[1, 1:3] = 1
    for part in (logits[:, :0], logits[:, :3], logits[:, 3:], logits[:, 4:]):
        rows.feed(part)
    assert stream.classes[:, 0, 0].tolist() == [0, 1, 1, 0]


def test_a_manifest_without_postprocessing_is_read_and_means_none():
    manifest = Manifest(
        name="old",
        plan=PLAN,
        labels=TABLE,
        weights=Weights(file="w", sha256=""),
        postprocessing=(Component(name="holes", settings={"labels": [1]}),),
    )
    data = msgspec.to_builtins(manifest)
    assert msgspec.convert(data, Manifest) == manifest
    del data["postprocessing"]
    assert msgspec.convert(data, Manifest).postprocessing == ()


def test_a_manifest_of_schema_version_1_is_read():
    manifest = Manifest(
        name="old",
        plan=PLAN,
        labels=TABLE,
        weights=Weights(file="w", sha256=""),
        postprocessing=(Component(name="holes"),),
    )
    data = msgspec.to_builtins(manifest)
    data |= {"schema_version": 1, "refining": data.pop("postprocessing")}
    assert decode_manifest(msgspec.json.encode(data), where="old") == manifest


def test_a_manifest_of_a_newer_medseg_is_refused():
    data = {"schema_version": 5, "name": "new", "weights": {"file": "w", "sha256": ""}}
    data |= {"plan": msgspec.to_builtins(PLAN), "labels": msgspec.to_builtins(TABLE)}
    with pytest.raises(PackageError, match="schema version 5"):
        decode_manifest(msgspec.json.encode(data), where="new")


@pytest.mark.parametrize(
    ("words", "postprocessing"),
    [
        ([], None),
        (["--postprocess", "none"], ()),
        (["--postprocess", "components"], (Component(name="components"),)),
        (
            [
                "--postprocess",
                "crf:iterations=3,intensity=0.3",
                "--postprocess",
                "holes:labels=[1,2]",
            ],
            (
                Component(name="crf", settings={"iterations": 3, "intensity": 0.3}),
                Component(name="holes", settings={"labels": [1, 2]}),
            ),
        ),
    ],
)
def test_the_command_line_names_steps(monkeypatch, words, postprocessing):
    from medseg_pipelines.cli import medseg

    seen = {}
    monkeypatch.setattr(
        "medseg_pipelines.segment.segment_scan", lambda scan, **chosen: seen.update(chosen)
    )
    asked = ["segment", "scan.nii", "--model", "m", "--output", "o.nii", *words]
    done = CliRunner().invoke(medseg, asked)
    assert done.exit_code == 0, done.output
    assert seen["postprocessing"] == postprocessing
