"""The processor of this machine."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def core_count() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1


def processor_name() -> str:
    """What the processor calls itself, such as ``"Intel(R) Xeon(R) Gold 6130"``."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:  # not on macOS or Windows
        text = ""
    line = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return line[1] if line else platform.processor() or platform.machine()
