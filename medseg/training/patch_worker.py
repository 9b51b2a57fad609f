"""A process that changes patches by a person's transforms and does nothing else.

    python -m medseg.training.patch_worker

Standard input gives the transforms, pickled by the training that started this process, and then
patches; each goes back changed. It ends when standard input does, so with the training, however
that ended.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import sys
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from medseg.errors import MedsegError, reason

_LENGTH = struct.Struct("<Q")


def send(target: BinaryIO, content: bytes) -> None:
    """Write bytes with their length before them."""
    target.write(_LENGTH.pack(len(content)))
    target.write(content)
    target.flush()


def receive(source: BinaryIO) -> bytes:
    """Bytes that :func:`send` wrote.

    Raises
    ------
    EOFError
        When the other process is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return _exactly(source, length)


def send_patch(target: BinaryIO, image: Tensor, label: Tensor) -> None:
    """Write the voxels of a patch, float32 and uint8."""
    target.writelines(tensor.numpy().data.cast("B") for tensor in (image, label))
    target.flush()


def receive_patch(source: BinaryIO, image: Tensor, label: Tensor) -> None:
    """Read what :func:`send_patch` wrote into a patch of the same shape.

    Raises
    ------
    EOFError
        When the other process is gone.
    """
    for tensor in (image, label):
        voxels = tensor.numpy().data.cast("B")
        if cast(Any, source).readinto(voxels) != len(voxels):
            raise EOFError


def _exactly(source: BinaryIO, length: int) -> bytes:
    content = source.read(length)
    if len(content) != length:
        raise EOFError
    return content


def main() -> None:
    """Change patches from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training
    torch.set_num_threads(1)
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # transforms may print
    try:
        augment = pickle.loads(receive(source))  # noqa: S301 - from the process that started this
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - another's code; it may raise anything
        send(target, json.dumps({"fault": reason(error)}).encode())
        return
    send(target, b"{}")
    try:
        while True:
            _change(augment, source, target)
    except (EOFError, BrokenPipeError):
        return


def _change(augment: Any, source: BinaryIO, target: BinaryIO) -> None:
    """One patch, or what went wrong with it."""
    asked = json.loads(receive(source))
    image = torch.empty(asked["shape"])
    label = torch.empty(asked["shape"][1:], dtype=torch.uint8)
    receive_patch(source, image, label)
    try:
        image, label = augment(image, label.long(), seed=asked["seed"])
    except MedsegError as error:
        send(target, json.dumps({"fault": str(error)}).encode())
        return
    send(target, b"{}")
    send_patch(target, image.contiguous(), label.to(torch.uint8).contiguous())


if __name__ == "__main__":
    main()
