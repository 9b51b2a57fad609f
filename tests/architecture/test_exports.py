"""The door of the library: every name it promises is there, and says where it lives."""

from __future__ import annotations

import pytest

import medseg
from medseg import errors


@pytest.mark.parametrize("name", medseg.__all__)
def test_every_promised_name_resolves(name):
    assert getattr(medseg, name).__module__.startswith("medseg.")


def test_the_promise_is_sorted_and_shown():
    assert list(medseg.__all__) == sorted(medseg.__all__)
    assert set(medseg.__all__) <= set(dir(medseg))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="segmentation_of_everything"):
        _ = medseg.segmentation_of_everything


def test_every_error_is_a_medseg_error_with_a_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, errors.MedsegError) for kind in kinds)
    codes = [kind.default_code for kind in kinds]
    assert all(code.isupper() for code in codes)
    assert len(codes) == len(set(codes))
