"""Qt bindings that lose references to True and None abort the process; find out early."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("pytestqt")

from medseg_napari.inference.warnings import installation_warning


def test_signals_lose_no_references(qapp) -> None:
    from qtpy.QtCore import QObject, Signal

    class Bell(QObject):
        rung = Signal()

    bell = Bell()
    before = sys.getrefcount(True), sys.getrefcount(None)
    for _ in range(5000):
        bell.rung.emit()
        bell.setObjectName("bell")
    after = sys.getrefcount(True), sys.getrefcount(None)
    assert all(abs(b - a) < 1000 for a, b in zip(before, after, strict=True)), (before, after)


@pytest.mark.parametrize(
    ("python", "pyside", "warned"),
    [
        ("3.11.7", "6.12.0", True),
        ("3.12.1", "6.12.0", False),
        ("3.11.7", "6.11.3", False),
        ("3.11.7", "", False),
    ],
)
def test_the_pair_that_aborts_is_warned_about(python: str, pyside: str, warned: bool) -> None:
    assert bool(installation_warning(python, pyside)) is warned
