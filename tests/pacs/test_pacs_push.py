"""Results reach a real Orthanc once, pixel by pixel; what it refuses is written otherwise."""

from __future__ import annotations

import functools
import io
import json
import selectors
import socket

import numpy as np
import pydicom
import pytest
from pynetdicom.sop_class import LabelMapSegmentationStorage, SegmentationStorage

from medseg.reading import Policies, read_labels, read_scan
from medseg.volume import LabelMap
from medseg.writing import write_labels
from medseg_pipelines.pacs.client import connect
from medseg_pipelines.pacs.errors import PeerError
from medseg_pipelines.pacs.objects import LABELMAP_SEG, outgoing
from medseg_pipelines.pacs.settings import Own, Peer, Retry, Tls
from medseg_pipelines.pacs.transfer import Sender, to_binary
from pacs.fake_servers import fake_scp, fake_tcp, fake_web, hangs_up, never_answers
from pacs.real_orthanc import free_port
from writing.dicom_validator import errors_of

QUICK = Retry(attempts=2, first_s=0.01, most_s=0.02, timeout_s=0.8)


@pytest.fixture
def spool(settings, spool_of, series):
    """Holds the scan."""
    opened = spool_of(settings())
    for path in series.iterdir():
        scratch = opened.scratch()
        scratch.write_bytes(path.read_bytes())
        opened.add(scratch, announced=str(pydicom.dcmread(path).SOPInstanceUID))
    return opened


@pytest.fixture(scope="module")
def results(series, phantom, tmp_path_factory):
    """Results of the scan: paths by format, and the labels, by encoding."""
    scan = read_scan(series)
    labels = LabelMap(phantom[1].values, scan.grid, phantom[1].table, scan.provenance)

    @functools.cache
    def written(encoding="binary"):
        folder = tmp_path_factory.mktemp("results")
        return {
            "labels": labels,
            "seg": write_labels(labels, folder / "seg.dcm", encoding=encoding),
            "sr": write_labels(labels, folder / "measurements.sr.dcm", encoding=encoding),
            "rtstruct": write_labels(labels, folder / "labels.rtstruct.dcm"),
        }

    return written


@pytest.fixture
def courier(settings, spool):
    """Open a way to a peer."""

    def to(peer, via="auto", own=None):
        ours = settings(peer, retry=QUICK, **({"own": own} if own else {}))
        line = connect(peer, ours, spool, via=via)
        return Sender(line, spool, answers=peer.answers)

    return to


def back(orthanc, modality, tmp_path):
    """The one object of a modality that Orthanc has, as a file."""
    (name,) = orthanc.instances(modality)
    path = tmp_path / f"back-{modality}.dcm"
    path.write_bytes(orthanc.file(name))
    return path


def referenced_series(path):
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    return str(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID)


@pytest.mark.parametrize("via", ["dicomweb", "dimse"])
def test_binary_results_come_back_equal(orthanc, archive, courier, results, series, tmp_path, via):
    orthanc.fill(series)
    files = results()
    to_archive = courier(archive, via)
    for kind in ("seg", "sr", "rtstruct"):
        assert to_archive.deliver(files[kind]) == ("delivered", "")
    seg = back(orthanc, "SEG", tmp_path)
    labels = files["labels"]
    assert np.array_equal(read_labels(seg, like=read_scan(series)).values, labels.values)
    assert referenced_series(seg) == labels.provenance.series_uid
    assert pydicom.dcmread(seg).PixelData == pydicom.dcmread(files["seg"]).PixelData
    report = back(orthanc, "SR", tmp_path)
    assert errors_of(seg) == []
    assert errors_of(report) == []


@pytest.mark.parametrize("via", ["dicomweb", "dimse"])
def test_once_is_enough(orthanc, archive, courier, results, monkeypatch, via):
    seg = results()["seg"]
    to_archive = courier(archive, via)
    to_archive.deliver(seg)
    monkeypatch.setattr(to_archive._client, "send", lambda _: pytest.fail("it was sent again"))
    assert to_archive.deliver(seg) == ("delivered", "")
    assert len(orthanc.instances("SEG")) == 1


def test_a_label_map_goes_by_dicomweb_as_it_is(
    orthanc, archive, courier, results, tmp_path, series
):
    seg = results("labelmap")["seg"]
    assert courier(archive, "dicomweb").deliver(seg) == ("delivered", "")
    path = back(orthanc, "SEG", tmp_path)
    assert pydicom.dcmread(path).SegmentationType == "LABELMAP"
    assert np.array_equal(
        read_labels(path, like=read_scan(series)).values, results()["labels"].values
    )


