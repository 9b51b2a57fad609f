"""One way each to read a folder of DICOM, as its own documentation shows; run as a child process.

    python benchmarks/rivals/readers.py READER

Reads requests, a line of JSON each (``path``, ``out``), and answers each with a line of JSON:
the volumes it left in ``out``, and what it was told could not be read. A reader that brings the
process down takes only its own answer with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Volumes = list[tuple[np.ndarray, np.ndarray]]
Answer = tuple[Volumes, list[str]]


def medseg_reader(folder: Path, out: Path) -> Answer:
    """Every stack that is listed, each read by itself."""
    from medseg.errors import MedsegError
    from medseg.reading.dicom.series import list_stacks, read_stack

    volumes: Volumes = []
    refused = []
    for stack in list_stacks(folder):
        try:
            scan = read_stack(stack)
        except MedsegError as error:
            refused.append(error.code)
        else:
            volumes.append((scan.voxels[0], scan.grid.affine))
    return volumes, refused


def simpleitk_reader(folder: Path, out: Path) -> Answer:
    """`ImageSeriesReader` for every series that GDCM lists."""
    import SimpleITK as sitk

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise ValueError("no series found")
    volumes: Volumes = []
    refused = []
    for uid in series:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))
        try:
            volumes += list(_of_itk(reader.Execute()))
        except RuntimeError as error:
            refused.append(_short(error))
    return volumes, refused


def _of_itk(image: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import SimpleITK as sitk

    size = image.GetDimension()
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = array[..., 0]
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (size, size))[:3, :3]
    affine[:3, :3] = direction * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    for part in array if size == 4 else [array]:
        yield part.T, LPS_TO_RAS @ affine


def monai_itk_reader(folder: Path, out: Path) -> Answer:
    """`monai.data.ITKReader` on the folder."""
    import itk  # noqa: F401 - its absence is told before MONAI's
    from monai.data import ITKReader

    reader = ITKReader()
    return _of_monai(*reader.get_data(reader.read(str(folder))))


def monai_pydicom_reader(folder: Path, out: Path) -> Answer:
    """`monai.data.PydicomReader` on the folder."""
    from monai.data import PydicomReader

    reader = PydicomReader()
    return _of_monai(*reader.get_data(reader.read(str(folder))))


def _of_monai(array: Any, meta: dict[str, Any]) -> Answer:
    values = np.asarray(array)
    affine = np.asarray(meta["affine"], float)
    if values.ndim == 4 and values.shape[-1] == 3:
        values = values[..., :1]
    parts = np.moveaxis(values, -1, 0) if values.ndim == 4 else [values]
    return [(part, affine) for part in parts], []


def highdicom_reader(folder: Path, out: Path) -> Answer:
    """`get_volume_from_series` for each series, `Image.get_volume` for each multi-frame file."""
    import highdicom
    from pydicom import dcmread

    groups: dict[str, list[Any]] = {}
    for path in sorted(folder.rglob("*")):
        ds = dcmread(path, force=True) if path.is_file() else {}
        if "PixelData" in ds:
            many = "NumberOfFrames" in ds
            groups.setdefault(str(path) if many else ds.SeriesInstanceUID, []).append(ds)
    volumes: Volumes = []
    refused = []
    for key, datasets in groups.items():
        try:
            if "NumberOfFrames" in datasets[0]:
                volume = highdicom.imread(key).get_volume()
            else:
                volume = highdicom.get_volume_from_series(datasets)
        except Exception as error:  # noqa: BLE001 - told to the parent, whatever it is
            refused.append(_short(error))
        else:
            values = volume.array if volume.array.ndim == 3 else volume.array[..., 0]
            volumes.append((values, LPS_TO_RAS @ volume.affine))
    return volumes, refused


def dicom2nifti_reader(folder: Path, out: Path) -> Answer:
    """`dicom2nifti.dicom_series_to_nifti` on the folder."""
    import dicom2nifti
    import nibabel as nib

    path = out / "dicom2nifti.nii"
    dicom2nifti.dicom_series_to_nifti(folder, path)
    return list(_of_nifti(nib.load(path, mmap=False))), []


def dcm2niix_reader(folder: Path, out: Path) -> Answer:
    """The program; its resampled extra files (``_Tilt``, ``_Eq``) are left out."""
    import nibabel as nib

    program = _dcm2niix()
    done = subprocess.run(
        [program, "-b", "n", "-z", "n", "-f", "v_%s_%p", "-o", str(out), str(folder)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    paths = [path for path in sorted(out.glob("*.nii")) if not {"Tilt", "Eq"} & _name_parts(path)]
    volumes = [volume for path in paths for volume in _of_nifti(nib.load(path, mmap=False))]
    errors = [line for line in done.stdout.splitlines() if "error" in line.lower()]
    if done.returncode or not volumes:
        errors = errors or [f"exit code {done.returncode}"]
        return volumes, [_short(errors[-1])]
    return volumes, []


def _dcm2niix() -> str:
    """The program of the package, else of the system."""
    try:
        import dcm2niix
    except ImportError:
        program = shutil.which("dcm2niix")
        if program is None:
            raise
        return program
    return str(dcm2niix.bin)


def _name_parts(path: Path) -> set[str]:
    return set(path.stem.split("_"))


def _of_nifti(image: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    array = np.asarray(image.dataobj)
    if array.dtype.names:
        array = array[array.dtype.names[0]]
    array = array.reshape((*array.shape[:3], -1))
    for n in range(array.shape[3]):
        yield array[..., n], image.affine


def _short(error: object) -> str:
    message = re.sub(r"/\S*/", "", " ".join(str(error).split()))  # no paths
    name = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    return (name + message)[:160]


READERS: dict[str, Callable[[Path, Path], Answer]] = {
    "medseg": medseg_reader,
    "SimpleITK": simpleitk_reader,
    "MONAI ITKReader": monai_itk_reader,
    "MONAI PydicomReader": monai_pydicom_reader,
    "highdicom": highdicom_reader,
    "dicom2nifti": dicom2nifti_reader,
    "dcm2niix": dcm2niix_reader,
}


def answer(reader: Callable[[Path, Path], Answer], path: Path, out: Path) -> dict[str, Any]:
    """What the reader made of a folder; the volumes lie in `out`."""
    started = time.perf_counter()
    try:
        volumes, refused = reader(path, out)
    except ImportError as error:
        return {"missing": error.name}
    except Exception as error:  # noqa: BLE001 - told to the parent, whatever it is
        volumes, refused = [], [getattr(error, "code", "") or _short(error)]
    seconds = time.perf_counter() - started
    names = []
    for n, (values, affine) in enumerate(volumes):
        np.save(out / f"{n}.npy", np.ascontiguousarray(values))
        names.append({"file": f"{n}.npy", "affine": np.asarray(affine).tolist()})
    resampled = any({"Tilt", "Eq"} & _name_parts(path) for path in out.glob("*.nii"))
    return {"volumes": names, "refused": refused, "seconds": seconds, "resampled": resampled}


def main() -> None:
    """Answer requests until there are none; what libraries print goes to the error stream."""
    warnings.simplefilter("ignore")
    sys.path.append(str(ROOT))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        reply = answer(READERS[sys.argv[1]], Path(request["path"]), Path(request["out"]))
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
