"""A dataset that is damaged in some way is refused before the first step, or trained to the end."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings
from itertools import count

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medseg
from medseg.errors import MedsegError
from medseg.planning import Budget
from medseg.training import TrainingOptions, first_look
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(steps=1, validations=1, device="cpu")
CASES = 5
AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])
numbered = count()


class Case:
    """The files of one case, to be damaged."""

    def __init__(self, root, name):
        self.root, self.name = root, name
        self.image, self.label = (root / part / f"{name}.nii.gz" for part in ("images", "labels"))
        self.voxels, self.values = (
            np.asarray(nib.load(p).dataobj) for p in (self.image, self.label)
        )

    def scan(self, voxels=None, affine=AFFINE):
        write(self.image, self.voxels if voxels is None else voxels, affine)

    def labels(self, values=None, affine=AFFINE):
        write(self.label, self.values if values is None else values, affine)


def write(path, array, affine=AFFINE):
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    nib.save(image, path)


def some(case, value):
    """The scan, as float64, with one voxel changed."""
    voxels = case.voxels.astype(np.float64)
    voxels[3, 4, 5] = value
    return voxels


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def damaged(path, share):
    content = bytearray(path.read_bytes())
    content[20 + int((len(content) - 40) * share)] ^= 0x55
    path.write_bytes(bytes(content))


def copied(case, values):
    """The case again under another name."""
    again = Case(case.root, case.name)
    again.image, again.label = (path.with_name("copy.nii.gz") for path in (case.image, case.label))
    again.scan()
    again.labels(values)


def both(case, affine):
    case.scan(affine=affine)
    case.labels(affine=affine)


def with_header(path, **fields):
    """The file again with other header fields, whatever they do to it."""
    image = nib.load(path)
    stored = gzip.decompress(path.read_bytes())
    header = image.header.copy()
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(gzip.compress(header.binaryblock + stored[len(header.binaryblock) :]))


def replaced_by_folder(path):
    path.unlink()
    path.mkdir()


def replaced_by_link(path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


def turned(array):
    return array[::-1]


LPS = np.array([[-1.2, 0, 0, 19 * 1.2], [0, 1.2, 0, 0], [0, 0, 1.2, 0], [0, 0, 0, 1]])
"""Affine of an array that is turned along its first axis, where it lay."""

REFUSED = {
    "scan empty": lambda case, _: case.image.write_bytes(b""),
    "scan a folder": lambda case, _: replaced_by_folder(case.image),
    "scan a broken link": lambda case, _: replaced_by_link(case.image),
    "label map a folder": lambda case, _: replaced_by_folder(case.label),
    "header says more": lambda case, _: with_header(case.image, dim=[3, 900, 900, 900, 1, 1, 1, 1]),
    "header says nothing": lambda case, _: with_header(case.image, dim=[3, 0, 20, 20, 1, 1, 1, 1]),
    "scaled by infinity": lambda case, _: with_header(case.image, scl_slope=1e38, scl_inter=-1e38),
    "flat affine": lambda case, _: with_header(case.image, srow_y=[0, 0, 0, 0]),
    "scan is the label map": lambda case, _: shutil.copy(case.label, case.image),
    "label map is the scan": lambda case, _: shutil.copy(case.image, case.label),
    "label turned": lambda case, _: case.labels(turned(case.values), LPS),
    "label affine forgotten": lambda case, _: case.labels(affine=np.diag([-1.2, 1.2, 1.2, 1])),
    "label infinite": lambda case, _: case.labels(np.where(case.values > 1, np.inf, case.values)),
    "label too large": lambda case, _: case.labels(case.values.astype(np.int32) * 40_000),
    "scan cut": lambda case, share: cut(case.image, 0.95 * share),
    "label map cut": lambda case, share: cut(case.label, 0.95 * share),
    "NaN": lambda case, _: case.scan(some(case, np.nan)),
    "infinity": lambda case, _: case.scan(some(case, -np.inf)),
    "beyond float32": lambda case, _: case.scan(some(case, 1e300)),
    "square beyond float32": lambda case, _: case.scan(some(case, 1e25)),
    "largest integer": lambda case, _: case.scan(some(case, 0).astype(np.int64) + 2**62),
    "constant": lambda case, _: case.scan(np.full_like(case.voxels, 7)),
    "complex": lambda case, _: case.scan(case.voxels.astype(np.complex64)),
    "two channels": lambda case, _: case.scan(np.stack([case.voxels] * 2, -1)),
    "five axes": lambda case, _: case.scan(np.stack([np.stack([case.voxels] * 2, -1)] * 2, -1)),
    "half a label": lambda case, _: case.labels(case.values.astype(np.float32) * 1.5),
    "unknown label": lambda case, _: case.labels(case.values + np.uint8(2)),
    "negative label": lambda case, _: case.labels(-case.values.astype(np.int16)),
    "label NaN": lambda case, _: case.labels(np.where(case.values > 1, np.nan, case.values)),
    "label of two channels": lambda case, _: case.labels(np.stack([case.values] * 2, -1)),
    "label of another shape": lambda case, _: case.labels(case.values[:-1]),
    "label elsewhere": lambda case, _: case.labels(affine=AFFINE + 0.5 * np.eye(4, k=3)),
    "label of another spacing": lambda case, _: case.labels(affine=np.eye(4)),
    "scan moved": lambda case, _: case.scan(affine=AFFINE + 5 * np.eye(4, k=3)),
    "huge spacing": lambda case, _: both(case, np.diag([9e5, 9e5, 9e5, 1])),
    "no affine": lambda case, _: with_header(case.image, srow_x=[np.nan, 0, 0, 0]),
    "scan missing": lambda case, _: case.image.unlink(),
    "label map missing": lambda case, _: case.label.unlink(),
    "scan renamed": lambda case, _: case.image.rename(case.image.with_name("other.nii.gz")),
    "text in place of a scan": lambda case, _: case.image.write_text("no scan"),
    "scan twice": lambda case, _: shutil.copy(case.image, case.image.with_name(f"{case.name}.nii")),
    "copy with other labels": lambda case, _: copied(case, np.roll(case.values, 3, axis=0)),
    "label names broken": lambda case, _: (case.root / "labels.json").write_text('{"1": '),
    "label without a name": lambda case, _: (case.root / "labels.json").write_text('{"1": "box"}'),
    "unknown case held out": lambda case, _: (case.root / "splits.json").write_text(
        json.dumps([{"train": [case.name], "val": ["nobody"]}])
    ),
    "trained on and held out": lambda case, _: (case.root / "splits.json").write_text(
        json.dumps([{"train": [case.name], "val": [case.name]}])
    ),
}
WARNED = {
    "nothing drawn": lambda case, _: case.labels(case.values * 0),
    "spacing in other units": lambda case, _: both(case, np.diag([0.12, 0.12, 0.12, 1])),
    "copy": lambda case, _: copied(case, case.values),
}
FINE = {
    "turned together": lambda case, _: (
        case.scan(turned(case.voxels), LPS),
        case.labels(turned(case.values), LPS),
    ),
    "hidden folder": lambda case, _: (case.root / "labels" / ".ipynb_checkpoints").mkdir(),
    "names in capitals": lambda case, _: case.image.rename(
        case.image.with_name(f"{case.name}.NII.GZ")
    ),
    "whole within rounding": lambda case, _: case.labels(case.values * np.float32(1.0000001)),
    "other type": lambda case, _: case.scan(case.voxels.astype(np.float64)),
    "bytes turned": lambda case, _: case.scan(case.voxels.astype(">i2")),
    "fourth axis of one": lambda case, _: case.scan(case.voxels[..., None]),
    "label type": lambda case, _: case.labels(case.values.astype(np.int64)),
    "moved together": lambda case, _: both(case, AFFINE + 50 * np.eye(4, k=3)),
    "brighter": lambda case, _: case.scan(case.voxels * np.float32(1000)),
    "hidden file": lambda case, _: (case.root / "images" / ".DS_Store").write_text("x"),
}
EITHER = {
    "more behind the end": lambda case, _: case.image.write_bytes(
        case.image.read_bytes() + b"more"
    ),
    "no slope": lambda case, _: with_header(case.image, scl_slope=np.nan),
    "no code of place": lambda case, _: with_header(case.image, sform_code=0, qform_code=0),
    "one voxel": lambda case, _: (
        case.scan(case.voxels[:1, :1, :1]),
        case.labels(case.values[:1, :1, :1]),
    ),
    "one plane": lambda case, _: (
        case.scan(case.voxels[:, :, :1]),
        case.labels(case.values[:, :, :1]),
    ),
    "scan damaged": lambda case, share: damaged(case.image, share),
    "label map damaged": lambda case, share: damaged(case.label, share),
    "tiny spacing": lambda case, _: both(case, np.diag([1e-6, 1e-6, 1e-6, 1])),
    "sheared": lambda case, _: both(case, AFFINE + 0.4 * np.eye(4, k=1)),
}
KINDS = {**REFUSED, **WARNED, **FINE, **EITHER}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("whole") / "toy", cases=CASES)


@pytest.fixture(scope="module", autouse=True)
def small_plans():
    with pytest.MonkeyPatch.context() as patch:
        small = Budget(voxels=16_000, features=4, most_features=8)
        patch.setattr("medseg.training.plan_for_run.CPU_BUDGET", small)
        yield


def result_of(root, run, plan, steps):
    """Folder of the model or the error; and what the look warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            given = {"options": OPTIONS, "plan": plan, "callbacks": steps.append}
            result = medseg.train(root, run, **given)
        except MedsegError as error:
            result = error
    return result, [one for one in told if one.filename == first_look.__file__]


