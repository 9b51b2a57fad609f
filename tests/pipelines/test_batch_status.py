"""What the ledger says, shown; its rows are settled by hand."""

import io
import json
import stat

import pytest
from rich.console import Console as RichConsole

from batch_rows import found
from batch_stand_ins import World, failure, leases, refusal
from medseg.errors import InputError
from medseg_pipelines.batch.reports.status import (
    explain_case,
    keep_command,
    last_command,
    retry_cases,
    show_status,
)
from medseg_pipelines.batch_cli import batch
from medseg_pipelines.console import Console


@pytest.fixture
def world(tmp_path):
    """Four cases: done, refused, failed, in hand; and one that waits."""
    world = World.at(tmp_path / "out")
    with world.ledger() as ledger:
        world.queue(ledger).enqueue([(found(number), None) for number in range(5)])
        committer = world.committer(ledger, attempts=1)
        mine = leases(ledger)
        rows = mine.take(4)
        committer.settle(world.stage(rows[0]))
        committer.settle(refusal(rows[1]))
        committer.settle(failure(rows[2]))
    return world


def said(show, world, *arguments, **options):
    text = io.StringIO()
    console = Console(RichConsole(file=text, width=160, highlight=False))
    show(world.places.output, *arguments, console=console, **options)
    return text.getvalue()


def test_status_counts_states_and_codes(world):
    told = json.loads(said(show_status, world, as_json=True))
    assert told["cases"] == 5
    assert told["states"] == {"done": 1, "refused": 1, "failed": 1, "leased": 1, "waiting": 1}
    assert told["codes"] == {"refused": {"MISSING_SLICE": 1}, "failed": {"BROKEN": 1}}
    assert len(told["in_hand"]) == 1
    shown = said(show_status, world)
    assert "1 MISSING_SLICE" in shown
    assert f"In hand: {told['in_hand'][0][:12]}" in shown


def test_where_scans_lie_is_told_on_request_only(world):
    for options in ({}, {"cases": True}, {"as_json": True, "cases": True}):
        assert "secret" not in said(show_status, world, **options)
    assert "/archive/secret-3" in said(show_status, world, paths=True)
    case = json.loads(said(show_status, world, as_json=True))["in_hand"][0]
    assert "secret" not in said(explain_case, world, case)
    assert "/archive/secret-3" in said(explain_case, world, case, paths=True)


def test_explain_tells_all_about_a_case(world):
    told = json.loads(said(explain_case, world, found(0).folder, as_json=True))
    assert (told["state"], told["volumes_ml"]) == ("done", {"liver": 2.0})
    assert set(told["results"]) == {"labels.nii.gz", "case.json"}
    assert told["warnings"] == ["odd"]
    assert told["scan"]["Modality"] == "CT"
    refused = json.loads(said(explain_case, world, "/archive/secret-1", as_json=True))
    assert (refused["state"], refused["code"]) == ("refused", "MISSING_SLICE")
    assert refused["results"] == {}
    assert said(explain_case, world, refused["case"][:7]).split()[:2] == ["case", refused["case"]]


@pytest.mark.parametrize("name", ["", "nobody", "/archive/secret-", "%", "' OR 1=1 --"])
def test_nobody_is_called_so(world, name):
    with pytest.raises(InputError, match="no case of this batch"):
        said(explain_case, world, name)


def test_several_are_called_so(world):
    with pytest.raises(InputError, match="may mean 5 cases"):
        said(explain_case, world, "/archive")
    with pytest.raises(InputError, match="may mean 5 cases"):
        said(explain_case, world, "1.2.3")


def test_retry_takes_the_codes_that_are_asked_for(world):
    with pytest.raises(InputError, match=r"there are BROKEN$"):
        said(retry_cases, world, codes=["MISSING_SLICE"])
    told = said(retry_cases, world, codes=["MISSING_SLICE"], refused=True)
    assert "1 case(s) wait" in told
    assert "run the same `medseg batch` again" in told
    keep_command(world.places.output, ["batch", "a b", "--output", "x"])
    told = said(retry_cases, world)
    assert "To go on: medseg batch 'a b' --output x" in told
    assert json.loads(said(show_status, world, as_json=True))["states"]["waiting"] == 3


def test_the_command_is_for_its_owner_alone(world, tmp_path):
    keep_command(world.places.output, ["batch", "patient"])
    path = world.places.own / "command.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert last_command(tmp_path) == ""
    keep_command(tmp_path / "nowhere", ["batch"])
    assert not (tmp_path / "nowhere").exists()


def test_the_names_of_commands_are_no_roots():
    assert {"status", "retry", "explain", "run"} == set(batch.commands)
