"""What a file of this folder offers that runs a network in another way than torch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor


class Runs(Protocol):
    """A network for one tile of one size."""

    def __call__(self, tile_BCIJK: Tensor, /) -> Tensor:
        """Logits of one tile; shape (1, L, I, J, K), float32, on the CPU."""
        ...


class Backend(Protocol):
    """A module of this folder; the name of the file is that of the library, and of the extra."""

    def prepare(self) -> None:
        """Raise `InputError` where the library cannot be used though it is installed."""
        ...

    def Runner(self, path: Path, size: tuple[int, ...], *, half: bool) -> Runs:  # noqa: N802
        """The network of an ONNX file, ready for tiles of `size` (channels and voxels).

        `half` asks for 16-bit numbers. What the library compiles may be kept beside the file.
        """
        ...
