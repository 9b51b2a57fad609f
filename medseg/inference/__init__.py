"""From a scan to a label map: tiles, blending, streaming, on a device."""

from medseg.inference.estimate import Estimate, Probe
from medseg.inference.monai_inferer import MonaiInferer
from medseg.inference.options import Options, Prediction, Roi
from medseg.inference.predictor import Predictor

__all__ = ["Estimate", "MonaiInferer", "Options", "Prediction", "Predictor", "Probe", "Roi"]
