"""`medseg batch` over a generated hospital and over real series; against other ways to do it.

    python benchmarks/batch.py [--count 200] [--sample 12] [--repeat 3] [--model hippocampus-mr]

1. What becomes of each of 200 series in ten vendors' styles, 10 % of them bad in ten ways: the code
   of each is known beforehand. The same for the real series of ../shared/data, where a batch must
   say what reading and segmenting each series by itself says.
2. The same archive again: seconds for each finished series; nothing may change.
3. Seconds for each further series, and for all: a batch (reading, network and writing overlap),
   one with a worker for each core, one call after another of one loaded predictor, and a fresh
   process for each series. They take turns; medians.

The network of 1 is tiny and not trained, for it is the outcomes that count; 3 has --model.
Writes results/batch.md and .json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from rivals.many_cases import WAYS

from hospital.archive import Expected, match, write_hospital
from medseg.discovery import ScanSource, find_scans
from medseg.errors import MedsegError
from medseg.inference import Predictor
from medseg.reading import read_scan
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from toy_model import tiny_model

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
REAL = (
    "dicom_vendor_qa",
    "dicom2nifti_tests",
    "dicom_seg_rtstruct",
    "hippocampus_dicom_crops",
    "ct_mr_organs/example_ct_dicom",
)
OPTIONS = BatchOptions(device="cpu", min_slices=1)
WORDS = {
    "batch": "medseg batch",
    "workers": "medseg batch, a worker for each core",
    "loop": "one call after another",
    "processes": "a process for each",
}


def outcomes(root: Path, count: int) -> dict[str, Any]:
    """Every series of a generated hospital: what was expected and what the ledger says."""
    expected = write_hospital(root / "hospital", count=count)
    model = tiny_model(root / "tiny").folder
    tally = run_batch(root / "hospital", model=model, output=root / "out", options=OPTIONS)
    rows = _rows(root / "out")
    found = [(Path(row.scan.path), row.scan.series, _code(row)) for row in rows]
    pairs, missing, surplus = match(expected, found)
    return {
        "series": count,
        "seconds": tally.seconds,
        "kinds": list(_by_kind(pairs)),
        "wrong": sum(one.code != code for one, code in pairs),
        "without_a_row": len(missing),
        "rows_without_a_series": len(surplus),
        "again": again(root, count),
    }


def _by_kind(pairs: Sequence[tuple[Expected, str]]) -> Iterator[dict[str, Any]]:
    for kind in dict.fromkeys(one.kind for one, _ in sorted(pairs, key=lambda pair: pair[0].code)):
        codes = [(one.code, code) for one, code in pairs if one.kind == kind]
        found = Counter(code or "done" for _, code in codes)
        yield {
            "kind": kind,
            "series": len(codes),
            "expected": codes[0][0] or "done",
            "found": dict(found),
            "wrong": sum(a != b for a, b in codes),
        }


def again(root: Path, count: int, repeat: int = 3) -> dict[str, Any]:
    """A run over an archive that is done: milliseconds for each series, and what changed."""
    before = _tree(root / "out")
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        run_batch(root / "hospital", model=root / "tiny", output=root / "out", options=OPTIONS)
        seconds.append(time.perf_counter() - start)
    return {
        "ms_per_series": 1e3 * statistics.median(seconds) / count,
        "changed_files": len(set(before.items()) ^ set(_tree(root / "out").items())),
    }


def real(root: Path) -> list[dict[str, Any]]:
    """Real series: what a batch says of each, held against reading each by itself."""
    return [
        _real(root / f"real-{number}", DATA / name, root / "tiny")
        for number, name in enumerate(REAL)
        if (DATA / name).is_dir()
    ]


def _real(output: Path, archive: Path, model: Path) -> dict[str, Any]:
    predictor = Predictor.load(model, device="cpu")
    alone = {
        (str(source.path), source.series_uid): _alone(predictor, source)
        for source in find_scans(archive, pictures=True)
    }
    run_batch(archive, model=model, output=output, options=OPTIONS)
    rows = _rows(output)
    differ = [
        {"alone": alone[place], "batch": _code(row)}
        for row in rows
        if (place := (row.scan.path, row.scan.series)) in alone and alone[place] != _code(row)
    ]
    found = Counter(_code(row) or "done" for row in rows)
    return {
        "archive": archive.name,
        "series": len(rows),
        "read_alone": len(alone),
        "found": dict(found.most_common()),
        "differ": differ,
    }


def _alone(predictor: Predictor, source: ScanSource) -> str:
    """What becomes of one series when nothing but the library is called."""
    try:
        scan = read_scan(source.path, series=source.series_uid or None)
        scan.check_finite()
        predictor.predict(scan)
    except MedsegError as error:
        return error.code
    return ""


def rivals(root: Path, model: str, sample: int, size: float, repeat: int) -> dict[str, Any]:
    """Seconds of three ways for the same good series; they take turns."""
    write_hospital(root / "sample", count=sample, bad=0.0, seed=7, size=size)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(repeat):
        for way in WAYS:
            runs[way].append(_timed(way, root / "sample", model, root / f"{way}-{turn}"))
            print(f"{way}: {runs[way][-1]['ended'][-1]:.1f} s", flush=True)
    ways = {way: _medians(runs[way]) for way in WAYS}
    return {
        "model": model,
        "series": sample,
        "size": size,
        "repeat": repeat,
        "cores": os.cpu_count(),
        "ways": ways,
    }


def _timed(way: str, archive: Path, model: str, output: Path) -> dict[str, Any]:
    script = HERE / "rivals" / "many_cases.py"
    done = subprocess.run(
        [sys.executable, str(script), way, str(archive), model, str(output)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RuntimeError(f"{way}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    def of(take: Any) -> float:
        return statistics.median(take(one["ended"], one["cpu"]) for one in runs)

    return {
        "seconds": of(lambda ended, _: ended[-1]),
        "seconds_per_further_series": of(
            lambda ended, _: (ended[-1] - ended[0]) / (len(ended) - 1)
        ),
        "processor_seconds": of(lambda _, cpu: cpu),
    }


def _rows(output: Path) -> list[Row]:
    with Ledger.of(output) as ledger:
        return ledger.rows()


def _code(row: Row) -> str:
    return "" if row.state == "done" else row.code or row.state


def _tree(output: Path) -> dict[str, str]:
    """Digest and time of change of every result, and the rows of the ledger."""
    files = {
        str(path): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in output.rglob("*")
        if path.is_file() and ".medseg" not in path.parts
    }
    return files | {row.case: repr(row) for row in _rows(output)}


def tables(found: dict[str, Any]) -> str:
    """Markdown."""
    one, again = found["generated"], found["generated"]["again"]
    lines = ["| generated series | count | expected | found | wrong |", "|---|---|---|---|---|"]
    for kind in one["kinds"]:
        codes = ", ".join(f"{code} {count}" for code, count in kind["found"].items())
        cells = (kind["kind"], kind["series"], kind["expected"], codes, kind["wrong"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    told = (
        f"{one['series']} series in {one['seconds']:.0f} s: {one['wrong']} wrong,"
        f" {one['without_a_row']} without a row, {one['rows_without_a_series']} rows without a"
        f" series. Again: {again['ms_per_series']:.2f} ms for each finished series,"
        f" {again['changed_files']} files or rows changed."
    )
    lines += [
        "",
        told,
        "",
        "| real series | rows | found | differ from each by itself |",
        "|---|---|---|---|",
    ]
    for row in found["real"]:
        codes = ", ".join(f"{code} {count}" for code, count in row["found"].items())
        lines.append(f"| {row['archive']} | {row['series']} | {codes} | {len(row['differ'])} |")
    return "\n".join([*lines, "", *_rival_lines(found["rivals"])]) + "\n"


def _rival_lines(found: dict[str, Any]) -> Iterator[str]:
    ours = found["ways"]["batch"]
    yield (
        f"{found['series']} good series (size {found['size']}), {found['model']}, CPU with"
        f" {found['cores']} cores, medians of {found['repeat']}:"
    )
    yield ""
    yield "| way | seconds for each further series | of ours | all seconds | of ours | CPU s |"
    yield "|---|---|---|---|---|---|"
    for way, took in found["ways"].items():
        each, whole = took["seconds_per_further_series"], took["seconds"]
        yield (
            f"| {WORDS[way]} | {each:.2f} | {each / ours['seconds_per_further_series']:.2f} x"
            f" | {whole:.1f} | {whole / ours['seconds']:.2f} x | {took['processor_seconds']:.0f} |"
        )


def main() -> None:
    """Run all, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--size", type=float, default=1.6)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-batch-") as name:
        root = Path(name)
        found = {"generated": outcomes(root, arguments.count), "real": real(root)}
        found["rivals"] = rivals(
            root, arguments.model, arguments.sample, arguments.size, arguments.repeat
        )
    text = tables(found)
    print(text)
    (arguments.results / "batch.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.results / "batch.md").write_text(text)


if __name__ == "__main__":
    main()