def test_a_label_map_that_orthanc_refuses_is_sent_to_binary(
    orthanc, archive, courier, results, tmp_path, series
):
    files = results("labelmap")
    to_archive = courier(archive, "dimse")
    assert to_archive._client.accepts(LABELMAP_SEG) is False
    assert to_archive.deliver(files["seg"]) == ("delivered", "binary")
    assert to_archive.deliver(files["sr"], seg=files["seg"]) == ("delivered", "binary")
    assert to_archive.deliver(files["seg"]) == ("delivered", "binary")
    seg, report = back(orthanc, "SEG", tmp_path), back(orthanc, "SR", tmp_path)
    assert pydicom.dcmread(seg).SegmentationType == "BINARY"
    read = read_labels(seg, like=read_scan(series))
    assert np.array_equal(read.values, files["labels"].values)
    assert read.table.names == files["labels"].table.names
    evidence = json.dumps(pydicom.dcmread(report).to_json_dict())
    assert str(pydicom.dcmread(seg).SOPInstanceUID) in evidence
    assert outgoing(files["seg"]).sop_uid not in evidence
    assert errors_of(seg) == []
    assert errors_of(report) == []


def test_without_the_scan_there_is_no_other_encoding(archive, courier, results, spool):
    seg = results("labelmap")["seg"]
    for path in spool.folder(outgoing(seg).source).iterdir():
        path.unlink()
    with pytest.raises(PeerError, match="scan is not in the spool") as caught:
        courier(archive, "dimse").deliver(seg)
    assert caught.value.code == "CONTEXT"


def test_another_object_under_the_uid_is_no_delivery(orthanc, archive, courier, results):
    seg = results()["seg"]
    dataset = pydicom.dcmread(seg)
    dataset.PixelData = bytes(len(dataset.PixelData))
    changed = io.BytesIO()
    dataset.save_as(changed)
    orthanc.ask("/instances", data=changed.getvalue())
    with pytest.raises(PeerError) as caught:
        courier(archive, "dicomweb").deliver(seg)
    assert caught.value.code == "DIFFERS"


def test_edited_patient_fields_are_no_other_object(orthanc, archive, courier, results):
    seg = results()["seg"]
    dataset = pydicom.dcmread(seg)
    dataset.PatientName = "Corrected^By the archive"
    changed = io.BytesIO()
    dataset.save_as(changed)
    orthanc.ask("/instances", data=changed.getvalue())
    assert courier(archive, "dicomweb").deliver(seg) == ("delivered", "")


def scp(port, *, answers=False, **more):
    return Peer(name="peer", ae_title="PEER", host="127.0.0.1", port=port, answers=answers, **more)


def test_a_peer_that_takes_label_maps_without_compression(courier, results):
    got = []

    def store(event):
        got.append((event.context.transfer_syntax, event.dataset, event.file_meta))
        return 0

    files = results("labelmap")
    with fake_scp(classes=(LabelMapSegmentationStorage,), store=store) as port:
        assert courier(scp(port)).deliver(files["seg"]) == ("sent", "")
    ((syntax, dataset, meta),) = got
    assert syntax == pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta = meta
    sent = pydicom.dcmread(files["seg"])
    assert np.array_equal(dataset.pixel_array, sent.pixel_array)


def test_a_peer_that_takes_no_results_at_all(courier, results):
    with fake_scp() as port, pytest.raises(PeerError) as caught:
        courier(scp(port)).deliver(results()["seg"])
    assert caught.value.code == "CONTEXT"


@pytest.mark.parametrize(
    ("status", "code"), [(0xA700, "BUSY"), (0xA900, "ANSWER"), (0xC000, "ANSWER")]
)
def test_statuses_of_a_peer(courier, results, status, code):
    with (
        fake_scp(classes=(SegmentationStorage,), store=lambda _: status) as port,
        pytest.raises(PeerError, match=f"{status:#06x}") as caught,
    ):
        courier(scp(port)).deliver(results()["seg"])
    assert caught.value.code == code


def test_a_peer_that_does_not_keep_what_it_takes(courier, results):
    def nothing(event):
        del event
        return iter(())

    with (
        fake_scp(classes=(SegmentationStorage,), store=lambda _: 0, find=nothing) as port,
        pytest.raises(PeerError, match="does not show it") as caught,
    ):
        courier(scp(port, answers=True)).deliver(results()["seg"])
    assert caught.value.code == "NOT_KEPT"
    assert caught.value.transient


def dimse_fault(courier, peer, own=None):
    with pytest.raises(PeerError) as caught:
        courier(peer, "dimse", own)._client.echo()
    assert "'peer'" in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_a_wrong_ae_title(courier):
    with fake_scp(title="OTHER") as port:
        assert dimse_fault(courier, scp(port)) == "REJECTED"


