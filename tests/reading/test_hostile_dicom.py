"""Hostile DICOM: a typed refusal within two seconds and little memory, and the process goes on."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_phantom import Series, random_stored, save
from medseg.errors import InputError, MedsegError, ReadError
from medseg.reading import read_scan
from medseg.reading.dicom import decoder_pool
from medseg.reading.dicom.pixels import read_voxels
from medseg.reading.dicom.series import list_stacks, read_stack

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
LIMIT_SECONDS = 20.0  # of work on a slow machine; what is not refused works for minutes or for ever


def worked_seconds():
    """Seconds that this process and those it waited for have worked, however busy the machine."""
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + child.ru_utime + child.ru_stime


def one_slice(shape=(1, 64, 48), **tags):
    return Series(random_stored(shape), tags={"BitsStored": 12, "HighBit": 11, **tags}).slice(0)


def compressed(syntax, **lies):
    ds = one_slice()
    ds.compress(syntax, generate_instance_uid=False)
    for keyword, value in lies.items():
        setattr(ds, keyword, value)
    return ds


def deflated_bomb(path):
    ds = one_slice()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(ds, path)
    whole = path.read_bytes()
    body = len(whole) - len(_deflated_part(whole))
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [packer.compress(zlib.decompress(whole[body:], -zlib.MAX_WBITS)[:-6200])]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(272)]
    path.write_bytes(whole[:body] + b"".join(parts) + packer.flush())
    assert path.stat().st_size < 300_000


def _deflated_part(whole):
    (length,) = struct.unpack("<I", whole[140:144])
    return whole[144 + length :]


def huge_frames(path):
    ds = one_slice()
    ds.Rows = ds.Columns = 65535
    ds.NumberOfFrames = 1000
    save(ds, path)


def huge_slice(path):
    ds = one_slice()
    ds.Rows = ds.Columns = 65535
    save(ds, path)


def lying_jpeg2000(path):
    save(compressed(JPEG2000Lossless, Rows=60000, Columns=65535), path)


def other_jpeg2000(path):
    save(compressed(JPEG2000Lossless, Rows=65), path)


def lying_jpegls(path):
    save(compressed(JPEGLSLossless, Rows=60000, Columns=60000), path)


def lying_rle(path):
    save(compressed(RLELossless, Rows=60000, Columns=60000), path)


def rle_with_wild_offsets(path):
    ds = compressed(RLELossless)
    frame = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    frame[4:12] = struct.pack("<2I", 0xFFFFFFF0, 0xFFFFFFFF)
    ds.PixelData = encapsulate([bytes(frame)])
    save(ds, path)


def nested_sequences(path):
    """20,000 sequences of undefined length in one another, before the pixels."""
    save(one_slice(), path)
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HH", 0x0028, 0x0002))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHI", 0x0018, 0x9004, b"SQ", 0, 0xFFFFFFFF)
    path.write_bytes(whole[:at] + (sequence + item) * 20_000 + whole[at:])


def nested_groups(path):
    """The same where functional groups are looked for, lengths defined so that they parse late."""
    save(one_slice(NumberOfFrames=1), path)
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    tag = struct.pack("<HH", 0x5200, 0x9230)
    depth, each = 20_000, 20  # bytes of a sequence's and an item's tag and length
    nest = b"".join(
        tag
        + struct.pack("<2sHI", b"SQ", 0, left * each + 8)
        + struct.pack("<HHI", 0xFFFE, 0xE000, left * each)
        for left in reversed(range(depth))
    )
    path.write_bytes(whole[:at] + nest + whole[at:])


def bogus_length(path):
    save(one_slice(), path)
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HH", 0x0020, 0x0032))
    lie = struct.pack("<HH2sHI", 0x0020, 0x0032, b"UN", 0, 0xFFFFFFF0)
    path.write_bytes(whole[:at] + lie + whole[at:])


def nonsense_bits(path):
    ds = one_slice()
    ds.BitsAllocated = 0
    save(ds, path)


BOMBS = (
    deflated_bomb,
    huge_frames,
    huge_slice,
    lying_jpeg2000,
    other_jpeg2000,
    lying_jpegls,
    lying_rle,
    rle_with_wild_offsets,
    nested_sequences,
    nested_groups,
    bogus_length,
    nonsense_bits,
)


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "in a series"])
def test_bombs_are_refused_in_time(tmp_path, bomb, beside):
    if beside:
        Series(random_stored((3, 64, 48))).write(tmp_path)
    bomb(tmp_path / "bomb")
    start = worked_seconds()
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path)
    assert worked_seconds() - start < LIMIT_SECONDS
    assert caught.value.code.isupper()
    assert "CANARY" not in str(caught.value)


MEASURE = """
import sys
from pathlib import Path
from medseg.errors import MedsegError
from medseg.reading import read_scan
try:
    read_scan(sys.argv[1])
