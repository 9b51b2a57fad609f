import sqlite3
import threading

import pytest

from batch_stand_ins import (
    RUN_CONFIG,
    changed,
    failure,
    found,
    leases,
    refusal,
    table,
)
from medseg.errors import InputError, MedsegError, WriteError
from medseg_pipelines.batch.ledger import storage_errors
from medseg_pipelines.batch.ledger.enqueue import once_each, planned
from medseg_pipelines.batch.ledger.ledger import Ledger, RunConfig
from medseg_pipelines.batch.messages import Fault

RULE = Fault(code="RULE", message="too thick")
HEADERS = Fault(code="MISSING_SLICE", message="a slice is missing")
FEW = Fault(code="FEW_SLICES", message="3 slices")


def take(ledger, count=1):
    return leases(ledger).take(count)


def finish(world, ledger, scan, **more):
    """Queue and finish a scan."""
    world.queue(ledger).enqueue([(scan, None)])
    (row,) = take(ledger)
    return world.committer(ledger).settle(world.stage(row, **more))


def action(world, ledger, scan, fault=None, **more):
    """What becomes of a scan, once in a dry run and once for true."""
    queue = world.queue(ledger, **more)
    (dry,) = queue.preview([(scan, fault)])
    (true,) = queue.enqueue([(scan, fault)])
    assert dry == true
    return true.action


# ------------------------------------------------------------------------- the file


def test_a_ledger_keeps_each_commit_on_the_disk_and_needs_no_shared_memory(ledger):
    with ledger.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_ledger_of_the_first_version_is_read_on(world):
    with world.ledger() as ledger:
        assert finish(world, ledger, found(1)).state == "done"
    with sqlite3.connect(world.places.ledger) as db:
        db.execute("CREATE TABLE owners (owner TEXT)")
        db.execute("PRAGMA user_version = 1")
    with world.ledger() as ledger:
        assert ledger.counts()["done"] == 1
        with ledger.reading() as db:
            assert not db.execute("SELECT * FROM sqlite_master WHERE name = 'owners'").fetchall()


def test_several_may_make_it_at_once(world):
    faults = []

    def make():
        try:
            with world.ledger() as one:
                world.queue(one).enqueue([(found(1), None)])
        except MedsegError as error:
            faults.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.ledger() as ledger:
        assert not faults
        assert ledger.counts()["waiting"] == 1


@pytest.mark.parametrize(
    ("prepare", "kind", "code"),
    [
        (lambda path: path.write_bytes(b"something else" * 100), InputError, "LEDGER_DAMAGED"),
        (lambda path: path.mkdir(), WriteError, "NO_PERMISSION"),
        (lambda path: _of_version(path, 99), InputError, "LEDGER_VERSION"),
    ],
)
def test_what_is_no_ledger_is_told_in_a_sentence(world, prepare, kind, code):
    prepare(world.places.ledger)
    with pytest.raises(kind, match=r"ledger\.sqlite") as raised:
        world.ledger()
    assert raised.value.code == code


def _of_version(path, version):
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")


def test_a_folder_without_a_batch_has_no_ledger_and_gets_none(tmp_path):
    with pytest.raises(InputError, match="holds no batch"):
        Ledger.of(tmp_path)
    assert not list(tmp_path.iterdir())


def test_who_waits_too_long_for_another_hears_of_it(world, ledger, monkeypatch):
    monkeypatch.setattr("medseg_pipelines.batch.ledger.ledger.BUSY_SECONDS", 0.1)
    with ledger.writing(), world.ledger() as other, pytest.raises(MedsegError) as raised:
        world.queue(other).enqueue([(found(1), None)])
    assert raised.value.code == "LEDGER_BUSY"


def test_a_full_disk_has_its_own_code(world):
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert storage_errors.sqlite_error(error, world.places.ledger).code == "DISK_FULL"


def test_an_exception_undoes_a_transaction(world, ledger):
    world.queue(ledger).enqueue([(found(1), None)])

    def break_off():
        with ledger.writing() as db:
            db.execute("UPDATE cases SET state = 'done'")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    with ledger.reading() as db:
        assert not db.execute("SELECT * FROM cases WHERE state = 'done'").fetchall()


