"""Dance with Melody (Tang, Jia, Mao; ACM MM 2018): cha-cha, rumba, tango and waltz as 23 marker positions at 25 fps.

`index.json` lists the dances; `motion/ID.npz` has `joints` [T, 23, 3] relative to `center` [T, 3] in centimetres, Y up;
`audio/ID.ogg` the whole songs. What the markers are was measured on the recordings (distances that stay the same):

    0, 1 right and left of the head; 2 belly; 7, 16 hip bones; 3, 12 on top of the shoulders;
    4, 13 elbows; 5, 21 forearms 12 cm from the elbow, 14 a second one on the left; 6, 22 both sides of the right wrist
    and 15 the left wrist (24 to 28 cm from the elbow); 8, 17 knees; 9, 18 ankles; 10, 19 heels; 11, 20 toes.

Many recordings are two takes of differently measured bodies (thighs of 55 and of 44 cm) that were faded into each other
within a second, and their height climbs by up to 45 cm in a minute. Constants of the body are therefore estimated for
each take and faded alike, the smaller share is brought to the larger one's leg length, and the floor is taken from the
feet. The motion that comes out is on a skeleton with the dancer's proportions and SMPL-22's joints and axes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import safe_name
from kinestream.data.position_ik import (
    flat_foot_offset,
    frame_from_axes,
    hinged_limb,
    joint_centre,
    level_floor,
    pitch_offset,
    placed_ankles,
    smoothed,
)
from kinestream.data.sources.dance_recording import DanceListing, DanceRecording, ReadDance, genre_named
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.io.arrays import read_numbers
from kinestream.motion import Motion
from kinestream.rotations import quat_between, quat_conjugate, quat_multiply, quat_rotate, quat_slerp, quat_unrolled
from kinestream.skeleton import Skeleton, forward_kinematics, smpl22

FPS = 25.0
NUM_MARKERS = 23
MAX_INDEX_BYTES = 4 * 2**20
MIN_FRAMES = 50
# Which joint's orientation carries each marker, for the residual.
_CARRIER = {
    0: "head", 1: "head", 2: "pelvis", 7: "pelvis", 16: "pelvis", 3: "right_collar", 12: "left_collar",
    4: "right_elbow", 5: "right_elbow", 6: "right_elbow", 22: "right_elbow", 13: "left_elbow", 14: "left_elbow",
    15: "left_elbow", 21: "left_elbow", 8: "right_knee", 17: "left_knee", 9: "right_ankle", 10: "right_ankle",
    11: "right_ankle", 18: "left_ankle", 19: "left_ankle", 20: "left_ankle",
}  # fmt: skip


class _Side(NamedTuple):
    """Markers and signs of a side of the body."""

    name: str
    sign: float
    shoulder: int
    elbow: int
    wrist: tuple[int, ...]
    hip: int
    knee: int
    ankle: int
    heel: int
    toe: int


# Lengths that tell bodies apart: thighs first, then shins, upper arms, trunk.
_MEASURED = ((7, 8), (16, 17), (8, 9), (17, 18), (3, 4), (12, 13), (2, 1))
_TAKES_DIFFER = -0.1  # log of the thighs' ratio
_ANKLE_TO_TIP_M = 0.18  # of a foot of SMPL's size, from the ankle to the tip of the toes
_UP = torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)


_LEFT = _Side("left", 1.0, 12, 13, (15,), 16, 17, 18, 19, 20)
_RIGHT = _Side("right", -1.0, 3, 4, (6, 22), 7, 8, 9, 10, 11)
_SIDES = (_LEFT, _RIGHT)


@dataclass(frozen=True)
class DanceWithMelody:
    """Importer of the folder with index.json, motion/ and audio/."""

    name: str = "dance-with-melody"
    licence: str = "published for research; no licence file"
    citation: str = "Tang, Jia, Mao: Dance with Melody, ACM Multimedia 2018"
    drifts: bool = True

    def find(self, root: Path) -> DanceListing:
        """The dances that index.json lists; those without a motion file are rejects.

        A dance whose song is missing counts as danced to the song of the dance that used the same part of one.
        """
        recordings, rejects = [], []
        parts: dict[tuple[Any, ...], str] = {}
        entries = _index(root)
        for entry in sorted(entries, key=lambda entry: not _audio_file(root, entry).is_file()):
            try:
                identity, genre = str(entry["id"]), genre_named(str(entry["genre"])).name
                start, end = float(entry["music_start_frame"]), float(entry["music_end_frame"])
                safe_name(identity)
            except (KeyError, TypeError, ValueError, BadInputError) as error:
                reason = f"its entry in index.json cannot be read: {error}"
                rejects.append(Reject(str(entry.get("id"))[:80], self.name, reason))
                continue
            name, motion, audio = f"DWM_{identity}", root / "motion" / f"{identity}.npz", _audio_file(root, entry)
            if not motion.is_file():
                rejects.append(Reject(name, self.name, f"there is no motion/{identity}.npz"))
                continue
            found = audio if audio.is_file() else None
            song = parts.setdefault((genre, start, end), f"dwm-{identity}") if found is None else f"dwm-{identity}"
            parts.setdefault((genre, start, end), song)
            begin = max(start, 0.0) / FPS
            recordings.append(DanceRecording(name, self.name, motion, genre, song, identity, found, begin))
        if not recordings:
            raise BadInputError(f"{root}: index.json lists no dance with a motion file")
        return DanceListing(tuple(sorted(recordings, key=lambda r: r.name)), tuple(rejects))

    def read(self, recording: DanceRecording) -> ReadDance:
        """The dance at 25 fps on the dancer's own proportions, standing near y = 0."""
        markers = read_markers(recording.path)
        motion = motion_from_markers(markers, FPS, recording.name)
        takes = float(take_share(markers, FPS).mean())
        facts = {
            "residual_mm": residual_mm(motion, _prepared(markers, FPS), take_share(markers, FPS)),
            "second_take_share": round(takes, 3),
        }
        return ReadDance(motion, facts)


