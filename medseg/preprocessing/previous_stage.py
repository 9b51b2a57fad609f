"""Labels of a network before as input channels of the next: nnU-Net's cascade."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from medseg.planning import Plan, Resampling
from medseg.preprocessing.placement import Placement
from medseg.preprocessing.regridding import regrid_labels
from medseg.volume import LabelMap, Scan
from medseg.volume.bounding_box import nonzero

_OUTSIDE = -1


def previous_masks(labels: LabelMap, scan: Scan, plan: Plan, placement: Placement) -> Tensor:
    """A mask of each label, where the network sees it.

    Parameters
    ----------
    labels : LabelMap
        On the scan's grid.
    scan : Scan
    plan : Plan
        Of the network that takes them.
    placement : Placement
        How the network's input lies in the scan.

    Returns
    -------
    torch.Tensor, shape (labels, I, J, K)
        float32 of 0 and 1, on ``placement.prepared``; labels in the order of their values.
    """
    box = placement.box or (slice(None),) * 3
    values = labels.values[box].astype(np.int32)
    # what is 0 in all channels around the body is a label of its own when masks are interpolated
    body = binary_fill_holes(nonzero(scan.voxels[(slice(None), *box)]))
    values[(values == 0) & ~body] = _OUTSIDE
    if placement.straightening is not None:
        values = placement.straightening.apply_labels(values)
    native_mm = placement.reorientation.target.spacing_mm
    regridded = regrid_labels(
        placement.reorientation.apply(values),
        placement.prepared.shape,
        (plan.resampling or Resampling()).labels,
        native_mm,
        plan.spacing_from(native_mm),
    )
    masks = np.stack([regridded == value for value in sorted(labels.table.values)])
    return torch.from_numpy(masks.astype(np.float32))
