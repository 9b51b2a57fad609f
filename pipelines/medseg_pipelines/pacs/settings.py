"""Settings of this machine and its peers, from one strict TOML file that holds no secret."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

from medseg.errors import InputError

Encoding = Literal["binary", "labelmap", "auto"]
Format = Literal["dicom-seg", "sr", "rtstruct"]
_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")
_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")
_LOOPBACK = re.compile(r"http://(?:127\.[\d.]+|localhost|\[::1\])(?:[:/]|$)")
_MIB, _GIB = 1 << 20, 1 << 30


def _check_title(title: str) -> None:
    """Raise unless `title` is an AE title (DICOM PS3.5 6.2, VR AE)."""
    if not _TITLE.fullmatch(title):
        raise ValueError(f"an AE title has 1 to 16 ASCII characters without \\, got {title!r}")


def _private(url: str) -> bool:
    """Whether nobody on the way can read what is sent to `url`."""
    return url.startswith("https:") or bool(_LOOPBACK.match(url))


def _check_port(port: int, *, least: int) -> None:
    if not least <= port <= 65535:
        raise ValueError(f"a port is from {least} to 65535, got {port}")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file, whose unknown keys are errors."""


class Tls(_Strict, frozen=True):
    """How a connection is encrypted.

    Parameters
    ----------
    certificate, key : str
        PEM files with which this machine shows who it is; a listener needs them.
    authorities : str
        PEM file of the authorities that sign the other side's certificate; those of the system
        when empty. A listener with authorities refuses peers without a certificate of theirs.
    """

    certificate: str = ""
    key: str = ""
    authorities: str = ""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("a TLS certificate needs its key, and a key its certificate")


class Own(_Strict, frozen=True):
    """The machine that medseg runs on.

    Parameters
    ----------
    ae_title : str
        As which it calls, and is called.
    port : int
        Where it listens; 0 for any free one.
    bind : str
        Address where it listens: of this machine alone unless it is another.
    tls : Tls or None
    """

    ae_title: str = "MEDSEG"
    port: int = 11112
    bind: str = "127.0.0.1"
    tls: Tls | None = None

    def __post_init__(self) -> None:
        _check_title(self.ae_title)
        _check_port(self.port, least=0)
        ipaddress.ip_address(self.bind)
        if self.tls is not None and not self.tls.certificate:
            raise ValueError("a listener with TLS needs a certificate and its key")


class Peer(_Strict, frozen=True):
    """Another machine; it speaks DICOMweb, DIMSE or both.

    Parameters
    ----------
    name : str
        As which commands and other settings mean it.
    ae_title, host : str
    port : int
    dicomweb : str
        URL of its DICOMweb service, under which ``/studies`` lies.
    tls : Tls or None
        Of connections to it; DIMSE is not encrypted without.
    user_env, password_env, token_env : str
        Names of the environment variables that hold user, password or bearer token of the
        DICOMweb service.
    answers : bool
        Whether it can be asked (C-FIND, QIDO-RS) for what it has; results that are sent to one
        that cannot are called sent, never delivered.
    """

    name: str
    ae_title: str = ""
    host: str = ""
    port: int = 0
    dicomweb: str = ""
    tls: Tls | None = None
    user_env: str = ""
    password_env: str = ""
    token_env: str = ""
    answers: bool = True

    def __post_init__(self) -> None:
        if not (self.host or self.dicomweb):
            raise ValueError(f"the peer '{self.name}' needs a dicomweb URL, or host and port")
        if self.host:
            _check_title(self.ae_title)
            _check_port(self.port, least=1)
        if self.dicomweb and not _URL.fullmatch(self.dicomweb):
            raise ValueError(
                "a dicomweb URL is http(s)://host:port/path without user, password or query"
            )
        if bool(self.user_env) != bool(self.password_env):
            raise ValueError("user_env needs password_env, and password_env user_env")
        if (self.user_env or self.token_env) and not _private(self.dicomweb):
            raise ValueError("a password or token needs an https dicomweb URL")

    def secret(self, variable: str) -> str:
        """The value of an environment variable that the settings name.

        Raises
        ------
        InputError
            When it is not set.
        """
        value = os.environ.get(variable, "")
        if not value:
            raise InputError(
                f"the environment variable {variable}, which the settings of the peer"
                f" '{self.name}' name, is not set; export it before the command"
            )
        return value


class Allow(_Strict, frozen=True):
    """Who may talk to the listener.

    Parameters
    ----------
    ae_titles : tuple of str
        Besides those of the peers.
    addresses : tuple of str
        Addresses or networks such as ``10.1.2.0/24``.
    """

    ae_titles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ("127.0.0.0/8", "::1")

    def __post_init__(self) -> None:
        for title in self.ae_titles:
            _check_title(title)
        for address in self.addresses:
            ipaddress.ip_network(address)

    def admits(self, address: str) -> bool:
        """Whether a peer with this address may connect."""
        there = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(there, ipaddress.IPv6Address) and there.ipv4_mapped:
            there = there.ipv4_mapped
        return any(there in ipaddress.ip_network(one) for one in self.addresses)


