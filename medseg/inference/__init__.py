"""From a scan to a label map: tiles, blending, streaming, on a device."""

from medseg.inference.estimate import Estimate, Probe
from medseg.inference.options import Options, Prediction, Roi
from medseg.inference.predictor import Predictor

__all__ = ["Estimate", "Options", "Prediction", "Predictor", "Probe", "Roi"]
