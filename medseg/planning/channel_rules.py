"""How each channel's intensities become network input, by the channel's name."""

from __future__ import annotations

import re

from msgspec import structs

from medseg.planning.fingerprint import Fingerprint, Intensities
from medseg.planning.plan import Normalisation

_BY_NAME = {
    "nonorm": Normalisation(scheme="none"),
    "zscore": Normalisation(scheme="zscore"),
    "rescaleto01": Normalisation(scheme="rescale"),
    "rgbto01": Normalisation(scheme="clip_zscore", low=0, high=255, mean=0, std=255),
}
"""What nnU-Net makes of these names in its ``dataset.json`` (documentation/dataset_format.md)."""
LEAST_KEPT = 0.75
"""Median share of the voxels within the padding below which only those that are not 0 count, as in
nnU-Net (Isensee et al., Nature Methods 18, 2021)."""
_MODALITIES = {
    "PT": re.compile(r"\b(pet|pt|suv)"),
    "MR": re.compile(r"\b(mr|t1|t2|flair|dwi|adc|swi)"),
    "US": re.compile(r"\bus\b"),
    "CT": re.compile(r"\b(nc|ce|ld)?ct(?!p|\d)"),
}
"""Beginnings of words in a channel's name; "PET/CT" is the PET, "CT1" is MR and "CTP" a map."""


def normalisations(fingerprint: Fingerprint) -> tuple[Normalisation, ...]:
    """The rule of each channel.

    A name of nnU-Net's is followed. CT has absolute units, so the statistics of the dataset hold;
    every other scan is taken by its own mean and standard deviation: those of the voxels that are
    not 0 where padding is much of the scans, as it is when all but the brain was set to 0. Where no
    name tells which channel is CT, the modality of the scans does.

    Parameters
    ----------
    fingerprint : Fingerprint
    """
    modalities = [modality_word(name) for name in channel_names(fingerprint)]
    if len(modalities) == 1 and fingerprint.modality:
        modalities = [fingerprint.modality]
    elif fingerprint.modality == "CT" and "CT" not in modalities:
        modalities = [word or "CT" for word in modalities]
    rules = (
        _BY_NAME.get(_letters(name)) or _measured(modality, channel)
        for name, modality, channel in zip(
            channel_names(fingerprint), modalities, fingerprint.intensities, strict=True
        )
    )
    nonzero = fingerprint.kept < LEAST_KEPT
    return tuple(
        structs.replace(rule, nonzero=True) if nonzero and rule.scheme == "zscore" else rule
        for rule in rules
    )


def channel_names(fingerprint: Fingerprint) -> tuple[str, ...]:
    """The dataset's names of the channels where they tell them apart, or modality and number."""
    count = len(fingerprint.intensities)
    if len(set(fingerprint.channels) - {"", "unknown"}) == count == len(fingerprint.channels):
        return fingerprint.channels
    word = fingerprint.modality or "image"
    return (word,) if count == 1 else tuple(f"{word} {n + 1}" for n in range(count))


def modality_word(name: str) -> str:
    """The DICOM modality word that the name of a channel stands for; empty for none."""
    plain = name.lower().replace("_", " ")
    return next((word for word, form in _MODALITIES.items() if form.search(plain)), "")


def _letters(name: str) -> str:
    """Small letters and digits of a name: "rescale_to_0_1" is "rescaleto01"."""
    return re.sub(r"[\W_]", "", name.lower())


def _measured(modality: str, channel: Intensities) -> Normalisation:
    if modality != "CT":
        return Normalisation(scheme="zscore")
    return Normalisation(
        scheme="clip_zscore",
        low=channel.low,
        high=channel.high,
        mean=channel.mean,
        std=max(channel.std, 1e-6),
    )
