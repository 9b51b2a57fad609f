"""Published weights into encoders: by name, all or nothing, and with an account of every key.

Two families of files are read: state dicts with torchvision's names (ImageNet), and those of
MedicalNet (Chen et al. 2019, Med3D: transfer learning for 3D medical image analysis), which are
residual networks of three axes and one channel.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import msgspec
import torch
from torch import Tensor, nn

from medseg.errors import PackageError, PlanError
from medseg.networks.encoders import EncoderSettings, build_encoder, names
from medseg.networks.encoders.protocol import Encoder

CLASSIFIERS = ("fc.", "classifier.", "aux_classifier.", "conv_seg.")
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
COUNTER = ".num_batches_tracked"
MIN_MATCH = 0.75
"""ResNet-152 resembles ResNet-101 by 0.67; MedicalNet's ResNet-18 ours, which learns its shortcuts
where that one has none, by 0.85."""

Signature = dict[str, int]


class PretrainedReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where every key of a weight file, and of the encoder, ended.

    Parameters
    ----------
    loaded : tuple of str
        Keys whose numbers the encoder now has.
    adapted : tuple of str
        Those among them that were summed, repeated or inflated to fit.
    missing : tuple of str
        Keys of the encoder that the file has not: they keep what they had. The counters
        ``num_batches_tracked``, which older files lack and nothing here reads, are not listed.
    unexpected : tuple of str
        Keys of the file that the encoder has not.
    wrong_shape : tuple of str
        Keys of both whose shapes differ: they keep what they had.
    dropped_norm : tuple of str
        Running statistics in the file of norms that have none (instance norm).
    ignored : tuple of str
        Keys of the file that belong to its classifier.
    """

    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    dropped_norm: tuple[str, ...]
    ignored: tuple[str, ...]


def load_into_encoder(network: nn.Module, path: Path, *, inflate: bool) -> PretrainedReport:
    """Give a network's encoder the weights of a file; see :func:`load_pretrained`.

    Raises
    ------
    PlanError
        When the network has no encoder.
    """
    encoder = next((part for part in network.modules() if isinstance(part, Encoder)), None)
    if encoder is None:
        raise PlanError(
            f"this network has no encoder that could take the weights of '{path}'; choose one over"
            " an encoder, such as deeplab, pspnet, fcn or encoder_unet"
        )
    return load_pretrained(encoder, path, inflate=inflate)


