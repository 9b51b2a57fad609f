"""The contract holds for a part outside medseg too: it is installed while it is tested."""

from __future__ import annotations

import pytest

from sample_package import importable


@pytest.fixture(scope="module", autouse=True)
def sample_installed(sample_package):
    with importable(sample_package):
        yield
