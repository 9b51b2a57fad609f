"""Twenty-eight ways to spoil a series: exact, or the expected refusal, and nothing in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_oracle import Judgement, Volume, frames_below, frames_of_volume, judge
from medseg.errors import MedsegError
from medseg.reading import read_scan
from medseg.reading.dicom.series import list_stacks, read_stack
from mutations import MUTATIONS, write_plain, write_tilted

NAMES = [one.name for one in MUTATIONS]


def volume_of(scan) -> Volume:
    return Volume(scan.voxels[0], scan.grid.affine)


def outcome_of(read, *arguments):
    """The scan, or the code of the refusal."""
    try:
        return read(*arguments), ""
    except MedsegError as error:
        return None, error.code


def stacks_of(folder: Path):
    """Scans and codes of every stack of a folder."""
    outcomes = [outcome_of(read_stack, stack) for stack in list_stacks(folder)]
    return [scan for scan, _ in outcomes if scan], tuple(sorted(code for _, code in outcomes))


def test_there_are_twenty_eight():
    assert len(set(NAMES)) == 28


@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_exact_or_the_expected_refusal(mutation, tmp_path):
    mutation.write(tmp_path)
    scan, code = outcome_of(read_scan, tmp_path)
    assert code == mutation.code
    scans, codes = stacks_of(tmp_path)
    assert codes == tuple(sorted(mutation.stacks))
    judged = judge([volume_of(one) for one in scans], frames_below(tmp_path))
    assert judged.misread == 0
    assert judged.exact or any(codes)
    if scan is not None:
        assert np.array_equal(scan.voxels, scans[0].voxels)
        assert mutation.note in " ".join(scan.provenance.notes)


@pytest.mark.parametrize("write", [write_plain, write_tilted])
def test_unspoilt_series_are_exact(write, tmp_path):
    write(tmp_path)
    scan = read_scan(tmp_path)
    assert judge([volume_of(scan)], frames_below(tmp_path)) == Judgement(
        pytest.approx(0, abs=1e-6), 0, 0, 0
    )


def plain(folder: Path):
    write_plain(folder)
    return volume_of(read_scan(folder)), tuple(frames_below(folder))


SPOILERS = {
    "moved": lambda v, a: (v, a + np.outer([0, 0, 0.5, 0], [0, 0, 0, 1])),
    "mirrored": lambda v, a: (v[::-1], a),
    "slices turned round": lambda v, a: (v[:, :, ::-1], a),
    "transposed": lambda v, a: (v.transpose(1, 0, 2), a),
    "spacings swapped": lambda v, a: (v, a @ np.diag([1.75, 1 / 1.75, 1, 1])),
    "one value more": lambda v, a: (v + 1, a),
    "a slice lost": lambda v, a: (v[:, :, :-1], a),
    "two slices swapped": lambda v, a: (v[:, :, [1, 0, *range(2, v.shape[2])]], a),
    "inverted": lambda v, a: (-v, a),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_the_oracle_sees(name, tmp_path):
    volume, frames = plain(tmp_path)
    assert judge([volume], frames).exact
    spoilt = Volume(*SPOILERS[name](volume.values, volume.affine))
    judged = judge([spoilt], frames)
    assert not judged.exact
    assert judged.misread or judged.lost


def test_the_oracle_accepts_any_order_of_axes(tmp_path):
    """The same anatomy at the same place, however the array lies."""
    volume, frames = plain(tmp_path)
    values = volume.values.transpose(2, 0, 1)[:, ::-1]
    turn = np.zeros((4, 4))
    turn[2, 0] = turn[1, 2] = turn[3, 3] = 1
    turn[0, 1], turn[0, 3] = -1, volume.values.shape[0] - 1
    assert judge([Volume(values, volume.affine @ turn)], frames).exact
    assert judge([volume], frames_of_volume(volume)).exact
