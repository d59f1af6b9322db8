"""Writing motions where the user asked for them: checked before any work is done, several samples included."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.progress import progress_bar
from kinestream.cli.rig import CHARACTER_SUFFIXES
from kinestream.errors import BadInputError, MissingExtraError

if TYPE_CHECKING:
    from kinestream.cli.rig import Rig
    from kinestream.io.soundtrack import Soundtrack
    from kinestream.motion import Motion

# Formats that hold SMPL's own parameters: other skeletons are retargeted to SMPL-22 on the way.
SMPL_SUFFIXES = (".npz", ".npy")
STRIP_SUFFIX = ".png"
SIDE_BY_SIDE_SUFFIXES = (".html", ".mp4", STRIP_SUFFIX)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are as wide as what stands in them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def check_outputs(paths: Sequence[Path], rig: Rig | None = None) -> None:
    """BadInputError unless every path can become a file in a format that we write."""
    from kinestream.io import WRITE_SUFFIXES

    suffixes = (*WRITE_SUFFIXES, STRIP_SUFFIX)
    for path in paths:
        suffix = path.suffix.lower()
        if suffix == ".vrm" and rig is not None and rig.character is not None:
            if rig.character.file.path.suffix.lower() != ".vrm":
                raise BadInputError(f"cannot write {path}: the character is no VRM; write .glb")
        elif suffix not in suffixes:
            got = f"got {path.suffix}" if path.suffix else "it has no suffix"
            raise BadInputError(f"cannot write {path}: expected a file named {', '.join(suffixes)}; {got}")
        if suffix == ".fbx":
            _check_fbx_extra()
        if rig is not None and suffix in SMPL_SUFFIXES:
            raise BadInputError(f"cannot write {path}: {suffix} holds SMPL's own skeleton; leave out --rig for it")
        if rig is not None and rig.character is not None and suffix == ".fbx":
            raise BadInputError(f"cannot write {path}: a character from a .glb or .vrm comes back as such; write .glb")
        if not path.parent.is_dir():
            raise BadInputError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise BadInputError(f"cannot write {path}: it is a folder")
    if len({path.resolve() for path in paths}) != len(paths):
        raise BadInputError("the same file is named twice with -o")


def _check_fbx_extra() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("cmeel-assimp")
    except PackageNotFoundError:
        raise MissingExtraError("writing FBX", "fbx") from None


def save(
    motions: Sequence[Motion],
    paths: Sequence[Path],
    rig: Rig | None = None,
    captions: Sequence[tuple[float, float, str]] = (),
    sound: Soundtrack | None = None,
) -> list[Path]:
    """Write the motions to every path and give the files written, in order.

    Pages, films and strips show several motions side by side; other formats hold one, so `walk.glb` becomes
    `walk-1.glb`, `walk-2.glb` and so on. A rig's BVH has the rig's own units and rotation orders. `captions` (start,
    end, text; seconds) stand on a page's timeline; `sound` is heard with films and pages.
    """
    written = []
    for path in paths:
        if rig is not None and rig.character is not None and path.suffix.lower() in SIDE_BY_SIDE_SUFFIXES:
            print(f"kinestream: {path}: shows a plain figure on the character's bones, not its mesh", file=sys.stderr)
        if path.suffix.lower() in SIDE_BY_SIDE_SUFFIXES:
            draw(motions, path, captions=captions, sound=sound)
            written.append(path)
            continue
        for number, motion in enumerate(motions, start=1):
            target = path if len(motions) == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
            _save_one(motion, target, rig)
            written.append(target)
    return written


def draw(
    motions: Sequence[Motion],
    path: Path,
    *,
    size: tuple[int, int] = (1280, 720),
    fps: float | None = None,
    azimuth_rad: float | None = None,
    poses: int = 8,
    captions: Sequence[tuple[float, float, str]] = (),
    sound: Soundtrack | None = None,
) -> None:
    """A film (.mp4, of `size` pixels), a strip of `poses` (.png), or a page (.html) of the motions, side by side."""
    suffix = path.suffix.lower()
    if suffix == ".mp4":
        from kinestream.io.video import write_mp4

        with progress_bar(path.name) as update:
            write_mp4(
                motions,
                path,
                width=size[0],
                height=size[1],
                fps=fps,
                azimuth_rad=azimuth_rad,
                on_frame=update,
                sound=sound,
            )
    elif suffix == STRIP_SUFFIX:
        from kinestream.io.video import write_strip

        write_strip(motions, path, poses, azimuth_rad=azimuth_rad)
    else:
        from kinestream.io.viewer import write_html

        write_html(motions, path, captions=captions, sound=sound)


def _save_one(motion: Motion, path: Path, rig: Rig | None) -> None:
    if path.suffix.lower() == ".bvh" and rig is not None:
        from kinestream.io.bvh import write_bvh

        write_bvh(motion, path, layout=rig.layout)
    elif path.suffix.lower() in CHARACTER_SUFFIXES and rig is not None and rig.character is not None:
        from kinestream.io.gltf_motion import write_character

        write_character(motion, rig.character, path)
    else:
        from kinestream.io import write_motion

        write_motion(motion, path)
