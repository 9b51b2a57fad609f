"""Every choice between a raw scan and the network, as strict data."""

from __future__ import annotations

import codecs
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from medseg.errors import PlanError
from medseg.planning.interpolation import Resampling
from medseg.planning.presets import MR_ARTEFACTS, PRESETS, Preset
from medseg.volume.conventions import is_native
from medseg.volume.label_table import LabelTable

Three = tuple[float, float, float]
Plane = Literal["axial", "coronal", "sagittal", "first"]
Regions = tuple[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], ...]
Kind = TypeVar("Kind")
SCHEMA_VERSION: Final = 4
"""Of what is written; older ones are still read. A field more, or another meaning of one, makes
another version: a medseg that does not know it cannot do what the plan says, and refuses it."""
_NORMALS: dict[str, str] = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}
"""Letters of the two directions across each plane."""


class Normalisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one channel's intensities become network input.

    Parameters
    ----------
    scheme : {"zscore", "clip_zscore", "rescale", "rgb01", "none"}
        ``zscore``: each scan by its own mean and standard deviation. ``clip_zscore`` (CT): clip
        to `low`..`high`, then subtract `mean` and divide by `std`, all of the dataset.
        ``rescale``: each scan's smallest value becomes 0 and its largest 1. ``rgb01``: 0 to 255
        becomes 0 to 1.
    low, high, mean, std : float
    nonzero : bool
        With ``zscore``: mean and standard deviation are of the voxels that are not 0, and those
        alone are changed, before the resampling. Where the plan crops to these, they are the ones
        that are not 0 in some channel, and what they enclose.
    """

    scheme: Literal["zscore", "clip_zscore", "rescale", "rgb01", "none"] = "zscore"
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    nonzero: bool = False

    def __post_init__(self) -> None:
        if self.nonzero and self.scheme != "zscore":
            raise PlanError(
                f"'nonzero' goes with the scheme 'zscore' and not with '{self.scheme}'; leave it"
                " out, or choose zscore"
            )
        if self.scheme == "clip_zscore" and not (self.low <= self.high and self.std >= 0):
            raise PlanError(
                f"clip_zscore clips to {self.low:g}..{self.high:g} and divides by {self.std:g};"
                " 'low' must not be above 'high', and 'std' not below 0"
            )


class Component(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a package by name, with its settings.

    Parameters
    ----------
    name : str
        File name in the package, such as ``"unet"``.
    settings : dict
        Numbers and names; decoded strictly by the part's own `Settings`.
    """

    name: str
    settings: dict[str, Any] = {}


