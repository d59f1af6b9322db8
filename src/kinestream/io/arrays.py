"""npy and npz files as plain numbers: no pickles, and memory bounded whatever a file announces."""

from __future__ import annotations

import contextlib
import lzma
import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path

MAX_FILE_BYTES = 512 * 2**20
MAX_ARRAY_BYTES = 512 * 2**20
MAX_MEMBERS = 1000

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK"
_PICKLE = b"\x80"
Array = npt.NDArray[np.generic]
Header = tuple[tuple[int, ...], np.dtype[np.generic]]

# What numpy, zipfile and the decompressors raise on damaged bytes.
_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    SyntaxError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    RuntimeError,  # encrypted members; NotImplementedError for unknown compression
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def read_headers(path: str | os.PathLike[str]) -> dict[str, Header]:
    """Shape and dtype of each array of an npz file by name, or of an npy file's one array under the name "".

    BadInputError where the file is neither, is damaged, or is larger than MAX_FILE_BYTES.
    """
    path = Path(path)
    headers: dict[str, Header] = {}
    with _Opened(path) as opened:
        for name in opened.names:
            try:
                with opened.member(name) as stream, _quiet():
                    headers[name] = _header(stream)
            except BadInputError:
                raise
            except _DAMAGE as error:
                raise _damaged(path, name, error) from error
    return headers


def read_arrays(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, Array]:
    """The named arrays of an npz file ("" for an npy file's one array), numbers and strings only.

    BadInputError for a missing name, pickled objects, arrays above MAX_ARRAY_BYTES, and damaged files.
    """
    path = Path(path)
    arrays: dict[str, Array] = {}
    with _Opened(path) as opened:
        for name in names:
            if name not in opened.names:
                raise BadInputError(f"{path}: no array {name!a}; the file has {_listed(opened.names)}")
            try:
                with opened.member(name) as stream, _quiet():
                    header = _header(stream)
                    _check(header, opened.size(name) - stream.tell())
                with opened.member(name) as stream, _quiet():
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
            except BadInputError as error:
                raise BadInputError(f"{path}: array {name!a}: {error}") from None
            except _DAMAGE as error:
                raise _damaged(path, name, error) from error
    return arrays


def read_numbers(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, npt.NDArray[np.float32]]:
    """`read_arrays` for finite real numbers, as float32."""
    numbers: dict[str, npt.NDArray[np.float32]] = {}
    for name, array in read_arrays(path, names).items():
        if array.dtype.kind not in "fiu":
            raise BadInputError(f"{path}: array {name!a} holds {array.dtype}, expected numbers")
        with np.errstate(over="ignore"):
            numbers[name] = array.astype(np.float32)
        if not np.isfinite(numbers[name]).all():
            raise BadInputError(f"{path}: array {name!a} holds NaN or infinity; repair or drop the recording")
    return numbers


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write arrays of numbers and strings as one compressed npz file, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})


def write_npy(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write one array of numbers as an npy file, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(array), allow_pickle=False)


class _Opened:
    """An npy or npz file, told apart by content; members are streams of npy text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Opened:
        try:
            if not self.path.is_file():
                raise BadInputError(f"{self.path}: {'not a file' if self.path.exists() else 'no such file'}")
            size = self.path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise BadInputError(f"{self.path}: {size >> 20} MiB; above {MAX_FILE_BYTES >> 20} MiB is refused")
            self._file = open(self.path, "rb")
            magic = self._file.read(len(_NPY_MAGIC))
            self._file.seek(0)
            if magic.startswith(_ZIP_MAGIC):
                self._zip = zipfile.ZipFile(self._file)
                if len(self._zip.namelist()) > MAX_MEMBERS:
                    raise BadInputError(f"{self.path}: more than {MAX_MEMBERS} arrays")
            elif magic != _NPY_MAGIC:
                advice = f". {how_to_convert(self.path)}" if magic[:1] == _PICKLE else ""
                raise BadInputError(f"{self.path}: {_kind(magic)}, expected an npy or npz file of numbers{advice}")
        except BaseException as error:
            self.__exit__()
            if isinstance(error, _DAMAGE):
                raise BadInputError(f"{str(self.path)[:200]}: cannot be read: {_words(error)}") from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for handle in (self._zip, self._file):
            if handle is not None:
                handle.close()

    @property
    def names(self) -> list[str]:
        if self._zip is None:
            return [""]
        return [name[:-4] for name in self._zip.namelist() if name.endswith(".npy")]

    def size(self, name: str) -> int:
        if self._zip is None:
            return self.path.stat().st_size
        return self._zip.getinfo(f"{name}.npy").file_size

    def member(self, name: str) -> IO[bytes]:
        if self._zip is not None:
            return self._zip.open(f"{name}.npy")
        return open(self.path, "rb")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without numpy's warning that a file is from Python 2's days, which says nothing a user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy version {version}, expected 1.0 or 2.0")
    return tuple(shape), dtype


def _check(header: Header, bytes_there: int) -> None:
    """Refuse what must not be allocated: objects, and arrays larger than the limit or than the bytes there are."""
    shape, dtype = header
    if dtype.hasobject:
        raise BadInputError(f"holds pickled Python objects, which are never loaded. {how_to_convert()}")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > bytes_there:
        raise BadInputError(f"announces {dtype} of shape {shape} and holds {bytes_there} bytes; it was cut off")
    if size > MAX_ARRAY_BYTES:
        raise BadInputError(f"{size >> 20} MiB; arrays above {MAX_ARRAY_BYTES >> 20} MiB are refused")


def how_to_convert(path: Path | None = None) -> str:
    """What to do about a pickle: advice for an error message."""
    where = "FILE" if path is None else path.name
    if path is not None and path.suffix.lower() not in (".npy", ".npz"):
        load = (
            f"torch.load({where!r}, weights_only=True)"
            if path.suffix.lower() in (".pt", ".pth")
            else f"pickle.load(open({where!r}, 'rb'))"
        )
    else:
        load = f"numpy.load({where!r}, allow_pickle=True)"
    return (
        f"If you trust where it comes from, load it in Python ({load}) and save its numbers: "
        "numpy.savez('out.npz', poses=..., trans=..., mocap_framerate=30)"
    )


def _kind(magic: bytes) -> str:
    if not magic:
        return "the file is empty"
    if magic[:1] == _PICKLE:
        return "a Python pickle, which is never loaded"
    return "the file is of another kind"


def _listed(names: Iterable[str]) -> str:
    shown = sorted(ascii(name[:40]) for name in names)
    return ", ".join(shown[:20]) + (", ..." if len(shown) > 20 else "") or "none"


def _words(error: BaseException) -> str:
    return ascii(f"{type(error).__name__}: {error}"[:200])[1:-1]


def _damaged(path: Path, name: str, error: BaseException) -> BadInputError:
    return BadInputError(f"{path}: array {name[:40]!a} cannot be read, the file is damaged or cut off: {_words(error)}")
