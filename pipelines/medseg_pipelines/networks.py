"""Which architectures can be trained, and how large they are."""

from __future__ import annotations

import inspect

from rich.table import Table

from medseg.networks import PACKAGE, encoders, names
from medseg.networks.blocks.cost import cost_of
from medseg.planning import Stages
from medseg.runtime import registry
from medseg_pipelines.console import Console

_PATCHES = {2: (256, 256), 3: (64, 64, 64)}
_STRIDE_STAGES = 4


def show_networks(*, console: Console) -> None:
    """Show networks with their cost at the sizes a CPU plan gives them, and the encoders."""
    table = Table(title="Networks, as planned for a CPU (one channel, two labels)")
    table.add_column("name")
    table.add_column("what it is")
    for dims, patch in _PATCHES.items():
        size = " x ".join(str(n) for n in patch)
        table.add_column(f"{dims}-D: M parameters", justify="right")
        table.add_column(f"GFLOP for {size}", justify="right")
    for name in names():
        part = registry.load(PACKAGE, name)
        table.add_row(name, _first_line(part.__doc__), *_costs(name))
    console.show(table)
    console.print("Encoders (--set encoder.name=...): " + ", ".join(encoders.names()))


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").splitlines()[0]


def _costs(name: str) -> list[str]:
    """Parameters and operations, in 2-D and in 3-D; counted on shapes alone."""
    part = registry.load(PACKAGE, name)
    cells = []
    for dims, patch in _PATCHES.items():
        settings = part.suggest(_stages(patch))
        network = part.build(settings, spatial_dims=dims, in_channels=1, out_channels=3)
        cost = cost_of(network.to("meta"), channels=1, size=patch)
        cells += [f"{cost.parameters / 1e6:.1f}", f"{cost.gflops:.1f}"]
    return cells


def _stages(patch: tuple[int, ...]) -> Stages:
    """What the planner gives isotropic voxels on a CPU."""
    dims = len(patch)
    return Stages(
        patch=patch,
        features=(32, 64, 128, 128, 128)[: _STRIDE_STAGES + 1],
        strides=((1,) * dims, *((2,) * dims,) * _STRIDE_STAGES),
        kernels=((3,) * dims,) * (_STRIDE_STAGES + 1),
    )