def read_markers(path: Path) -> Float[Tensor, "t 23 3"]:
    """Marker positions in the world in metres, float64; BadInputError for other files."""
    arrays = read_numbers(path, ("joints", "center"))
    joints, centre = torch.from_numpy(arrays["joints"]).double(), torch.from_numpy(arrays["center"]).double()
    if joints.shape[1:] != (NUM_MARKERS, 3) or centre.shape != (len(joints), 3):
        raise BadInputError(
            f"{path}: expected joints [T, {NUM_MARKERS}, 3] and center [T, 3], got {tuple(joints.shape)} and "
            f"{tuple(centre.shape)}"
        )
    if len(joints) < MIN_FRAMES:
        raise BadInputError(f"{path}: {len(joints)} frames; at least {MIN_FRAMES} are needed")
    return (joints + centre[:, None]) / 100.0


def _levelled(markers_m: Tensor, fps: float) -> Tensor:
    """The markers over the floor y = 0."""
    lowest = markers_m[:, [_LEFT.toe, _RIGHT.toe, _LEFT.heel, _RIGHT.heel], 1].amin(dim=1)
    floor = torch.zeros(len(markers_m), 1, 3, dtype=markers_m.dtype)
    floor[:, 0, 1] = level_floor(lowest, fps)
    return markers_m - floor


