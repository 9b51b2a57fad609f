"""A box from a mask, another model or a coarse look: the labels of the whole run inside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.errors import GeometryError
from medseg.inference import Options, Predictor
from medseg.inference.coarse_to_fine import box_around, coarse_of, looking_only
from medseg.planning import Component, Normalisation, Plan
from medseg.runtime.device import Device
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.writing import write_labels

CPU = Device(torch.device("cpu"), None, "float32, whatever the processor")
TABLE = LabelTable.of({5: "bright"})
SHAPE = (40, 36, 48)


class Bright(torch.nn.Module):
    """Says bright where the neighbourhood is, and counts tiles."""

    def __init__(self):
        super().__init__()
        self.tiles = 0

    def forward(self, image):
        self.tiles += 1
        x = torch.nn.functional.avg_pool3d(image.float(), 3, stride=1, padding=1)
        return torch.cat((torch.zeros_like(x), x - 2), dim=1)


def predictor_of(network):
    plan = Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=(8, 8, 8),
        batch=1,
        network=Component(name="unet"),
    )
    return Predictor(network, plan, TABLE, CPU)


def scan_with(centre=(20, 10, 30), radius=4):
    grid = Grid(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))
    from_centre = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - centre, axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.1, SHAPE)
    return Scan((noise + 8 * (from_centre < radius))[None].astype(np.float32), grid)


def notes_of(found):
    return " ".join(found.labels.provenance.notes)


@pytest.mark.parametrize("source", ["coarse", "mask"])
def test_labels_are_those_of_the_whole_scan_with_fewer_tiles(source, tmp_path):
    scan, network = scan_with(), Bright()
    plain = predictor_of(network)
    whole = plain.run(scan).labels
    assert whole.values.any()
    tiles, network.tiles = network.tiles, 0
    roi_from = source
    if source == "mask":
        mask = LabelMap(
            (whole.values > 0).astype(np.uint8), whole.grid, LabelTable.of({1: "there"})
        )
        roi_from = write_labels(mask, tmp_path / "mask.nii.gz")
    found = looking_only(plain, roi_from, margin_mm=5).run(scan)
    assert np.array_equal(found.labels.values, whole.values)
    assert network.tiles < tiles / 2
    assert "5 mm around what" in notes_of(found)
    assert ("mask.nii.gz" in notes_of(found)) == (source == "mask")


def test_a_look_that_finds_nothing_leaves_the_whole_scan_and_says_so(tmp_path):
    scan, plain = scan_with(radius=4), predictor_of(Bright())
    values = np.zeros(SHAPE, np.uint8)
    empty = write_labels(LabelMap(values, scan.grid, TABLE), tmp_path / "empty.nii.gz")
    found = looking_only(plain, empty).run(scan)
    assert np.array_equal(found.labels.values, plain.run(scan).labels.values)
    assert "found nothing, so the whole scan was looked at" in notes_of(found)


def test_a_box_that_was_asked_for_is_taken_as_it_is():
    scan, plain = scan_with(), predictor_of(Bright())
    options = Options(roi=(slice(0, 8), slice(0, 8), slice(0, 8)))
    found = looking_only(plain, "coarse").run(scan, options)
    assert not found.labels.values.any()
    assert looking_only(plain, None) is plain


def test_a_box_lies_around_labels_of_any_grid_and_ends_with_the_scan():
    grid = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    values = np.zeros((40, 40, 40), np.uint8)
    values[10:12, 4:6, 36:40] = 5
    labels = LabelMap(values, Grid((40, 40, 40), np.eye(4)), TABLE)
    assert box_around(labels, grid, 3.0) == (slice(3, 9), slice(0, 6), slice(16, 20))
    moved = np.eye(4)
    moved[0, 3] = 500.0
    with pytest.raises(GeometryError, match="outside the scan"):
        box_around(LabelMap(values, Grid((40, 40, 40), moved), TABLE), grid, 3.0)
    assert box_around(LabelMap(0 * values, labels.grid, TABLE), grid, 3.0) is None


def test_a_coarse_look_keeps_the_slices_of_a_network_of_slices():
    plain = predictor_of(Bright())
    assert coarse_of(plain).plan.spacing_mm == (2.0, 2.0, 2.0)
    assert coarse_of(plain).plan.overlap == 0
    assert coarse_of(plain).network is plain.network
