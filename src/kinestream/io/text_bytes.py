"""The bytes of a text file, checked before a parser sees them."""

from __future__ import annotations

from pathlib import Path

from kinestream.errors import BadInputError

MAX_FILE_BYTES = 256 * 2**20


def read_text_bytes(path: Path, kind: str) -> bytes:
    """A text file's bytes without a byte order mark; `kind` ("BVH") is what messages call it.

    UTF-16 becomes UTF-8. BadInputError for what is missing, too large, empty, damaged or binary.
    """
    try:
        if not path.is_file():
            raise BadInputError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BadInputError(f"{path}: {size >> 20} MiB; {kind} files above {MAX_FILE_BYTES >> 20} MiB are refused")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot read {str(path)[:200]!r}: {error}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeError:
            raise BadInputError(f"{path}: damaged UTF-16 text; save the {kind} file as UTF-8 or ASCII") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise BadInputError(f"{path}: the file is empty")
    if b"\0" in data:
        raise BadInputError(f"{path}: binary data, not a {kind} text file")
    return data
