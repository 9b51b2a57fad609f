"""MONAI's sliding window in bounded memory: MONAI's logits, and bad shapes are one sentence."""

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import nn

from medseg.errors import Cancelled, InputError
from medseg.inference import MonaiInferer
from medseg.inference.estimate import LiveMemory


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 20, 3, padding=1)
    return nn.Sequential(*layers).eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize(
    ("shape", "tile", "overlap"),
    [
        ((31, 17, 20), (12, 8, 9), 0.5),  # tiles do not fit evenly
        ((9, 40, 5), (12, 8, 9), 0.25),  # smaller than a tile along two axes
        ((12, 8, 9), (12, 8, 9), 0.0),  # one tile
        ((20, 14, 6), (7, 7, 1), 0.6),  # slices
        ((40, 9, 9), 6, 0.9),
    ],
)
def test_logits_are_those_of_monai(network, shape, tile, overlap, mode):
    image = torch.randn(2, 2, *shape)
    wanted = SlidingWindowInferer(tile, overlap=overlap, mode=mode)(image, network)
    found = MonaiInferer(tile, overlap=overlap, mode=mode)(image, network)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    classes = MonaiInferer(tile, overlap=overlap, mode=mode, argmax=True)(image, network)
    assert classes.dtype == torch.uint8
    assert torch.equal(classes[:, 0].long(), found.argmax(1))


def test_a_longer_scan_takes_next_to_no_more_memory(network):
    def peak(inferer, rows):
        with LiveMemory() as memory:
            inferer(torch.zeros(1, 2, rows, 16, 16), network)
        return memory.peak_bytes

    all_classes = 20 * 100 * 16 * 16 * 4  # of a hundred rows
    growth = [
        peak(inferer, 200) - peak(inferer, 100)
        for inferer in (MonaiInferer(16, argmax=True), SlidingWindowInferer(16))
    ]
    assert growth[0] < all_classes / 4 < all_classes < growth[1]


def test_meta_other_arguments_and_progress_go_through(network):
    image = MetaTensor(torch.randn(1, 2, 20, 8, 8), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    seen = []

    def shifted(tile, shift, *, scale):
        return network(tile) * scale + shift

    def progress(done, total, message):
        seen.append((done, total))

    inferer = MonaiInferer(8, progress=progress)
    found = inferer(image, shifted, 1.0, scale=2.0)
    assert isinstance(found, MetaTensor)
    assert torch.equal(found.affine, image.affine)
    wanted = MonaiInferer(8)(image, network).as_tensor() * 2 + 1
    torch.testing.assert_close(found.as_tensor(), wanted)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    found += 1  # an ordinary tensor, outside inference mode too


def test_autocast_around_it_holds_inside(network):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = MonaiInferer(8)(image := torch.randn(1, 2, 8, 8, 8), network)
    assert half.dtype == torch.float32
    difference = (half - network(image)).abs().max()
    assert 0 < difference < 0.05


def test_it_can_be_stopped(network):
    def stop(done, total, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        MonaiInferer(8, progress=stop)(torch.zeros(1, 2, 8, 8, 8), network)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"roi_size": (8, 8)}, r"three positive numbers of voxels, got \(8, 8\)"),
        ({"roi_size": (8, 8, 0)}, r"got \(8, 8, 0\)"),
        ({"roi_size": (8, 8, 2.5)}, r"got \(8, 8, 2.5\)"),
        ({"roi_size": 8, "overlap": 1.0}, "overlap must lie in 0..1"),
        ({"roi_size": 8, "mode": "cubic"}, "constant, gaussian, got 'cubic'"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(settings, words):
    with pytest.raises(InputError, match=rf"^[^\n]*{words}[^\n]*$"):
        MonaiInferer(settings.pop("roi_size"), **settings)


@pytest.mark.parametrize(
    ("shape", "answer", "words"),
    [
        ((1, 2, 8, 8), lambda tile: tile, r"shape \(1, 2, 8, 8\), expected \(B, C, I, J, K\)"),
        ((0, 2, 8, 8, 8), lambda tile: tile, r"\(0, 2, 8, 8, 8\)"),
        ((1, 2, 8, 8, 8), lambda tile: [tile, tile], "gives list, expected logits"),
        ((1, 2, 8, 8, 8), lambda tile: tile[..., ::2], r"gives \(1, 2, 8, 8, 4\), expected"),
        ((1, 2, 8, 8, 8), lambda tile: tile[0], "evaluation mode"),
    ],
)
def test_shapes_that_cannot_be_are_one_sentence(shape, answer, words):
    with pytest.raises(InputError, match=rf"^[^\n]*{words}[^\n]*$"):
        MonaiInferer(8)(torch.zeros(shape), answer)
