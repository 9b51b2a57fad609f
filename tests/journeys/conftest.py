"""A tiny untrained model, small scans and the command line, for journeys that take a second."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.writing import write_labels, write_scan
from medseg_pipelines.cli import medseg
from toy_model import tiny_model

SMALL = ct_grid(shape=(32, 24, 20), spacing_mm=(11.0, 10.5, 12.0), turn_degrees=(0, 0, 7))


@pytest.fixture(scope="session")
def shared_model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture
def model(shared_model, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(shared_model, tmp_path / "model")


@pytest.fixture
def phantom():
    return abdominal_ct(1, SMALL)


@pytest.fixture
def scan_file(tmp_path, phantom):
    return write_scan(phantom[0], tmp_path / "scan.nii.gz")


@pytest.fixture
def truth_file(tmp_path, phantom):
    return write_labels(phantom[1], tmp_path / "truth.nii.gz")


@pytest.fixture
def series(tmp_path, phantom):
    folder = tmp_path / "series"
    write_series(phantom[0], folder, patient=1)
    return folder


@pytest.fixture
def run():
    """Call the command line in this process; gives click's result."""

    def call(*arguments):
        result = CliRunner().invoke(medseg, [str(one) for one in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call