def load_pretrained(
    encoder: Encoder, path: str | Path, *, inflate: bool = False
) -> PretrainedReport:
    """Put the weights of a file into an encoder of the same architecture.

    Parameters
    ----------
    encoder : Encoder
        Of published width; its weights change in place, or on an error not at all.
    path : str or Path
        A ``.safetensors`` file, or a ``.pth`` or ``.pt`` one, of which only tensors are
        unpickled. It holds a state dict, or one under ``state_dict``; ``module.`` in front of
        every key is taken off.
    inflate : bool, default False
        Whether weights of two axes may go into an encoder of three: repeated along the last
        axis and divided by its size (Carreira and Zisserman, CVPR 2017, section 2.4), so that
        an image that is constant along it has the responses it had.

    Raises
    ------
    PackageError
        When the file cannot be read, is of another architecture, width or number of axes, or
        holds a number that is not finite.

    Notes
    -----
    The first convolution fits any number of channels: for one its channels are summed, for n of
    them they are repeated in turn and scaled by (channels in the file) / n. Either keeps the
    response to an image that has the same values in all channels.
    """
    path = Path(path)
    stored = _read(path)
    weights = {key: tensor for key, tensor in stored.items() if not key.startswith(CLASSIFIERS)}
    _check_finite(weights, path)
    _check_architecture(encoder, weights, path)
    _check_axes(encoder, weights, path, inflate=inflate)
    own = encoder.state_dict()
    stem = _stem(encoder)
    fitted = {
        key: _fit(tensor, own[key].shape, stem=key == stem)
        for key, tensor in weights.items()
        if key in own
    }
    report = _report(own, stored, fitted)
    with torch.no_grad():
        for key in report.loaded:
            own[key].copy_(fitted[key])
    return report


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by key."""
    content = _open(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise PackageError(f"{path} holds no state dict; give a file of weights by name")
    odd = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise PackageError(f"'{odd}' in {path} is no tensor; give a file of weights by name")
    return {str(key).removeprefix("module."): tensor for key, tensor in content.items()}


def _open(path: Path) -> object:
    """What a file holds, whatever it is, without running any of it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise PackageError(f"{path} is no .safetensors, .pth or .pt file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise PackageError(
            f"{path} holds more than tensors, or is damaged; save its state dict alone, best as"
            " .safetensors"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise PackageError(f"cannot read the weights in {path}: {reason}") from error


def _check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise PackageError(
                f"'{key}' in {path} holds a number that is not finite; fetch the file again"
            )


def _check_axes(
    encoder: Encoder, weights: Mapping[str, Tensor], path: Path, *, inflate: bool
) -> None:
    """Refuse weights of 2 axes for 3 (unless inflated) and of 3 for 2."""
    dims = encoder.layout.spatial_dims
    stored = max((tensor.ndim - 2 for tensor in weights.values()), default=dims)
    if stored == dims or (inflate and stored < dims):
        return
    advice = "allow it with inflate" if stored < dims else "build the encoder with 3 axes"
    raise PackageError(
        f"the weights in {path} have {stored} axes and the encoder has {dims}; {advice}"
    )


def _check_architecture(encoder: Encoder, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that resemble the encoder too little, or another one more."""
    own, file = _signature(encoder.state_dict()), _signature(weights)
    match = _match_score(own, file)
    if match == 1:
        return
    others = {name: _match_score(_published(name), file) for name in names()}
    best = max(others, key=lambda name: others[name])
    if match >= max(MIN_MATCH, others[best]):
        return
    odd = _other_width(own, file)
    if odd is not None:
        raise PackageError(
            f"'{odd}' has {file[odd]} channels in {path} and {own[odd]} in the encoder; published"
            " weights fit only their own architecture at a width of 1"
        )
    is_similar = others[best] >= MIN_MATCH
    guess = f"it looks like {best}" if is_similar else f"it is none of: {', '.join(names())}"
    raise PackageError(f"the weights in {path} are not of this encoder's architecture; {guess}")


def _other_width(own: Signature, file: Signature) -> str | None:
    """The first key with other channel counts, when the names as such are alike."""
    if len(own.keys() & file.keys()) < 0.9 * len(own.keys() | file.keys()):
        return None
    return next((key for key in own if key in file and own[key] != file[key]), None)


def _signature(tensors: Mapping[str, Tensor]) -> Signature:
    """Keys with channels out: what tells architectures apart, for any axes, norms, channels in."""
    return {
        key: tensor.shape[0]
        for key, tensor in tensors.items()
        if tensor.ndim and not key.endswith(STATISTICS)
    }


@functools.cache
def _published(name: str) -> Signature:
    """The signature of an encoder at its published width; no memory is taken for weights."""
    with torch.device("meta"):
        encoder = build_encoder(EncoderSettings(name=name), spatial_dims=2, in_channels=3)
    return _signature(encoder.state_dict())


def _match_score(own: Signature, other: Signature) -> float:
    """What two have in common over what either has (Jaccard 1912)."""
    return len(own.items() & other.items()) / max(len(own.items() | other.items()), 1)


def _stem(encoder: Encoder) -> str:
    """Key of the first convolution's weights."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            return f"{name}.weight"
    raise PackageError("the encoder has no convolution to put weights into")


def _fit(stored: Tensor, shape: torch.Size, *, stem: bool) -> Tensor:
    """A tensor inflated and with channels adapted as far as `shape` asks for it."""
    if len(shape) == 5 and stored.ndim == 4:
        depth = shape[-1]
        stored = stored[..., None].expand(*stored.shape, depth) / depth
    if not stem or stored.ndim < 2 or stored.shape[1] == shape[1]:
        return stored
    if shape[1] == 1:
        return stored.sum(1, keepdim=True)
    there, here = stored.shape[1], shape[1]
    turns = [channel % there for channel in range(here)]
    return stored[:, turns] * (there / here)


def _report(
    own: Mapping[str, Tensor], stored: Mapping[str, Tensor], fitted: Mapping[str, Tensor]
) -> PretrainedReport:
    """Sort all keys, each into one place."""
    loaded = [key for key, tensor in fitted.items() if tensor.shape == own[key].shape]
    ignored = [key for key in stored if key.startswith(CLASSIFIERS)]
    strange = [key for key in stored if key not in own and key not in ignored]
    dropped_norm = [key for key in strange if _lacks_statistics(key, own)]
    return PretrainedReport(
        loaded=tuple(loaded),
        adapted=tuple(key for key in loaded if fitted[key] is not stored[key]),
        missing=tuple(key for key in own if key not in stored and not key.endswith(COUNTER)),
        unexpected=tuple(key for key in strange if key not in dropped_norm),
        wrong_shape=tuple(key for key in fitted if key not in loaded),
        dropped_norm=tuple(dropped_norm),
        ignored=tuple(ignored),
    )


def _lacks_statistics(key: str, own: Mapping[str, Tensor]) -> bool:
    """Whether this is a running statistic of a norm that the encoder has, but without."""
    return key.endswith(STATISTICS) and f"{key.rpartition('.')[0]}.weight" in own
