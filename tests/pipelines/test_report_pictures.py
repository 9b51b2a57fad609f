import io
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from medseg.metrics import overlap, summarise
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.label_table import MEAN
from medseg.workflows.charts import curves
from medseg.workflows.figures import best_slice, overlay, paint
from medseg_pipelines.report import Report, ReportCase, write_report

HISTORY = [{"step": n, "loss": 1 / n, "lr": 0.1, "seconds": n} for n in range(1, 40)] + [
    {"step": 20, "seconds": 20, "dice": {"liver": 0.5, "foreground": 0.4}}
]


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png))


def corner_case(affine):
    """A bright block and a label at the patient's right, anterior, superior corner."""
    grid = Grid((20, 20, 20), affine)
    values = np.zeros(grid.shape, np.uint8)
    index = np.indices(grid.shape).reshape(3, -1).T
    world = grid.to_world(index)
    middle = world.mean(axis=0)
    corner = (world > middle + 2).all(axis=1)
    values[tuple(index[corner].T)] = 1
    scan = Scan((values * 100.0)[None].astype(np.float32), grid, "MR")
    table = LabelTable.of({1: "corner"})
    return scan, LabelMap(values, grid, table)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)])
def test_pictures_are_radiological_whatever_the_grid(signs):
    scan, labels = corner_case(np.diag([*signs, 1.0]))
    image = pixels(overlay(scan, labels))
    orange = (image[..., 0] - image[..., 2]) > 0.25
    orange &= image[..., 1] < 0.8
    for panel in np.array_split(orange, 3, axis=1):
        rows, columns = np.nonzero(panel)
        assert rows.mean() < panel.shape[0] / 2  # anterior or superior is on top
        assert columns.mean() < panel.shape[1] / 2  # right, or anterior, is on the left


def test_a_picture_has_one_plane_its_colours_and_no_letters():
    grid = Grid((40, 30, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
    voxels = np.zeros((3, *grid.shape), np.uint8)
    voxels[0, :20] = 200
    values = np.zeros(grid.shape, np.uint8)
    values[30:, 20:] = 1
    labels = LabelMap(values, grid, LabelTable.of({1: "spot"}))
    told = Provenance("picture", laterality_known=False)
    image = pixels(overlay(Scan(voxels, grid, provenance=told), labels))
    lettered = pixels(overlay(Scan(voxels, grid), labels))
    rows, columns = image.shape[:2]
    assert rows / columns == pytest.approx(30 / 40, abs=0.1)
    red = image[rows // 2, columns // 4]
    assert red[0] > 0.9
    assert red[1] < 0.1
    assert not np.array_equal(image, lettered)
    yellow = (image[..., 0] > 0.9) & (image[..., 1] > 0.75) & (image[..., 2] < 0.5)
    assert not yellow.any()


def test_pictures_have_true_proportions():
    grid = ct_grid(shape=(40, 30, 10), spacing_mm=(8.0, 8.0, 24.0))
    scan, truth = abdominal_ct(1, grid)
    image = pixels(overlay(scan, truth, truth=truth))
    assert image.shape[1] == 1100
    assert image[..., :3].std() > 0.05


def test_the_best_slice_shows_the_label():
    values = np.zeros((5, 6, 7), np.uint8)
    values[1:3, 2:5, 4] = 1
    assert best_slice(values, 2) == 4
    assert best_slice(np.zeros((5, 6, 7), np.uint8), 1) == 3


def test_paint_uses_the_tables_colours():
    table = LabelTable.of({3: "x"})
    colours = paint(np.array([[0, 3]]), table)
    assert colours[0, 0, 3] == 0
    assert colours[0, 1, :3] * 255 == pytest.approx(table.labels[0].color)


def test_curves_survive_an_empty_history():
    assert pixels(curves([])).ndim == 3
    assert pixels(curves(HISTORY)).ndim == 3


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets = []

    def handle_starttag(self, tag, attrs):
        self.targets += [value for name, value in attrs if name in {"src", "href"}]


def test_a_report_is_one_self_contained_file(tmp_path):
    grid = ct_grid(shape=(24, 20, 16), spacing_mm=(14.0, 13.0, 15.0))
    scan, truth = abdominal_ct(1, grid)
    case = ReportCase("<case & one>", scan, truth, truth)
    report = Report(
        title="Title",
        verdict="Good.",
        cases=[case],
        scores=summarise({"<case & one>": overlap(truth, truth)}),
        history=HISTORY,
        facts={"network": "U-Net"},
        places={"model": tmp_path / "run" / "model"},
    )
    path = write_report(report, tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    links = Links()
    links.feed(html)
    assert [one for one in links.targets if not one.startswith("data:")] == ["run/model"]
    assert len(re.findall("data:image/png;base64,", html)) == 2
    assert "&lt;case &amp; one&gt;" in html
    assert "<case" not in html
    assert "1.000" in html
    assert str(tmp_path) not in html
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_of_one_label_there_is_one_curve():
    history = [{"step": step, "dice": {"core": step / 4}} for step in (1, 2)]
    with_mean = [{**row, "dice": {**row["dice"], MEAN: row["step"] / 4}} for row in history]
    assert curves(with_mean) == curves(history)
    two, with_mean = (
        [{**row, "dice": {**row["dice"], "box": 0.5}} for row in rows]
        for rows in (history, with_mean)
    )
    assert curves(with_mean) != curves(two)
