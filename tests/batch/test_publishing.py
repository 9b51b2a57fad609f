import os
import re

import pytest

from batch_stand_ins import RUN_CONFIG, changed, failure, found, leases, refusal
from medseg.errors import InputError, WriteError
from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.commit import recover
from medseg_pipelines.batch.ledger.enqueue import slot
from medseg_pipelines.batch.ledger.ledger import RunConfig
from medseg_pipelines.batch.ledger.provenance import read_record
from medseg_pipelines.batch.messages import Fault, Result

DIED = Fault(code="KILLED_BY_SIGNAL_9", message="its worker was ended")


def take(ledger, count=1, run_config=RUN_CONFIG):
    return leases(ledger, run_config=run_config).take(count)


def finish(world, ledger, scan, run_config=RUN_CONFIG, **more):
    world.queue(ledger, run_config=run_config).enqueue([(scan, None)])
    (row,) = take(ledger, run_config=run_config)
    return world.committer(ledger).settle(world.stage(row, **more))


def visible(world):
    """Names in the folder of the only study, with what labels say there."""
    (study,) = [path.parent for path in world.places.output.glob("patient-*/*/series-*")][:1]
    return {path.name: (path / "labels.nii.gz").read_bytes() for path in study.iterdir()}


def test_results_are_seen_with_their_record_and_the_ledger_knows(world, ledger):
    row = finish(world, ledger, found(1))
    final = world.places.final(row.folder)
    assert sorted(path.name for path in final.iterdir()) == ["case.json", "labels.nii.gz"]
    assert read_record(final).token == row.token
    assert (row.state, row.content, row.volumes_ml) == ("done", "c1", {"liver": 2.0})
    assert (row.warnings, row.seconds) == (("odd",), {"read": 1.0})
    assert not list(world.places.staging.iterdir())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "case.json").unlink(),
        lambda folder: folder.rename(f"{folder}.gone"),
    ],
)
def test_results_that_are_not_there_are_no_results(world, ledger, spoil):
    world.queue(ledger).enqueue([(found(1), None)])
    (row,) = take(ledger)
    result = world.stage(row)
    spoil(world.places.staged(row.token))
    settled = world.committer(ledger).settle(result)
    assert (settled.state, settled.code, settled.attempts) == ("waiting", "INCOMPLETE", 1)
    assert not world.places.final(row.folder).exists()


def test_changed_files_supersede_and_the_former_result_stays_beside(world, ledger):
    scan = found(1)
    finish(world, ledger, scan, text=b"old")
    row = finish(world, ledger, changed(scan, signature="2"), text=b"new", content="c2")
    name = row.folder.rpartition("/")[2]
    former = f"{name}.superseded-{row.case[:8]}"
    assert visible(world) == {name: b"new", former: b"old"}
    told = read_record(world.places.final(row.folder)).supersedes
    assert (told.case, told.content, told.folder) == (row.case, "c1", former)
    finish(world, ledger, changed(scan, signature="3"), text=b"newest", content="c3")
    assert visible(world) == {name: b"newest", former: b"old", f"{former}-2": b"new"}
    assert ledger.counts()["done"] == 1


def test_a_grown_series_supersedes_the_smaller_one(world, ledger):
    small = finish(world, ledger, found(1), text=b"small")
    grown = finish(world, ledger, changed(found(1), key="grown"), text=b"grown")
    assert ledger.row(small.case).superseded_by == grown.case
    assert visible(world)[grown.folder.rpartition("/")[2]] == b"grown"
    assert read_record(world.places.final(grown.folder)).supersedes.case == small.case


def test_another_model_supersedes_and_may_be_superseded_in_turn(world, ledger):
    other = RunConfig("n" * 64, "s" * 64)
    first = finish(world, ledger, found(1), text=b"first")
    second = finish(world, ledger, found(1), run_config=other, text=b"second")
    assert ledger.row(first.case).superseded_by == second.case
    third = finish(world, ledger, found(1), text=b"third")
    assert third.case == first.case
    assert ledger.row(second.case).superseded_by == third.case
    assert ledger.row(third.case).superseded_by == ""


