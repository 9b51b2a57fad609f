"""Memory is counted before it is taken: another way, or a sentence with both numbers."""

from __future__ import annotations

import pytest
import torch

from many_classes import NETWORK, network_of, predictor_of, scan_of
from medseg.errors import InputError
from medseg.inference.estimate import LiveMemory, tile_bytes
from medseg.runtime import free_memory
from medseg.runtime.free_memory import free_memory_bytes


def with_free(monkeypatch, size_bytes):
    monkeypatch.setattr("medseg.inference.oom_fallback.free_memory_bytes", lambda: size_bytes)


def test_the_outline_of_a_tile_counts_what_a_tile_takes():
    one = predictor_of(network_of(4), 4, patch=(32, 32, 32))
    with LiveMemory() as memory, torch.inference_mode():
        one.network(torch.zeros(1, 1, 32, 32, 32))
    assert memory.peak_bytes / 1.5 < tile_bytes(one) < memory.peak_bytes * 1.5


def test_a_network_that_asks_for_values_is_run_without_a_forecast():
    class Asks(torch.nn.Module):
        def forward(self, image):
            return NETWORK(image) * float(image.max())

    one = predictor_of(Asks().eval())
    assert tile_bytes(one) is None
    assert one.run(scan_of((9, 9, 9))).labels.values.shape == (9, 9, 9)


def test_smaller_tiles_are_taken_where_they_fit_and_refused_where_nothing_does(monkeypatch):
    one, scan = predictor_of(patch=(64, 64, 64)), scan_of((64, 64, 64))
    with_free(monkeypatch, 20_000_000)
    found = one.run(scan)
    note = " ".join(found.labels.provenance.notes)
    assert "of memory would be needed: tiles were made smaller (32 x 32 x 32 voxels)" in note
    assert one.tiles(scan.grid) == 1
    with_free(monkeypatch, 100_000)
    with pytest.raises(InputError, match=r"takes about 0\.0 GB of memory and 0\.0 GB are free"):
        one.run(scan)
    with_free(monkeypatch, None)
    small = scan_of((9, 9, 9))
    assert predictor_of().run(small).labels.provenance.notes == small.provenance.notes


def test_the_least_limit_of_all_control_groups_counts(tmp_path, monkeypatch):
    system = tmp_path / "meminfo"
    system.write_text("MemTotal: 900 kB\nMemAvailable:   800 kB\n")
    groups = tmp_path / "cgroup"
    groups.write_text("0::/job/step\n")
    step = tmp_path / "fs/job/step"
    step.mkdir(parents=True)
    for folder, most in ((step, "max"), (step.parent, "500000")):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text("300000\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 70000\n")
    monkeypatch.setattr(free_memory, "_SYSTEM", system)
    monkeypatch.setattr(free_memory, "_GROUPS", groups)
    monkeypatch.setattr(free_memory, "_GROUP_FOLDERS", tmp_path / "fs")
    assert free_memory_bytes() == 270_000
    (step.parent / "memory.max").write_text("max\n")
    assert free_memory_bytes() == 800 * 1024
    monkeypatch.setattr(free_memory, "_SYSTEM", tmp_path / "missing")
    assert free_memory_bytes() is None