def check(whole, folder, kind, number, share, plan):
    """Damage a copy of the dataset, train on it, and hold the run to its word."""
    root, run, steps = folder / "data", folder / "run", []
    shutil.copytree(whole, root)
    KINDS[kind](Case(root, f"c{number}"), share)
    result, told = result_of(root, run, plan, steps)
    if isinstance(result, MedsegError):
        assert kind in REFUSED | EITHER, result
        assert not steps
        assert not run.exists()
        return
    assert kind not in REFUSED
    scores = json.loads((result / "manifest.json").read_text())["scores"]
    assert all(np.isfinite(dice) for dice in scores.values())
    assert kind in EITHER or bool(told) == (kind in WARNED)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_damage_to_a_held_out_case(whole, tmp_path, kind):
    check(whole, tmp_path, kind, 4, 0.5, TOY_PLAN)


@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    number=st.integers(0, CASES - 1),
    share=st.floats(0, 1, exclude_max=True),
    plan=st.sampled_from([TOY_PLAN, None]),
)
def test_damage_to_any_case_is_never_met_after_the_first_step(
    whole, tmp_path, kind, number, share, plan
):
    folder = tmp_path / str(next(numbered))
    folder.mkdir()
    check(whole, folder, kind, number, share, plan)
    shutil.rmtree(folder)
