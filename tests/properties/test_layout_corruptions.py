"""Datasets of other layouts with a damaged file: refused before the first step, or trained."""

from __future__ import annotations

import json
import shutil
import warnings
from itertools import count

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import medseg
from medseg import LabelMap, LabelTable, Scan
from medseg.errors import MedsegError
from medseg.phantoms.dicom_archive import write_series
from medseg.planning import Budget
from medseg.training import TrainingOptions
from medseg.writing import write_labels
from toy_dataset import toy_case

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(steps=1, validations=1, device="cpu")
AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])
NAMES = {1: "box", 2: "core"}
numbered = count()


def volume(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((1.2, 1.2, 1.2))
    SimpleITK.WriteImage(image, str(path))


def two_channels(root, name, image, labels):
    for channel in (0, 1):
        volume(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", image * (1 + channel) + channel)
    volume(root / "labelsTr" / f"{name}.nii.gz", labels)
    about = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"box": 1, "core": 2}}
    (root / "dataset.json").write_text(json.dumps(about))


def segments_beside(root, name, image, labels):
    volume(root / f"{name}.nrrd", image)
    label_map = LabelMap.from_array(labels.T, np.diag([-1.2, -1.2, 1.2, 1]), NAMES)
    write_labels(label_map, root / f"{name}.seg.nrrd")


def mask_of_each(root, name, image, labels):
    volume(root / "images" / f"{name}.nii.gz", image)
    for value, structure in NAMES.items():
        mask = (labels == value).astype(np.uint8)
        volume(root / "labels" / name / f"{structure}.nii.gz", mask)


def pictures(root, name, image, labels):
    for part, array in (("images", image.clip(0, 255)), ("labels", labels)):
        (root / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array[10].astype(np.uint8)).save(root / part / f"{name}.png")
    (root / "labels.json").write_text('{"1": "box", "2": "core"}')


def series_with_seg(root, name, image, labels):
    table = LabelTable.of(NAMES)
    scan = Scan.from_array(image.round().astype(np.int16), AFFINE, modality="CT")
    write_series(scan, root / "images" / name, patient=int(name[1:]) + 1)
    scan = medseg.read_scan(root / "images" / name)
    flips = [axis for axis in range(3) if scan.grid.affine[axis, axis] < 0]
    drawn = np.ascontiguousarray(np.flip(labels, flips))
    (root / "labels").mkdir(parents=True, exist_ok=True)
    truth = LabelMap(drawn, scan.grid, table, scan.provenance)
    write_labels(truth, root / "labels" / f"{name}.dcm")


LAYOUTS = {
    write.__name__: write
    for write in (two_channels, segments_beside, mask_of_each, pictures, series_with_seg)
}


def cut(path, other, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def changed_byte(path, other, share):
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0x55
    path.write_bytes(bytes(content))


def zeros_within(path, other, share):
    content = bytearray(path.read_bytes())
    at = int(len(content) * share)
    content[at : at + 64] = bytes(len(content[at : at + 64]))
    path.write_bytes(bytes(content))


def exchanged(path, other, share):
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def folder_instead(path, other, share):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "cut": cut,
    "changed byte": changed_byte,
    "zeros within": zeros_within,
    "emptied": lambda path, other, share: path.write_bytes(b""),
    "removed": lambda path, other, share: path.unlink(),
    "text": lambda path, other, share: path.write_text("no image"),
    "overwritten by another": lambda path, other, share: shutil.copy(other, path),
    "exchanged": exchanged,
    "copied": lambda path, other, share: shutil.copy(path, path.with_name(f"x{path.name}")),
    "renamed": lambda path, other, share: path.rename(path.with_name(f"x{path.name}")),
    "a folder": folder_instead,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    roots = {}
    for name, write in LAYOUTS.items():
        roots[name] = tmp_path_factory.mktemp("whole") / name
        roots[name].mkdir()
        for number in range(5):
            write(roots[name], f"c{number}", *toy_case(number))
    return roots


@pytest.fixture(scope="module", autouse=True)
def small_plans():
    with pytest.MonkeyPatch.context() as patch:
        small = Budget(voxels=16_000, features=4, most_features=8)
        patch.setattr("medseg.training.plan_for_run.CPU_BUDGET", small)
        yield


def trained(root, run):
    """Whether a training ends well; if not, no step was made and nothing is left."""
    steps = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = medseg.train(root, run, options=OPTIONS, callbacks=steps.append)
        except MedsegError:
            assert not steps
            assert not run.exists()
            return False
    scores = json.loads((model / "manifest.json").read_text())["scores"]
    assert all(np.isfinite(dice) for dice in scores.values())
    return True


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_dataset_is_trained_on(whole, tmp_path, layout):
    assert trained(whole[layout], tmp_path / "run")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_file_is_refused_before_the_first_step(whole, tmp_path, layout):
    root = shutil.copytree(whole[layout], tmp_path / "data")
    files = sorted(path for path in root.rglob("*") if path.is_file() and "c4" in str(path))
    files[0].write_bytes(b"")
    assert not trained(root, tmp_path / "run")


@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    damage=st.sampled_from(sorted(DAMAGES)),
    places=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
    share=st.floats(0, 1, exclude_max=True),
)
def test_damage_to_any_file_is_never_met_after_the_first_step(
    whole, tmp_path, layout, damage, places, share
):
    folder = tmp_path / str(next(numbered))
    root = shutil.copytree(whole[layout], folder / "data")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path, other = (files[int(place * len(files))] for place in places)
    if path != other:
        DAMAGES[damage](path, other, share)
    trained(root, folder / "run")
    shutil.rmtree(folder)
