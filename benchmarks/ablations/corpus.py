"""A part of a data set, so that a narrow model can go through it in minutes: a folder in the same layout."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from kinestream.data.dance.windows import MUSIC_FOLDER
from kinestream.data.layout import (
    MOTION_FOLDER,
    SPLIT_FOLDER,
    TEXT_FOLDER,
    read_split,
    read_text_lines,
    statistics_folder,
    text_line,
)
from kinestream.data.manifest import MANIFEST_NAME, load_manifest

SPLITS = ("train", "val", "test")


def reduced(root: Path, out: Path, clips: int, captions: int) -> Path:
    """Link `clips` training recordings and a tenth as many of validation, mirrored copies left out, and all test ones.

    Recordings are spread evenly over the names; of each the first `captions` captions are kept (all of test ones).
    """
    if (out / "complete").is_file():
        return out
    shutil.rmtree(out, ignore_errors=True)
    for folder in (SPLIT_FOLDER, TEXT_FOLDER):
        (out / folder).mkdir(parents=True)
    for folder in (MOTION_FOLDER, MUSIC_FOLDER, statistics_folder(root).name):
        if (root / folder).is_dir():
            (out / folder).symlink_to((root / folder).resolve(), target_is_directory=True)
    mirrored: set[str] = set()
    if (root / MANIFEST_NAME).is_file():
        (out / MANIFEST_NAME).symlink_to((root / MANIFEST_NAME).resolve())
        mirrored = {clip.name for clip in load_manifest(root).clips if clip.mirrored}
    for split, most in zip(SPLITS, (clips, max(1, clips // 10), None), strict=True):
        if split != "train" and not (root / SPLIT_FOLDER / f"{split}.txt").is_file():
            continue
        names = sorted(name for name in dict.fromkeys(read_split(root, split)) if name not in mirrored)
        if most is not None and most < len(names):
            names = [names[int((k + 0.5) * len(names) / most)] for k in range(most)]
        (out / SPLIT_FOLDER / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        for name in names if (root / TEXT_FOLDER).is_dir() else ():
            lines = read_text_lines(root / TEXT_FOLDER / f"{name}.txt")
            kept = lines if most is None else lines[:captions]
            text = "\n".join(text_line(line) for line in kept) + "\n"
            (out / TEXT_FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
    (out / "complete").touch()
    return out


def digest(root: Path) -> str:
    """A hash of what a data set holds: its manifest where it has one, otherwise its splits."""
    manifest = root / MANIFEST_NAME
    paths = [manifest] if manifest.is_file() else sorted((root / SPLIT_FOLDER).glob("*.txt"))
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()
