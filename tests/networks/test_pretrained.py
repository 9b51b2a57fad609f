"""Weights by name: every key accounted for, all or nothing, and the responses they promise."""

import pytest
import torch
from safetensors.torch import save_file

from medseg.errors import PackageError
from medseg.networks.encoders import EncoderSettings, build_encoder
from medseg.training.pretrained import load_pretrained

pytestmark = pytest.mark.usefixtures("one_thread")


def make(name="resnet18", *, dims=2, channels=3, seed=0, **settings):
    torch.manual_seed(seed)
    chosen = EncoderSettings(**{"name": name, "norm": "batch", **settings})
    return build_encoder(chosen, spatial_dims=dims, in_channels=channels).eval()


def copied(encoder):
    return {key: value.clone() for key, value in encoder.state_dict().items()}


def published(**wanted):
    """A state dict as torchvision's file of that name has it, classifier included."""
    state = copied(make(**wanted, seed=1))
    for key, value in state.items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def filed(state, path):
    torch.save(state, path)
    return path


def responses(encoder, image):
    with torch.no_grad():
        return encoder(image)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_every_kind_of_file_loads_by_name(tmp_path, suffix):
    state, path, encoder = published(), tmp_path / f"weights{suffix}", make()
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    report = load_pretrained(encoder, path)
    assert set(report.loaded) == set(encoder.state_dict())
    assert set(report.ignored) == {"fc.weight", "fc.bias"}
    assert not any((report.adapted, report.missing, report.unexpected, report.wrong_shape))
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_other_channels_answer_to_grey_as_three_do(tmp_path, channels):
    path = filed(published(), tmp_path / "weights.pth")
    colour, other = make(), make(channels=channels)
    load_pretrained(colour, path)
    report = load_pretrained(other, path)
    assert report.adapted == ("conv1.weight",)
    grey = torch.randn(1, 1, 24, 24)
    pairs = zip(
        responses(colour, grey.expand(-1, 3, -1, -1)),
        responses(other, grey.expand(-1, channels, -1, -1)),
        strict=True,
    )
    if channels in (1, 6):
        for wanted, found in pairs:
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    kernel, source = other.conv1.weight, torch.load(path)["conv1.weight"]
    if channels > 1:
        torch.testing.assert_close(kernel[:, -1], source[:, (channels - 1) % 3] * 3 / channels)


def test_an_inflated_encoder_answers_to_a_constant_axis_as_the_flat_one(tmp_path):
    path = filed(published(), tmp_path / "weights.pth")
    flat, deep = make(), make(dims=3, strides=((2, 2, 1),) * 5)
    load_pretrained(flat, path)
    report = load_pretrained(deep, path, inflate=True)
    assert "layer1.0.conv1.weight" in report.adapted
    assert "bn1.weight" not in report.adapted
    image = torch.randn(1, 3, 16, 16)
    # Padding meets each convolution: only voxels far from either end see a constant axis.
    length = 51
    deep_image = image[..., None].expand(-1, -1, -1, -1, length)
    for wanted, found in zip(responses(flat, image), responses(deep, deep_image), strict=True):
        torch.testing.assert_close(found[..., length // 2], wanted, rtol=1e-3, atol=1e-4)


def test_inflation_is_asked_for(tmp_path):
    path = filed(published(), tmp_path / "weights.pth")
    encoder = make(dims=3)
    before = copied(encoder)
    with pytest.raises(PackageError, match="2 axes and the encoder has 3; allow it with inflate"):
        load_pretrained(encoder, path)
    unchanged(encoder, before)


def test_weights_of_three_axes_do_not_go_into_two(tmp_path):
    path = filed(copied(make(dims=3)), tmp_path / "weights.pth")
    with pytest.raises(PackageError, match="3 axes and the encoder has 2"):
        load_pretrained(make(), path, inflate=True)


@pytest.mark.parametrize("channels", [1, 2])
def test_medicalnet_files_load_into_residual_networks_of_three_axes(tmp_path, channels):
    state = copied(make(dims=3, channels=1, seed=1))
    shortcuts = [key for key in state if "downsample" in key]  # its resnet18 has none to learn
    kept = {f"module.{key}": value for key, value in state.items() if key not in shortcuts}
    path = filed({"state_dict": kept, "epoch": 80}, tmp_path / "resnet_18.pth")
    encoder = make(dims=3, channels=channels)
    report = load_pretrained(encoder, path)
    learnt = {key for key in shortcuts if not key.endswith("num_batches_tracked")}
    assert set(report.missing) == learnt
    assert report.adapted == (("conv1.weight",) if channels > 1 else ())
    torch.testing.assert_close(encoder.conv1.weight.sum(1), state["conv1.weight"].sum(1))


def test_statistics_without_a_norm_to_keep_them_are_reported(tmp_path):
    path = filed(published(), tmp_path / "weights.pth")
    report = load_pretrained(make(norm="instance"), path)
    assert {"bn1.running_mean", "bn1.running_var"} < set(report.dropped_norm)
    assert len(report.dropped_norm) == 3 * 20
    assert not report.unexpected


def test_every_key_ends_in_one_place(tmp_path):
    state = published()
    del state["bn1.weight"], state["bn1.num_batches_tracked"]
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 5, 5)
    state["layer9.weight"] = torch.zeros(3)
    encoder = make()
    before = copied(encoder)
    report = load_pretrained(encoder, filed(state, tmp_path / "weights.pth"))
    assert report.missing == ("bn1.weight",)
    assert report.wrong_shape == ("layer1.0.conv1.weight",)
    assert report.unexpected == ("layer9.weight",)
    places = (
        report.loaded,
        report.unexpected,
        report.wrong_shape,
        report.dropped_norm,
        report.ignored,
    )
    assert sorted(key for place in places for key in place) == sorted(state)
    kept = "layer1.0.conv1.weight"
    assert torch.equal(encoder.state_dict()[kept], before[kept])


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "resnet34"])
def test_another_architecture_is_named(tmp_path, name):
    encoder, path = make(), filed(copied(make(name)), tmp_path / "weights.pth")
    before = copied(encoder)
    with pytest.raises(PackageError, match=f"it looks like {name}"):
        load_pretrained(encoder, path)
    unchanged(encoder, before)