def test_a_folder_of_somebody_else_is_moved_aside_not_overwritten(world, ledger):
    place = world.places.final(found(1).folder)
    place.mkdir(parents=True)
    (place / "labels.nii.gz").write_bytes(b"by hand")
    row = finish(world, ledger, found(1), text=b"ours")
    name = row.folder.rpartition("/")[2]
    assert visible(world) == {name: b"ours", f"{name}.superseded-unknown": b"by hand"}


def test_the_same_bytes_change_nothing(world, ledger):
    scan = found(1)
    before = finish(world, ledger, scan)
    world.queue(ledger).enqueue([(changed(scan, signature="touched"), None)])
    (row,) = take(ledger)
    final = world.places.final(row.folder)
    stamp = (final / "case.json").stat().st_mtime_ns
    result = Result(case=row.case, token=row.token, state="done", content="c1", unchanged=True)
    after = world.committer(ledger).settle(result)
    assert (after.state, after.signature) == ("done", "touched")
    assert (after.content, after.volumes_ml) == (before.content, before.volumes_ml)
    assert (final / "case.json").stat().st_mtime_ns == stamp
    assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_a_refusal_of_changed_files_takes_the_result_of_the_former_ones_away(world, ledger):
    scan = found(1)
    finish(world, ledger, scan)
    world.queue(ledger).enqueue([(changed(scan, signature="damaged"), None)])
    (row,) = take(ledger)
    assert world.committer(ledger).settle(refusal(row)).state == "refused"
    assert list(visible(world)) == [f"{row.folder.rpartition('/')[2]}.superseded-{row.case[:8]}"]


def test_a_failure_leaves_the_former_result_in_its_place(world, ledger):
    scan = found(1)
    finish(world, ledger, scan)
    world.queue(ledger).enqueue([(changed(scan, signature="2"), None)])
    (row,) = take(ledger)
    assert world.committer(ledger, attempts=1).settle(failure(row)).state == "failed"
    assert list(visible(world)) == [row.folder.rpartition("/")[2]]


def test_a_case_may_fail_as_often_as_allowed(world, ledger):
    world.queue(ledger).enqueue([(found(1), None)])
    states = []
    for _ in range(3):
        (row,) = take(ledger)
        settled = world.committer(ledger, attempts=3).settle(failure(row))
        states.append((settled.state, settled.code, settled.attempts))
    assert states == [("waiting", "BROKEN", 1), ("waiting", "BROKEN", 2), ("failed", "BROKEN", 3)]
    assert not take(ledger)


def test_of_several_cases_in_a_dead_worker_none_is_blamed_and_each_is_tried_alone(world, ledger):
    world.queue(ledger).enqueue([(found(number), None) for number in range(4)])
    rows = take(ledger, 3)
    pairs = [(row.case, row.token) for row in rows]
    settled = world.committer(ledger).settle_death(pairs, DIED)
    assert [(one.state, one.attempts, one.alone) for one in settled] == [("waiting", 0, True)] * 3
    order = [row.alone for row in take(ledger, 4)]
    assert order == [False, True, True, True]


def test_the_only_case_in_a_dead_worker_is_blamed(world, ledger):
    world.queue(ledger).enqueue([(found(1), None)])
    for number in (1, 2):
        (row,) = take(ledger)
        (settled,) = world.committer(ledger, 2).settle_death([(row.case, row.token)], DIED)
        assert (settled.attempts, settled.code) == (number, "KILLED_BY_SIGNAL_9")
    assert settled.state == "failed"


@pytest.mark.parametrize("folder", ["../up", "/abs", "a/../../b", ".medseg/x", "", "a\\b", "C:x"])
def test_no_name_leads_out_of_the_output(world, folder):
    with pytest.raises(InputError, match="no folder for results"):
        world.places.final(folder)


# ------------------------------------------------------------------------- death at each step


class Killed(BaseException):
    """Stands for a run that is no more."""


