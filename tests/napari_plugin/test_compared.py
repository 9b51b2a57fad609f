"""Every "yes" of ours in the comparison names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "napari-compared.md"


def test_every_yes_of_ours_names_its_test() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## medseg and 3D Slicer")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    claims = {what.strip(): shown for what, _, ours, shown in rows if ours.strip()[:3] == "yes"}
    assert len(claims) > 30
    for what, shown in claims.items():
        named = re.findall(r"`([^`]+\.py)`", shown)
        assert named, what
        for name in named:
            assert (HERE / name).is_file(), f"{what}: {name}"
