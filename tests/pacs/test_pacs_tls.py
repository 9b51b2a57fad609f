"""Encrypted connections, with certificates made on the spot; strangers are told why not."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medseg_pipelines.pacs.client import connect
from medseg_pipelines.pacs.errors import PeerError
from medseg_pipelines.pacs.listener import listening
from medseg_pipelines.pacs.settings import Allow, Own, Peer, Retry, Tls

QUICK = Retry(attempts=1, timeout_s=2.0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two machines with a certificate each: "ours", and "other" that nobody trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "other"):
        subprocess.run(
            [
                openssl,
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                folder / f"{name}.key",
                "-out",
                folder / f"{name}.pem",
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def of(name="", trusted="ours"):
        shown = {"certificate": f"{folder}/{name}.pem", "key": f"{folder}/{name}.key"}
        return Tls(**(shown if name else {}), authorities=f"{folder}/{trusted}.pem")

    return of


@pytest.fixture
def ask(settings, spool_of, log):
    """What a peer with some TLS says to a listener with another; "" when it answers."""

    def asking(listener_tls, peer_tls):
        own = Own(port=0, tls=listener_tls)
        ours = settings(own=own, allow=Allow(ae_titles=("MEDSEG",)), retry=QUICK)
        spool = spool_of(ours)
        with listening(ours, spool, log) as port:
            peer = Peer(name="peer", ae_title="MEDSEG", host="127.0.0.1", port=port, tls=peer_tls)
            try:
                with connect(peer, ours, spool) as line:
                    line.echo()
            except PeerError as error:
                return error.code
        return ""

    return asking


def test_both_sides_know_each_other(certificates, ask):
    assert ask(certificates("ours"), certificates("ours")) == ""


def test_a_listener_that_nobody_vouches_for(certificates, ask):
    assert ask(certificates("ours"), certificates("ours", trusted="other")) == "TLS"


def test_a_caller_without_a_certificate(certificates, ask):
    assert ask(certificates("ours"), certificates()) in ("TLS", "RESET", "TIMEOUT")


def test_a_caller_without_tls(certificates, ask):
    assert ask(certificates("ours"), None) in ("RESET", "TIMEOUT")


def test_files_that_are_not_there(certificates, ask, tmp_path):
    assert ask(certificates("ours"), Tls(authorities=str(tmp_path / "none.pem"))) == "TLS"


@pytest.fixture
def https(certificates):
    """Port of a DICOMweb service that has nothing, with the certificate of "ours"."""

    class Empty(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

    tls = certificates("ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize(("trusted", "code"), [("ours", ""), ("other", "TLS")])
def test_https(certificates, https, settings, spool_of, trusted, code):
    url = f"https://127.0.0.1:{https}/dicom-web"
    peer = Peer(name="peer", dicomweb=url, tls=certificates(trusted=trusted))
    ours = settings(peer, retry=QUICK)
    with connect(peer, ours, spool_of(ours)) as line:
        if not code:
            assert line.find({"Modality": "CT"}) == []
            return
        with pytest.raises(PeerError) as caught:
            line.find({"Modality": "CT"})
    assert caught.value.code == code