# ------------------------------------------------------------------------- what becomes of a scan


def test_a_new_scan_waits_and_is_left_as_it_is_by_the_next_run(world, ledger):
    assert action(world, ledger, found(1)) == "new"
    before = table(ledger)
    assert action(world, ledger, found(1)) == "left"
    assert table(ledger) == before
    assert ledger.row(RUN_CONFIG.case(found(1).key)).scan == found(1)


def test_a_finished_scan_costs_nothing_and_changes_nothing(world, ledger):
    scan = found(1)
    finish(world, ledger, scan)
    before = table(ledger)
    assert action(world, ledger, scan) == "kept"
    assert action(world, ledger, scan, RULE) == "kept"
    assert action(world, ledger, changed(scan, signature="touched"), RULE) == "kept"
    assert table(ledger) == before


def test_files_that_were_touched_are_looked_at_again_by_their_content(world, ledger):
    scan = found(1)
    finish(world, ledger, scan, content="c1")
    assert action(world, ledger, changed(scan, signature="touched")) == "again"
    (row,) = take(ledger)
    assert (row.content, row.signature) == ("c1", "touched")


def test_results_that_somebody_removed_are_made_again(world, ledger):
    scan = found(1)
    finish(world, ledger, scan)
    (world.places.final(scan.folder) / "case.json").unlink()
    assert action(world, ledger, scan) == "again"
    assert take(ledger)[0].content == ""


def test_all_means_anew(world, ledger):
    finish(world, ledger, found(1))
    assert action(world, ledger, found(1), anew=True) == "again"
    assert take(ledger)[0].content == ""


def test_another_model_makes_another_case_of_the_same_scan(world, ledger):
    finish(world, ledger, found(1))
    assert action(world, ledger, found(1), run_config=RunConfig("n" * 64, "s" * 64)) == "new"
    assert ledger.counts(run_config=RUN_CONFIG)["done"] == 1


@pytest.mark.parametrize("fault", [RULE, HEADERS, FEW])
def test_a_refusal_by_headers_holds_as_long_as_its_reason(world, ledger, fault):
    assert action(world, ledger, found(1), fault) == "refused"
    before = table(ledger)
    assert action(world, ledger, found(1), fault) == "refused"
    assert table(ledger) == before
    assert not take(ledger)
    assert action(world, ledger, found(1)) == "new"
    assert len(take(ledger)) == 1


def test_a_waiting_scan_that_is_no_longer_wanted_is_refused(world, ledger):
    action(world, ledger, found(1))
    assert action(world, ledger, found(1), RULE) == "refused"
    assert not take(ledger)


def test_what_a_worker_refused_stays_refused_until_its_files_change(world, ledger):
    action(world, ledger, found(1))
    (row,) = take(ledger)
    assert world.committer(ledger).settle(refusal(row)).state == "refused"
    before = table(ledger)
    assert action(world, ledger, found(1)) == "refused"
    assert table(ledger) == before
    assert action(world, ledger, changed(found(1), signature="mended")) == "again"


def test_too_few_slices_are_enough_when_fewer_are_asked_for(world, ledger):
    action(world, ledger, found(1), min_slices=4)
    (row,) = take(ledger)
    world.committer(ledger).settle(refusal(row, "FEW_SLICES"))
    assert action(world, ledger, found(1), min_slices=5) == "refused"
    assert action(world, ledger, found(1), min_slices=3) == "again"


def test_a_failed_case_is_left_until_it_is_retried_or_its_files_change(world, ledger):
    action(world, ledger, found(1))
    (row,) = take(ledger)
    assert world.committer(ledger, attempts=1).settle(failure(row)).state == "failed"
    assert action(world, ledger, found(1)) == "failed"
    assert ledger.retry(codes=["OTHER"]) == 0
    assert ledger.retry(codes=["BROKEN"]) == 1
    assert take(ledger)[0].attempts == 0
    before = table(ledger)
    assert action(world, ledger, found(1)) == "left"
    assert table(ledger) == before


