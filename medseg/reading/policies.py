"""What to do with a series that is not one even stack: refuse it, or repair it when asked to."""

from __future__ import annotations

from typing import Literal

import msgspec

Irregular = Literal["refuse", "resample"]
Missing = Literal["refuse", "interpolate"]


class Policies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Choices that only the user can make; nothing is repaired without being asked.

    Parameters
    ----------
    irregular : {"refuse", "resample"}
        Slices at uneven distances, or moved within their plane: resample brings them onto even
        slices, linearly, from where each one lies.
    missing : {"refuse", "interpolate"}
        Slices missing from an otherwise even series: interpolate fills each gap linearly from the
        slices beside it and keeps the others as they are.
    """

    irregular: Irregular = "refuse"
    missing: Missing = "refuse"

    def allows(self, code: str) -> bool:
        """Whether a stack that is refused with `code` may be repaired."""
        return (code == "IRREGULAR" and self.irregular == "resample") or (
            code == "MISSING_SLICE" and self.missing == "interpolate"
        )


REFUSE = Policies()
"""Repair nothing."""