def test_nobody_at_the_port(courier):
    assert dimse_fault(courier, scp(free_port())) == "UNREACHABLE"


def test_a_host_without_an_address(courier):
    peer = Peer(name="peer", ae_title="PEER", host="no-such-host.invalid", port=104)
    assert dimse_fault(courier, peer) == "UNREACHABLE"


@pytest.mark.parametrize(
    ("talk", "code"), [(never_answers, {"TIMEOUT"}), (hangs_up, {"RESET", "UNREACHABLE"})]
)
def test_a_peer_that_is_silent_or_hangs_up(courier, talk, code):
    with fake_tcp(talk) as port:
        assert dimse_fault(courier, scp(port)) in code


def test_tls_where_there_is_none(courier):
    def plain(connection, over):
        connection.sendall(b"hello, this is no TLS\r\n" * 4)
        over.wait(5)
        connection.close()

    with fake_tcp(plain) as port:
        assert dimse_fault(courier, scp(port, tls=Tls())) == "TLS"


@pytest.mark.parametrize("after", [1, 100, 5000])
def test_a_connection_that_breaks_while_a_result_is_sent(courier, results, after):
    """A real peer behind a wire that is cut after some bytes."""
    with fake_scp(classes=(SegmentationStorage,), store=lambda _: 0) as inner:

        def cut(connection, over):
            relay(connection, inner, after, over)

        with fake_tcp(cut) as port, pytest.raises(PeerError) as caught:
            courier(scp(port)).deliver(results()["seg"])
    assert caught.value.code in ("RESET", "TIMEOUT")
    assert caught.value.transient


def relay(connection, port, budget, over):
    """Pass bytes on in both directions until so many came from the caller."""

    with (
        socket.create_connection(("127.0.0.1", port)) as there,
        selectors.DefaultSelector() as ready,
    ):
        ready.register(connection, selectors.EVENT_READ, there)
        ready.register(there, selectors.EVENT_READ, connection)
        while budget > 0 and not over.is_set():
            for key, _ in ready.select(0.1):
                data = key.fileobj.recv(4096)
                if not data:
                    budget = 0
                    break
                key.data.sendall(data[:budget] if key.fileobj is connection else data)
                budget -= len(data) if key.fileobj is connection else 0
        hangs_up(connection, over)


STOW_FAULTS = [
    (401, "FORBIDDEN"),
    (403, "FORBIDDEN"),
    (503, "BUSY"),
    (404, "ANSWER"),
    (415, "CONTEXT"),
    ("silent", "TIMEOUT"),
    ("reset", "RESET"),
]


@pytest.mark.parametrize(("what", "code"), STOW_FAULTS)
def test_faults_of_stow(courier, results, what, code):
    with fake_web(plan=[what]) as fake:
        peer = Peer(name="peer", dicomweb=fake.url, answers=False)
        with pytest.raises(PeerError) as caught:
            courier(peer).deliver(results()["seg"])
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("reason", "code"), [(0x0122, "CONTEXT"), (0xA700, "BUSY"), (0xC000, "ANSWER")]
)
def test_reasons_of_stow(courier, results, reason, code):
    with fake_web(refusals=[reason]) as fake:
        peer = Peer(name="peer", dicomweb=fake.url, answers=False)
        with pytest.raises(PeerError, match=f"{reason:#06x}") as caught:
            courier(peer).deliver(results()["seg"])
    assert caught.value.code == code


def test_a_label_map_that_a_web_peer_refuses_is_sent_to_binary(courier, results):
    with fake_web(refusals=[0x0122]) as fake:
        peer = Peer(name="peer", dicomweb=fake.url, answers=False)
        assert courier(peer).deliver(results("labelmap")["seg"]) == ("sent", "binary")
    assert len(fake.asked) == 2


def test_the_same_labels_have_the_same_uids_in_any_way(courier, results, spool, tmp_path):
    """So a binary SEG that is written again is the one that is there."""
    label_map = outgoing(results("labelmap")["seg"])
    twice = [
        to_binary(label_map, tmp_path / f"{n}.dcm", spool=spool, policies=Policies()).sop_uid
        for n in range(2)
    ]
    assert twice[0] == twice[1] == outgoing(results()["seg"]).sop_uid


def test_own_title_is_sent(courier, results):
    seen = []

    def store(event):
        seen.append(event.assoc.requestor.ae_title)
        return 0

    with fake_scp(classes=(SegmentationStorage,), store=store) as port:
        courier(scp(port), own=Own(ae_title="SEGMENTER", port=0)).deliver(results()["seg"])
    assert seen == ["SEGMENTER"]