def take_share(markers_m: Float[Tensor, "t 23 3"], fps: float) -> Float[Tensor, "t"]:
    """How much of each frame is of the recording's second take (the one with fewer frames), 0 to 1.

    Zeros where there is one take. Takes are told apart by the lengths between markers, which two clusters explain when
    both thighs differ by a tenth.
    """
    lengths = torch.stack([(markers_m[:, a] - markers_m[:, b]).norm(dim=-1) for a, b in _MEASURED], dim=1).log()
    thighs = lengths[:, :2].mean(dim=1)
    low, high = float(thighs.quantile(0.02)), float(thighs.quantile(0.98))
    small = thighs < 0.5 * (low + high)
    for _ in range(20):
        if not 0 < int(small.sum()) < len(small):
            return torch.zeros_like(thighs)
        small = (thighs - thighs[small].mean()).abs() < (thighs - thighs[~small].mean()).abs()
    short, long = lengths[small].mean(dim=0), lengths[~small].mean(dim=0)
    if float((short - long)[:2].max()) > _TAKES_DIFFER or not 0.02 < float(small.double().mean()) < 0.98:
        return torch.zeros_like(thighs)
    step = short - long if int(small.sum()) <= len(small) // 2 else long - short
    start = long if int(small.sum()) <= len(small) // 2 else short
    along = (lengths - start) @ step / step.square().sum()
    share = smoothed(along[:, None], 0.25 * fps)[:, 0]
    return ((share - 0.2) / 0.6).clamp(0.0, 1.0)


def _one_size(markers_m: Tensor, share: Tensor) -> Tensor:
    """The second take enlarged or reduced so that its legs are as long as the first's; feet stay planted."""
    if not bool((share > 0.9).any()):
        return markers_m
    legs = torch.stack([(markers_m[:, a] - markers_m[:, b]).norm(dim=-1) for a, b in _MEASURED[:4]], dim=1).sum(dim=1)
    ratio = legs[share < 0.1].median() / legs[share > 0.9].median()
    scale = 1.0 + share * (ratio - 1.0)
    ground = torch.tensor((1.0, 0.0, 1.0), dtype=markers_m.dtype)
    centre = 0.5 * (markers_m[:, _LEFT.hip] + markers_m[:, _RIGHT.hip]) * ground
    steps = centre.diff(dim=0, prepend=torch.zeros_like(centre[:1])) * scale[:, None]
    return (markers_m - centre[:, None]) * scale[:, None, None] + steps.cumsum(dim=0)[:, None]


def motion_from_markers(markers_m: Float[Tensor, "t 23 3"], fps: float, name: str = "") -> Motion:
    """Rotations of SMPL-22's joints on a skeleton with the dancer's proportions; the floor is near y = 0."""
    return _Solver(_prepared(markers_m, fps), take_share(markers_m, fps), fps).motion(name)


def _prepared(markers_m: Tensor, fps: float) -> Tensor:
    return _one_size(_levelled(markers_m, fps), take_share(markers_m, fps))


def residual_mm(motion: Motion, markers_m: Float[Tensor, "t 23 3"], share: Float[Tensor, "t"]) -> dict[str, float]:
    """How far markers are from where the body carries them (each at its median place on its bone), in millimetres.

    Each take has its own places. The mean and 95th percentile over all markers and frames, and the worst marker's mean.
    """
    positions, world = forward_kinematics(
        motion.skeleton, motion.local_rotations.double(), motion.root_position_m.double()
    )
    errors = []
    for marker, joint_name in _CARRIER.items():
        joint = motion.skeleton.index(joint_name)
        carried = quat_rotate(quat_conjugate(world[:, joint]), markers_m[:, marker] - positions[:, joint])
        places = [carried[mask].median(dim=0).values for mask in _take_masks(share)]
        place = places[0] if len(places) == 1 else torch.lerp(places[0], places[1], share[:, None])
        errors.append((carried - place).norm(dim=-1) * 1000.0)
    every = torch.stack(errors)
    return {
        "mean": round(float(every.mean()), 1),
        "p95": round(float(every.flatten().sort().values[int(0.95 * (every.numel() - 1))]), 1),
        "worst_marker_mean": round(float(every.mean(dim=1).max()), 1),
    }


def _take_masks(share: Tensor) -> list[Tensor]:
    return [share < 0.5, share >= 0.5] if bool((share >= 0.5).any()) else [share < 0.5]


