import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batch_stand_ins import RECIPE, Clock, World, failure, found, leases
from medseg_pipelines.batch.ledger.enqueue import slot
from medseg_pipelines.batch.ledger.leases import Leases, Process
from medseg_pipelines.batch.ledger.provenance import read_record
from medseg_pipelines.batch.ledger.recover import repair


@pytest.fixture
def world(tmp_path):
    return World.at(tmp_path / "out")


@pytest.fixture
def ledger(world):
    with world.ledger() as ledger:
        world.queue(ledger).enqueue([(found(number), None) for number in range(6)])
        yield ledger


def names(rows):
    return [row.case for row in rows]


def test_two_runs_never_get_the_same_case(ledger):
    clock = Clock()
    one, two = leases(ledger, clock, 1), leases(ledger, clock, 2)
    first, second = one.take(RECIPE, 4), two.take(RECIPE, 4)
    assert len({*names(first), *names(second)}) == len(first) + len(second) == 6
    assert len({row.token for row in (*first, *second)}) == 6
    assert one.left(RECIPE) == (0, 2)


def test_shares_are_apart_and_together_everything(ledger):
    clock = Clock()
    taken = [
        row.found
        for k in (1, 2, 3)
        for row in leases(ledger, clock, k).take(RECIPE, 9, shard=(k, 3))
    ]
    assert sorted(one.key for one in taken) == sorted(found(number).key for number in range(6))
    assert {slot(one) % 3 for one in taken} == {0, 1, 2}


def test_what_is_given_back_waits_as_before(ledger):
    mine = leases(ledger, Clock())
    rows = mine.take(RECIPE, 2)
    assert mine.give_back([rows[0].token]) == [rows[0].token]
    assert mine.give_back([rows[0].token]) == []
    mine.end()
    assert ledger.counts()["waiting"] == 6
    assert ledger.row(rows[0].case).attempts == 0


def test_a_run_that_beats_keeps_its_cases_whatever_the_wall_clock_says(ledger, monkeypatch):
    clock = Clock()
    mine, other = leases(ledger, clock, 1), leases(ledger, clock, 2)
    rows = mine.take(RECIPE, 2)
    for wall in (0.0, 4e9, 1.0):
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        clock.now += 50
        mine.beat()
        assert other.expired() == []
    clock.now += 61
    assert names(other.expired()) == names(rows)


def test_a_run_that_slept_learns_that_its_cases_are_gone(world, ledger):
    clock = Clock()
    mine, other = leases(ledger, clock, 1), leases(ledger, clock, 2)
    (row,) = mine.take(RECIPE, 1)
    late = world.stage(row)
    clock.now += 61
    repair(world.settlement(ledger), other)  # takes over what is whole
    assert mine.beat() == set()
    assert world.settlement(ledger).settle(late) is None
    assert ledger.row(row.case).state == "done"


def test_a_case_taken_over_is_done_by_the_one_that_has_it_now(world, ledger):
    clock = Clock()
    mine, other = leases(ledger, clock, 1), leases(ledger, clock, 2)
    (row,) = mine.take(RECIPE, 1)
    clock.now += 61
    repair(world.settlement(ledger), other)
    again = next(one for one in other.take(RECIPE, 9) if one.case == row.case)
    late = world.stage(row, text=b"late")
    assert world.settlement(ledger).settle(late) is None
    assert not world.places.staged(row.token).exists()
    done = world.settlement(ledger).settle(world.stage(again, text=b"right"))
    assert done.state == "done"
    assert (world.places.final(row.folder) / "labels.nii.gz").read_bytes() == b"right"


def test_a_process_that_ended_has_lost_its_cases_at_once(ledger):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own = Process.own()
    stat = Path(f"/proc/{child.pid}/stat")
    if not own.boot or not stat.exists():
        pytest.skip("the system does not tell when processes started")
    started = int(stat.read_text().rpartition(")")[2].split()[19])
    clock = Clock()
    theirs = Leases(ledger, lease_s=60, process=Process(own.boot, child.pid, started), clock=clock)
    mine = Leases(ledger, lease_s=60, process=own, clock=clock)
    rows = theirs.take(RECIPE, 2)
    assert mine.expired() == []
    child.kill()
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert names(mine.expired()) == names(rows)  # not yet waited for, but it does nothing any more
    child.wait()
    child.stdin.close()
    assert names(mine.expired()) == names(rows)


def test_another_process_with_the_same_number_is_not_the_same(ledger):
    own, clock = Process.own(), Clock()
    if not own.started:
        pytest.skip("the system does not tell when processes started")
    former = Process(own.boot, own.pid, own.started - 1)
    rows = Leases(ledger, lease_s=60, process=former, clock=clock).take(RECIPE, 1)
    mine = Leases(ledger, lease_s=60, process=own, clock=clock)
    assert names(mine.expired()) == names(rows)


