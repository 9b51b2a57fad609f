"""MONAI pipelines get our geometry: affine, values and channel axis, tilt included."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Compose, LoadImage, LoadImaged, Orientationd

from dicom_phantom import Series, random_stored, rotation
from medseg.errors import GeometryError, SelectionError
from medseg.reading import READERS
from medseg.reading.monai_reader import MedsegReader

TURN = rotation((1.0, 0.1, -0.2, 0.3))


@pytest.mark.parametrize("tilt_mm", [0.0, 1.2])
@pytest.mark.parametrize("reader", [MedsegReader, MedsegReader()], ids=["class", "instance"])
def test_load_imaged_places_every_voxel(tmp_path, tilt_mm, reader):
    series = Series(
        random_stored(),
        orientation=TURN[:, :2].T.ravel(),
        step_mm=TURN @ np.array([0.0, tilt_mm, 2.5]),
    )
    series.write(tmp_path)
    load = LoadImaged("image", reader=reader, ensure_channel_first=True)
    image = load({"image": str(tmp_path)})["image"]
    assert tuple(image.shape) == (1, 7, 9, 6)
    assert np.array_equal(image[0].numpy(), series.values())
    for index in [(0, 0, 0), (6, 8, 5), (3, 1, 4)]:
        world = image.affine.numpy() @ [*index, 1]
        np.testing.assert_allclose(world[:3], series.world(*index), atol=1e-4)


def test_the_affine_is_in_the_space_that_monai_expects(tmp_path):
    series = Series(random_stored())
    series.write(tmp_path)
    steps = Compose(
        [
            LoadImaged("image", reader=MedsegReader, ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
        ]
    )
    image = steps({"image": str(tmp_path)})["image"]
    assert np.array_equal(image[0].numpy(), series.values()[::-1, ::-1])


def test_the_series_is_chosen_or_asked_for(tmp_path):
    one, two = Series(random_stored((3, 5, 4))), Series(random_stored((5, 6, 8)))
    one.write(tmp_path / "a")
    two.write(tmp_path / "b")
    image = LoadImage(reader=MedsegReader(series=two.uid))(str(tmp_path))
    assert tuple(image.shape) == (8, 6, 5)
    with pytest.raises(SelectionError):
        LoadImage(reader=MedsegReader)(str(tmp_path))


def test_what_is_refused_is_not_read_by_another_reader_of_monai(tmp_path):
    Series(random_stored()).write(tmp_path, skip=(2,))
    with pytest.raises(GeometryError, match="missing"):
        LoadImage(reader=MedsegReader)(str(tmp_path))


def test_it_is_no_format_among_others():
    assert "monai_reader" not in READERS
