"""Settings of this machine and its peers, from one strict TOML file that holds no secret."""

from __future__ import annotations

import ipaddress
import os
import random
import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from medseg.errors import InputError

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Encoding = Literal["binary", "labelmap", "auto"]
_PATHS = {"spool", "certificate", "key", "authorities", "model", "rules"}
_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")
_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")
_PRIVATE = re.compile(r"https:|http://(?:127\.[\d.]+|localhost|\[::1\])(?:[:/]|$)")


def _check_title(title: str) -> None:
    """Raise unless `title` is an AE title (DICOM PS3.5 6.2, VR AE)."""
    if not _TITLE.fullmatch(title):
        raise ValueError(f"an AE title has 1 to 16 ASCII characters without \\, got {title!r}")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file, whose unknown keys are errors."""


class Tls(_Strict, frozen=True):
    """How a connection is encrypted; PEM files."""

    certificate: str = ""  # with `key` what this machine shows; a listener needs both
    key: str = ""
    authorities: str = ""  # that sign the other side's certificate; the system's when empty

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("a TLS certificate needs its key, and a key its certificate")

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """Of a caller or a listener; one with authorities wants a certificate of each caller."""
        context = ssl.create_default_context(purpose, cafile=self.authorities or None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        if self.authorities:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Own(_Strict, frozen=True):
    """The machine that medseg runs on, and where it listens."""

    ae_title: str = "MEDSEG"
    port: Port = 11112  # 0 for any free one
    bind: str = "127.0.0.1"
    tls: Tls | None = None

    def __post_init__(self) -> None:
        _check_title(self.ae_title)
        ipaddress.ip_address(self.bind)
        if self.tls is not None and not self.tls.certificate:
            raise ValueError("a listener with TLS needs a certificate and its key")


class Peer(_Strict, frozen=True):
    """Another machine; it speaks DICOMweb, DIMSE or both."""

    name: str
    ae_title: str = ""
    host: str = ""
    port: Port = 0
    dicomweb: str = ""  # URL under which /studies lies
    tls: Tls | None = None  # DIMSE is not encrypted without
    user_env: str = ""  # names of environment variables, for DICOMweb
    password_env: str = ""
    token_env: str = ""
    answers: bool = True  # whether it can be asked (C-FIND, QIDO-RS) for what it has

    def __post_init__(self) -> None:
        if not (self.port if self.host else self.dicomweb):
            raise ValueError(f"the peer '{self.name}' needs a dicomweb URL, or host and port")
        if self.host:
            _check_title(self.ae_title)
        if self.dicomweb and not _URL.fullmatch(self.dicomweb):
            raise ValueError(
                "a dicomweb URL is http(s)://host:port/path without user, password or query"
            )
        if bool(self.user_env) != bool(self.password_env):
            raise ValueError("user_env needs password_env, and password_env user_env")
        if (self.user_env or self.token_env) and not _PRIVATE.match(self.dicomweb):
            raise ValueError("a password or token needs an https dicomweb URL")

    def secret(self, variable: str) -> str:
        """The value of an environment variable; raises `InputError` when it is not set."""
        value = os.environ.get(variable, "")
        if not value:
            raise InputError(
                f"the environment variable {variable}, which the settings of the peer"
                f" '{self.name}' name, is not set; export it before the command"
            )
        return value


class Allow(_Strict, frozen=True):
    """Who may talk to the listener: AE titles besides those of the peers, and from where."""

    ae_titles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ("127.0.0.0/8", "::1")

    def __post_init__(self) -> None:
        for title in self.ae_titles:
            _check_title(title)
        for address in self.addresses:
            ipaddress.ip_network(address)

    def admits(self, address: str) -> bool:
        """Whether a peer with this address may connect."""
        caller = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped:
            caller = caller.ipv4_mapped
        return any(caller in ipaddress.ip_network(network) for network in self.addresses)


class Limits(_Strict, frozen=True):
    """What is refused, so that no peer can fill memory or disk."""

    associations: AtLeastOne = 8
    object_mib: AtLeastOne = 2048
    series_mib: AtLeastOne = 16384
    series_objects: AtLeastOne = 20000
    disk_floor_gib: float = 5.0  # stays free on the disk of the spool


class Completeness(_Strict, frozen=True):
    """When a series is whole: after silence, and with as many objects as a peer counts."""

    silence_s: float = 60.0  # since its last object
    ask: str = ""  # the peer that counts; nobody when empty
    give_up_s: float = 3600.0  # one with too few objects is given up then


class Retry(_Strict, frozen=True):
    """How often and when something is tried again."""

    attempts: AtLeastOne = 8  # all together, before it is a dead letter
    first_s: NotNegative = 2.0
    most_s: NotNegative = 900.0
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0  # that a peer may be silent

    def wait_s(self, failures: int) -> float:
        """Seconds before the next attempt: doubled each time, up to `most_s`."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return longest * random.SystemRandom().uniform(0.5, 1.0)  # not all come back at once


