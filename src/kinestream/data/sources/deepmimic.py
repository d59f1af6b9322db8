"""DeepMimic reference clips (Peng et al., SIGGRAPH 2018): JSON key frames of the humanoid3d character.

A frame has 44 values: how long it lasts (seconds), root position (3, metres), root rotation (wxyz), then the local
rotations of the joints in humanoid3d.json's order: a quaternion, or for knees and elbows the angle about z. The
character rests facing +X with hanging arms; what is read faces +Z. One recording of an action is few-shot data, so
every clip stays in the train split.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.sources.recording import Recording, Reject, SourceListing, files_under
from kinestream.data.text.captions import canonical_content
from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.rotations import (
    quat_about_axis,
    quat_conjugate,
    quat_multiply,
    quat_normalize,
    quat_rotate,
    quat_slerp,
    quat_unrolled,
    quat_yaw,
)
from kinestream.skeleton import Skeleton

FRAME_WIDTH = 44
FPS = 30.0
MAX_DURATION_S = 600.0
# Movements that go on in cycles are repeated until they last this long; acrobatics are not.
CYCLIC = frozenset({"walk", "run", "jog", "crawl", "stealthy_walk", "zombie_walk", "dance_a", "dance_b"})
CYCLES_UNTIL_S = 5.0


@dataclass(frozen=True)
class DeepMimic:
    """Importer of the `humanoid3d_ACTION.txt` clips (MIT)."""

    name: str = "deepmimic"
    licence: str = "MIT"
    citation: str = "Peng, Abbeel, Levine, van de Panne: DeepMimic, SIGGRAPH 2018"

    @property
    def bone_map(self) -> dict[str, str]:
        """humanoid3d joints as SMPL-22 joints."""
        trunk = {"root": "pelvis", "chest": "spine3", "neck": "neck"}
        return trunk | {name: name for name, _, _, _ in _definition() if name.startswith(("left_", "right_"))}

    def find(self, root: Path) -> SourceListing[Recording]:
        """All `humanoid3d_ACTION.txt` under `root`; actions without captions are rejects."""
        recordings, rejects = [], []
        for path in files_under(root, "humanoid3d_", ".txt"):
            action = path.stem.removeprefix("humanoid3d_")
            try:
                content = canonical_content(action)
            except BadInputError as error:
                rejects.append(Reject(path.stem, self.name, str(error)))
                continue
            recordings.append(
                Recording(f"DM_{action}", self.name, path, content, "normal", action, "normal", action, only_train=True)
            )
        if not recordings:
            raise BadInputError(f"{root}: found no humanoid3d_ACTION.txt; expected DeepMimic's motion clips")
        return SourceListing(tuple(recordings), tuple(rejects))

    def read(self, recording: Recording) -> Motion:
        """The clip at 30 fps on the humanoid3d skeleton in a T-pose; cyclic movements repeated to about 5 s."""
        return read_deepmimic(recording.path, until_s=CYCLES_UNTIL_S if recording.source_content in CYCLIC else 0.0)


def read_deepmimic(path: str | Path, *, until_s: float = 0.0) -> Motion:
    """A clip as a motion at 30 fps that faces +Z, on a T-pose skeleton with SMPL's axes and joint names of its own.

    A clip marked `wrap` is repeated from where it ends until it lasts `until_s` seconds.
    BadInputError for what is no clip: other JSON, wrong widths, values that are not finite, no duration.
    """
    path = Path(path)
    frames, wraps = _read_frames(path)
    times = torch.cat((frames.new_zeros(1), frames[:-1, 0].cumsum(0)))
    if not 0.0 < float(times[-1]) <= MAX_DURATION_S:
        raise BadInputError(f"{path}: expected frames that last up to {MAX_DURATION_S:g} s, got {float(times[-1]):g} s")
    root, local = _to_z_forward(frames, path)
    if wraps:
        root, local, times = _repeated(root, local, times, until_s)
    root, local = _resampled(root, local, times)
    return Motion(_tpose_skeleton(), _tpose_rotations(local).float(), root.float(), FPS, name=path.stem)


def _read_frames(path: Path) -> tuple[Tensor, bool]:
    try:
        clip: Any = json.loads(path.read_text(encoding="utf-8"))
        rows = clip["Frames"]
        wraps = clip.get("Loop") == "wrap"
        sound = isinstance(rows, list) and len(rows) >= 2 and all(len(row) == FRAME_WIDTH for row in rows)
        frames = torch.tensor(rows, dtype=torch.float64) if sound else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        what = "expected a DeepMimic clip, JSON with 'Loop' and 'Frames'"
        raise BadInputError(f"{path}: {what}: {str(error)[:200]}") from None
    if frames is None or frames.ndim != 2:
        raise BadInputError(f"{path}: expected at least two frames of {FRAME_WIDTH} values each")
    if (
        not bool(torch.isfinite(frames).all())
        or bool((frames[:, 0] < 0).any())
        or float(frames[:, 1:].abs().max()) > 1e4
    ):
        raise BadInputError(f"{path}: frames must be finite values of sensible size with durations of at least 0")
    return frames, wraps


@lru_cache(maxsize=1)
def _definition() -> tuple[tuple[str, int, tuple[float, float, float], int], ...]:
    text = files("kinestream.data").joinpath("sources/humanoid3d.json").read_text(encoding="utf-8")
    return tuple((name, parent, (x, y, z), size) for name, parent, (x, y, z), size in json.loads(text)["joints"])


def _x_to_z_forward() -> Float[Tensor, "4"]:
    """The turn about Y that takes +X (DeepMimic's forward) to +Z."""
    return quat_about_axis(torch.tensor(-math.pi / 2, dtype=torch.float64), "Y")


def _to_z_forward(frames: Float[Tensor, "t 44"], path: Path) -> tuple[Float[Tensor, "t 3"], Float[Tensor, "t 15 4"]]:
    """Root positions and local rotations with every joint's axes turned, so that the rest pose faces +Z."""
    turn = _x_to_z_forward()
    column, rotations = 4, []
    for name, _, _, size in _definition():
        values = frames[:, column : column + size]
        column += size
        if size == 4:
            if bool((values.norm(dim=-1) < 0.5).any()):
                raise BadInputError(f"{path}: the rotation of {name!r} is no unit quaternion")
            rotation = quat_normalize(values)
        else:
            angle = values[:, 0] if size == 1 else torch.zeros_like(frames[:, 0])
            rotation = quat_about_axis(angle, "Z")
        rotations.append(quat_multiply(quat_multiply(turn, rotation), quat_conjugate(turn)))
    local = quat_unrolled(torch.stack(rotations, dim=1))
    return quat_rotate(turn, frames[:, 1:4]), local


def _repeated(root: Tensor, local: Tensor, times: Tensor, until_s: float) -> tuple[Tensor, Tensor, Tensor]:
    """Cycle after cycle, each starting where and in the heading in which the one before ended."""
    turn = quat_multiply(quat_yaw(local[-1, 0]), quat_conjugate(quat_yaw(local[0, 0])))
    roots, locals_, clocks = [root], [local], [times]
    while float(clocks[-1][-1]) < until_s:
        last_root, last_local = roots[-1], locals_[-1]
        next_root = quat_rotate(turn, last_root - last_root[0])
        next_root = next_root + torch.stack((last_root[-1, 0], last_root[0, 1], last_root[-1, 2]))
        next_local = last_local.clone()
        next_local[:, 0] = quat_multiply(turn, last_local[:, 0])
        roots.append(next_root)
        locals_.append(next_local)
        clocks.append(times + clocks[-1][-1])
    # The first frame of a cycle is the last of the one before.
    joined = [torch.cat([part[:-1] for part in parts[:-1]] + [parts[-1]]) for parts in (roots, locals_, clocks)]
    return joined[0], quat_unrolled(joined[1]), joined[2]


def _resampled(root: Tensor, local: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    count = int(float(times[-1]) * FPS + 1e-6) + 1
    wanted = torch.arange(count, dtype=torch.float64) / FPS
    high = torch.searchsorted(times, wanted).clamp(1, len(times) - 1)
    span = (times[high] - times[high - 1]).clamp_min(1e-9)
    share = ((wanted - times[high - 1]) / span).clamp(0.0, 1.0)
    positions = torch.lerp(root[high - 1], root[high], share[:, None])
    return positions, quat_slerp(local[high - 1], local[high], share[:, None])


_ARM = ("shoulder", "elbow", "wrist")


def _tpose_turn(joint_name: str) -> Float[Tensor, "4"] | None:
    """What turns a hanging arm (-Y) to the side: left to +X, right to -X; None for joints that are no arm's."""
    side, _, part = joint_name.partition("_")
    if part not in _ARM:
        return None
    angle = math.pi / 2 if side == "left" else -math.pi / 2
    return quat_about_axis(torch.tensor(angle, dtype=torch.float64), "Z")


def _tpose_rotations(local: Float[Tensor, "t 15 4"]) -> Float[Tensor, "t 15 4"]:
    """Local rotations for the skeleton whose arms rest to the sides instead of hanging."""
    result = local.clone()
    for joint, (name, parent, _, _) in enumerate(_definition()):
        own, above = _tpose_turn(name), None if parent < 0 else _tpose_turn(_definition()[parent][0])
        if above is not None:
            result[:, joint] = quat_multiply(above, result[:, joint])
        if own is not None:
            result[:, joint] = quat_multiply(result[:, joint], quat_conjugate(own))
    return quat_normalize(result)


@lru_cache(maxsize=1)
def _tpose_skeleton() -> Skeleton:
    """The humanoid3d skeleton in a T-pose that faces +Z, metres."""
    turn, offsets = _x_to_z_forward(), []
    for _, parent, offset, _ in _definition():
        vector = quat_rotate(turn, torch.tensor(offset, dtype=torch.float64))
        above = None if parent < 0 else _tpose_turn(_definition()[parent][0])
        offsets.append(vector if above is None else quat_rotate(above, vector))
    return Skeleton(
        name="humanoid3d",
        joint_names=tuple(name for name, _, _, _ in _definition()),
        parents=tuple(parent for _, parent, _, _ in _definition()),
        offsets_m=torch.stack(offsets).float(),
    )
