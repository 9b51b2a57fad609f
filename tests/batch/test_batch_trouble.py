"""Whole runs that something goes wrong with: input, options, the disk, a person who stops them."""

import os
import shutil
import subprocess
from contextlib import suppress

import msgspec
import pytest
from pydicom import dcmread

from batch_stand_ins import Diary, InlinePool, Stopping, files_below, rows, without_times
from medseg.errors import Cancelled, InputError, PackageError, WriteError
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import AllCases
from medseg_pipelines.batch.ledger.run_lock import run_lock
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.reports.report import write_report
from medseg_pipelines.batch.reports.summary import write_summary
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.batch.workers import case
from toy_model import tiny_model


def test_an_empty_archive_is_bad_input_and_leaves_nothing(model, tmp_path, output):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scan"):
        run_batch(tmp_path / "empty", model=model, output=output)
    assert not output.exists()
    with pytest.raises(InputError, match="does not exist"):
        run_batch(tmp_path / "none", model=model, output=output)


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"settings": Settings(formats=("gif",))}, InputError, "'gif' is no format"),
        ({"settings": Settings(formats=())}, InputError, "no format is asked for"),
        ({"settings": Settings(missing="guess")}, InputError, "policy is unknown"),
        ({"settings": Settings(encoding="best")}, WriteError, "no encoding 'best'"),
        ({"shard": (3, 2)}, InputError, "no share 3 of 2"),
        ({"by": "no-such-model"}, PackageError, "no model 'no-such-model'"),
    ],
)
def test_wrong_options_are_told_before_anything_begins(go, output, more, kind, words):
    with pytest.raises(kind, match=words):
        go(**more)
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_told_before_anything_begins(go, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WriteError, match="cannot write into"):
        go(to=tmp_path / "file" / "out")


def test_a_model_that_changes_under_the_run_stops_it_and_no_case_is_blamed(go, output, tmp_path):
    mine = tiny_model(tmp_path / "mine").folder

    def spoil(task):
        shutil.rmtree(mine)
        tiny_model(mine, name="another")

    with pytest.raises(PackageError, match="another one"):
        go(by=mine, pool=lambda: InlinePool(spoil))
    assert "waiting" in {row.state for row in rows(output)} <= {"waiting", "refused"}
    assert {row.attempts for row in rows(output)} == {0}