def test_a_late_slice_makes_the_row_of_the_smaller_series_obsolete(world, ledger):
    small, grown = found(1), changed(found(1), key="grown", files=41)
    action(world, ledger, small)
    assert action(world, ledger, grown) == "new"
    (row,) = take(ledger, 2)
    assert row.key == "grown"
    assert ledger.row(RUN_CONFIG.case(small.key)).superseded_by == row.case
    assert [one.key for one in ledger.rows()] == ["grown"]
    assert len(ledger.rows(superseded=True)) == 2
    assert action(world, ledger, small) == "again"


def test_a_late_slice_leaves_the_smaller_result_until_there_is_a_better_one(world, ledger):
    small, grown = found(1), changed(found(1), key="grown", files=41)
    finish(world, ledger, small)
    assert action(world, ledger, grown) == "new"
    assert ledger.counts() == {"waiting": 1, "leased": 0, "done": 1, "refused": 0, "failed": 0}
    (row,) = take(ledger)
    world.committer(ledger).settle(world.stage(row, content="c2"))
    assert ledger.counts()["done"] == 1
    assert ledger.superseded() == 1


def test_a_series_that_lies_there_twice_is_done_once_and_the_larger_one(world, ledger):
    whole, part = found(1), changed(found(1), key="part", files=3, path="/zip")
    other = found(2)
    scans = once_each(
        [(part, None), (whole, None), (changed(whole, path="/copy"), None), (other, RULE)]
    )
    assert [(one.path, fault.code if fault else "") for one, fault in scans] == [
        ("/zip", "PART_OF_ANOTHER"),
        (whole.path, ""),
        (other.path, "RULE"),
    ]
    world.queue(ledger).enqueue(scans)
    (row,) = take(ledger, 3)
    world.committer(ledger).settle(world.stage(row))
    before = table(ledger)
    plan = planned(world.queue(ledger).enqueue(scans))
    assert (plan.kept, plan.refused) == (1, {"PART_OF_ANOTHER": 1, "RULE": 1})
    assert table(ledger) == before


def test_a_plan_counts_what_there_is_to_do(world, ledger):
    finish(world, ledger, found(1))
    action(world, ledger, found(2))
    plan = planned(
        world.queue(ledger).enqueue(
            [(found(1), None), (found(2), None), (found(3), None), (found(4), RULE)]
        )
    )
    assert (plan.scans, plan.kept, plan.left, plan.new) == (4, 1, 1, 1)
    assert (plan.refused, plan.todo) == ({"RULE": 1}, 2)


# ------------------------------------------------------------------------- questions


def test_a_case_is_found_by_the_beginning_of_its_name_key_or_folder(world, ledger):
    world.queue(ledger).enqueue([(found(1), None), (changed(found(2), folder="a%b/c_d"), None)])
    first = ledger.row(RUN_CONFIG.case(found(1).key))
    for name in (first.case[:9], first.key[:9], first.folder):
        assert ledger.find(name) == [first]
    assert [row.folder for row in ledger.find("a%")] == ["a%b/c_d"]
    assert ledger.find("%") == ledger.find("") == ledger.find("A%b") == []
    with pytest.raises(InputError, match="no case 'none'"):
        ledger.row("none")


def test_refusals_and_failures_are_counted_by_code(world, ledger):
    world.queue(ledger).enqueue([(found(1), RULE), (found(2), RULE), (found(3), HEADERS)])
    world.queue(ledger).enqueue([(found(4), None)])
    (row,) = take(ledger)
    world.committer(ledger, attempts=1).settle(failure(row))
    assert ledger.codes() == {
        "refused": {"RULE": 2, "MISSING_SLICE": 1},
        "failed": {"BROKEN": 1},
    }
    assert len(ledger.rows(states=["refused"], limit=2)) == 2
    assert ledger.retry() == 1


def test_what_the_search_refused_is_not_retried(world, ledger):
    world.queue(ledger).enqueue([(found(1), RULE)])
    assert ledger.retry(refused=True) == 0
