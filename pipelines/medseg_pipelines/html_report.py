"""HTML pages that need nothing else: one frame and style for every report."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

from medseg import __version__

_SHORT = 12


def render(template: str, **values: Any) -> str:
    """A page of one of the templates beside this file; all text in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The beginning of a case's name or of a digest, enough to find it by.
    environment.filters["short"] = lambda name: name[:_SHORT]
    return environment.get_template(template).render(version=__version__, **values)


def data_uri(png: bytes) -> str:
    """A picture as part of the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
