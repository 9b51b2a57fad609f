"""Whatever headers and names of files say of patients comes out nowhere.

Two words are planted, which nothing else holds: one in every field of the headers that is about a
patient, a visit or the people and places around it, one in the names of folders and files. Then
every byte below the output is searched, stored as it is or compressed, and all that was printed.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pyarrow import parquet
from pydicom import Dataset, dcmread

from dicom_phantom import Series, random_stored, save

HEADER, PLACE = "Qxheaderqx", "Qxplaceqx"
BIRTH, STUDY = "19310207", "20170309"
WORDS = {
    "PatientName": f"{HEADER}^Anna",
    "PatientID": f"{HEADER}-4711",
    "PatientBirthDate": BIRTH,
    "PatientSex": "F",
    "OtherPatientIDs": HEADER,
    "OtherPatientNames": HEADER,
    "PatientBirthName": HEADER,
    "PatientMotherBirthName": HEADER,
    "PatientAddress": HEADER,
    "PatientTelephoneNumbers": HEADER,
    "PatientComments": HEADER,
    "EthnicGroup": HEADER,
    "Occupation": HEADER,
    "AdditionalPatientHistory": HEADER,
    "MedicalAlerts": HEADER,
    "Allergies": HEADER,
    "IssuerOfPatientID": HEADER,
    "MilitaryRank": HEADER,
    "AccessionNumber": HEADER,
    "StudyID": HEADER,
    "StudyDate": STUDY,
    "SeriesDate": STUDY,
    "AcquisitionDate": STUDY,
    "ContentDate": STUDY,
    "StudyTime": "101112",
    "StudyDescription": HEADER,
    "SeriesDescription": HEADER,
    "ProtocolName": HEADER,
    "ReferringPhysicianName": HEADER,
    "PerformingPhysicianName": HEADER,
    "NameOfPhysiciansReadingStudy": HEADER,
    "PhysiciansOfRecord": HEADER,
    "OperatorsName": HEADER,
    "RequestingPhysician": HEADER,
    "RequestingService": HEADER,
    "InstitutionName": HEADER,
    "InstitutionAddress": HEADER,
    "InstitutionalDepartmentName": HEADER,
    "StationName": HEADER,
    "DeviceSerialNumber": HEADER,
    "ImageComments": HEADER,
    "ContrastBolusAgent": HEADER,
    "AdmittingDiagnosesDescription": HEADER,
    "RequestedProcedureDescription": HEADER,
    "PerformedProcedureStepDescription": HEADER,
    "PerformedProcedureStepID": HEADER,
    "PositionReferenceIndicator": HEADER,
    "FillerOrderNumberImagingServiceRequest": HEADER,
}
"""Not among them: Manufacturer, its model and BodyPartExamined. They tell of a scanner and of what
was scanned, rules ask for them, and `explain` shows them."""
REPEATED = {
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "IssuerOfPatientID",
    "OtherPatientNames",
    "PatientComments",
    "MedicalAlerts",
    "Allergies",
    "Occupation",
    "AdditionalPatientHistory",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyDescription",
    "ReferringPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "RequestingService",
    "ProcedureCodeSequence",
    "PositionReferenceIndicator",
}
"""What DICOM results repeat of the source: patient, study, frame of reference (PS3.3, C.7)."""
PRIVATE = {".medseg/ledger.sqlite", ".medseg/index.sqlite"}
"""The only files that may know where scans lie, for they must be found again."""
FORMATS = ("nifti", "nrrd", "dicom-seg", "rtstruct", "sr", "preview")
INLINE = """
import sys
from batch_stand_ins import InlinePool
from medseg_pipelines.batch import archive_run
from medseg_pipelines.batch.workers import case as case_work
from medseg_pipelines.cli import main

write = case_work.write_labels
def sometimes(labels, path, **more):
    if labels.grid.shape[2] == 5:
        raise RuntimeError("{header} could not be written to {place}")
    return write(labels, path, **more)

case_work.write_labels = sometimes
archive_run._pool = lambda _: InlinePool
main()
"""

END = "end of a command"
ONE_AFTER_ANOTHER = f"""
import json, sys
from medseg_pipelines.cli import main

for sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit:
        pass
    print("{END}")
"""


def tell_tale(k: int, ds: Dataset) -> Dataset:
    """The words that do not fit into a table: private, nested, broken."""
    ds.add_new(0x00291010, "LO", f"{HEADER} private")
    ds.private_block(0x0031, HEADER, create=True).add_new(1, "LO", HEADER)
    item = Dataset()
    item.RequestedProcedureDescription = item.ScheduledProcedureStepDescription = HEADER
    item.RequestedProcedureID = HEADER
    ds.RequestAttributesSequence = [item]
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = HEADER[:16], "99X", HEADER
    ds.ProcedureCodeSequence = [code]
    if k == 0:
        ds.PatientAge = "Q1Y"  # not an age, so that whoever quotes what is wrong is found out
    return ds


def write_words(folder: Path, *, slices: int = 6, seed: int = 0, drop: tuple[int, ...] = ()):
    """A series of which header, folder and files name the patient."""
    folder.mkdir(parents=True)
    stored = random_stored((slices, 9, 7), seed)
    series = Series(stored, tags=WORDS, pixel_spacing_mm=(14.0, 13.0), step_mm=np.array([0, 0, 20]))
    for k in range(slices):
        if k not in drop:
            save(tell_tale(k, series.slice(k)), folder / f"{PLACE}_{k:03d}.dcm")


@pytest.fixture
def archive(tmp_path):
    """Series: good, in a zip, with a gap, a scout, one that will fail; a NIfTI, garbage."""
    root = tmp_path / "root"
    write_words(root / f"{PLACE}^Anna" / BIRTH)
    write_words(root / "gap" / PLACE, seed=1, drop=(2,))
    write_words(root / "scout" / PLACE, seed=2, slices=2)
    write_words(tmp_path / "unpacked", seed=3)
    with zipfile.ZipFile(root / f"{PLACE}.zip", "w") as packed:
        for path in sorted((tmp_path / "unpacked").iterdir()):
            packed.write(path, f"{PLACE}/{path.name}")
    write_words(root / "fails" / PLACE, seed=4, slices=5)
    image = nib.Nifti1Image(np.zeros((9, 8, 6), np.float32), np.diag([14.0, 13, 20, 1]))
    image.header["descrip"] = HEADER.encode()
    image.header["aux_file"] = HEADER.encode()
    nib.save(image, root / f"{PLACE}.nii.gz")
    (root / f"{PLACE}-damaged.nii.gz").write_bytes(f"\x1f\x8b{HEADER}".encode("latin-1"))
    (root / f"{PLACE}.dcm").write_bytes(b"\0" * 128 + b"DICM" + HEADER.encode() * 20)
    return root


def forms(path: Path) -> bytes:
    """What a file holds, as it is and without its compression."""
    raw = path.read_bytes()
    parts = [raw, path.name.encode()]
    if path.name.endswith(".gz"):
        parts.append(gzip.decompress(raw))
    if path.suffix == ".parquet":
        parts.append(str(parquet.read_table(path).to_pydict()).encode())
    if path.suffix == ".sqlite":
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
            for table in tables:
                for row in _rows(database, table):
                    parts += [one for cell in row for one in _cell(cell)]
    if path.suffix == ".nrrd":
        head, _, body = raw.partition(b"\n\n")
        parts += [head, zlib.decompress(body, 31) if b"gzip" in head else body]
    return b"\n".join(parts)


def _rows(database: sqlite3.Connection, name: str) -> list[tuple]:
    try:
        return database.execute(f"SELECT * FROM '{name}'").fetchall()
    except sqlite3.OperationalError:  # an index, not a table
        return []


def _cell(cell: object) -> list[bytes]:
    plain = cell if isinstance(cell, bytes) else str(cell).encode(errors="surrogateescape")
    try:
        return [plain, zlib.decompress(plain)]
    except zlib.error:
        return [plain]


def files_with(output: Path, *words: str) -> set[str]:
    """Files below the output that hold one of the words, in capitals or not, or are called so."""
    return {
        path.relative_to(output).as_posix()
        for path in output.rglob("*")
        for content in [forms(path) if path.is_file() else path.name.encode()]
        if any(word.lower().encode() in content.lower() for word in words)
    }


def call(*arguments: object, code: str = "") -> str:
    """Run medseg in a process of its own; all that it and its children print, and its exit code."""
    program = ["-c", code] if code else ["-c", "from medseg_pipelines.cli import main; main()"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    return f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}"


def calls(*lines: tuple[object, ...]) -> list[str]:
    """Run commands in one process; what each prints, and at last what all say as errors."""
    words = json.dumps([[str(word) for word in line] for line in lines])
    told = call(words, code=ONE_AFTER_ANOTHER).split(END)
    assert len(told) == len(lines) + 1, told
    return told


def batch(archive, model, output, *more, code=""):
    formats = [word for form in FORMATS for word in ("--format", form)]
    return call(
        "batch",
        archive,
        "--model",
        model,
        "--output",
        output,
        *formats,
        "--anonymous-names",
        "--attempts",
        "1",
        *more,
        code=code,
    )


def looked_at(output: Path) -> list[str]:
    """All that is printed when people look at a batch."""
    told = calls(
        ("batch", "status", output, "--cases"),
        ("batch", "status", output, "--json", "--cases"),
        ("batch", "retry", output, "--failed"),
    )
    ends = {one["state"]: one["case"] for one in json.loads(told[1])["list"]}
    return told + calls(
        *(
            ("batch", "explain", output, case, *as_json)
            for case in ends.values()
            for as_json in ((), ("--json",))
        )
    )


def elements_with(dataset: Dataset, *words: str) -> set[str]:
    """Elements at the top that hold one of the words, in themselves or in their items."""
    return {
        element.keyword or str(element.tag)
        for element in dataset
        if any(word.lower() in str(element.value).lower() for word in words)
    }


@pytest.mark.slow
def test_no_word_about_a_patient_comes_out(archive, model, tmp_path):
    output, seen = tmp_path / "out", (HEADER, PLACE, BIRTH, STUDY)
    code = INLINE.format(header=HEADER, place=PLACE)
    told = [
        batch(archive, model, output, "--json-lines", code=code),
        batch(archive, model, output, "--dry-run"),
        *looked_at(output),
        batch(archive, model, output, code=code),
    ]
    assert told[0].endswith("exit code 1"), told[0]
    states = json.loads(call("batch", "status", output, "--json").split("\nexit code")[0])
    assert states["states"] == {"done": 1, "refused": 6, "failed": 1, "waiting": 0, "leased": 0}
    for text in told:
        assert not [word for word in seen if word.lower() in text.lower()], text
    results = {path.relative_to(output).as_posix() for path in output.rglob("*.dcm")}
    assert len(results) == 3
    assert files_with(output, HEADER) == results  # the search finds what is there
    assert files_with(output, PLACE) == PRIVATE
    assert files_with(output, BIRTH, STUDY) == PRIVATE | results  # a folder is called so
    for name in results:
        assert elements_with(dcmread(output / name), *seen) <= REPEATED
    assert (output / ".medseg").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_no_word_comes_out_of_workers_or_of_results_that_are_de_identified(
    archive, model, tmp_path
):
    output = tmp_path / "out"
    told = batch(archive, model, output, "--deidentify")
    assert "done" in told
    for text in (told, *looked_at(output)):
        assert not [one for one in (HEADER, PLACE, BIRTH, STUDY) if one.lower() in text.lower()]
    assert len(list(output.rglob("*.dcm"))) == 6
    assert not files_with(output, HEADER, STUDY)
    assert files_with(output, PLACE, BIRTH) <= PRIVATE
    uids = {
        str(dcmread(path, stop_before_pixels=True)[keyword].value)
        for path in archive.rglob(f"{PLACE}_*.dcm")
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    }
    for_people = {
        path: forms(path)
        for path in output.rglob("*")
        if path.is_file() and ".medseg" not in path.parts
    }
    assert not [
        path for path, content in for_people.items() if any(uid.encode() in content for uid in uids)
    ]
