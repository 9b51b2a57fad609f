"""The plugin costs nothing until it is used: a viewer starts without its code or torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

LATE = ("medseg", "medseg_napari", "torch", "monai", "SimpleITK", "pydicom", "highdicom")

STARTED = """
import json, sys
import napari
from npe2 import PluginManager
viewer = napari.Viewer(show=False)
menus = PluginManager.instance().get_manifest("medseg").contributions.widgets
print(json.dumps([len(menus), sorted(sys.modules)]))
import os
os._exit(0)
"""

READ = """
import json, sys
from npe2 import PluginManifest
print(json.dumps([PluginManifest.from_distribution("medseg").name, sorted(sys.modules)]))
"""


def test_a_viewer_starts_without_the_plugins_code(qapp) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=True, timeout=180
    )
    widgets, modules = json.loads(done.stdout.splitlines()[-1])
    assert widgets == 2, "the dock, and the planes"
    assert [name for name in LATE if name in modules] == []


def test_reading_the_manifest_runs_no_code_of_the_plugin() -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ], capture_output=True, text=True, check=True, timeout=180
    )
    name, modules = json.loads(done.stdout)
    assert name == "medseg"
    assert [module for module in LATE if module in modules] == []
