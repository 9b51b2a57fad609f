"""Cases that people report of training, prediction and evaluation: medseg does what is right."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT.parent / "shared" / "cases" / "ml"
sys.path.append(str(ROOT / "benchmarks"))
ROWS = importlib.import_module("ml_cases").ROWS
Lab = importlib.import_module("ml_rows.lab").Lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.is_dir(), reason="the scripts that write the cases are absent"),
]
BY_THE_CLOCK = {"M10"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(SCRIPTS, tmp_path_factory.mktemp("ml"))


@pytest.mark.parametrize("name", sorted(set(ROWS) - BY_THE_CLOCK))
def test_the_case_is_right(name, lab):
    assert ROWS[name](lab)
