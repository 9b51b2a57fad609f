"""nnU-Net's weights under the names of medseg's networks.

A bias before an instance norm is subtracted again with the mean: such biases are left out, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor, nn

from medseg.errors import PackageError
from medseg.planning.plan import Component

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]
_KIND = {"conv": "0", "norm": "1"}
_HELD_TWICE = re.compile(r"(^decoder\.encoder\.|\.all_modules\.)")


def has_batch_norm(weights: dict[str, Tensor]) -> bool:
    """Whether the network normalises over batches, whatever its plans say."""
    return any(name.endswith(".running_mean") for name in weights)


def load_into(network: nn.Module, weights: dict[str, Tensor], component: Component) -> None:
    """Give a network of medseg's the weights of nnU-Net's.

    Parameters
    ----------
    network : torch.nn.Module
        Of `component`.
    weights : dict of str to torch.Tensor
        As the checkpoint names them.
    component : Component

    Raises
    ------
    PackageError
        When they do not fit; the message names the first that does not.
    """
    fitting, wanted = renamed(weights, component), network.state_dict()
    for name, value in fitting.items():
        shape = wanted[name].shape if name in wanted else None
        if shape != value.shape:
            planned = "no place" if shape is None else f"{tuple(shape)}"
            raise PackageError(
                f"its weights hold '{_original(name, weights, component)}' of shape"
                f" {tuple(value.shape)}, for which its plans have {planned}; are both of one"
                " model?",
                code="WEIGHTS",
            )
    missing = next((name for name in wanted if name not in fitting), None)
    if missing is not None:
        raise PackageError(
            f"its weights lack what is called '{missing}' here and its plans ask for; are weights"
            " and plans of the same model?",
            code="WEIGHTS",
        )
    network.load_state_dict(fitting)


def _original(name: str, weights: dict[str, Tensor], component: Component) -> str:
    """What nnU-Net calls a weight."""
    return next(old for old in weights if name in renamed({old: weights[old]}, component))


def renamed(weights: dict[str, Tensor], network: Component) -> dict[str, Tensor]:
    """Weights for medseg's network.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
        As the checkpoint names them.
    network : Component
        Of :meth:`medseg.model_package.interop.nnunet.plans.Configuration.network`.

    Raises
    ------
    PackageError
        When a name belongs to no part of the network.
    """
    rules = _rules(network)
    normalised = network.settings["norm"] == "instance"
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if _HELD_TWICE.search(name):
            continue
        if normalised and name.endswith(".conv.bias"):
            continue
        out[_renamed(name, rules)] = value
    return out


def _renamed(name: str, rules: list[Rule]) -> str:
    for pattern, new in rules:
        match = pattern.fullmatch(name)
        if match:
            return new(match)
    raise PackageError(
        f"its weights hold '{name}', which its plans have no place for; are weights and plans of"
        " the same model?",
        code="WEIGHTS",
    )


def _rules(network: Component) -> list[Rule]:
    block = r"\.(conv|norm)\.(\w+)"
    decoder = re.compile(rf"decoder\.stages\.(\d+)\.convs\.(\d+){block}")
    up = re.compile(r"decoder\.transpconvs\.(\d+)\.(\w+)")
    head = re.compile(r"decoder\.seg_layers\.(\d+)\.(\w+)")
    rules: list[Rule] = [
        (decoder, lambda m: f"decoder.{m[1]}.{m[2]}.{_KIND[m[3]]}.{m[4]}"),
        (up, lambda m: f"up.{m[1]}.{m[2]}"),
        (head, lambda m: f"heads.{m[1]}.{m[2]}"),
    ]
    if network.name == "unet":
        plain = re.compile(rf"encoder\.stages\.(\d+)\.0\.convs\.(\d+){block}")
        return [*rules, (plain, lambda m: f"encoder.{m[1]}.{m[2]}.{_KIND[m[3]]}.{m[4]}")]
    stem = re.compile(rf"encoder\.stem\.convs\.0{block}")
    residual = re.compile(rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv([12]){block}")
    shortcut = re.compile(rf"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.([01]){block}")
    return [
        *rules,
        (stem, lambda m: f"encoder.0.0.{_KIND[m[1]]}.{m[2]}"),
        (residual, _residual),
        (shortcut, _shortcut),
    ]


def _residual(match: re.Match[str]) -> str:
    stage, block, number, kind, parameter = match.groups()
    half = "first" if number == "1" else "second"
    return f"encoder.{stage}.{_after_stem(stage, block)}.{half}.{_KIND[kind]}.{parameter}"


def _shortcut(match: re.Match[str]) -> str:
    stage, block, pools, kind, parameter = match.groups()
    number = int(_KIND[kind]) + int(pools)
    return f"encoder.{stage}.{_after_stem(stage, block)}.shortcut.{number}.{parameter}"


def _after_stem(stage: str, block: str) -> int:
    """The finest stage begins with the stem."""
    return int(block) + (stage == "0")