def augmentation_preset(preset: Preset, *, modality: str = "") -> tuple[Component, ...]:
    """The augmentations that one word stands for, with all that a plan says of them.

    Parameters
    ----------
    preset : {"none", "light", "standard", "strong"}
    modality : str, optional
        DICOM modality word; ``"MR"`` adds the artefacts of MR scanners to ``strong``.

    Raises
    ------
    PlanError
        When there is no such preset.
    """
    if preset not in PRESETS:
        raise PlanError(
            f"no augmentation '{preset}'; there are: {', '.join(PRESETS)}", code="UNKNOWN_NAME"
        )
    rows = PRESETS[preset]
    if preset == "strong" and modality == "MR":
        rows += MR_ARTEFACTS
    return tuple(Component(name=name, settings=deepcopy(settings)) for name, settings in rows)


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every choice between raw scan and network input.

    Parameters
    ----------
    schema_version : int
    orientation : str
        Anatomical order of the network's axes, such as ``"RAS"``; or ``"KJI"`` or another order of
        I, J and K for the scan's own axes, unturned, whatever they are in the body.
    spacing_mm : tuple of float
        Spacing the network sees, along those axes, in mm. With `resampling` and `plane` that
        across slices is the scan's own.
    channels : tuple of str
        Name of each input channel, such as ``("MR",)``.
    normalisation : tuple of Normalisation
    crop : {"none", "padding", "nonzero"}
        What is cut off first at the edges of a scan: slices of padding, as
        :func:`medseg.volume.content_box` finds them, or those that are 0 in every channel.
    normalise_first : bool
        Whether intensities are normalised before they are resampled, and not after.
    resampling : Resampling or None
        As another library resampled in training; None: as medseg does.
    scan_mm : tuple of float or None
        Median lengths of the training scans along those axes, cropped as `crop` says, in mm.
    patch : tuple of int
        Voxels along each axis that the network sees at once.
    batch : int
        Patches in a training step.
    network, loss : Component
    mirror_axes : tuple of int
        Axes along which training mirrors patches.
    side_doubt : str
        Why the planner kept left and right apart; empty where it did not, or did not plan.
    augmentation : tuple of Component
        Random changes of training patches, in order; ``standard`` where a plan does not say.
    overlap : float
        Share of a patch by which neighbouring tiles overlap at inference.
    blending : {"gaussian", "nnunet"}
        How tiles are weighed there: a Gaussian about their middle, or nnU-Net's rounding of it.
    plane : {"axial", "coronal", "sagittal", "first"} or None
        The network is 2-D and sees slices in this plane, one voxel of the patch across it (a
        picture is one axial slice); ``first``: slices along the first of its axes, whichever this
        is in the body. None: the network is 3-D.
    regions : tuple of tuple of int
        When structures hold one another: for each channel of the network the class indices that
        its region is made of, outer regions before inner ones. The first index is the region's own:
        what a label map holds where this region is and no later one. Empty when structures exclude
        each other.
    transforms : tuple of str
        Names of a person's own transforms after the normalisation, which a prediction needs too.
    previous_labels : int
        How many labels of a network before, which saw the scan at another spacing, are further
        channels of the network's input, one mask each (a cascade). 0: there is none.

    Raises
    ------
    PlanError
        When numbers do not fit together.
    """

    schema_version: Literal[4] = SCHEMA_VERSION
    orientation: str = "RAS"
    spacing_mm: Three
    channels: tuple[str, ...]
    normalisation: tuple[Normalisation, ...]
    crop: Literal["none", "padding", "nonzero"] = "none"
    normalise_first: bool = False
    resampling: Resampling | None = None
    scan_mm: Three | None = None
    patch: tuple[int, int, int]
    batch: int
    network: Component
    loss: Component = Component(name="dice_ce")
    mirror_axes: tuple[Annotated[int, msgspec.Meta(ge=0, le=2)], ...] = (0, 1, 2)
    side_doubt: str = ""
    augmentation: tuple[Component, ...] = msgspec.field(
        default_factory=partial(augmentation_preset, "standard")
    )
    overlap: float = 0.5
    blending: Literal["gaussian", "nnunet"] = "gaussian"
    plane: Plane | None = None
    regions: Regions = ()
    transforms: tuple[str, ...] = ()
    previous_labels: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.normalisation) or not self.channels:
            raise PlanError(
                f"{len(self.channels)} channels but {len(self.normalisation)} normalisations"
            )
        if not _is_orientation(self.orientation):
            raise PlanError(
                f"the orientation is '{self.orientation}'; it needs three letters, one each of R or"
                " L, A or P, and S or I, such as RAS, or I, J and K in some order"
            )
        if min(self.patch) < 1 or self.batch < 1:
            raise PlanError(f"patch {self.patch} and batch {self.batch} must be positive")
        if min(*self.spacing_mm, *(self.scan_mm or ())) <= 0:
            raise PlanError(
                f"spacing and length of scans must be positive, got {self.spacing_mm} and"
                f" {self.scan_mm} mm"
            )
        if not 0 <= self.overlap < 1:
            raise PlanError(f"overlap must lie in 0..1 (1 excluded), got {self.overlap}")
        if self.slice_axis is not None and self.patch[self.slice_axis] != 1:
            raise PlanError(
                f"a plan for {self.plane} slices needs a patch of 1 voxel along axis"
                f" {self.slice_axis}, got {self.patch}"
            )
        _check_regions(self.regions)

    @property
    def slice_axis(self) -> int | None:
        """Axis across the slices a 2-D network sees; None for a 3-D network."""
        if self.plane is None:
            return None
        return slice_axis(self.plane, orientation=self.orientation)

    @property
    def native_axes(self) -> bool:
        """Whether the network's axes are the scan's own, whatever these are in the body."""
        return is_native(self.orientation)

    @property
    def exchanges_sides(self) -> bool:
        """Whether training mirrors patches from left to right, or may have."""
        if self.native_axes:
            return bool(self.mirror_axes)
        return any(self.orientation[axis] in "LR" for axis in self.mirror_axes)

    @property
    def inputs(self) -> int:
        """Channels of the network's input."""
        return len(self.channels) + self.previous_labels

    @property
    def spatial_dims(self) -> int:
        """Axes the network convolves along: 2 or 3."""
        return 3 if self.plane is None else 2

    def outputs(self, labels: LabelTable) -> int:
        """Channels of the network: its regions, or the background and every label.

        Raises
        ------
        PlanError
            When there are regions, but not as many as labels.
        """
        if self.regions and len(self.regions) != len(labels):
            raise PlanError(
                f"the plan has {len(self.regions)} regions and there are {len(labels)} labels"
                f" ({', '.join(labels.names)}); give one region for each label"
            )
        return len(self.regions) or len(labels) + 1


