import pytest
import torch

from medseg.errors import InputError
from medseg.postprocessing import crf
from medseg.postprocessing._permutohedral import Lattice
from postprocessing.exact_crf import exact_mean_field

STRONG = crf.Settings(
    appearance_weight=5.0,
    appearance_mm=8.0,
    intensity=0.3,
    smoothness_weight=2.0,
    smoothness_mm=1.5,
)


def scene(shape, channels=1, noise=1.0):
    """A ball in a ball, bright and brighter, and what a poor network says of it."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(
        *(torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in shape), indexing="ij"
    )
    away = sum(axis**2 for axis in axes).sqrt()
    truth = (away < 0.8).long() + (away < 0.45).long()
    image = truth + 0.3 * torch.randn(channels, *shape, generator=generator)
    logits = 1.5 * torch.nn.functional.one_hot(truth, 3).movedim(-1, 0)
    logits = logits + noise * torch.randn(3, *shape, generator=generator)
    return truth, image, torch.softmax(logits, dim=0)


@pytest.mark.parametrize("settings", [crf.Settings(), STRONG], ids=["default", "strong"])
@pytest.mark.parametrize(
    ("shape", "channels", "spacing"),
    [
        ((40, 36, 1), 1, (1.0, 1.3, 5.0)),
        ((40, 36, 1), 3, (1.0, 1.0, 1.0)),
        ((14, 13, 12), 1, (1.0, 1.0, 1.0)),
        ((16, 16, 6), 1, (0.7, 0.7, 3.0)),
        ((14, 13, 12), 2, (1.0, 1.0, 1.0)),
    ],
)
def test_the_lattice_gives_what_all_pairs_give(settings, shape, channels, spacing):
    truth, image, given = scene(shape, channels)
    exact = exact_mean_field(given, image, spacing_mm=spacing, settings=settings)
    found = crf.build(settings)(given, image, spacing_mm=spacing)
    assert (found - exact).abs().mean() < 0.006
    assert (found.argmax(0) == exact.argmax(0)).float().mean() > 0.985
    assert (found.argmax(0) == truth).float().mean() > (given.argmax(0) == truth).float().mean()


def test_smoothness_alone_is_exact():
    settings = crf.Settings(appearance_weight=0.0, smoothness_weight=3.0, smoothness_mm=1.7)
    _, image, given = scene((12, 11, 9))
    exact = exact_mean_field(given, image, spacing_mm=(1.0, 2.0, 0.5), settings=settings)
    found = crf.build(settings)(given, image, spacing_mm=(1.0, 2.0, 0.5))
    torch.testing.assert_close(found, exact.float(), atol=2e-5, rtol=1e-4)


def test_without_weights_nothing_changes():
    settings = crf.Settings(appearance_weight=0.0, smoothness_weight=0.0)
    _, image, given = scene((8, 7, 6))
    torch.testing.assert_close(crf.build(settings)(given, image, spacing_mm=(1.0, 1.0, 1.0)), given)


def test_millimetres_count_not_voxels():
    """The same scene at twice the spacing, with kernels twice as wide, is the same CRF."""
    _, image, given = scene((12, 12, 10))
    wide = crf.Settings(appearance_mm=8.0, smoothness_mm=2.0)
    one = crf.build(crf.Settings())(given, image, spacing_mm=(1.0, 1.5, 2.0))
    other = crf.build(wide)(given, image, spacing_mm=(2.0, 3.0, 4.0))
    torch.testing.assert_close(one, other)


def test_intensities_count_from_no_fixed_zero():
    _, image, given = scene((12, 12, 10))
    step = crf.build(crf.Settings())
    one = step(given, image, spacing_mm=(1.0, 1.0, 1.0))
    other = step(given, image + 40, spacing_mm=(1.0, 1.0, 1.0))
    assert (one - other).abs().max() < 0.02


def test_a_large_image_goes_in_slabs(monkeypatch):
    _, image, given = scene((64, 10, 9))
    settings = crf.Settings(appearance_mm=2.0)
    whole = crf.build(settings)(given, image, spacing_mm=(1.0, 1.0, 1.0))
    monkeypatch.setattr(crf, "VOXELS_AT_ONCE", 20 * 90)
    parts = crf.build(settings)(given, image, spacing_mm=(1.0, 1.0, 1.0))
    assert (whole - parts).abs().mean() < 0.003
    assert (whole.argmax(0) == parts.argmax(0)).float().mean() > 0.99


@pytest.mark.parametrize("dims", [1, 2, 3, 4, 5])
def test_the_lattice_filters_as_a_gaussian(dims):
    generator = torch.Generator().manual_seed(dims)
    points = 5 * torch.rand(3000, dims, generator=generator)
    values = torch.rand(3000, 2, generator=generator)
    lattice = Lattice.of(points)
    torch.testing.assert_close(lattice.shares.sum(1), torch.ones(3000))
    assert lattice.shares.min() > -1e-5
    kernel = torch.exp(-0.5 * torch.cdist(points, points) ** 2)
    ratio = lattice.filter(values) / (kernel @ values)
    assert ratio.std() / ratio.mean() < 0.12


@pytest.mark.parametrize("dims", [2, 4])
def test_a_lonely_point_keeps_its_own_share(dims):
    far = torch.tensor([0.3, 40.2, 99.7])[:, None].expand(3, dims)
    lattice = Lattice.of(far)
    found = lattice.filter(torch.ones(3, 1))[:, 0]
    assert ((found / lattice.own_share() - 1).abs() < 0.2).all()


def test_too_narrow_a_kernel_is_refused():
    image = torch.linspace(0, 1e7, 6 * 8).view(6, 2, 2, 2)
    with pytest.raises(InputError, match="intensity"):
        crf.build(crf.Settings(intensity=1e-3))(
            torch.full((2, 2, 2, 2), 0.5), image, spacing_mm=(1.0, 1.0, 1.0)
        )
