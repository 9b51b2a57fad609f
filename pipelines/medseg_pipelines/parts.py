"""Which networks can be trained, with which losses, how large they are, and whose they are."""

from __future__ import annotations

import inspect

from rich.table import Table

from medseg import losses, networks
from medseg.errors import MedsegError
from medseg.networks import encoders
from medseg.networks.blocks.cost import cost_of
from medseg.planning import Component, Stages
from medseg.runtime import class_parts, registry
from medseg_pipelines.console import Console

_PATCHES = {2: (256, 256), 3: (64, 64, 64)}
_STRIDE_STAGES = 4


def show_networks(*, console: Console) -> None:
    """Show networks with their cost at the sizes a CPU plan gives them, and the encoders."""
    table = Table(title="Networks, as planned for a CPU (one channel, two labels)")
    table.add_column("name")
    table.add_column("what it is")
    table.add_column("package")
    for dims, patch in _PATCHES.items():
        size = " x ".join(str(n) for n in patch)
        table.add_column(f"{dims}-D: M parameters", justify="right")
        table.add_column(f"GFLOP for {size}", justify="right")
    rows, faults = _rows(networks.PACKAGE)
    for name, *row in rows:
        table.add_row(name, *row, *_costs(name))
    console.show(table)
    _show_more(networks.PACKAGE, "--network", faults, console)
    console.print("Encoders (--set encoder.name=...): " + ", ".join(encoders.names()))


def show_losses(*, console: Console) -> None:
    """Show losses."""
    table = Table(title="Losses")
    for column in ("name", "what it is", "package"):
        table.add_column(column)
    rows, faults = _rows(losses.PACKAGE)
    for row in rows:
        table.add_row(*row)
    console.show(table)
    _show_more(losses.PACKAGE, "--loss", faults, console)


def _rows(package: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Name, first line and package of each part that can be used, and what is wrong with others."""
    rows, faults = [], []
    for name in registry.names(package):
        try:
            part, origin = registry.load(package, name), registry.source(package, name)
        except MedsegError as error:
            faults.append(str(error))
            continue
        owner = f"{origin.distribution} {origin.version}" if origin.distribution else "medseg"
        rows.append((name, _first_line(part.__doc__), owner))
    return rows, faults


def _show_more(package: str, option: str, faults: list[str], console: Console) -> None:
    """MONAI's parts, and those that cannot be used."""
    listing = ", ".join(f"monai:{name}" for name in class_parts.monai_names(package))
    console.print(f"MONAI's ({option} monai:NAME): {listing}")
    for fault in faults:
        console.print(f"Note: {fault}")


def _first_line(text: str | None) -> str:
    return (inspect.cleandoc(text or "").splitlines() or [""])[0]


def _costs(name: str) -> list[str]:
    """Parameters and operations, in 2-D and in 3-D, counted on shapes alone; "-" where unknown."""
    cells = []
    for dims, patch in _PATCHES.items():
        try:
            cells += _cost(networks.suggestion(name)(_stages(patch)), patch, dims)
        except Exception:  # noqa: BLE001 - another package's code; the rest is still shown
            cells += ["-", "-"]
    return cells


def _cost(component: Component, patch: tuple[int, ...], dims: int) -> list[str]:
    network = networks.build_component(component, spatial_dims=dims, in_channels=1, out_channels=3)
    cost = cost_of(network.to("meta"), channels=1, size=patch)
    return [f"{cost.parameters / 1e6:.1f}", f"{cost.gflops:.1f}"]


def _stages(patch: tuple[int, ...]) -> Stages:
    """What the planner gives isotropic voxels on a CPU."""
    dims = len(patch)
    return Stages(
        patch=patch,
        features=(32, 64, 128, 128, 128)[: _STRIDE_STAGES + 1],
        strides=((1,) * dims, *((2,) * dims,) * _STRIDE_STAGES),
        kernels=((3,) * dims,) * (_STRIDE_STAGES + 1),
    )
