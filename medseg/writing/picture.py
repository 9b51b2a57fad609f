"""PNG and TIFF: the labels of a picture as grey values, without names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import LabelMap, Scan
from medseg.volume.conventions import from_kji
from medseg.writing._atomic import atomic
from medseg.writing._selfcheck import check_read_back
from medseg.writing.protocol import Obstacle

suffixes = (".png", ".tif", ".tiff")

_NO_PLACE = (
    "holds pixels only, without a place and a size in mm, so it is for labels of pictures; write"
    " .nii.gz instead"
)
_PAGES = "holds one page and the picture has {pages}; write .tif instead"


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write the labels of a picture; each pixel's grey value is its label's.

    The form is that of :class:`medseg.writing.protocol.LabelWriter`. The pages of a TIFF are the
    picture's.

    Raises
    ------
    WriteError
        When the labels are not those of a picture, or a PNG would have several pages, too.
    """
    limit = obstacle(labels) or _page_limit(labels, path)
    if limit:
        raise WriteError(f"'{path.name}' {limit.reason}", code=limit.code)
    kind = np.uint8 if labels.values.max(initial=0) < 256 else np.uint16
    pages = from_kji(labels.values.astype(kind))
    with atomic(path, suffix=path.suffix.lower()) as temporary:
        stored = _stored(pages, temporary)
        check_read_back(labels.values, from_kji(stored), labels.grid, labels.grid.affine)


def obstacle(subject: Scan | LabelMap) -> Obstacle | None:
    """Why a picture cannot hold the labels: they have a place or a size."""
    if subject.provenance.format == "picture":
        return None
    return Obstacle("NO_PICTURE", _NO_PLACE)


def _page_limit(labels: LabelMap, path: Path) -> Obstacle | None:
    pages = labels.grid.shape[2]
    if pages == 1 or path.suffix.lower() != ".png":
        return None
    return Obstacle("PAGES", _PAGES.format(pages=pages))


def _stored(pages: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Write pages (K, J, I), and give what the file then holds."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(pages if len(pages) > 1 else pages[0])
    try:
        SimpleITK.WriteImage(image, str(path), useCompression=True)
        stored: npt.NDArray[Any] = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError as error:
        raise WriteError(
            f"'{path}' could not be written; is the disk full, or the folder not writable?"
        ) from error
    return stored.reshape(pages.shape)
