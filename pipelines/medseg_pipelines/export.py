"""A model in, a file or a MONAI bundle for other programs out."""

from __future__ import annotations

import time
from pathlib import Path

from rich.table import Table

from medseg.errors import Cancelled
from medseg.model_package import Exported, ModelPackage, export_bundle, export_model, find_package
from medseg.reading import read_scan
from medseg.workflows.bundle_comparison import BundleComparison, compare_bundle
from medseg.workflows.outputs import check_file
from medseg_pipelines.console import Console, duration


def export_file(
    name_or_folder: str | Path,
    *,
    output: Path,
    fold: int | None = None,
    opset: int | None = None,
    check: bool = True,
    console: Console,
) -> Exported:
    """Write a model's network as one file, and say what the file takes.

    Parameters
    ----------
    name_or_folder : str or Path
        A shipped model's name, or a package folder.
    output : Path
        Ends in ``.onnx``, ``.pt2`` or ``.ts``.
    fold : int, optional
        Whose network alone is written, of a model of several folds.
    opset : int, optional
    check : bool, default True
        Whether the file is read again and compared with torch.
    console : Console
        Told progress, sizes and place.

    Raises
    ------
    MedsegError
        When the model or the output cannot be used; nothing is written then.
    Cancelled
        When the person stopped it.
    """
    start = time.monotonic()
    check_file(output)
    package = find_package(name_or_folder)
    package = package if fold is None else package.of_fold(fold)
    plan = package.manifest.plan
    try:
        with console.progress("exporting") as progress:
            exported = export_model(package, output, opset=opset, check=check, progress=progress)
    except Cancelled as stop:
        raise Cancelled("nothing was written; run the same command again") from stop
    patch = " x ".join(str(n) for n in plan.patch)
    _describe(package, exported, console)
    console.print(
        f"Input:  any number of patches of {len(plan.channels)} x {patch} voxels, no others"
    )
    console.print(f"Wrote {exported.path} in {duration(time.monotonic() - start)}.")
    return exported


def export_bundle_folder(
    name_or_folder: str | Path,
    *,
    output: Path,
    fold: int | None = None,
    check: bool = True,
    compare: Path | None = None,
    console: Console,
) -> Exported:
    """Write a model as a MONAI bundle, and say how to run it.

    Parameters
    ----------
    name_or_folder : str or Path
        A shipped model's name, or a package folder.
    output : Path
        The folder to make.
    fold : int, optional
        Whose network alone is written, of a model of several folds.
    check : bool, default True
        Whether the network is read again and compared with torch.
    compare : Path, optional
        A scan that the model and its bundle are to label.
    console : Console
        Told progress, place and how far labels agree.

    Raises
    ------
    MedsegError
        When the model or the output cannot be used or the scan not be read, and no bundle is
        written; or when the scan does not fit the model, and the bundle stays.
    Cancelled
        When the person stopped it.
    """
    package = find_package(name_or_folder)
    package = package if fold is None else package.of_fold(fold)
    scan = None if compare is None else read_scan(compare)
    try:
        with console.progress("exporting") as progress:
            exported = export_bundle(package, output, check=check, progress=progress)
    except Cancelled as stop:
        raise Cancelled("nothing was written; run the same command again") from stop
    _describe(package, exported, console)
    if scan is not None:
        _show_comparison(compare_bundle(package, output, scan), console)
    console.print(f"Wrote {output}; its docs/README.md says how to run it.")
    return exported


def _describe(package: ModelPackage, exported: Exported, console: Console) -> None:
    manifest = package.manifest
    console.print(
        f"Model:  {manifest.name}, network {manifest.plan.network.name}, as {exported.format}"
    )
    if package.folds:
        listed = ", ".join(map(str, package.folds))
        console.print(f"Folds:  {listed}, all in one; --fold N writes one of them alone")
    if exported.difference is None:
        console.print("Check:  none, as asked")
    else:
        console.print(
            f"Check:  logits differ from torch's by {exported.difference:.1e} of the largest"
        )


def _show_comparison(comparison: BundleComparison, console: Console) -> None:
    table = Table()
    for title in ("", "medseg", "bundle"):
        table.add_column(title)
    for name in ("preparation", "labelling"):
        took = (getattr(way, name) for way in (comparison.medseg, comparison.bundle))
        table.add_row(f"{name}, s", *(f"{seconds:.2f}" for seconds in took))
    console.show(table)
    console.print(f"Equal:  {comparison.equal:.4%} of the voxels have the same label")
    for name, dice in comparison.dice.items():
        console.print(f"Dice:   {name}: {'in neither' if dice is None else f'{dice:.4f}'}")
