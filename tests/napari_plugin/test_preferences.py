"""The page of preferences and what it governs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from npe2 import PluginManifest

import medseg_napari
from medseg.volume import Grid, LabelMap, LabelTable
from medseg_napari.display_settings import DEFAULTS, choose, setting
from medseg_napari.layers import layer_from_labels

MANIFEST = PluginManifest.from_file(Path(medseg_napari.__file__).with_name("napari.yaml"))


def test_the_manifest_and_the_code_have_the_same_defaults() -> None:
    pages = MANIFEST.contributions.configurations
    stated = {
        section: {name: choice.default for name, choice in page.properties.items()}
        for section, page in pages.items()
    }
    assert stated == {section: dict(choices) for section, choices in DEFAULTS.items()}
    for page in pages.values():
        assert all(choice.title for choice in page.properties.values())


def test_a_choice_is_kept_and_obeyed(settings, tmp_path) -> None:
    assert setting("display", "overlay_opacity") == 0.5
    choose("display", "overlay_opacity", 0.25)
    labels = LabelMap(
        np.ones((2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)), LabelTable.of({1: "a"})
    )
    assert layer_from_labels(labels, "a")[1]["opacity"] == 0.25
    assert "0.25" in (tmp_path / "medseg.yaml").read_text()
    with pytest.raises(ValueError, match="enum"):
        choose("display", "convention", "upside down")


def test_the_theme_is_readable_in_the_dark() -> None:
    (theme,) = MANIFEST.contributions.themes
    assert (theme.label, theme.type) == ("Reading room", "dark")

    def luminance(name: str) -> float:
        """Relative luminance of WCAG 2.1."""
        channels = np.array(getattr(theme.colors, name).as_rgb_tuple()[:3]) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for ground in ("background", "foreground", "primary"):
        contrast = (luminance("text") + 0.05) / (luminance(ground) + 0.05)
        assert contrast > 4.5, f"text on {ground}: {contrast:.1f}"


def test_controls_and_panels_import_nothing_heavy() -> None:
    """Torch, MONAI, pandas and SimpleITK wait until something is opened."""
    code = (
        "import sys, medseg_napari.study_rows\n"
        "import medseg_napari.display.setup, medseg_napari.display.orthogonal_views\n"
        "print([m for m in ('torch', 'monai', 'pandas', 'scipy', 'SimpleITK', 'pydicom') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