class Limits(_Strict, frozen=True):
    """What is refused, so that no peer can fill memory or disk.

    Parameters
    ----------
    associations : int
    object_mib, series_mib : int
    series_objects : int
        Most objects of one series.
    disk_floor_gib : float
        Space that stays free on the disk of the spool.
    """

    associations: int = 8
    object_mib: int = 2048
    series_mib: int = 16384
    series_objects: int = 20000
    disk_floor_gib: float = 5.0

    def __post_init__(self) -> None:
        if min(self.associations, self.object_mib, self.series_mib, self.series_objects) < 1:
            raise ValueError("limits are at least 1")

    @property
    def object_bytes(self) -> int:
        """Largest object."""
        return self.object_mib * _MIB

    @property
    def series_bytes(self) -> int:
        """Largest series."""
        return self.series_mib * _MIB

    @property
    def disk_floor_bytes(self) -> int:
        """Space that stays free."""
        return int(self.disk_floor_gib * _GIB)


class Completeness(_Strict, frozen=True):
    """When a series is whole: after silence, and with as many objects as the peer counts.

    Parameters
    ----------
    silence_s : float
        Seconds since its last object.
    ask : str
        Name of the peer that is asked how many objects the series has; nobody when empty.
    patience_s : float
        Seconds since the last object after which a series with too few is given up.
    """

    silence_s: float = 60.0
    ask: str = ""
    patience_s: float = 3600.0


class Retry(_Strict, frozen=True):
    """How often and when something is tried again.

    Parameters
    ----------
    attempts : int
        All together, before it is a dead letter.
    first_s, most_s : float
        Seconds before the second attempt, doubled each time, up to `most_s`; each wait is drawn
        between a half of that and all of it.
    timeout_s : float
        Seconds that a peer may be silent.
    """

    attempts: int = 8
    first_s: float = 2.0
    most_s: float = 900.0
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.first_s, self.most_s) < 0 or self.timeout_s <= 0:
            raise ValueError("a retry needs at least 1 attempt, and times that are positive")


class Work(_Strict, frozen=True):
    """What becomes of a series that is whole.

    Parameters
    ----------
    model : str
        Name of a shipped model, or its folder: for every scan, or for those of rules that name
        no other.
    rules : str
        TOML file of rules, as of ``medseg batch --rules``: which scans are segmented, and by
        which model.
    send : tuple of {"dicom-seg", "sr", "rtstruct"}
        Results that go to the destination.
    encoding : {"binary", "labelmap", "auto"}
        Of a DICOM SEG; ``binary`` is sent instead to peers that do not take label maps.
    destination : str
        Name of the peer that gets the results; nobody when empty.
    via : {"auto", "dicomweb", "dimse"}
        How they are sent; ``auto`` takes DICOMweb where the peer has it.
    irregular, missing : str
        What may be repaired; see :class:`medseg.reading.Policies`.
    min_slices : int
        Scans with fewer slices (scouts) are refused.
    device : str
    """

    model: str = ""
    rules: str = ""
    send: tuple[Format, ...] = ("dicom-seg",)
    encoding: Encoding = "binary"
    destination: str = ""
    via: Literal["auto", "dicomweb", "dimse"] = "auto"
    irregular: Literal["refuse", "resample"] = "refuse"
    missing: Literal["refuse", "interpolate"] = "refuse"
    min_slices: int = 4
    device: str = "auto"


class PacsSettings(_Strict, frozen=True):
    """All of the file.

    Parameters
    ----------
    spool : str
        Folder of what was received and its state; from the folder of the file.
    own : Own
    peers : tuple of Peer
    allow : Allow
        Who may talk to the listener.
    limits : Limits
    completeness : Completeness
        When a series is whole.
    retry : Retry
        How often something is tried.
    work : Work
        What becomes of a series.
    """

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
        """The peer of that name, or the only one when `name` is empty.

        Raises
        ------
        InputError
            When there is none, or several to choose from.
        """
        fitting = [peer for peer in self.peers if name in ("", peer.name)]
        if len(fitting) != 1:
            known = ", ".join(peer.name for peer in self.peers) or "none"
            raise InputError(f"the settings have no one peer '{name}'; name one of: {known}")
        return fitting[0]

    @property
    def root(self) -> Path:
        """Folder of the spool."""
        return Path(self.spool)

    @property
    def callers(self) -> list[str]:
        """AE titles that may call."""
        return sorted({*self.allow.ae_titles, *(p.ae_title for p in self.peers if p.ae_title)})