def test_of_another_machine_only_its_heart_counts(ledger):
    theirs, ours = Clock(9e9), Clock()
    far = leases(ledger, theirs, 1, boot="another boot")
    near = leases(ledger, ours, 2)
    rows = far.take(RECIPE, 2)
    for _ in range(10):
        ours.now += 20
        theirs.now -= 1000  # nobody's business
        far.beat()
        assert near.expired() == []
    for _ in range(3):
        ours.now += 20
        assert near.expired() == []
    ours.now += 20
    assert names(near.expired()) == names(rows)


def test_who_slept_does_not_take_others_for_dead(ledger):
    ours = Clock()
    far, near = leases(ledger, Clock(), 1, boot="another boot"), leases(ledger, ours, 2)
    far.take(RECIPE, 2)
    assert near.expired() == []
    ours.now += 10_000
    assert near.expired() == []
    ours.now += 29
    assert near.expired() == []


def test_runs_that_are_no_more_are_forgotten_when_nothing_is_theirs(world, ledger):
    clock = Clock()
    gone, mine = leases(ledger, clock, 1), leases(ledger, clock, 2)
    gone.take(RECIPE, 1)
    clock.now += 61
    mine.beat()
    mine.forget_the_gone()
    assert owners(ledger) == 2
    repair(world.settlement(ledger), mine)
    assert owners(ledger) == 1
    mine.end()
    assert owners(ledger) == 0


def owners(ledger):
    with ledger.reading() as db:
        return db.execute("SELECT count(*) FROM owners").fetchone()[0]


class SeveralRuns(RuleBasedStateMachine):
    """Three runs, one of them on another machine, that may sleep, die and come late."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World.at(Path(self.folder.name) / "out")
        self.ledger = self.world.ledger()
        self.world.queue(self.ledger).enqueue([(found(number), None) for number in range(4)])
        self.clock = Clock()
        self.runs = [leases(self.ledger, self.clock, number) for number in (1, 2)]
        self.runs.append(leases(self.ledger, self.clock, 3, boot="another boot"))
        self.hands = {number: {} for number in range(3)}
        self.done = {}
        self.tokens = set()

    def teardown(self):
        self.ledger.close()
        self.folder.cleanup()

    @rule(who=st.integers(0, 2), count=st.integers(1, 3))
    def take(self, who, count):
        rows = self.runs[who].take(RECIPE, count)
        held = {row.token for hand in self.hands.values() for row in hand.values()}
        assert not held & {row.token for row in rows}
        assert not {row.case for row in rows} & set(self.done)
        for row in rows:
            assert row.token not in self.tokens
            self.tokens.add(row.token)
            self.hands[who][row.token] = row

    @rule(seconds=st.sampled_from([1, 25, 61]))
    def sleep(self, seconds):
        self.clock.now += seconds

    @rule(who=st.integers(0, 2))
    def beat(self, who):
        self.runs[who].beat()

    @rule(who=st.integers(0, 2))
    def mend(self, who):
        for row in repair(self.world.settlement(self.ledger), self.runs[who]):
            assert row.case not in self.done
            self.done[row.case] = row.token

    @rule(who=st.integers(0, 2), good=st.booleans())
    def finish(self, who, good):
        """Whoever has a case, or only thinks so, comes with its result."""
        if not self.hands[who]:
            return
        token, row = self.hands[who].popitem()
        now = self.ledger.row(row.case)
        valid = now.state == "leased" and now.token == token
        result = self.world.stage(row, text=token.encode()) if good else failure(row)
        settled = self.world.settlement(self.ledger, attempts=99).settle(result)
        assert (settled is not None) == valid
        if settled is not None and good:
            assert row.case not in self.done
            self.done[row.case] = token

    @rule(who=st.integers(0, 2))
    def leave_whole(self, who):
        """A run dies, or sleeps, after its worker has made everything ready."""
        for token, row in self.hands[who].items():
            if not self.world.places.staged(token).exists():
                self.world.stage(row, text=token.encode())
                return

    @invariant()
    def nothing_is_lost_or_doubled(self):
        rows = self.ledger.rows()
        assert len(rows) == 4
        for row in rows:
            final = self.world.places.final(row.folder)
            assert (row.state == "done") == final.exists() == (row.case in self.done)
            if row.state == "done":
                assert (final / "labels.nii.gz").read_bytes() == self.done[row.case].encode()
                assert read_record(final).token == self.done[row.case]


TestSeveralRuns = SeveralRuns.TestCase
TestSeveralRuns.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
