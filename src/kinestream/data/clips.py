"""A split of a built data set in memory: what the training recipes read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics


@dataclass(frozen=True)
class MotionClips:
    """Clips of one split: features [T, 272] (un-normalised, fp32), names, captions, and the data set's statistics."""

    features: list[Tensor]
    names: list[str]
    captions: list[list[str]]
    statistics: Statistics
    sources: list[str]

    @classmethod
    def load(cls, roots: Sequence[str | Path], split: str) -> MotionClips:
        """Read folders in the HumanML3D-272 layout; the first folder's statistics hold for all.

        BadInputError when a folder, its split file or a clip is missing or unsound.
        """
        features, names, captions, sources = [], [], [], []
        for root in map(Path, roots):
            for name in split_names(root, split):
                features.append(read_clip(root, name))
                names.append(name)
                captions.append(read_captions(root, name))
            sources.append(_source_name(root))
        if not features:
            raise BadInputError(f"no clip in split {split!r} of {', '.join(map(str, roots))}")
        return cls(features, names, captions, Statistics.load(Path(roots[0]) / "mean_std"), sources)


def split_names(root: Path, split: str) -> list[str]:
    """Names in split/NAME.txt, one a line; BadInputError when the file is missing or names leave the folder."""
    path = root / "split" / f"{split}.txt"
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: expected a split file with one clip name a line: {error}") from None
    for name in names:
        if "/" in name or "\\" in name or name.startswith("."):
            raise BadInputError(f"{path}: clip names must be plain file names, got {name!r}")
    return names


def read_clip(root: Path, name: str) -> Tensor:
    """Features [T, 272] of a clip; BadInputError for a damaged file, another width or numbers that are not finite."""
    path = root / "motion_data" / f"{name}.npy"
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path}: expected motion272 features [T, 272] as .npy: {error}") from None
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] != MOTION272.width or array.dtype.kind != "f":
        raise BadInputError(f"{path}: expected motion272 features [T, 272], got {array.dtype} {array.shape}")
    clip = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if not bool(torch.isfinite(clip).all()):
        raise BadInputError(f"{path}: features must be finite numbers (found NaN or infinity)")
    return clip


def read_captions(root: Path, name: str) -> list[str]:
    """Captions of a clip: the part before the first # of each line of texts/NAME.txt."""
    path = root / "texts" / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: expected captions as `caption#tokens#start#end`, one a line: {error}") from None
    captions = [line.split("#")[0].strip() for line in lines]
    captions = [caption for caption in captions if caption]
    if not captions:
        raise BadInputError(f"{path}: expected at least one caption, found none")
    return captions


def _source_name(root: Path) -> str:
    manifest = root / "manifest.json"
    if not manifest.is_file():
        return root.name
    raw: Any = json.loads(manifest.read_text(encoding="utf-8"))
    return str(raw.get("name", root.name)) if isinstance(raw, dict) else root.name
