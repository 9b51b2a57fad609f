"""A tiny untrained model, small scans and the command line, for journeys that take a second."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from medseg.modelpack import Card, Manifest, save_package
from medseg.modelpack.package import UNSAVED
from medseg.networks import build_network
from medseg.phantoms import ABDOMEN_LABELS, abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.planning import Choice, Normalisation, Plan
from medseg.writing import write_labels, write_scan
from medseg_pipelines.cli import medseg

SMALL = ct_grid(shape=(32, 24, 20), spacing_mm=(11.0, 10.5, 12.0), turn_degrees=(0, 0, 7))


@pytest.fixture(scope="session")
def shared_model(tmp_path_factory):
    plan = Plan(
        spacing_mm=(12.0, 12.0, 12.0), channels=("CT",), patch=(16, 16, 16), batch=1,
        normalisation=(Normalisation(scheme="clip_zscore", low=-200, high=300, std=100),),
        network=Choice(name="unet", settings={
            "features": [4, 8], "strides": [[1, 1, 1], [2, 2, 2]],
            "kernels": [[3, 3, 3], [3, 3, 3]],
        }),
    )  # fmt: skip
    manifest = Manifest(
        name="tiny", plan=plan, labels=ABDOMEN_LABELS, weights=UNSAVED,
        card=Card(summary="For tests.", modality="CT", licence="CC0"),
        scores={"liver": 0.5, "foreground": 0.25},
    )  # fmt: skip
    network = build_network(plan, classes=len(ABDOMEN_LABELS) + 1)
    return save_package(tmp_path_factory.mktemp("models") / "tiny", manifest, network).folder


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
