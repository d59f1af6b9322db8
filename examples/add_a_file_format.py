"""A file format of your own: the JSON lines that `kinestream stream` writes, read back as a motion.

A format is two functions, file to Motion and back, that keep Motion's conventions: metres, Y up, quaternions wxyz.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

import kinestream
from kinestream import BadInputError, Motion, Skeleton
from kinestream.io.atomic import atomic_path


def write_frames(motion: Motion, path: Path) -> None:
    """A header with the skeleton, then a line a frame; whole or not at all."""
    header = {"type": "header", "fps": motion.fps, "skeleton": json.loads(motion.skeleton.to_json())}
    rows = zip(motion.root_position_m.tolist(), motion.local_rotations.tolist(), strict=True)
    lines = [header, *({"type": "frame", "root_position_m": root, "rotations": turns} for root, turns in rows)]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_frames(path: Path) -> Motion:
    """The motion in such a file; BadInputError says what was expected and what came."""
    try:
        header, *frames = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        root = torch.tensor([frame["root_position_m"] for frame in frames])
        turns = torch.tensor([frame["rotations"] for frame in frames])
        return Motion(skeleton_of(header), turns, root, float(header["fps"]), name=path.stem)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: expected a header and a JSON line a frame: {error}") from None


def skeleton_of(header: dict[str, Any]) -> Skeleton:
    """The skeleton that a header describes; Skeleton checks that it is a tree of joints."""
    body = header["skeleton"]
    offsets = torch.tensor(body["offsets_m"])
    return Skeleton(body["name"], tuple(body["joints"]), tuple(body["parents"]), offsets, body["end_sites"])


def main(folder: Path) -> list[Motion]:
    """Write a motion, read it back, compare, and see a damaged file refused; writes raise.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    motion = kinestream.generate("raises both hands", seconds=2, seed=1)
    write_frames(motion, folder / "raise.jsonl")
    back = read_frames(folder / "raise.jsonl")
    apart = float((back.joint_positions_m() - motion.joint_positions_m()).norm(dim=-1).max())
    print(f"{back.num_frames} frames, at most {1000 * apart:.3f} mm apart")
    (folder / "damaged.jsonl").write_text("no JSON")
    try:
        read_frames(folder / "damaged.jsonl")
    except BadInputError as error:
        print(f"refused: {error}")
    return [back]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
