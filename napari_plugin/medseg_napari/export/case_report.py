"""A report on one label map: key images, volumes, and how it came about; HTML or PDF.

It holds no patient text: neither names of layers, files or folders, nor unique identifiers.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.errors import WriteError
from medseg.metrics import volumes_ml
from medseg.volume import Label, LabelMap, Scan
from medseg.workflows.figures import INK, PAPER, Views, key_image
from medseg_napari.export.formats import NOT_FOR_DIAGNOSIS, Subject
from medseg_napari.run_record import without_patient

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATE = Path(__file__).with_name("case_report.html.j2")
_TITLE = "Segmentation report"
_A4_INCHES = (11.69, 8.27)
_ROWS = 30  # of the table on one PDF page
_COLUMNS = 72  # characters beside the table


def write_report(subject: Subject, path: Path) -> None:
    """Write the report of a label map as ``.html`` or ``.pdf``; `WriteError` without a scan."""
    if subject.scan is None:
        raise WriteError("a report needs the scan under the labels; open it in this viewer")
    path.write_bytes(_pdf(subject) if path.suffix == ".pdf" else _html(subject))


def facts_of(labels: LabelMap, scan: Scan | None) -> dict[str, str]:
    """What a report says of the scan, by name: its kind, size and what was repaired."""
    grid = labels.grid
    facts = {
        "Modality": (scan.modality if scan else "") or "not stated",
        "Read from": labels.provenance.format,
        "Voxels": " x ".join(str(count) for count in grid.shape),
        "Spacing": " x ".join(f"{mm:.4g}" for mm in grid.spacing_mm) + " mm",
    }
    notes = without_patient("; ".join(labels.provenance.notes))
    return facts | ({"Repaired or worth knowing": notes} if notes else {})


def _html(subject: Subject) -> bytes:
    """One file that needs no other."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    pictures = [(label.name, _data_uri(figure)) for label, figure in _figures(subject)]
    html = template.render(
        title=_TITLE,
        warning=NOT_FOR_DIAGNOSIS,
        version=__version__,
        made=_now(),
        facts=_facts(subject),
        rows=_rows(subject.labels),
        pictures=pictures,
    )
    return html.encode("utf-8")


def _pdf(subject: Subject) -> bytes:
    """A page of facts and volumes, then a page for each structure."""
    from matplotlib.backends.backend_pdf import PdfPages

    content = io.BytesIO()
    about = {"Title": _TITLE, "Creator": f"medseg {__version__}", "Subject": NOT_FOR_DIAGNOSIS}
    with PdfPages(content, metadata=about) as pages:
        rows = _rows(subject.labels)
        for start in range(0, len(rows), _ROWS):
            facts = _facts(subject) if start == 0 else {}
            pages.savefig(_table_page(facts, rows[start : start + _ROWS]))
        for _, figure in _figures(subject):
            pages.savefig(figure, facecolor=PAPER, dpi=150)
    return content.getvalue()


def _figures(subject: Subject) -> Iterator[tuple[Label, Figure]]:
    """The key image of every structure that some voxel holds."""
    if subject.scan is None:
        return
    views = Views.of(subject.scan, subject.labels, subject.window)
    for label in subject.labels.table:
        if (views.values == label.value).any():
            yield label, key_image(views, label, NOT_FOR_DIAGNOSIS)


def _facts(subject: Subject) -> dict[str, str]:
    return {"Made": _now()} | facts_of(subject.labels, subject.scan) | dict(subject.facts)


def _rows(labels: LabelMap) -> list[tuple[int, str, str, str, str]]:
    """Value, name, code, millilitres and CSS colour of each structure."""
    millilitres = volumes_ml(labels)
    return [
        (
            label.value,
            label.name,
            f"{label.code.scheme} {label.code.value}" if label.code else "",
            f"{millilitres[label.name]:.2f}",
            "#{:02x}{:02x}{:02x}".format(*label.color),
        )
        for label in labels.table
    ]


def _table_page(facts: dict[str, str], rows: list[tuple[int, str, str, str, str]]) -> Any:
    """A light A4 page for printing."""
    from matplotlib.figure import Figure

    figure = Figure(_A4_INCHES)
    figure.text(0.06, 0.93, _TITLE, fontsize=18, fontweight="bold")
    figure.text(0.06, 0.895, NOT_FOR_DIAGNOSIS, fontsize=12, color="#b00020", fontweight="bold")
    lines = (textwrap.fill(f"{name}: {text}", _COLUMNS) for name, text in facts.items())
    figure.text(0.06, 0.86, "\n".join(lines), fontsize=9, va="top", linespacing=1.5)
    panel = figure.add_axes((0.52, 0.05, 0.44, 0.82))
    panel.set_axis_off()
    table = panel.table(
        cellText=[[str(value), name, code, ml, ""] for value, name, code, ml, _ in rows],
        colLabels=["value", "structure", "code", "ml", ""],
        colWidths=[0.11, 0.42, 0.25, 0.16, 0.06],
        loc="upper left",
        cellLoc="left",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    table.scale(1.0, 1.25)
    for row, (*_, color) in enumerate(rows, start=1):
        table[row, 4].visible_edges = "closed"
        table[row, 4].set_facecolor(color)
    return figure


def _data_uri(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor=PAPER, edgecolor=INK, dpi=110)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _now() -> str:
    return dt.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
