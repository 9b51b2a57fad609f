"""Small servers on loopback that misbehave as told, for a bounded time."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

STUDY, SERIES = "1.2.3", "1.2.3.4"


def broken_off(connection):
    """Close a connection with a reset instead of a goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.close()


@dataclass
class FakeWeb:
    """A DICOMweb service with one series; `plan` says what happens to each request in turn.

    A number is an HTTP status; "good" answers; "silent" does not; "reset" breaks off after the
    headers and `cut` bytes; "short" ends the body there as if all were well; "endless" never ends;
    "other" gives another object than was asked for; "page" is HTML.
    """

    objects: dict[str, Path] = field(default_factory=dict)
    study: str = STUDY
    series: str = SERIES
    counted: int | None = None
    plan: list[object] = field(default_factory=list)
    cut: int = 0
    asked: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def behaviour(self):
        return self.plan.pop(0) if self.plan else "good"

    def stored(self):
        """Answer to STOW: refused for the next of `refusals`, else stored."""
        if not self.refusals:
            return _json({})
        reason = {"vr": "US", "Value": [self.refusals.pop(0)]}
        return _json({"00081198": {"vr": "SQ", "Value": [{"00081197": reason}]}})

    def answer(self, path):
        """Body and type of a good answer."""
        parts = path.split("?")[0].strip("/").split("/")
        if parts[-1] == "series":
            count = len(self.objects) if self.counted is None else self.counted
            return _json(
                [
                    {
                        "0020000D": {"vr": "UI", "Value": [self.study]},
                        "0020000E": {"vr": "UI", "Value": [self.series]},
                        "00201209": {"vr": "IS", "Value": [count]},
                    }
                ]
            )
        if parts[-1] == "instances":
            return _json([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in self.objects])
        return _part(self.objects.get(parts[-1]))


def _json(value):
    return json.dumps(value).encode(), "application/dicom+json"


def _part(path):
    content = path.read_bytes() if path else b""
    head = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"
    return head + content + b"\r\n--frontier--\r\n", (
        'multipart/related; type="application/dicom"; boundary=frontier'
    )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        fake = self.server.fake
        fake.asked.append(self.path)
        fake.seen.update(self.headers.items())
        self._behave(fake, fake.behaviour(), *fake.answer(self.path))

    def do_POST(self):
        fake = self.server.fake
        fake.asked.append(self.path)
        self._drain()
        self._behave(fake, fake.behaviour(), *fake.stored())

    def _drain(self):
        """Read the body."""
        if "Content-Length" in self.headers:
            self.rfile.read(int(self.headers["Content-Length"]))
            return
        while size := int(self.rfile.readline().strip() or b"0", 16):
            self.rfile.read(size + 2)
        self.rfile.readline()

    def _behave(self, fake, what, body, kind):
        if isinstance(what, int):
            self.send_error(what)
        elif what == "silent":
            self.server.over.wait(20)
            self.close_connection = True
        elif what == "endless":
            self._endless(kind)
        elif what in ("reset", "short"):
            self._cut(what, body[: fake.cut], len(body), kind)
        else:
            if what == "page":
                body, kind = b"<html>welcome</html>", "text/html"
            if what == "other":
                asked = self.path.rsplit("/", 1)[-1]
                body, kind = _part(next(one for uid, one in fake.objects.items() if uid != asked))
            self._send(body, kind)

    def _send(self, body, kind, length=None):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _cut(self, what, body, length, kind):
        self._send(body, kind, length if what == "reset" else len(body))
        if what == "reset":
            self.close_connection = True
            self.wfile.flush()
            broken_off(self.connection)

    def _endless(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while not self.server.over.is_set():
                self.wfile.write(b"\0" * 65536)


@contextlib.contextmanager
def fake_web(**options):
    """A `FakeWeb` that runs."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.over = threading.Event()
    server.fake = FakeWeb(**options)
    server.fake.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.fake
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextlib.contextmanager
def fake_tcp(talk):
    """A port where `talk(connection, over)` is what happens to each connection."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)

        def accept():
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    threading.Thread(target=talk, args=(connection, over), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join(10)


def never_answers(connection, over):
    with connection:
        over.wait(20)


def hangs_up(connection, over):
    del over
    broken_off(connection)


@contextlib.contextmanager
def fake_scp(*, title="PEER", classes=(CTImageStorage,), store=None, find=None):
    """A DIMSE peer of pynetdicom; `store` and `find` handle what comes."""
    entity = AE(title)
    entity.require_called_aet = True
    entity.add_supported_context(Verification)
    handlers = []
    for one in classes:
        entity.add_supported_context(one)
    if store is not None:
        handlers.append((evt.EVT_C_STORE, store))
    if find is not None:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers.append((evt.EVT_C_FIND, find))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
