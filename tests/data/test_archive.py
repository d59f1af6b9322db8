"""Archives are unpacked once, and hostile or damaged ones are refused without leaving anything."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from kinestream.data.sources.archive import dataset_folder
from kinestream.errors import BadInputError


def archive_of(path: Path, members: list[tarfile.TarInfo], content: bytes = b"data") -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for member in members:
            if member.isfile():
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.addfile(member)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    assert dataset_folder(tmp_path, tmp_path / "cache") == tmp_path


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "a.tar.xz", [member("set", tarfile.DIRTYPE), member("set/x.bvh"), member("./set/deep/y.bvh")]
    )
    folder = dataset_folder(path, tmp_path / "cache", progress=False)
    assert (folder / "set" / "x.bvh").read_bytes() == b"data"
    assert (folder / "set" / "deep" / "y.bvh").is_file()
    (folder / "set" / "x.bvh").write_bytes(b"kept")
    assert (dataset_folder(path, tmp_path / "cache", progress=False) / "set" / "x.bvh").read_bytes() == b"kept"


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("/absolute"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "x"),
        member("device", tarfile.CHRTYPE),
        member("back\\slash"),
    ],
    ids=lambda info: info.name,
)
def test_hostile_members_are_refused_and_nothing_is_left(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    path = archive_of(tmp_path / "a.tar.xz", [member("set/x.bvh"), bad])
    with pytest.raises(BadInputError, match="refused"):
        dataset_folder(path, tmp_path / "cache", progress=False)
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_damaged_and_missing_archives_are_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar.xz", [member("set/x.bvh")], content=bytes(range(256)) * 400)
    data = path.read_bytes()
    for name, broken in {
        "cut": data[: len(data) // 2],
        "noise": b"\x00" * 500,
        "empty": b"",
        "flip": data[:60] + b"\xff" * 20 + data[80:],
    }.items():
        target = tmp_path / f"{name}.tar.xz"
        target.write_bytes(broken)
        with pytest.raises(BadInputError, match="archive"):
            dataset_folder(target, tmp_path / "cache", progress=False)
    with pytest.raises(BadInputError, match="there is neither"):
        dataset_folder(tmp_path / "none.tar.xz", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
