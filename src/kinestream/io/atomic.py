"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from kinestream.errors import BadInputError, KinestreamError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path`; when the block ends well, the file takes the name `path` in one step.

    Readers see the old file or the complete new one. If the block raises (Ctrl-C included), the temporary file is
    removed and an existing `path` stays as it was. The temporary path has the same suffix as `path`.
    Raises BadInputError where `path` cannot be a file, KinestreamError where the system refuses to write (disk full).
    """
    target = _checked_target(Path(path))
    temporary = target.with_name(f".{target.stem[:64]}.{secrets.token_hex(6)}.part{target.suffix}")
    try:
        # Created at once, so that a folder without write permission is reported before any work is done.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        # Errors about other files (an input inside the block) are not ours to rename.
        if error.filename is not None and os.fspath(error.filename) != os.fspath(temporary):
            raise
        raise KinestreamError(f"cannot write {target}: {error.strerror or error}. Nothing was changed.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _checked_target(path: Path) -> Path:
    """The file behind `path` (symbolic links followed); BadInputError where no file can be written."""
    try:
        target = path.resolve()
        if not target.name:
            raise BadInputError(f"expected a file to write, got {path}")
        if not target.parent.is_dir():
            raise BadInputError(f"cannot write {path}: the folder {target.parent} does not exist. Make it first.")
        if target.exists() and not target.is_file():
            raise BadInputError(f"cannot write {path}: it exists and is not a regular file. Choose another name.")
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInputError(f"cannot write {str(path)[:200]!r}: {error}") from error
    return target
