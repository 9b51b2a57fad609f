"""One run on an output, or one for each share; what a dead one had leased is taken up."""

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batch_stand_ins import World, failure, found, leases
from medseg.errors import InputError
from medseg_pipelines.batch.ledger.commit import recover
from medseg_pipelines.batch.ledger.enqueue import slot
from medseg_pipelines.batch.ledger.provenance import read_record
from medseg_pipelines.batch.ledger.run_lock import run_lock

_HOLD = """
import sys
from pathlib import Path
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.run_lock import run_lock

with run_lock(Places(Path(sys.argv[1])), (1, 1)):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def ledger(world):
    with world.ledger() as ledger:
        world.queue(ledger).enqueue([(found(number), None) for number in range(6)])
        yield ledger


def names(rows):
    return [row.case for row in rows]


def is_free(world, shard=(1, 1)):
    try:
        with run_lock(world.places, shard):
            return True
    except InputError as error:
        assert error.code == "IN_USE"  # noqa: PT017
        assert "another run is at work on" in str(error)  # noqa: PT017
        return False


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        ([(1, 1)], (1, 1), False),
        ([(1, 3), (3, 3)], (2, 3), True),
        ([(1, 3), (2, 3)], (2, 3), False),
        ([(1, 3)], (1, 1), False),
        ([(1, 1)], (2, 3), False),
        ([(2, 3)], (1, 2), False),
    ],
)
def test_shares_of_one_division_run_side_by_side_and_nothing_else_does(world, held, wanted, free):
    with ExitStack() as stack:
        for shard in held:
            stack.enter_context(run_lock(world.places, shard))
        assert is_free(world, wanted) == free
    assert is_free(world, wanted)


def test_a_process_that_is_killed_holds_nothing(world):
    command = [sys.executable, "-c", _HOLD, str(world.places.output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert not is_free(world)
        other.kill()
        other.wait()
        assert is_free(world)


def test_a_lock_is_for_its_owner_alone(world):
    with run_lock(world.places, (1, 1)):
        (path,) = world.places.own.glob("*.lock")
        assert path.stat().st_mode & 0o077 == 0


def test_each_case_is_leased_once_with_a_token_of_its_own(ledger):
    mine = leases(ledger)
    rows = [*mine.take(4), *mine.take(4)]
    assert len(set(names(rows))) == len({row.token for row in rows}) == len(rows) == 6
    assert mine.take(4) == []


def test_shares_are_apart_and_together_everything(ledger):
    taken = [row.scan for k in (1, 2, 3) for row in leases(ledger, shard=(k, 3)).take(9)]
    assert sorted(one.key for one in taken) == sorted(found(number).key for number in range(6))
    assert {slot(one) % 3 for one in taken} == {0, 1, 2}


def test_what_is_given_back_waits_as_before(ledger):
    mine = leases(ledger)
    rows = mine.take(3)
    mine.give_back([rows[0].token])
    assert ledger.counts()["waiting"] == 4
    mine.give_back_all()
    assert ledger.counts()["waiting"] == 6
    assert ledger.row(rows[0].case).attempts == 0


def test_a_share_takes_up_its_own_dead_run_only(world, ledger):
    rows = {k: leases(ledger, shard=(k, 2)).take(9) for k in (1, 2)}
    assert names(leases(ledger, shard=(1, 2)).orphaned()) == names(rows[1])
    recover(world.committer(ledger), leases(ledger, shard=(1, 2)))
    assert {row.case for row in ledger.rows(states=["leased"])} == set(names(rows[2]))
    recover(world.committer(ledger), leases(ledger))  # one that takes the whole archive
    assert ledger.counts()["waiting"] == 6


def test_a_result_that_comes_late_counts_for_nothing(world, ledger):
    mine = leases(ledger)
    (row,) = mine.take(1)
    late = world.stage(row, text=b"late")
    mine.give_back_all()
    again = next(one for one in mine.take(9) if one.case == row.case)
    assert world.committer(ledger).settle(late) is None
    assert not world.places.staged(row.token).exists()
    done = world.committer(ledger).settle(world.stage(again, text=b"right"))
    assert done.state == "done"
    assert (world.places.final(row.folder) / "labels.nii.gz").read_bytes() == b"right"


class RunsThatDie(RuleBasedStateMachine):
    """Runs of two shares that die and start anew; workers come with results late."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World.at(Path(self.folder.name) / "out")
        self.ledger = self.world.ledger()
        self.world.queue(self.ledger).enqueue([(found(number), None) for number in range(4)])
        self.runs = [leases(self.ledger, shard=(k, 2)) for k in (1, 2)]
        self.in_flight = {number: {} for number in range(2)}
        self.done = {}
        self.tokens = set()

    def teardown(self):
        self.ledger.close()
        self.folder.cleanup()

    @rule(who=st.integers(0, 1), count=st.integers(1, 3))
    def take(self, who, count):
        rows = self.runs[who].take(count)
        assert not {row.case for row in rows} & set(self.done)
        for row in rows:
            assert row.token not in self.tokens
            self.tokens.add(row.token)
            self.in_flight[who][row.token] = row

    @rule(who=st.integers(0, 1))
    def die_and_start_anew(self, who):
        for row in recover(self.world.committer(self.ledger), self.runs[who]):
            assert row.case not in self.done
            self.done[row.case] = row.token

    @rule(who=st.integers(0, 1), good=st.booleans())
    def finish(self, who, good):
        """A worker comes with the result of a lease, which may be over."""
        if not self.in_flight[who]:
            return
        token, row = self.in_flight[who].popitem()
        now = self.ledger.row(row.case)
        valid = now.state == "leased" and now.token == token
        result = self.world.stage(row, text=token.encode()) if good else failure(row)
        settled = self.world.committer(self.ledger, attempts=99).settle(result)
        assert (settled is not None) == valid
        if settled is not None and good:
            assert row.case not in self.done
            self.done[row.case] = token

    @rule(who=st.integers(0, 1))
    def leave_whole(self, who):
        """A worker has made everything ready, and the run does not get to see it."""
        for token, row in self.in_flight[who].items():
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


TestRunsThatDie = RunsThatDie.TestCase
TestRunsThatDie.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
