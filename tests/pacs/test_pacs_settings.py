"""Settings are strict, hold no secret and open nothing to the network by themselves."""

from __future__ import annotations

import pytest

from medseg.errors import InputError
from medseg_pipelines.pacs.settings import Allow, Own, Peer, read_settings

WHOLE = """
spool = "in"
[own]
ae_title = "SEGMENTER"
port = 11113
[[peers]]
name = "archive"
ae_title = "ORTHANC"
host = "pacs.example"
port = 4242
dicomweb = "https://pacs.example/dicom-web"
user_env = "PACS_USER"
password_env = "PACS_PASSWORD"
[allow]
ae_titles = ["CT1"]
addresses = ["10.1.2.0/24"]
[completeness]
ask = "archive"
[work]
model = "ct-abdomen"
destination = "archive"
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "pacs.toml"
        path.write_text(text)
        return read_settings(path)

    return from_text


def test_a_whole_file(read, tmp_path):
    settings = read(WHOLE)
    assert settings.spool == str(tmp_path / "in")
    assert settings.own.bind == "127.0.0.1"
    assert settings.callers == ["CT1", "ORTHANC"]
    assert settings.peer("").name == "archive"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("port = 11113", "prot = 11113"), "prot"),
        (("port = 11113", "port = 70000"), "65535"),
        (('"SEGMENTER"', '"A TITLE THAT IS TOO LONG"'), "AE title"),
        (('"10.1.2.0/24"', '"10.1.2.0/99"'), "10.1.2.0/99"),
        (("https://pacs", "https://me:secret@pacs"), "without user"),
        (("https://pacs", "http://pacs"), "https"),
        (('password_env = "PACS_PASSWORD"', 'password = "secret"'), "password"),
        (('ask = "archive"', 'ask = "nobody"'), "nobody"),
        (("[own]", "[own"), "do not fit"),
        (('destination = "archive"', 'send = ["stl"]'), "stl"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(read, change, words):
    with pytest.raises(InputError, match=words) as caught:
        read(WHOLE.replace(*change))
    assert "\n" not in str(caught.value)
    assert "pacs.toml" in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml"):
        read_settings(tmp_path / "none.toml")


def test_secrets_come_from_the_environment(read, monkeypatch):
    peer = read(WHOLE).peer("archive")
    monkeypatch.delenv("PACS_PASSWORD", raising=False)
    with pytest.raises(InputError, match="PACS_PASSWORD"):
        peer.secret(peer.password_env)
    monkeypatch.setenv("PACS_PASSWORD", "word")
    assert peer.secret(peer.password_env) == "word"


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.168.1.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_only_this_machine_may_connect_unless_told_otherwise(address, good):
    assert Allow().admits(address) is good


def test_networks_may_be_allowed():
    allow = Allow(addresses=("10.1.0.0/16",))
    assert allow.admits("10.1.200.3")
    assert not allow.admits("127.0.0.1")


@pytest.mark.parametrize("title", ["", " MEDSEG", "A\\B", "ÄRZTE", "A" * 17, "A\nB"])
def test_what_is_no_ae_title(title):
    with pytest.raises(ValueError, match="AE title"):
        Own(ae_title=title)


def test_a_peer_must_be_reachable_somehow():
    with pytest.raises(ValueError, match="dicomweb"):
        Peer(name="a")
