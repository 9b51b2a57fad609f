"""What a model needs besides medseg: the installed packages that its parts come from."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterable

import msgspec

from medseg.errors import PackageError
from medseg.planning.plan import Component, Plan
from medseg.runtime import class_parts, registry


class Requirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a model that an installed package brings.

    Parameters
    ----------
    part : str
        Such as ``"network 'monai:VNet'"``.
    distribution, version : str
        Of the installed package.
    path : str
        Where in it the part was, such as ``"monai.networks.nets.vnet:VNet"``; for people to read:
        nothing is imported by it.
    """

    part: str
    distribution: str
    version: str
    path: str


def requirements_of(plan: Plan, postprocessing: Iterable[Component]) -> tuple[Requirement, ...]:
    """What a prediction needs of packages other than medseg.

    Parameters
    ----------
    plan : Plan
    postprocessing : iterable of Component

    Raises
    ------
    PlanError
        When a part is not there.
    """
    parts = [("medseg.networks", plan.network.name)]
    parts += [("medseg.postprocessing", step.name) for step in postprocessing]
    encoder = plan.network.settings.get("encoder")
    if isinstance(encoder, dict) and "name" in encoder:
        parts.append(("medseg.networks.encoders", encoder["name"]))
    return tuple(
        Requirement(
            part=f"{registry.KINDS[package].noun} '{name}'",
            distribution=source.distribution,
            version=source.version,
            path=source.path,
        )
        for package, name in parts
        if not class_parts.is_given(name)
        if (source := class_parts.source(package, name)).distribution
    )


def check_installed(requirements: Iterable[Requirement], *, model: str) -> None:
    """Refuse a model whose parts are not here; warn of other versions than it was made with.

    Raises
    ------
    PackageError
        When a package is not installed.
    """
    for need in requirements:
        owner = f"{need.distribution} {need.version}"
        try:
            version = importlib.metadata.version(need.distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise PackageError(
                f"the model '{model}' needs the {need.part} of the package {owner}, which is not"
                f" installed; run pip install '{need.distribution}=={need.version}'",
                code="NOT_INSTALLED",
            ) from error
        if version != need.version:
            warnings.warn(
                f"the model '{model}' was made with the {need.part} of {owner}; {version} is"
                " installed",
                stacklevel=3,
            )