class Work(_Strict, frozen=True):
    """What becomes of a series that is whole."""

    model: str = ""  # a shipped model or a folder; for rules that name none
    rules: str = ""  # TOML file, as of ``medseg batch --rules``
    send: tuple[Literal["dicom-seg", "sr", "rtstruct"], ...] = ("dicom-seg",)
    encoding: Encoding = "binary"
    destination: str = ""  # the peer that gets the results; nobody when empty
    via: Literal["auto", "dicomweb", "dimse"] = "auto"
    irregular: Literal["refuse", "resample"] = "refuse"  # see medseg.reading.Policies
    missing: Literal["refuse", "interpolate"] = "refuse"
    min_slices: int = 4
    device: str = "auto"


class PacsSettings(_Strict, frozen=True):
    """All of the file."""

    spool: str = "spool"
    own: Own = Own()
    peers: tuple[Peer, ...] = ()
    allow: Allow = Allow()
    limits: Limits = Limits()
    completeness: Completeness = Completeness()
    retry: Retry = Retry()
    work: Work = Work()

    def __post_init__(self) -> None:
        names = [peer.name for peer in self.peers]
        if len(set(names)) < len(names):
            raise ValueError("two peers have one name")
        for wanted in (self.completeness.ask, self.work.destination):
            if wanted and wanted not in names:
                raise ValueError(f"there is no peer '{wanted}'; known are {', '.join(names)}")

    def peer(self, name: str) -> Peer:
        """The peer of that name, or the only one when `name` is empty; else `InputError`."""
        matching = [peer for peer in self.peers if name in ("", peer.name)]
        if len(matching) != 1:
            names = ", ".join(peer.name for peer in self.peers) or "none"
            raise InputError(f"the settings have no one peer '{name}'; name one of: {names}")
        return matching[0]

    @property
    def callers(self) -> list[str]:
        """AE titles that may call."""
        return sorted({*self.allow.ae_titles, *(p.ae_title for p in self.peers if p.ae_title)})


def read_settings(path: Path) -> PacsSettings:
    """Read settings; paths in it start at its folder; `InputError` when something is wrong."""
    try:
        tables = {"spool": PacsSettings().spool} | msgspec.toml.decode(path.read_bytes())
        return msgspec.convert(_anchored(tables, path.absolute().parent), PacsSettings)
    except OSError as error:
        raise InputError(
            f"the settings '{path}' cannot be read: {error.strerror or error}; check the path"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"the settings '{path}' do not fit: {error}; docs/how-to/pacs.md explains each"
        ) from error


def _anchored(value: Any, folder: Path, key: str = "") -> Any:
    """Tables whose paths start at the root; a model is one where there is such a folder."""
    if isinstance(value, dict):
        return {key: _anchored(entry, folder, key) for key, entry in value.items()}
    if isinstance(value, list):
        return [_anchored(entry, folder) for entry in value]
    if not (isinstance(value, str) and value and key in _PATHS):
        return value
    path = folder / Path(value).expanduser()
    return str(path) if key != "model" or path.is_dir() else value
