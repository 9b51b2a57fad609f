"""Results that lie beside those of other scans: several files that become visible as one."""

import os

import pytest

from batch_stand_ins import changed, found, leases, refusal
from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.commit import recover
from medseg_pipelines.batch.ledger.provenance import record_in

SCAN = found(1, folder="sub/case_007.*")
OTHER = found(2, folder="sub/case_0071.*")


def staged(world, ledger, scan, **more):
    """A leased case whose results are whole in staging."""
    world.queue(ledger).enqueue([(scan, None)])
    (row,) = leases(ledger).take(1)
    return row, world.stage(row, **more)


def finish(world, ledger, scan, **more):
    return world.committer(ledger).settle(staged(world, ledger, scan, **more)[1])


def maps(world):
    """Label maps in the folder, with what they say."""
    return {path.name: path.read_bytes() for path in (world.places.output / "sub").glob("*.gz")}


def test_files_carry_the_name_of_the_scan_and_no_other_is_touched(world, ledger):
    finish(world, ledger, OTHER, text=b"other")
    finish(world, ledger, SCAN, text=b"old")
    row = finish(world, ledger, changed(SCAN, signature="2"), text=b"new", content="c2")
    former = f"case_007.superseded-{row.case[:8]}"
    assert maps(world) == {
        "case_007.nii.gz": b"new",
        "case_0071.nii.gz": b"other",
        f"{former}.nii.gz": b"old",
    }
    told = record_in(world.places.output / "sub" / "case_007.case.json").supersedes
    assert (told.case, told.content, told.folder) == (row.case, "c1", f"{former}.*")
    assert not list(world.places.staging.iterdir())


def test_a_refusal_takes_the_result_away(world, ledger):
    finish(world, ledger, OTHER, text=b"other")
    finish(world, ledger, SCAN)
    row, _ = staged(world, ledger, changed(SCAN, signature="damaged"))
    assert world.committer(ledger).settle(refusal(row)).state == "refused"
    former = f"case_007.superseded-{row.case[:8]}"
    assert maps(world) == {"case_0071.nii.gz": b"other", f"{former}.nii.gz": b"labels"}
    assert not world.places.has_results(SCAN.folder)


class Killed(BaseException):
    """Stands for a run that is no more."""


def die_at(monkeypatch, number, when):
    """End the run before or after its n-th step; how many there were."""
    done = []

    def counted(act):
        def step(*args, **more):
            done.append(act)
            if len(done) == number and when == "before":
                raise Killed
            act(*args, **more)
            if len(done) == number:
                raise Killed

        return step

    for place, name in ((os, "rename"), (publish, "flush_to_disk"), (publish, "write_record")):
        monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return done


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("first", range(1, 11))
def test_a_run_that_dies_at_any_step_is_repaired(world, ledger, monkeypatch, first, when):
    """The next run dies as well, one step later, and the third goes to the end."""
    finish(world, ledger, SCAN, text=b"old")
    row, result = staged(world, ledger, changed(SCAN, signature="2"), text=b"new", content="c2")
    steps = [
        lambda: world.committer(ledger).settle(result),
        lambda: recover(world.committer(ledger), leases(ledger)),
    ]
    for step, number in zip(steps, (first, first + 1), strict=True):
        done = die_at(monkeypatch, number, when)
        try:
            step()
        except Killed:
            assert len(done) == number
        monkeypatch.undo()
    recover(world.committer(ledger), leases(ledger))
    after = ledger.row(row.case)
    former = f"case_007.superseded-{row.case[:8]}"
    assert (after.state, after.content) == ("done", "c2")
    assert maps(world) == {"case_007.nii.gz": b"new", f"{former}.nii.gz": b"old"}
    record = record_in(world.places.file(row.folder, "case.json"))
    assert (record.token, record.supersedes.folder) == (row.token, f"{former}.*")
    assert not list(world.places.staging.iterdir())


@pytest.mark.parametrize("spoilt", ["labels.nii.gz", "case.json"])
def test_what_was_spoilt_before_it_was_moved_is_made_again(world, ledger, spoilt):
    row, _ = staged(world, ledger, SCAN)
    (world.places.staged(row.token) / spoilt).write_bytes(b"{")
    assert recover(world.committer(ledger), leases(ledger)) == []
    assert ledger.row(row.case).state == "waiting"
    assert not (world.places.output / "sub").exists()