def _is_orientation(word: str) -> bool:
    """Whether each of the three directions of the body, or each axis of a scan, has one letter."""
    if is_native(word):
        return True
    pairs = {frozenset(letters) for letters in _NORMALS.values()}
    return len(word) == len(pairs) == len({pair for pair in pairs if pair & {*word}})


def _check_regions(regions: Regions) -> None:
    """Raise `PlanError` when a label map could not show the regions."""
    own = [region[0] if region else 0 for region in regions]
    if sorted(own) != list(range(1, len(regions) + 1)):
        raise PlanError(
            f"regions {regions} must each begin with a class of their own, 1 to {len(regions)} in"
            f" any order, got {own}"
        )
    for row, region in enumerate(regions):
        for later in regions[row + 1 :]:
            if set(region) & set(later) and not set(later) <= set(region[1:]):
                raise PlanError(
                    f"region {later} shares classes with the earlier region {region} but does not"
                    " lie inside it; list outer regions before inner ones"
                )
        if not set(region) <= set(own[row:]) or len(set(region)) < len(region):
            raise PlanError(
                f"region {region} holds a class twice, or one that is not its own and begins no"
                f" later region of {regions}; list outer regions before inner ones"
            )


def slice_axis(plane: Plane, *, orientation: str = "RAS") -> int:
    """Axis across a plane in voxels of an orientation: 2 for axial slices in ``"RAS"``."""
    if plane == "first":
        return 0
    letters = _NORMALS[plane]
    return next(axis for axis, letter in enumerate(orientation) if letter in letters)


def decode(data: bytes, kind: type[Kind], *, where: str) -> Kind:
    """Strictly decode JSON; an unknown key or a wrong type is an error that names its place.

    Raises
    ------
    PlanError
        When it does not decode.
    """
    try:
        return msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8), type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise PlanError(f"{where} does not decode: {error}", code="DECODE") from error


def decode_plan(data: bytes, *, where: str) -> Plan:
    """A plan from JSON, of this schema version or of an older one.

    Raises
    ------
    PlanError
        When it does not decode, or a newer medseg wrote it.
    """
    content = upgraded(decode(data, dict[str, Any], where=where), where=where)
    return decode(msgspec.json.encode(content), Plan, where=where)


def upgraded(content: dict[str, Any], *, where: str) -> dict[str, Any]:
    """A plan's JSON of an older schema version as of this one.

    Plans of version 1 trained with what is now called the ``standard`` augmentation; those of
    version 2 cropped nothing; those of version 3 resampled before they normalised, as medseg does.

    Raises
    ------
    PlanError
        When a newer medseg wrote it: this is told before what else in it is not understood.
    """
    version = content.get("schema_version", 1)
    if version not in range(1, SCHEMA_VERSION + 1):
        raise PlanError(
            f"{where}: a plan of schema version {version}, and this medseg reads up to"
            f" {SCHEMA_VERSION}; use the medseg that wrote it, or plan again",
            code="NEWER",
        )
    if version == 1:
        content = {"augmentation": msgspec.to_builtins(augmentation_preset("standard")), **content}
    return {**content, "schema_version": SCHEMA_VERSION}


def read_plan(path: Path) -> Plan:
    """The plan in a JSON file.

    Parameters
    ----------
    path : Path
        Such as a run's ``plan.json``.

    Raises
    ------
    PlanError
        When the file is missing or does not decode.
    """
    try:
        return decode_plan(path.read_bytes(), where=str(path))
    except OSError as error:
        raise PlanError(f"cannot read the plan '{path}': {error.strerror}") from error


def encode(value: object) -> bytes:
    """Indented JSON of a structure, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def settings_of(component: Component, kind: type[Kind], *, package: str) -> Kind:
    """A component's settings as the part's own strict structure.

    Raises
    ------
    PlanError
        When a key is unknown or a value has the wrong type.
    """
    try:
        return msgspec.convert(component.settings, type=kind)
    except msgspec.ValidationError as error:
        fields = ", ".join(kind.__struct_fields__)  # type: ignore[attr-defined]
        raise PlanError(
            f"settings of {package} '{component.name}': {error}; it has: {fields}", code="DECODE"
        ) from error
