"""A dataset given as a folder or a tar archive, which is unpacked once into a cache; hostile members are refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from kinestream.errors import BadInputError, KinestreamError

MAX_MEMBERS = 500_000
MAX_UNPACKED_BYTES = 64 * 2**30
_CHUNK = 2**20


def dataset_folder(path: Path, cache: Path, *, progress: bool = True) -> Path:
    """The folder with a dataset's files: `path` itself, or where its archive was unpacked under `cache`.

    An archive that was unpacked before (same SHA-256) is not unpacked again; an interrupted unpacking leaves nothing.
    BadInputError for a missing path, a damaged archive, or one with members that leave the folder (absolute names,
    "..", links, devices) or that is too large.
    """
    if path.is_dir():
        return path
    if not path.is_file():
        raise BadInputError(f"{path}: expected a dataset's folder or its .tar archive, and there is neither")
    target = cache / file_sha256(path)[:16]
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
    try:
        _unpack(path, partial, progress)
        os.replace(partial, target)
    except (tarfile.TarError, EOFError, ValueError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: expected a complete tar archive: {error}") from None
    except OSError as error:
        if isinstance(error, FileExistsError) or target.is_dir():
            return target
        raise KinestreamError(f"cannot unpack {path}: {error}. Free some space or give the unpacked folder.") from error
    except Exception as error:
        # lzma, zlib and bz2 have errors of their own that are no OSError.
        if type(error).__module__ in ("_lzma", "lzma", "zlib"):
            raise BadInputError(f"{path}: the archive is damaged: {error}") from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _unpack(path: Path, target: Path, progress: bool) -> None:
    unpacked = 0
    with (
        open(path, "rb") as raw,
        tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc="unpacking", disable=not progress) as bar,
        tarfile.open(fileobj=raw, mode="r:*") as archive,
    ):
        for member in _checked_members(archive, path):
            destination = target.joinpath(*PurePosixPath(member.name).parts)
            if member.isdir():
                destination.mkdir(parents=True, exist_ok=True)
                continue
            unpacked += member.size
            if unpacked > MAX_UNPACKED_BYTES:
                raise BadInputError(f"{path}: the archive unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB")
            destination.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            if content is None:
                raise BadInputError(f"{path}: cannot read the member {member.name!r}")
            with content, open(destination, "xb") as file:
                shutil.copyfileobj(content, file, _CHUNK)
            bar.update(raw.tell() - bar.n)


def _checked_members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(archive):
        parts = PurePosixPath(member.name).parts
        unsafe = member.name.startswith("/") or ".." in parts or "\\" in member.name or ":" in member.name or not parts
        if member.isdir() and parts in ((), (".",)):
            continue
        if unsafe or not (member.isfile() or member.isdir()):
            kind = "leaves the folder" if unsafe else "is a link or a device"
            raise BadInputError(f"{path}: refused, the archive's member {member.name[:120]!r} {kind}")
        if count > MAX_MEMBERS:
            raise BadInputError(f"{path}: refused, the archive has more than {MAX_MEMBERS} members")
        yield member
