"""A model in, a file for other programs out."""

from __future__ import annotations

import time
from pathlib import Path

from medseg.errors import Cancelled
from medseg.model_package import Exported, export_model, find_package
from medseg.workflows.outputs import check_file
from medseg_pipelines.console import Console, duration


def export_file(
    name_or_folder: str | Path,
    *,
    output: Path,
    opset: int | None = None,
    check: bool = True,
    console: Console,
) -> Exported:
    """Write a model's network as ONNX or for ``torch.export``, and say what the file takes.

    Parameters
    ----------
    name_or_folder : str or Path
        A shipped model's name, or a package folder.
    output : Path
        Ends in ``.onnx`` or ``.pt2``.
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
    plan = package.manifest.plan
    try:
        with console.progress("exporting") as progress:
            exported = export_model(package, output, opset=opset, check=check, progress=progress)
    except Cancelled as stop:
        raise Cancelled("nothing was written; run the same command again") from stop
    patch = " x ".join(str(n) for n in plan.patch)
    console.print(
        f"Model:  {package.manifest.name}, network {plan.network.name}, as {exported.format}"
    )
    console.print(
        f"Input:  any number of patches of {len(plan.channels)} x {patch} voxels, no others"
    )
    if exported.difference is None:
        console.print("Check:  none, as asked")
    else:
        console.print(
            f"Check:  logits differ from torch's by {exported.difference:.1e} of the largest"
        )
    console.print(f"Wrote {exported.path} in {duration(time.monotonic() - start)}.")
    return exported
