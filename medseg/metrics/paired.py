"""Two models on the same cases: paired differences, their intervals and Wilcoxon's test."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

from medseg.metrics.intervals import CONFIDENCE, Limits, Values, bootstrap
from medseg.metrics.scores import mean

LEVEL = 1 - CONFIDENCE
FEWEST = 6
"""Differences other than 0 below which Wilcoxon's two-sided p cannot be under 0.05: 2 / 2^5 is
0.0625."""
_ROUNDED = 10  # decimals: 0.9 - 0.8 and 0.8 - 0.7 are one difference


class PairedDifference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measure of one label in two models, B less A.

    Parameters
    ----------
    mean_a, mean_b : float or None
        Over the cases in which both have a value.
    difference : float or None
        B less A; the mean over those cases.
    low, high : float or None
        Its 95 % bootstrap interval; None for fewer than two patients.
    p : float or None
        Of Wilcoxon's signed-rank test, two-sided; None without a pair.
    p_holm : float or None
        The same, corrected for the number of labels; of the mean over labels the same.
    n : int
        Patients with a pair; cases where patients are not known.
    zeros : int
        Of these, how many have no difference: Wilcoxon's test leaves them out.
    """

    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int
    zeros: int

    @property
    def is_shown(self) -> bool:
        """Whether the corrected p is below 0.05 and the interval leaves 0 out."""
        if self.p_holm is None or self.low is None or self.high is None:
            return False
        return self.p_holm < LEVEL and (self.low > 0 or self.high < 0)


def paired_differences(
    first: Values, second: Values, patients: npt.NDArray[np.int64]
) -> tuple[list[PairedDifference], PairedDifference]:
    """Differences of every label, and of the mean over labels.

    Parameters
    ----------
    first, second : ndarray, shape (cases, labels)
        A measure of models A and B; NaN where a case has no value of a label, which then counts
        in neither.
    patients : ndarray of int, shape (cases,)
        Whose cases they are. Differences of one patient's cases are averaged before they are
        ranked, and drawn together.

    Returns
    -------
    list of PairedDifference
        For each label.
    PairedDifference
        Of the mean over labels: of the labels' means, and ranked by each patient's mean over the
        labels in which there is a pair.

    Notes
    -----
    Wilcoxon (Biometrics Bulletin 1, 1945), as `scipy.stats.wilcoxon` has it: zero differences are
    left out, p is exact for at most 50 differences without ties and for at most 13 with ties, and
    normal else. Holm (Scandinavian Journal of Statistics 6, 1979) over the labels.
    """
    pair = ~np.isnan(first) & ~np.isnan(second)
    first, second = np.where(pair, first, np.nan), np.where(pair, second, np.nan)
    limits, over = bootstrap(second - first, patients)
    labels = [
        _difference(first[:, column], second[:, column], patients, limits[column])
        for column in range(pair.shape[1])
    ]
    labels = [
        msgspec.structs.replace(row, p_holm=p)
        for row, p in zip(labels, holm([row.p for row in labels]), strict=True)
    ]
    with_pairs = [row for row in labels if row.n]
    whole = _difference(_row_means(first), _row_means(second), patients, over)
    means = {
        part: mean(getattr(row, part) for row in with_pairs)
        for part in ("mean_a", "mean_b", "difference")
    }
    return labels, msgspec.structs.replace(whole, **means)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of several p; those that are None stay, and count as no test."""
    tests = sorted((p, row) for row, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, row) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        corrected[row] = largest
    return corrected


def _difference(
    first: Values, second: Values, patients: npt.NDArray[np.int64], limits: Limits
) -> PairedDifference:
    """One label's, with p not yet corrected."""
    differences = second - first
    present = ~np.isnan(differences)
    sums = np.bincount(patients[present], differences[present])
    counts = np.bincount(patients[present])
    by_patient = sums[counts > 0] / counts[counts > 0]
    rounded = np.round(by_patient, _ROUNDED)
    p = signed_rank_p(rounded)
    return PairedDifference(
        mean_a=mean(first[present].tolist()),
        mean_b=mean(second[present].tolist()),
        difference=mean(differences[present].tolist()),
        low=limits.low,
        high=limits.high,
        p=p,
        p_holm=p,
        n=len(rounded),
        zeros=int((rounded == 0).sum()),
    )


def signed_rank_p(differences: Values) -> float | None:
    """Two-sided p of Wilcoxon's test; 1 where no difference is other than 0, None without any."""
    if not len(differences):
        return None
    others = differences[differences != 0]
    return float(wilcoxon(others).pvalue) if len(others) else 1.0


def _row_means(values: Values) -> Values:
    """Mean over the labels that a case has; NaN where it has none."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Values = np.where(present, values, 0.0).sum(axis=1) / present.sum(axis=1)
    return means
