"""The contracts hold for a package outside medseg too: it is installed while they are tested."""

from __future__ import annotations

import pytest

from sample_package import importable


@pytest.fixture(scope="module", autouse=True)
def sample_installed(sample_package):
    with importable(sample_package):
        yield