def test_a_shorter_network_is_named_too(tmp_path):
    path = filed(published(), tmp_path / "weights.pth")
    with pytest.raises(PackageError, match="it looks like resnet18"):
        load_pretrained(make("resnet34"), path)


def test_a_longer_sibling_that_is_not_known_here_is_refused(tmp_path):
    state = published()
    blocks = [key for key in state if key.startswith("layer4.1.")]
    for number in range(2, 10):
        state |= {f"layer4.{number}.{key.split('.', 2)[2]}": state[key] for key in blocks}
    with pytest.raises(PackageError, match="it is none of"):
        load_pretrained(make(), filed(state, tmp_path / "weights.pth"))


def test_an_unknown_architecture_is_refused(tmp_path):
    path = filed({"patch_embed.weight": torch.zeros(3, 3)}, tmp_path / "weights.pth")
    with pytest.raises(PackageError, match=r"it is none of: .*mobilenet_v2"):
        load_pretrained(make(), path)


def test_another_width_is_refused(tmp_path):
    path = filed(published(), tmp_path / "weights.pth")
    encoder = make(width=0.5)
    before = copied(encoder)
    with pytest.raises(PackageError, match=r"'conv1.weight' has 64 .* 32 .* at a width of 1"):
        load_pretrained(encoder, path)
    unchanged(encoder, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(tmp_path, bad):
    state = published()
    state["layer4.1.bn2.bias"][3] = bad
    encoder = make()
    before = copied(encoder)
    with pytest.raises(PackageError, match=r"'layer4.1.bn2.bias' .* not finite"):
        load_pretrained(encoder, filed(state, tmp_path / "weights.pth"))
    unchanged(encoder, before)


class Surprise:
    """What a pickle could run."""

    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("weights.pth", Surprise(), "more than tensors"),
        ("weights.pth", {"model": {"a": 1}}, "'model' .* is no tensor"),
        ("weights.pth", [torch.zeros(3)], "holds no state dict"),
        ("weights.pth", {}, "holds no state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, capsys, name, content, words):
    path = filed(content, tmp_path / name)
    with pytest.raises(PackageError, match=words):
        load_pretrained(make(width=0.1), path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no weights at all", b"PK\x03\x04 cut"])
def test_a_damaged_or_absent_file_is_refused(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PackageError, match=str(path)):
        load_pretrained(make(width=0.1), path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(PackageError, match=r"is no \.safetensors, \.pth or \.pt file"):
        load_pretrained(make(width=0.1), tmp_path / "weights.h5")


def unchanged(encoder, before):
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
