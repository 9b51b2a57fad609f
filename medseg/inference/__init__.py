"""From a scan to a label map: tiles, blending, streaming, on a device."""

from medseg.inference.predictor import Predictor

__all__ = ["Predictor"]
