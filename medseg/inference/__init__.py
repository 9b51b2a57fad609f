"""From a scan to a label map: tiles, blending, streaming, on a device."""

from medseg.inference.estimate import Estimate, Probe
from medseg.inference.options import Box, Options, Prediction
from medseg.inference.predictor import Predictor

__all__ = ["Box", "Estimate", "Options", "Prediction", "Predictor", "Probe"]