except MedsegError as error:
    peak = next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
    print(error.code, peak.split()[1])
"""
"""The peak of this process alone: ru_maxrss also counts what the parent held when it forked."""


@pytest.mark.parametrize("bomb", [deflated_bomb, lying_jpeg2000, lying_rle, nested_sequences])
def test_bombs_stay_below_a_gibibyte(tmp_path, bomb):
    """Under a hard limit on memory too, which would abort the interpreter inside a decoder."""
    bomb(tmp_path / "bomb")

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=limited,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    code, kibibytes = done.stdout.decode().split()
    assert code.isupper()
    assert int(kibibytes) < 1 << 20


def test_the_next_series_is_read_after_a_decoder_died(tmp_path):
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
    save(compressed(JPEG2000Lossless, Rows=60000, Columns=65535), tmp_path / "bad" / "1")
    save(compressed(JPEG2000Lossless), tmp_path / "good" / "1")
    with pytest.raises(MedsegError):
        read_scan(tmp_path / "bad")
    assert read_scan(tmp_path / "good").voxels.shape == (1, 48, 64, 1)


def test_a_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    script = tmp_path / "hang.py"
    script.write_text("import time; time.sleep(60)")
    decoder_pool.end_prewarmed()
    monkeypatch.setattr(decoder_pool, "_SCRIPT", script)
    monkeypatch.setattr(decoder_pool, "_START_SECONDS", 0.3)
    (tmp_path / "ct").mkdir()
    save(compressed(JPEG2000Lossless), tmp_path / "ct" / "1")
    with pytest.raises(MedsegError, match="too long"):
        read_scan(tmp_path / "ct")


def test_decoders_end_when_reading_stops(tmp_path):
    for k in range(6):
        save(compressed(JPEG2000Lossless, ImagePositionPatient=[0, 0, k]), tmp_path / str(k))
    (stack,) = [one for one in list_stacks(tmp_path) if len(one.frames) == 1][:1]

    def stop(done, total, message):
        raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        read_voxels(stack.frames, progress=stop)
    assert decoders() == 0


def decoders():
    """How many decoding processes this process has."""
    command = ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "args="]
    children = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
    return children.count(b"decoder_worker")


def test_decoders_wait_for_a_listed_series_but_not_long(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder_pool, "_UNUSED_SECONDS", 1.0)
    decoder_pool.end_prewarmed()
    for k in range(2):
        save(compressed(JPEG2000Lossless, ImagePositionPatient=[0, 0, k]), tmp_path / str(k))
    list_stacks(tmp_path)
    assert decoders() > 0
    deadline = time.monotonic() + 30
    while decoders() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert decoders() == 0


def test_no_decoder_waits_for_an_uncompressed_series(tmp_path):
    decoder_pool.end_prewarmed()
    Series(random_stored((3, 64, 48))).write(tmp_path)
    list_stacks(tmp_path)
    assert decoders() == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_leaves_the_decoders_to_its_parent(tmp_path):
    decoder_pool.end_prewarmed()
    save(compressed(JPEG2000Lossless), tmp_path / "1")
    (stack,) = list_stacks(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(len(decoder_pool._warm_pool.take()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert decoders() == 1
    assert read_stack(stack).voxels.shape == (1, 48, 64, 1)
    assert decoders() == 0


@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless, RLELossless, JPEGLSLossless])
def test_truncation_anywhere(tmp_path, syntax):
    """Of the last of three slices; the others stay whole. Never any voxels."""
    series = Series(random_stored((3, 64, 48)))
    paths = series.write(tmp_path)
    if syntax:
        ds = dcmread(paths[2])
        ds.compress(syntax, generate_instance_uid=False)
        save(ds, paths[2])
    whole = paths[2].read_bytes()
    needed = len(whole) - (16 if syntax else 0)  # an encapsulated file ends in delimiters
    step = 41 if syntax is None else 613
    for length in range(step // 2, needed, step):
        paths[2].write_bytes(whole[:length])
        with pytest.raises(MedsegError):
            read_scan(tmp_path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_rows_and_columns_exchanged_are_noticed(tmp_path, syntax):
    """The product is right, so a decoder that trusts the header would shear the pixels."""
    series = Series(random_stored((2, 64, 48)))
    for path in series.write(tmp_path):
        ds = dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        ds.Rows, ds.Columns = ds.Columns, ds.Rows
        save(ds, path)
    with pytest.raises(ReadError, match="cannot be decoded"):
        read_scan(tmp_path)


def test_truncation_at_every_single_byte(tmp_path):
    paths = Series(random_stored((2, 4, 3))).write(tmp_path)
    whole = paths[1].read_bytes()
    for length in range(len(whole)):
        paths[1].write_bytes(whole[:length])
        with pytest.raises(MedsegError):
            read_scan(tmp_path)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_cut_file_without_preamble_is_not_passed_over(tmp_path, implicit):
    """The last slice: without it the others would be a volume, and a shorter one."""
    series = Series(random_stored((3, 8, 6)))
    for k in range(3):
        ds = series.slice(k)
        del ds.file_meta
        ds.save_as(tmp_path / str(k), implicit_vr=implicit, little_endian=True)
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())
    whole = (tmp_path / "2").read_bytes()
    for length in range(len(whole) - 1, 0, -13):
        (tmp_path / "2").write_bytes(whole[:length])
        with pytest.raises(MedsegError):
            read_scan(tmp_path)


@pytest.mark.parametrize(
    "uid", ["../../../etc/passwd", "1.2\0.3", "/abs", "9" * 300, "1.2;rm -rf", "1\x1b[31m.2", "é"]
)
def test_hostile_uids_are_only_text(tmp_path, uid):
    series = Series(random_stored((2, 5, 4)))
    for k in range(2):
        ds = series.slice(k)
        for keyword in ("SeriesInstanceUID", "SOPClassUID", "FrameOfReferenceUID"):
            ds[keyword]._value = uid if keyword != "SOPClassUID" else ds.SOPClassUID
        save(ds, tmp_path / str(k))
    before = set(tmp_path.rglob("*"))
    (stack,) = list_stacks(tmp_path)
    assert "\x1b" not in stack.describe()
    assert "\0" not in stack.describe()
    assert len(stack.describe()) < 250
    assert np.array_equal(read_stack(stack).voxels[0], series.values())
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_flipped_bytes_never_end_the_process(tmp_path, syntax):
    random = np.random.default_rng(1)
    ds = compressed(syntax)
    save(ds, tmp_path / "1")
    whole = (tmp_path / "1").read_bytes()
    start = len(whole) - len(ds.PixelData)
    for _ in range(6):
        content = bytearray(whole)
        for at in random.integers(start, len(whole), 3):
            content[at] = random.integers(256)
        (tmp_path / "1").write_bytes(content)
        with suppress(MedsegError):
            assert read_scan(tmp_path).voxels.shape == (1, 48, 64, 1)


def test_an_unknown_transfer_syntax_is_refused(tmp_path):
    ds = one_slice()
    save(ds, tmp_path / "1")
    whole = (tmp_path / "1").read_bytes()
    plain = ds.file_meta.TransferSyntaxUID.encode()
    (tmp_path / "1").write_bytes(whole.replace(plain, b"1.2.3.4.5.6.7.8.9.1"[: len(plain)]))
    with pytest.raises(InputError):
        read_scan(tmp_path)


def test_a_header_alone_is_not_an_image(tmp_path):
    ds = Dataset()
    ds.PatientName = "CANARY"
    ds.save_as(tmp_path / "1", implicit_vr=True, little_endian=True)
    with pytest.raises(MedsegError) as caught:
        read_scan(tmp_path)
    assert "CANARY" not in str(caught.value)