def test_an_output_that_turns_read_only_stops_the_run_and_no_case_is_blamed(
    go, output, monkeypatch
):
    def refuse(*_, **__):
        raise WriteError("'x' may not be written (permission denied)", code="NO_PERMISSION")

    monkeypatch.setattr("medseg_pipelines.batch.workers.case.write_labels", refuse)
    with pytest.raises(WriteError, match="may no longer be written"):
        go()
    assert {row.state for row in rows(output)} <= {"waiting", "refused"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PETER"),
        ValueError("PETER"),
        MemoryError(),
        RuntimeError("can't allocate memory"),
    ],
)
def test_what_libraries_raise_is_a_failure_without_their_words(go, output, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("medseg_pipelines.batch.workers.case.write_labels", fail)
    diary = go(attempts=2)
    short = isinstance(error, MemoryError) or "memory" in str(error)
    code = "OUT_OF_MEMORY" if short else type(error).__name__.upper()
    assert diary.tally.codes[code] == 4
    assert {row.attempts for row in rows(output) if row.state == "failed"} == {2}
    assert b"PETER" not in Places(output).ledger.read_bytes()
    assert not list(Places(output).staging.iterdir())


def test_files_that_go_while_the_run_is_on_its_way_are_no_refusal(go, archive):
    def remove(task):
        shutil.rmtree(archive / "p3", ignore_errors=True)
        (archive / "scan-1.nii.gz").unlink(missing_ok=True)

    diary = go(pool=lambda: InlinePool(remove), attempts=1)
    assert diary.tally.codes == {"VANISHED": 2, "UNREADABLE": 1}


@pytest.mark.parametrize("anonymous", [True, False])
def test_no_patient_is_named_in_what_is_not_dicom(go, output, archive, anonymous):
    """Names of the archive's own files and folders come out where names are not anonymous."""
    for path in [*(archive / "p3").iterdir(), *(archive / "p4").iterdir()]:
        slice_ = dcmread(path)
        for word in (
            "PatientName",
            "PatientID",
            "SeriesDescription",
            "StudyDescription",
            "InstitutionName",
            "ReferringPhysicianName",
            "AccessionNumber",
        ):
            setattr(slice_, word, "CANARY7")
        slice_.PatientComments = "CANARY7"
        slice_.save_as(path)
    (archive / "p4" / sorted(path.name for path in (archive / "p4").iterdir())[3]).unlink()
    damaged = archive / "scan-1.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:50])
    if anonymous:
        (archive / "p3").rename(archive / "CANARY7")
        damaged.rename(archive / "CANARY7.nii.gz")
    diary = go(settings=Settings(formats=("nifti", "preview")), anonymous_names=anonymous)
    write_summary(output, AllCases(output))
    write_report(output, AllCases(output))
    assert diary.tally.done == 2
    for name, content in files_below(output).items():
        assert b"CANARY7" not in content
        assert "CANARY7" not in name
    for row in rows(output):
        facts = msgspec.json.encode(msgspec.structs.replace(row.scan, path="", names=())).decode()
        assert "CANARY7" not in f"{row.message}{row.warnings}{facts}"


# ------------------------------------------------------------------------- stopped, shared, full


def test_a_stopped_run_leaves_no_trace_of_cases_in_hand_and_goes_on_later(go, output, tmp_path):
    with pytest.raises(Cancelled, match=r"2 of 5 cases .* run the same command again"):
        go(events=Stopping(2))
    assert sorted(row.state for row in rows(output)).count("waiting") == 3
    assert not list(Places(output).staging.iterdir())
    diary = go()
    assert (diary.plan.left, len(diary.rows)) == (3, 3)
    go(to=tmp_path / "other")
    assert without_times(files_below(output)) == without_times(files_below(tmp_path / "other"))


def test_a_second_run_is_refused_and_changes_nothing(go, output):
    go()
    before = files_below(output)
    with run_lock(Places(output), (1, 1)), pytest.raises(InputError, match="another run") as raised:
        go(only="all")
    assert raised.value.code == "IN_USE"
    assert files_below(output) == before
    assert go(only="all").tally.done == 4


def test_a_full_disk_is_waited_for_and_costs_no_case_an_attempt(go, output, monkeypatch):
    write, refusals = case.write_labels, iter(range(3))

    def full_at_first(*args, **more):
        if next(refusals, None) is not None:
            raise WriteError("the disk is full", code="DISK_FULL")
        return write(*args, **more)

    monkeypatch.setattr(case, "write_labels", full_at_first)
    diary = go()
    assert diary.tally.done == 4
    assert {row.attempts for row in rows(output)} == {0}
    assert sum("disk is full" in one for one in diary.messages) == 1
    assert sum("room on the disk again" in one for one in diary.messages) == 1


def test_a_disk_that_stays_full_ends_the_run_in_order(go, output, monkeypatch):
    def full(*_, **__):
        raise WriteError("the disk is full", code="DISK_FULL")

    monkeypatch.setattr("medseg_pipelines.batch.workers.case.write_labels", full)
    with pytest.raises(WriteError, match="is full") as raised:
        go(disk_wait_s=2.0)
    assert raised.value.code == "DISK_FULL"
    assert {row.state for row in rows(output)} <= {"waiting", "refused"}
    assert not list(Places(output).staging.iterdir())


def fill(path):
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        hasattr(os, "geteuid")
        and os.geteuid() == 0
        and not subprocess.call(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
            stderr=subprocess.DEVNULL,
        )
    )
    if not mounted:
        pytest.skip("no small disk: mounting one needs root")
    yield place
    subprocess.check_call(["umount", str(place)])


def test_a_disk_that_is_full_for_true_loses_nothing(go, small_disk, tmp_path):
    """It is full when the first case is begun: for ever, and then until the run says so."""
    output, ballast = small_disk / "out", small_disk / "ballast"

    def filling(task):
        if not ballast.exists():
            fill(ballast)

    with pytest.raises(WriteError) as raised:
        go(to=output, pool=lambda: InlinePool(filling), disk_wait_s=1.0, heartbeat_timeout_s=2.0)
    assert raised.value.code == "DISK_FULL"
    assert not list(output.rglob("*case.json"))
    ballast.unlink()

    class Making(Diary):
        """Makes room when the run waits for it."""

        def on_message(self, message):
            super().on_message(message)
            if "the disk is full" in message:
                ballast.unlink()

    def filling_once(task):
        if not diary.messages:
            filling(task)

    diary = Making()
    go(to=output, pool=lambda: InlinePool(filling_once), heartbeat_timeout_s=2.0, events=diary)
    assert (diary.tally.failed, diary.tally.left) == (0, 0)
    assert {row.state for row in rows(output)} == {"done", "refused"}
    assert {row.attempts for row in rows(output)} == {0}
    assert "room on the disk again" in " ".join(diary.messages)
    go(to=tmp_path / "other")
    assert without_times(files_below(output)) == without_times(files_below(tmp_path / "other"))
