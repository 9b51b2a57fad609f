"""A process that decodes frames and nothing else; run as a script by `decoder_pool`.

It knows no patient: bytes of one frame come in, values go out. Its memory is limited, so that
hostile bytes can end this process but not the one that reads the scan. It imports nothing of
medseg, so that it starts quickly, and what it needs at once, while headers are still being read.

    python decoder_worker.py TRANSFER_SYNTAX
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

MOST_MEMORY = 1 << 30
_RUN_LENGTHS = "1.2.840.10008.1.2.5"
_BYTE = 8

_Decoded = tuple[str, tuple[int, ...], bytes]


def main() -> None:
    """Decode frames from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reads the scan
    _limit_memory()
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # codecs may print
    _import_decoders(sys.argv[1])
    while head := source.read(8):
        options_length, frame_length = struct.unpack("<II", head)
        options = json.loads(source.read(options_length))
        _answer(target, options, source.read(frame_length))


def _limit_memory() -> None:
    """Let no decoder ask for more than 1 GiB, where the system can keep it from that."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        return


def _import_decoders(syntax: str) -> None:
    """Import pydicom's decoders, without what it would download test files with.

    Run lengths need none of it, and are decoded in less time than it takes.
    """
    absent: Any = None
    for name in ("requests", "tqdm"):
        sys.modules.setdefault(name, absent)
    if syntax == _RUN_LENGTHS:
        import rle  # noqa: F401
    else:
        import pydicom.pixels.decoders.base  # noqa: F401


def _answer(target: BinaryIO, options: dict[str, Any], frame: bytes) -> None:
    """Write the kind of the values, their shape and their bytes; or the kind of the failure."""
    try:
        grey = options["samples_per_pixel"] == 1 and options["bits_allocated"] in (8, 16)
        decode = _by_pydicom
        if grey and options["syntax"] == _RUN_LENGTHS:
            decode = _of_run_lengths
        elif grey and options.pop("precision", 0) > _BYTE:
            decode = _of_twelve_bits
        dtype, shape, content = decode(options, frame)
        head = {"dtype": dtype, "shape": shape, "length": len(content)}
    except Exception as error:  # noqa: BLE001 - decoders raise of every kind; the reader gets it
        content, head = b"", {"fault": type(error).__name__, "length": 0}
    line = json.dumps(head).encode()
    target.write(struct.pack("<I", len(line)) + line)
    target.write(content)
    target.flush()


def _of_run_lengths(options: dict[str, Any], frame: bytes) -> _Decoded:
    """Kind, shape and bytes of a grey RLE frame."""
    from rle.utils import decode_pixel_data

    shape = options["rows"], options["columns"]
    sign = "i" if options["pixel_representation"] else "u"
    bits = options["bits_allocated"]
    content = decode_pixel_data(
        frame, version=2, rows=shape[0], columns=shape[1], bits_allocated=bits
    )
    return f"<{sign}{bits // 8}", shape, bytes(content)


def _of_twelve_bits(options: dict[str, Any], frame: bytes) -> _Decoded:
    """Kind, shape and bytes of a grey, unsigned frame in 12 bits of JPEG Extended.

    pydicom does not let GDCM decode these. Loss may leave values beyond the bits that are stored;
    they become the nearest of those.
    """
    import gdcm
    import numpy as np

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((options["columns"], options["rows"], 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    kind = gdcm.TransferSyntax.GetTSType(options["syntax"])
    image.SetTransferSyntax(gdcm.TransferSyntax(kind))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    shape = options["rows"], options["columns"]
    values = np.frombuffer(content, "<u2").reshape(shape)
    return "<u2", shape, np.minimum(values, (1 << options["bits_stored"]) - 1).tobytes()


def _by_pydicom(options: dict[str, Any], frame: bytes) -> _Decoded:
    """Kind, shape and bytes of any frame."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(options.pop("syntax")))
    plugin = options.pop("plugin")
    options.pop("precision", None)
    array, _ = decoder.as_array(
        encapsulate([frame], has_bot=False), index=0, decoding_plugin=plugin, **options
    )
    return array.dtype.str, array.shape, array.tobytes()


if __name__ == "__main__":
    main()
