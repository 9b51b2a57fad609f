"""Each channel by its own rule, and under its own name."""

import pytest
from msgspec import structs

from medseg.errors import PlanError
from medseg.planning import Fingerprint, Normalisation
from medseg.planning.channel_rules import channel_names, modality_word, normalisations
from medseg.planning.fingerprint import Intensities


def fingerprint(*names, count=0, modality=""):
    channels = [
        Intensities(mean=40 + n, std=60 + n, low=-160 - n, high=240 + n)
        for n in range(count or len(names))
    ]
    return Fingerprint(
        shapes=((64, 64, 64),),
        spacings_mm=((1.0, 1.0, 1.0),),
        modality=modality,
        intensities=tuple(channels),
        channels=names,
    )


def schemes(*names, **about):
    return [rule.scheme for rule in normalisations(fingerprint(*names, **about))]


@pytest.mark.parametrize("wrong", [{"low": 5.0, "high": 1.0}, {"std": -1.0}])
def test_a_range_that_is_upside_down_is_refused(wrong):
    with pytest.raises(PlanError, match="clip_zscore clips to"):
        Normalisation(scheme="clip_zscore", **wrong)


def test_ct_is_clipped_and_pet_beside_it_is_not():
    looked_at = fingerprint("PET", "CT", modality="CT")
    pet, ct = normalisations(looked_at)
    assert pet.scheme == "zscore"
    assert (ct.scheme, ct.low, ct.high, ct.mean, ct.std) == ("clip_zscore", -161, 241, 41, 61)
    assert channel_names(looked_at) == ("PET", "CT")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("noNorm", "none"),
        ("nonorm", "none"),
        ("rescale_to_0_1", "rescale"),
        ("rescale_0_1", "zscore"),
        ("zscore", "zscore"),
        ("T1", "zscore"),
        ("ct", "clip_zscore"),
        ("CT_arterial", "clip_zscore"),
        ("CT1", "zscore"),
        ("CTP CBF", "zscore"),
        ("PET/CT", "zscore"),
    ],
)
def test_a_name_chooses_the_rule_of_its_channel(name, scheme):
    assert schemes("FLAIR", name) == ["zscore", scheme]


def test_colours_are_divided_by_the_largest_of_them():
    (rule,) = normalisations(fingerprint("rgb_to_0_1"))
    assert (rule.low, rule.high, rule.mean, rule.std) == (0, 255, 0, 255)


def test_where_no_name_tells_ct_the_modality_does():
    assert schemes("arterial", "venous", modality="CT") == ["clip_zscore"] * 2
    assert schemes("arterial", "PET", modality="CT") == ["clip_zscore", "zscore"]
    assert schemes("CT", "arterial", modality="CT") == ["clip_zscore", "zscore"]
    assert schemes("image", modality="CT") == ["clip_zscore"]
    assert schemes("CT", modality="MR") == ["zscore"]
    assert schemes("noNorm", modality="CT") == ["none"]


@pytest.mark.parametrize("names", [(), ("MR", "MR"), ("unknown", "T1"), ("T1",), ("", "T2")])
def test_channels_that_no_name_tells_apart_are_numbered(names):
    assert channel_names(fingerprint(*names, count=2, modality="MR")) == ("MR 1", "MR 2")


@pytest.mark.parametrize(
    ("name", "word"),
    [("T1w", "MR"), ("MRI", "MR"), ("FLAIR", "MR"), ("CT", "CT"), ("CTA", "CT"), ("SUV", "PT")],
)
def test_names_of_channels_are_dicom_modalities(name, word):
    assert modality_word(name) == word


def test_other_words_are_no_modality():
    assert [modality_word(name) for name in ("image", "contrast", "actual")] == ["", "", ""]


def test_zeros_are_left_out_of_channels_that_are_scaled_by_themselves():
    looked_at = structs.replace(fingerprint("T1", "CT", "noNorm", "rescale_to_0_1"), kept=0.5)
    rules = normalisations(looked_at)
    assert [rule.nonzero for rule in rules] == [True, False, False, False]
    (named,) = normalisations(structs.replace(fingerprint("zscore"), kept=0.74))
    assert named == Normalisation(nonzero=True)
