"""dciodvfy of dicom3tools: an outside opinion on the DICOM objects that are written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def errors_of(path: Path) -> list[str]:
    """What dciodvfy finds wrong with a DICOM file; skips the test without it."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    done = subprocess.run(
        [program, path], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, "dciodvfy says at least which object it sees"
    return [line for line in lines if line.startswith("Error")]
