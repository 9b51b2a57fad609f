"""Cases far from all others in spacing, size or intensities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from medseg.training.case_facts import CaseFacts
from medseg.training.findings import Finding, Severity
from medseg.volume.conventions import RAS, Reorientation

ENOUGH = 4
"""Cases below which nothing is usual."""
FAR = 5.0
"""Robust z beyond which a case is told."""
_TO_SIGMA = 1.4826  # of the median absolute deviation, for normal numbers
_ALLOWED_RATIO = np.log(
    1.25
)  # by which cases may differ whatever the others do: z 5 is a ratio of 3
_ALLOWED_SHIFT = 0.4  # of a mean intensity, in deviations within a scan: z 5 is two of them


def outliers(cases: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Warnings and notes, with numbers.

    The robust z of a value is its distance from the median in 1.4826 median absolute deviations
    (Iglewicz and Hoaglin 1993), here in at least a quarter of the value, or 0.4 standard deviations
    of the intensities within a scan.

    Parameters
    ----------
    cases : sequence of CaseFacts
        Readable ones.
    """
    if len(cases) < ENOUGH:
        return
    grids = [Reorientation.towards(facts.grid, RAS).target for facts in cases]
    spacings = np.array([grid.spacing_mm for grid in grids])
    extents = spacings * np.array([grid.shape for grid in grids])
    for axis, line in enumerate(("left-right", "back-front", "feet-head")):
        yield from _multiples(cases, spacings[:, axis], f"mm spacing {line}", "SPACING", "warning")
        yield from _multiples(cases, extents[:, axis], f"mm size {line}", "SIZE", "note")
    for channel in range(min(len(facts.channels) for facts in cases)):
        yield from _intensities(cases, channel)


def _intensities(cases: Sequence[CaseFacts], channel: int) -> Iterator[Finding]:
    """Scans of another brightness or contrast; CT has units, so there it is a fault more likely."""
    means = np.array([facts.channels[channel].mean for facts in cases])
    stds = np.array([facts.channels[channel].std for facts in cases])
    severity: Severity = "warning" if all(facts.modality == "CT" for facts in cases) else "note"
    where = f" in channel {channel}" if len(cases[0].channels) > 1 else ""
    z = _robust_z(means, least=_ALLOWED_SHIFT * float(np.median(stds)))
    yield from _beyond(cases, means, z, f"mean intensity{where}", "INTENSITY", severity)
    yield from _multiples(cases, stds, f"standard deviation{where}", "INTENSITY", severity)


def _multiples(
    cases: Sequence[CaseFacts],
    values: npt.NDArray[np.float64],
    what: str,
    code: str,
    severity: Severity,
) -> Iterator[Finding]:
    """Cases whose positive value is a multiple, or a fraction, of the others'."""
    z = _robust_z(np.log(np.maximum(values, 1e-12)), least=float(_ALLOWED_RATIO))
    yield from _beyond(cases, values, z, what, code, severity)


def _beyond(
    cases: Sequence[CaseFacts],
    values: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    what: str,
    code: str,
    severity: Severity,
) -> Iterator[Finding]:
    median = float(np.median(values))
    for number in np.flatnonzero(np.abs(z) > FAR).tolist():
        name, value = cases[number].name, f"{values[number]:.4g}"
        yield Finding(
            severity=severity,
            code=code,
            message=f"{name}: {value} {what} where {median:.4g} is usual (robust z"
            f" {z[number]:.1f}); look at the file",
            case=name,
            value=value,
        )


def _robust_z(values: npt.NDArray[np.float64], *, least: float) -> npt.NDArray[np.float64]:
    away = values - np.median(values)
    scale = max(_TO_SIGMA * float(np.median(np.abs(away))), least, 1e-12)
    z: npt.NDArray[np.float64] = away / scale
    return z
