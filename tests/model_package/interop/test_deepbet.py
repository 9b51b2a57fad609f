"""deepbet's weights without deepbet: its tensors by an allow-list, the network rebuilt."""

import io
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.inference.box_then_whole import box_then_whole
from medseg.model_package import find_package
from medseg.model_package.interop import deepbet
from medseg.model_package.interop.script_weights import script_weights
from medseg.networks.blocks.linknet import LinkNet3d, TwoLooks
from medseg.reading import read_scan
from medseg.volume import Grid, Scan


@pytest.fixture(scope="module")
def traced():
    """A network with random weights, and the archive of its trace."""
    torch.manual_seed(0)
    network = LinkNet3d().eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, torch.randn(1, 1, 64, 64, 64)), file)
    return network, file.getvalue()


def test_tensors_of_a_script_have_their_names_and_values(traced):
    network, data = traced
    read, stored = script_weights(data, "model.pt"), network.state_dict()
    assert read.keys() == stored.keys()
    assert all(torch.equal(read[name], stored[name]) for name in stored)


def rewritten(data, pickled):
    """The archive with another pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("/data.pkl") else old.read(name))
    return file.getvalue()


class Executes:
    def __reduce__(self):
        return sys.exit, (1,)


def test_a_script_that_holds_code_is_refused_and_not_executed(traced):
    with pytest.raises(PackageError, match=r"'model\.pt' hold more .*sys\.exit"):
        script_weights(rewritten(traced[1], pickle.dumps(Executes())), "model.pt")


def test_a_damaged_script_is_told(traced):
    with pytest.raises(PackageError, match="cannot be read"):
        script_weights(traced[1][:4000], "model.pt")


def test_without_the_package_the_model_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(deepbet, "installed", lambda: None)
    with pytest.raises(PackageError, match=r"pip install 'medseg\[brain\]'") as caught:
        find_package("brain-mr-t1")
    assert caught.value.code == "NOT_INSTALLED"


def test_other_weights_under_these_names_are_refused(tmp_path, traced):
    for name in ("model.pt", "bbox_model.pt"):
        (tmp_path / name).write_bytes(traced[1])
    with pytest.raises(PackageError, match=r"not the file of deepbet 1\.0\.2"):
        find_package(tmp_path)


class Bright(torch.nn.Module):
    """A network that finds what is brighter than the mean."""

    def forward(self, image):
        return torch.cat([torch.zeros_like(image), image - 0.449], 1)


def test_the_second_look_is_at_the_box_that_the_first_one_found():
    networks = TwoLooks()
    networks.box = networks.whole = Bright()
    image = torch.zeros(1, 60, 70, 50)
    image[0, 20:40, 20:50, 10:30] = 100.0
    mask = box_then_whole(image, networks)[0] > 0
    assert torch.equal(mask, image[0] > 0)
    logits = box_then_whole(image, networks)[0]
    assert (logits[:15] == -100).all()  # outside the box nothing is looked at
    assert (logits[25, 25] != -100).any()


def head():
    """A head of ellipsoids: skin, skull, fluid, grey and white matter; axes not RAS."""
    shape = (150, 190, 160)
    at = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2

    def inside(*radii):
        return sum((axis / radius) ** 2 for axis, radius in zip(at, radii, strict=True)) < 1

    values = np.zeros(shape)
    for radii, value in (
        ((68, 88, 72), 600),
        ((62, 82, 66), 80),
        ((57, 76, 60), 60),
        ((55, 72, 55), 350),
        ((45, 60, 44), 520),
        ((8, 20, 10), 100),
    ):
        values[inside(*radii)] = value
    values = gaussian_filter(values, 1) + np.random.default_rng(0).normal(0, 12, shape)
    affine = np.array([[-1.0, 0, 0, 75], [0, 0, -1, 80], [0, 1, 0, -95], [0, 0, 0, 1]])
    return Scan(np.abs(values).astype(np.float32)[None], Grid(shape, affine), "MR")


def agreement(scan):
    """Share of equal voxels with deepbet's own mask, and of brain."""
    theirs = pytest.importorskip("deepbet", reason="deepbet comes with pip install 'medseg[brain]'")
    import nibabel as nib

    image = nib.Nifti1Image(scan.voxels[0].astype(np.float32), scan.grid.affine)
    _, mask, _ = theirs.BrainExtraction(no_gpu=True).run(image)
    labels = Predictor.load("brain-mr-t1", device="cpu").predict(scan)
    return (np.asarray(mask.dataobj) == labels.values).mean(), labels.values.mean()


def test_the_mask_of_a_phantom_is_that_of_deepbet():
    equal, brain = agreement(head())
    assert equal >= 0.99999
    assert brain > 0.01


def test_the_mask_of_a_real_scan_is_that_of_deepbet(shared_data):
    equal, brain = agreement(read_scan(shared_data / "mr_pyradiomics" / "brain1_image.nrrd"))
    assert equal >= 0.99999
    assert 0.1 < brain < 0.5
