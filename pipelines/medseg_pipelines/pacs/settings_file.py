"""The TOML file of settings: read strictly, and its paths anchored."""

from __future__ import annotations

from pathlib import Path

import msgspec

from medseg.errors import InputError
from medseg_pipelines.pacs.settings import PacsSettings, Tls


def read_settings(path: Path) -> PacsSettings:
    """Read settings; files they name are found from the folder of the file.

    Returns
    -------
    PacsSettings
        With absolute paths.

    Raises
    ------
    InputError
        When it cannot be read, or something in it is unknown or wrong.
    """
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=PacsSettings)
    except OSError as error:
        raise InputError(
            f"the settings '{path}' cannot be read: {error.strerror or error}; check the path"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"the settings '{path}' do not fit: {error}; docs/how-to/pacs.md explains each"
        ) from error
    return _anchored(settings, path.absolute().parent)


def _anchored(settings: PacsSettings, folder: Path) -> PacsSettings:
    """Settings whose paths start at the root."""
    replace = msgspec.structs.replace
    work = settings.work
    return replace(
        settings,
        spool=_path(settings.spool, folder),
        own=replace(settings.own, tls=_tls(settings.own.tls, folder)),
        peers=tuple(replace(peer, tls=_tls(peer.tls, folder)) for peer in settings.peers),
        work=replace(work, model=_model(work.model, folder), rules=_path(work.rules, folder)),
    )


def _path(text: str, folder: Path) -> str:
    return str(folder / Path(text).expanduser()) if text else ""


def _model(text: str, folder: Path) -> str:
    """A folder beside the settings where there is one, else the name as it is."""
    return _path(text, folder) if (folder / Path(text).expanduser()).is_dir() else text


def _tls(tls: Tls | None, folder: Path) -> Tls | None:
    if tls is None:
        return None
    return Tls(
        certificate=_path(tls.certificate, folder),
        key=_path(tls.key, folder),
        authorities=_path(tls.authorities, folder),
    )
