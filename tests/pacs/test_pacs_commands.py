"""The commands, as processes and in this one; kill -9 loses nothing that was acknowledged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dicom_phantom import CANARY
from medseg.reading import read_scan
from medseg.volume import LabelMap
from medseg.writing import write_labels
from medseg_pipelines.cli import medseg
from medseg_pipelines.pacs.settings import Peer, Work
from pacs.conftest import without_none
from pacs.real_orthanc import free_port, guard
from pacs.test_pacs_listener import STORESCU, needs_dcmtk, store, storescu

LIFE_S = 300


@pytest.fixture
def toml(tmp_path):
    """Write settings to a file."""

    def written(settings):
        path = tmp_path / "pacs.toml"
        path.write_bytes(msgspec.toml.encode(without_none(msgspec.to_builtins(settings))))
        return path

    return written


@pytest.fixture
def run():
    """Call the command line in this process; gives click's result."""

    def call(*arguments):
        result = CliRunner().invoke(medseg, ["pacs", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def process():
    """Start `medseg pacs ...` in a process of its own, which listens; gives it and its port."""
    running = []

    def start(*arguments):
        door = "from medseg_pipelines.cli import main; main()"
        command = [*guard("KILL"), sys.executable, "-c", door, "pacs", *arguments]
        one = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        running.append(one)
        said = ""
        while (match := re.search(r"listening as \w+ on 127\.0\.0\.1:(\d+)", said)) is None:
            line = one.stdout.readline()
            assert line, said
            said += line
        return one, int(match[1])

    yield start
    for one in running:
        one.kill()
        one.wait(20)
        one.stdout.close()


@needs_dcmtk
def test_a_listener_that_is_killed_loses_nothing_it_acknowledged(
    settings, toml, process, series, archive, spool_of
):
    ours = settings(archive)
    path = toml(ours)
    files = sorted(series.iterdir())
    acknowledged = 0
    for kill_after in (3, 7):
        listener, port = process("listen", "--settings", path)
        for number, file in enumerate(files[acknowledged:], start=1):
            if number > kill_after:
                break
            assert storescu(port, file, calling="ORTHANC") == 0
            acknowledged += 1
        sending = subprocess.Popen(
            [
                STORESCU,
                "-aet",
                "ORTHANC",
                "-aec",
                "MEDSEG",
                "127.0.0.1",
                str(port),
                *map(str, files),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.05 * kill_after)
        listener.send_signal(signal.SIGKILL)
        listener.wait(20)
        sending.wait(60)
        here = list((Path(ours.spool) / "series").glob("*/*.dcm"))
        assert len(here) >= acknowledged
        for one in here:  # none is half
            assert pydicom.dcmread(one).pixel_array.shape == (24, 32)
    listener, port = process("listen", "--settings", path)
    assert storescu(port, *files, calling="ORTHANC") == 0
    listener.send_signal(signal.SIGTERM)
    assert listener.wait(30) == 0
    spool = spool_of(ours)
    (row,) = spool.database.series()
    assert (row.objects, row.conflicts) == (len(files), 0)
    assert np.array_equal(read_scan(spool.folder(row.series)).voxels, read_scan(series).voxels)


@pytest.fixture
def canaries(tmp_path, series):
    """The series with a patient whose fields must never be seen."""
    folder = tmp_path / "canaries"
    folder.mkdir()
    for path in sorted(series.iterdir()):
        dataset = pydicom.dcmread(path)
        for keyword in (
            "PatientName",
            "PatientID",
            "AccessionNumber",
            "StudyDescription",
            "SeriesDescription",
            "ReferringPhysicianName",
            "InstitutionName",
            "ProtocolName",
            "StudyID",
        ):
            setattr(dataset, keyword, CANARY)
        dataset.save_as(folder / path.name)
    return folder


@pytest.fixture
def hospital(archive, settings, toml, model):
    """Settings of a service with Orthanc as its destination, and their file."""
    work = Work(model=str(model), send=("dicom-seg", "sr"), destination="archive", device="cpu")
    ours = settings(archive, work=work)
    return ours, toml(ours)


@pytest.mark.slow
def test_no_patient_text_outside_dicom(orthanc, hospital, process, canaries, run):
    """The whole service; one object contradicts another, so that this is told too."""
    ours, path = hospital
    service, port = process("run", "--settings", path)
    files = sorted(canaries.iterdir())
    odd = pydicom.dcmread(files[0])
    odd.PixelData = bytes(len(odd.PixelData))
    assert set(store(port, *map(pydicom.dcmread, files), odd, calling="ORTHANC")) == {0}
    end = time.monotonic() + 240
    while len(orthanc.instances("SR")) < 1 and time.monotonic() < end:
        time.sleep(0.3)
    service.send_signal(signal.SIGTERM)
    said = service.communicate(timeout=60)[0]
    assert service.returncode == 0
    assert "delivered" in said
    assert "kept in conflicts/" in said
    shown = run("status", "--settings", path, "--json").output
    state = json.loads(shown)
    assert [one["state"] for one in state["series"]] == ["done"]
    assert {one["state"] for one in state["deliveries"]} == {"delivered"}
    shown += said + run("status", "--settings", path).output
    secrets = [CANARY, CANARY.replace("^", " "), odd.SOPInstanceUID, odd.SeriesInstanceUID]
    assert not [word for word in secrets if word in shown]
    for file in Path(ours.spool).rglob("*"):
        assert not [word for word in secrets if word in file.name]
        if file.is_file() and file.suffix != ".dcm":
            assert CANARY.encode() not in file.read_bytes(), file.name


@pytest.mark.slow
def test_a_service_that_is_killed_goes_on(orthanc, hospital, process, series, run):
    """Killed while it segments, and while it sends; each result is in the archive once."""
    ours, path = hospital
    service, port = process("run", "--settings", path)
    assert set(store(port, *map(pydicom.dcmread, series.iterdir()), calling="ORTHANC")) == {0}
    for word in ("is segmented", "wait to be sent"):
        while word not in (line := service.stdout.readline()):
            assert line, f"it ended before '{word}'"
        service.send_signal(signal.SIGKILL)
        service.wait(20)
        service, _ = process("run", "--settings", path)
    states, end = [], time.monotonic() + 240
    while states != ["delivered"] * 2 and time.monotonic() < end:
        time.sleep(0.3)
        state = json.loads(run("status", "--settings", path, "--json").output)
        states = [one["state"] for one in state["deliveries"]]
    assert [one["state"] for one in state["series"]] == ["done"]
    assert len(orthanc.instances("SEG")) == len(orthanc.instances("SR")) == 1
    (folder,) = (Path(ours.spool) / "results").iterdir()
    assert len(list(folder.rglob("case.json"))) == 1


@pytest.fixture
def phantom_results(series, phantom, tmp_path):
    """Folder with a label-map SEG and its report."""
    scan = read_scan(series)
    labels = LabelMap(phantom[1].values, scan.grid, phantom[1].table, scan.provenance)
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("seg.dcm", "measurements.sr.dcm"):
        write_labels(labels, folder / name, encoding="labelmap")
    return folder


def test_pull_push_and_status(orthanc, hospital, run, series, phantom_results):
    orthanc.fill(series)
    _, path = hospital
    echoed = run("echo", "--settings", path)
    assert echoed.exit_code == 0
    assert "DICOMweb" in echoed.output
    assert "DIMSE" in echoed.output
    query = ("--query", "StudyDate=20240102", "--query", "Modality=CT")
    assert "12 objects" in run("pull", "--settings", path, *query, "--dry-run").output
    assert run("pull", "--settings", path, *query).exit_code == 0
    assert run("pull", "--settings", path, *query, "--via", "c-get").exit_code == 0
    state = json.loads(run("status", "--settings", path, "--json").output)
    assert [(one["state"], one["objects"]) for one in state["series"]] == [("ready", 12)]
    pushed = run("push", phantom_results, "--settings", path, "--via", "dimse")
    assert pushed.exit_code == 0
    assert pushed.output.count("delivered as binary") == 2
    assert len(orthanc.instances("SEG")) == len(orthanc.instances("SR")) == 1


def test_what_cannot_be_reached_is_told_and_harms_nothing(settings, toml, run, tmp_path):
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    away = Peer(name="away", ae_title="AWAY", host="127.0.0.1", port=free_port(), dicomweb=url)
    path = toml(settings(away))
    echoed = run("echo", "--settings", path)
    assert echoed.exit_code == 1
    assert echoed.output.count("UNREACHABLE") == 2
    pulled = run("pull", "--settings", path, "--study", "1.2.3")
    assert pulled.exit_code == 2
    assert "cannot be reached" in pulled.output
    assert not list((tmp_path / "spool" / "series").iterdir())


@pytest.fixture
def quiet(settings, toml):
    """Settings of a peer that is never asked, and their file."""
    peer = Peer(name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=free_port())
    ours = settings(peer)
    return ours, toml(ours)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull",), "say what to pull"),
        (("pull", "--query", "PatientID"), "KEYWORD=VALUE"),
        (("pull", "--query", "Nonsense=1"), "Nonsense"),
        (("pull", "--peer", "nobody", "--study", "1.2"), "nobody"),
        (("run",), "model"),
    ],
)
def test_what_is_asked_wrongly(quiet, run, arguments, words):
    result = run(*arguments, "--settings", quiet[1])
    assert result.exit_code == 2
    assert words in result.output


def test_push_of_something_else(quiet, run, tmp_path, series):
    _, path = quiet
    (tmp_path / "empty").mkdir()
    for wrong, words in (
        (tmp_path / "empty", "no .dcm"),
        (series, "no DICOM SEG"),
        (path, "no DICOM file"),
    ):
        result = run("push", wrong, "--settings", path)
        assert result.exit_code == 2
        assert words in result.output


def test_retry_of_dead_letters(quiet, run, spool_of, series):
    ours, path = quiet
    spool = spool_of(ours)
    for file in sorted(series.iterdir()):
        scratch = spool.scratch()
        shutil.copyfile(file, scratch)
        spool.add(scratch, announced=str(pydicom.dcmread(file).SOPInstanceUID))
    (row,) = spool.database.series()
    spool.database.set_state(row, "failed", code="WORKER_DIED", message="it died")
    spool.dead_letter(row, code="WORKER_DIED", message="it died")
    assert "WORKER_DIED" in run("status", "--settings", path).output
    assert "0 series" in run("retry", "ffff", "--settings", path).output
    assert "0 series" in run("retry", "--refused", "ffff", "--settings", path).output
    assert "1 series" in run("retry", row.series[:6], "--settings", path).output
    assert spool.database.series()[0].state == "ready"
    assert not list((spool.root / "failed").iterdir())
    (row,) = spool.database.series()
    spool.database.set_state(row, "refused", code="RULE", message="it is an MR")
    assert "0 series" in run("retry", "--settings", path).output
    assert "1 series" in run("retry", "--refused", "--settings", path).output
    assert spool.database.series()[0].state == "ready"


def test_without_the_extra(quiet, run, monkeypatch):
    monkeypatch.setattr(
        "medseg_pipelines.pacs.errors.importlib.util.find_spec",
        lambda name: None if name == "pynetdicom" else name,
    )
    result = run("echo", "--settings", quiet[1])
    assert result.exit_code == 2
    assert "medseg[pacs]" in result.output
    assert "pynetdicom" in result.output


def test_commands_import_nothing_of_the_extra_before_they_run():
    code = (
        "import sys; from medseg_pipelines.cli import medseg;"
        "import medseg_pipelines.pacs_cli;"
        "print({'pynetdicom', 'dicomweb_client', 'requests'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "set()"