class _Solver:
    """One recording's orientations, from the trunk outwards; `world` holds them by joint index.

    What is constant on a body is fitted by take (`_by_take`) and faded where takes are.
    """

    def __init__(self, markers_m: Float[Tensor, "t 23 3"], share: Float[Tensor, "t"], fps: float) -> None:
        self.m, self.share, self.fps = markers_m, share, fps
        self.takes = _take_masks(share)
        self.rest = smpl22().offsets_m.double().clone()
        self.index = smpl22().index
        self.world = torch.zeros(len(markers_m), smpl22().num_joints, 4, dtype=torch.float64)
        self.world[..., 0] = 1.0
        self.at = torch.zeros(len(markers_m), smpl22().num_joints, 3, dtype=torch.float64)

    def motion(self, name: str) -> Motion:
        self._pelvis()
        self._trunk()
        self._head()
        for side in _SIDES:
            self._arm(side)
        self._legs()
        parents = smpl22().parents
        local = self.world.clone()
        for joint, parent in enumerate(parents[1:], start=1):
            local[:, joint] = quat_multiply(quat_conjugate(self.world[:, parent]), self.world[:, joint])
        skeleton = Skeleton("dancer", smpl22().joint_names, parents, self.rest.float())
        root = self.at[:, 0]
        return Motion(skeleton, quat_unrolled(local).float(), root.float(), self.fps, name=name)

    def _by_take(self, fit: Callable[[Tensor], Tensor]) -> Tensor:
        """What `fit` finds on each take's frames, for every frame [T, d]; rotations stay unit quaternions."""
        fitted = [fit(mask) for mask in self.takes]
        if len(fitted) == 1:
            return fitted[0].expand(len(self.m), -1)
        if fitted[0].shape[-1] == 4:
            return quat_slerp(fitted[0].expand(len(self.m), 4), fitted[1].expand(len(self.m), 4), self.share)
        return torch.lerp(fitted[0], fitted[1], self.share[:, None])

    def _length(self, bone: Tensor) -> Tensor:
        length: Tensor = bone[self.takes[0]].norm(dim=-1).median()
        return length

    def _between(self, a: int, b: int) -> Tensor:
        return 0.5 * (self.m[:, a] + self.m[:, b])

    def _pelvis(self) -> None:
        m, rest = self.m, self.rest
        middle, shoulders = self._between(_RIGHT.hip, _LEFT.hip), self._between(_RIGHT.shoulder, _LEFT.shoulder)
        frame = frame_from_axes(m[:, _LEFT.hip] - m[:, _RIGHT.hip], m[:, 2] - middle, "xy")
        upwards = quat_rotate(quat_conjugate(frame), shoulders - middle)
        chest = rest[[3, 6, 9]].sum(0) + 0.5 * (rest[13] + rest[16] + rest[14] + rest[17])
        straight = chest - 0.5 * (rest[1] + rest[2])
        pelvis = quat_multiply(frame, self._by_take(lambda mask: pitch_offset(upwards[mask], straight)))
        hips = {}
        for side in _SIDES:
            expected = (-0.02 * side.sign, -0.08, -0.02)
            hips[side.name] = self._centre(pelvis, side.hip, side.knee, expected)
        width = float(self._length(hips["left"] - hips["right"]))
        half = 0.5 * (rest[1] + rest[2])
        for joint, sign in ((1, 1.0), (2, -1.0)):
            rest[joint] = torch.stack((half[0] + sign * 0.5 * width, half[1], half[2]))
        self.world[:, 0] = pelvis
        centre = 0.5 * (hips["left"] + hips["right"])
        self.at[:, 0] = centre - quat_rotate(pelvis, half.expand_as(centre))
        for joint in (1, 2):
            self.at[:, joint] = self.at[:, 0] + quat_rotate(pelvis, rest[joint].expand_as(centre))
        self.hips = hips

    def _centre(self, frame: Tensor, marker: int, following: int, expected: tuple[float, float, float]) -> Tensor:
        """A joint's places, from a marker near it and the next joint's marker."""
        at, after = self.m[:, marker], self.m[:, following]
        offset = self._by_take(lambda mask: joint_centre(frame[mask], at[mask], after[mask], expected))
        return at + quat_rotate(frame, offset)

    def _trunk(self) -> None:
        m, rest, world = self.m, self.rest, self.world
        middle = self._between(_RIGHT.shoulder, _LEFT.shoulder)
        frame = frame_from_axes(m[:, _LEFT.shoulder] - m[:, _RIGHT.shoulder], middle - m[:, 2], "xy")
        above = quat_rotate(quat_conjugate(frame), quat_rotate(world[:, 0], _UP.expand_as(middle)))
        chest = quat_multiply(frame, self._by_take(lambda mask: pitch_offset(above[mask], _UP)))
        joints = {
            side.name: self._centre(chest, side.shoulder, side.elbow, (-0.01 * side.sign, -0.05, 0.0))
            for side in _SIDES
        }
        centre = 0.5 * (joints["left"] + joints["right"])
        to_shoulders = 0.5 * (rest[13] + rest[16] + rest[14] + rest[17])
        straight = rest[[3, 6, 9]].sum(0) + to_shoulders
        scale = float((centre - self.at[:, 0])[self.takes[0]].norm(dim=-1).quantile(0.8) / straight.norm())
        for joint in (3, 6, 9, 12, 13, 14):
            rest[joint] *= scale
        to_shoulders = 0.5 * (rest[13] + rest[16] + rest[14] + rest[17])
        middle_turn = quat_slerp(world[:, 0], chest, 0.5)
        self.at[:, 3] = self.at[:, 0] + quat_rotate(world[:, 0], rest[3].expand_as(centre))
        target = centre - quat_rotate(chest, to_shoulders.expand_as(centre)) - self.at[:, 3]
        bone = quat_rotate(middle_turn, (rest[6] + rest[9]).expand_as(centre))
        lower = quat_multiply(quat_between(bone, target), middle_turn)
        world[:, 3], world[:, 6], world[:, 9] = lower, lower, chest
        self.at[:, 6] = self.at[:, 3] + quat_rotate(lower, rest[6].expand_as(centre))
        self.at[:, 9] = self.at[:, 6] + quat_rotate(lower, rest[9].expand_as(centre))
        for side, collar, shoulder in ((_LEFT, 13, 16), (_RIGHT, 14, 17)):
            self.at[:, collar] = self.at[:, 9] + quat_rotate(chest, rest[collar].expand_as(centre))
            reach = joints[side.name] - self.at[:, collar]
            rest[shoulder] *= min(max(float(self._length(reach) / rest[shoulder].norm()), 0.7), 1.6)
            bone = quat_rotate(chest, rest[shoulder].expand_as(centre))
            world[:, collar] = quat_multiply(quat_between(bone, reach), chest)
            self.at[:, shoulder] = self.at[:, collar] + quat_rotate(world[:, collar], rest[shoulder].expand_as(centre))

    def _head(self) -> None:
        m, rest, world = self.m, self.rest, self.world
        middle = self._between(0, 1)
        neck = self.at[:, 9] + quat_rotate(world[:, 9], rest[12].expand_as(middle))
        frame = frame_from_axes(m[:, 1] - m[:, 0], middle - neck, "xy")
        above = quat_rotate(quat_conjugate(frame), quat_rotate(world[:, 9], _UP.expand_as(middle)))
        head = quat_multiply(frame, self._by_take(lambda mask: pitch_offset(above[mask], _UP)))
        world[:, 12], world[:, 15] = quat_slerp(world[:, 9], head, 0.5), head

    def _arm(self, side: _Side) -> None:
        m, rest = self.m, self.rest
        collar, shoulder, elbow, wrist = (
            self.index(f"{side.name}_{part}") for part in ("collar", "shoulder", "elbow", "wrist")
        )
        hand = m[:, list(side.wrist)].mean(dim=1)
        upper, lower = m[:, side.elbow] - self.at[:, shoulder], hand - m[:, side.elbow]
        hinge = torch.tensor((0.0, -side.sign, 0.0)).double()
        world = hinged_limb(self.world[:, collar], rest[elbow], hinge, upper, lower, self.fps)
        self.world[:, shoulder], self.world[:, elbow] = world
        self.world[:, wrist] = world[1]
        for joint, seen in ((elbow, upper), (wrist, lower)):
            rest[joint] *= float(self._length(seen) / rest[joint].norm())

    def _legs(self) -> None:
        m, rest, world = self.m, self.rest, self.world
        thighs, shins, feet = [], [], []
        for side in _SIDES:
            knee, ankle, foot = (self.index(f"{side.name}_{part}") for part in ("knee", "ankle", "foot"))
            feet.append(self._foot(side))
            upper, lower = m[:, side.knee] - self.hips[side.name], m[:, side.ankle] - m[:, side.knee]
            sideways = torch.tensor((1.0, 0.0, 0.0)).double()
            neutral = quat_rotate(feet[-1], sideways.expand_as(upper)) + quat_rotate(
                world[:, 0], sideways.expand_as(upper)
            )
            thigh, shin = hinged_limb(world[:, 0], rest[knee], sideways, upper, lower, self.fps, neutral=neutral)
            for joint, seen in ((knee, upper), (ankle, lower)):
                rest[joint] *= float(self._length(seen) / rest[joint].norm())
            rest[foot] *= float(self._length(m[:, side.toe] - m[:, side.ankle])) / _ANKLE_TO_TIP_M
            thighs.append(thigh)
            shins.append(shin)
        self._place(torch.stack(thighs, 1), torch.stack(shins, 1))
        for foot_turn, side in zip(feet, _SIDES, strict=True):
            for part in ("ankle", "foot"):
                world[:, self.index(f"{side.name}_{part}")] = foot_turn

    def _foot(self, side: _Side) -> Tensor:
        ankle, heel, toe = self.m[:, side.ankle], self.m[:, side.heel], self.m[:, side.toe]
        frame = frame_from_axes(toe - heel, ankle - 0.5 * (heel + toe), "zy")
        return quat_multiply(
            frame, self._by_take(lambda mask: flat_foot_offset(frame[mask], heel[mask], toe[mask], self.fps))
        )

    def _place(self, thigh: Tensor, shin: Tensor) -> None:
        """Bend the legs so that the feet are where they were seen."""
        rest, index = self.rest, self.index
        hips = self.at[:, [index("left_hip"), index("right_hip")]]
        bones = (
            rest[[index("left_knee"), index("right_knee")]],
            rest[[index("left_ankle"), index("right_ankle")]],
        )
        thigh, shin = placed_ankles(thigh, shin, bones, hips, self.m[:, [_LEFT.ankle, _RIGHT.ankle]])
        for k, side in enumerate(_SIDES):
            self.world[:, index(f"{side.name}_hip")] = thigh[:, k]
            self.world[:, index(f"{side.name}_knee")] = shin[:, k]


def _audio_file(root: Path, entry: Mapping[str, Any]) -> Path:
    return root / "audio" / f"{str(entry.get('id', '')).replace('/', '-')}.ogg"


def _index(root: Path) -> list[dict[str, Any]]:
    path = root / "index.json"
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise BadInputError(f"{path}: expected a list of dances, this is {path.stat().st_size >> 20} MiB")
        sequences = json.loads(path.read_text(encoding="utf-8"))["sequences"]
        if not isinstance(sequences, list) or not all(isinstance(entry, dict) for entry in sequences):
            raise TypeError("'sequences' is no list of objects")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected Dance with Melody's index with 'sequences': {error}") from None
    return sequences
