"""A real Orthanc, a small series, settings that name both, and a tiny model."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pydicom
import pytest

from medseg.model_package import Card, Manifest, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.phantoms import ABDOMEN_LABELS, abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.planning import Component, Normalisation, Plan
from medseg_pipelines.pacs.segmenting import Segmented
from medseg_pipelines.pacs.service import Service
from medseg_pipelines.pacs.settings import (
    Completeness,
    Limits,
    Own,
    PacsSettings,
    Peer,
    Retry,
)
from medseg_pipelines.pacs.spool import Spool
from pacs.real_orthanc import started

SMALL = ct_grid(shape=(32, 24, 12), spacing_mm=(11.0, 10.5, 20.0), turn_degrees=(0, 0, 7))


@pytest.fixture(scope="session")
def running_orthanc(tmp_path_factory):
    process, orthanc = started(tmp_path_factory.mktemp("orthanc"))
    yield orthanc
    process.terminate()
    try:
        process.wait(10)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def orthanc(running_orthanc):
    """Empty before and after."""
    running_orthanc.clear()
    yield running_orthanc
    running_orthanc.clear()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    plan = Plan(
        spacing_mm=(12.0, 12.0, 12.0),
        channels=("CT",),
        patch=(16, 16, 16),
        batch=1,
        normalisation=(Normalisation(scheme="clip_zscore", low=-200, high=300, std=100),),
        network=Component(
            name="unet",
            settings={
                "features": [4, 8],
                "strides": [[1, 1, 1], [2, 2, 2]],
                "kernels": [[3, 3, 3], [3, 3, 3]],
            },
        ),
    )
    manifest = Manifest(
        name="tiny",
        plan=plan,
        labels=ABDOMEN_LABELS,
        weights=UNSAVED,
        card=Card(summary="For tests.", modality="CT", licence="CC0"),
        scores={"liver": 0.5},
    )
    network = build_network(plan, classes=len(ABDOMEN_LABELS) + 1)
    return save_package(tmp_path_factory.mktemp("models") / "tiny", manifest, network).folder


@pytest.fixture(scope="session")
def phantom():
    return abdominal_ct(1, SMALL)


@pytest.fixture(scope="session")
def series(tmp_path_factory, phantom):
    """Folder of twelve slices of one patient."""
    folder = tmp_path_factory.mktemp("series")
    write_series(phantom[0], folder, patient=1)
    return folder


QUICK = Retry(attempts=3, first_s=0.05, most_s=0.1, timeout_s=5.0)


@pytest.fixture
def settings(tmp_path):
    """Settings with a listener on a free port; give peers and the rest by keyword."""

    def make(*peers, **more):
        common = {
            "spool": str(tmp_path / "spool"),
            "own": Own(port=0),
            "retry": QUICK,
            "limits": Limits(disk_floor_gib=0.1),
            "completeness": Completeness(silence_s=0.4, give_up_s=2.0),
        }
        return PacsSettings(peers=peers, **{**common, **more})

    return make


@pytest.fixture
def archive(orthanc):
    """Orthanc as a peer."""
    return Peer(
        name="archive",
        ae_title="ORTHANC",
        host="127.0.0.1",
        port=orthanc.dicom_port,
        dicomweb=orthanc.dicomweb,
    )


@pytest.fixture
def spool_of():
    """Open the spool of settings; closed at the end."""
    with contextlib.ExitStack() as stack:

        def opened(settings):
            spool = Spool(Path(settings.spool), settings.limits)
            stack.callback(spool.close)
            return spool

        yield opened


@pytest.fixture
def lines():
    """What a log said."""
    return []


@pytest.fixture
def log(lines):
    return lines.append


def without_none(value):
    """What TOML can say of it."""
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="session")
def put(series):
    """Put slices of the series, counted along its axis, into a spool: all or some."""
    by_place = sorted(series.iterdir(), key=lambda path: int(pydicom.dcmread(path).InstanceNumber))

    def into(spool, chosen=slice(None)):
        for path in by_place[chosen]:
            scratch = spool.scratch()
            scratch.write_bytes(path.read_bytes())
            spool.add(scratch, announced=str(pydicom.dcmread(path).SOPInstanceUID))

    return into


@pytest.fixture
def serving(log):
    """A service with made-up or real segmenting."""

    def on(settings, spool, segmenting):
        return Service(settings, spool, log, segmenter=segmenting)

    return on


@pytest.fixture
def made_up(spool_of, tmp_path):
    """A folder of results, and segmenting that gives it for every series."""

    def for_spool(spool):
        def segmenting(series):
            folder = spool.results(series) / "patient" / "study" / "series"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "seg.dcm").write_bytes(b"not what a peer would take")
            return [Segmented(state="done", folder=folder)]

        return segmenting

    return for_spool