STEPS = [
    (os, "rename"),
    (publish, "flush_to_disk"),
    (publish, "write_record"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(12))
def test_a_run_that_dies_at_any_step_is_repaired(world, ledger, monkeypatch, step, when):
    """The run dies before or after its n-th step of publishing a result that supersedes one."""
    scan = found(1)
    finish(world, ledger, scan, text=b"old")
    world.queue(ledger).enqueue([(changed(scan, signature="2"), None)])
    (row,) = take(ledger)
    result = world.stage(row, text=b"new", content="c2")
    done = _die_at(monkeypatch, step, when)
    died = False
    try:
        world.committer(ledger).settle(result)
    except Killed:
        died = True
    monkeypatch.undo()
    assert died == (len(done) > step)
    recover(world.committer(ledger), leases(ledger))
    after = ledger.row(row.case)
    name = row.folder.rpartition("/")[2]
    former = f"{name}.superseded-{row.case[:8]}"
    assert (after.state, after.content) == ("done", "c2")
    assert visible(world) == {name: b"new", former: b"old"}
    record = read_record(world.places.final(row.folder))
    assert (record.token, record.supersedes.folder) == (row.token, former)
    assert not list(world.places.staging.iterdir())


def _die_at(monkeypatch, number, when):
    """Count the steps, and end the run at one of them."""
    done = []

    def counted(act):
        def step(*args, **more):
            done.append(act)
            mine = len(done) == number + 1
            if mine and when == "before":
                raise Killed
            value = act(*args, **more)
            if mine:
                raise Killed
            return value

        return step

    for place, name in STEPS:
        monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return done


def test_the_steps_that_are_tried_are_all_there_are(world, ledger, monkeypatch):
    scan = found(1)
    finish(world, ledger, scan)
    world.queue(ledger).enqueue([(changed(scan, signature="2"), None)])
    (row,) = take(ledger)
    result = world.stage(row)
    done = _die_at(monkeypatch, 99, "after")
    world.committer(ledger).settle(result)
    assert 4 <= len(done) <= 12


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "case.json").unlink(),
        lambda folder: (folder / "labels.nii.gz").write_bytes(b"half"),
        lambda folder: (folder / "labels.nii.gz").unlink(),
        lambda folder: (folder / "case.json").write_bytes(b"{"),
    ],
)
def test_results_that_a_dead_run_left_unfinished_are_made_again(world, ledger, spoil):
    world.queue(ledger).enqueue([(found(1), None)])
    (row,) = take(ledger)
    world.stage(row)
    spoil(world.places.staged(row.token))
    assert recover(world.committer(ledger), leases(ledger)) == []
    assert (ledger.row(row.case).state, ledger.row(row.case).attempts) == ("waiting", 0)
    assert not list(world.places.staging.iterdir())
    assert not world.places.final(row.folder).exists()


def test_staging_folders_of_other_shares_are_left_alone(world, ledger):
    world.queue(ledger).enqueue([(found(1), None)])
    share = slot(found(1)) % 2 + 1
    (row,) = leases(ledger, shard=(share, 2)).take(1)
    world.stage(row)
    (world.places.staging / f"{row.token}.begun").write_bytes(b"")
    (world.places.staging / "stray").mkdir()
    (world.places.staging / "stray.begun").write_bytes(b"")
    recover(world.committer(ledger), leases(ledger, shard=(3 - share, 2)))
    left = sorted(path.name for path in world.places.staging.iterdir())
    assert left == [row.token, f"{row.token}.begun"]


def test_what_the_disk_says_while_publishing_is_a_sentence_and_the_case_stays_leased(
    world, ledger, monkeypatch
):
    world.queue(ledger).enqueue([(found(1), None)])
    (row,) = take(ledger)
    result = world.stage(row)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(WriteError, match=re.escape(str(world.places.output))) as raised:
        world.committer(ledger).settle(result)
    assert raised.value.code == "DISK_FULL"
    monkeypatch.undo()
    assert ledger.row(row.case).state == "leased"
    assert world.committer(ledger).settle(result).state == "done"
