"""A real Orthanc on loopback: started on free ports, gone with the process that started it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGINS = Path("/usr/share/orthanc/plugins")
_LIFE_S = 1800


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def guard(signal_name):
    """What to put before a command so that it ends with the process that started it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, "--"] if setpriv else []


@dataclass
class Orthanc:
    """Its REST interface, for filling and looking."""

    http_port: int
    dicom_port: int
    ae_title: str = "ORTHANC"

    @property
    def dicomweb(self):
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def ask(self, path, *, data=None, method=None):
        body = json.dumps(data).encode() if isinstance(data, dict) else data
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}", data=body, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith((b"{", b"[")) else text

    def fill(self, folder):
        for path in sorted(Path(folder).rglob("*.dcm")):
            self.ask("/instances", data=path.read_bytes())

    def clear(self):
        for patient in self.ask("/patients"):
            self.ask(f"/patients/{patient}", method="DELETE")

    def knows(self, ae_title, port):
        """Let it send (C-MOVE) to a listener."""
        entry = {"AET": ae_title, "Host": "127.0.0.1", "Port": port}
        self.ask(f"/modalities/{ae_title.lower()}", data=entry, method="PUT")

    def instances(self, modality):
        """Paths of the objects of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}}
        return self.ask("/tools/find", data=query)

    def file(self, instance):
        return self.ask(f"/instances/{instance}/file")


def _config(folder, http_port, dicom_port):
    return {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomCheckModalityHost": False,
        "UnknownSopClassAccepted": False,
        "OverwriteInstances": False,
        "StableAge": 1,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "ConcurrentJobs": 2,
        "HttpThreadsCount": 4,
        "DicomThreadsCount": 2,
    }


def _start(folder):
    http_port, dicom_port = free_port(), free_port()
    config = folder / "orthanc.json"
    config.write_text(json.dumps(_config(folder, http_port, dicom_port)))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen(
            [*guard("TERM"), "timeout", str(_LIFE_S), *guard("KILL"), PROGRAM, config],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    orthanc = Orthanc(http_port, dicom_port)
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            orthanc.ask("/system")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return process, orthanc
    process.kill()
    process.wait()
    return None


def started(folder):
    """The process and its interface; skips the test without the packages."""
    if not PROGRAM.exists() or not (PLUGINS / "libOrthancDicomWeb.so").exists():
        pytest.skip("no Orthanc here: apt-get install orthanc orthanc-dicomweb dcmtk dicom3tools")
    for number in range(3):  # another program may take a free port first
        (folder / str(number)).mkdir()
        both = _start(folder / str(number))
        if both is not None:
            return both
    pytest.fail("Orthanc does not start; see its log")
    return None
