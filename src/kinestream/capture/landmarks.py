"""What is seen of one person in a film: landmarks over time, and the camera that saw them.

This is the border between the estimators (film -> landmarks) and the lifting (landmarks -> a body in the world).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# BlazePose's 33 landmarks, in its order; left and right are the person's own.
LANDMARKS = (
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
)
BONES = (
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index"), ("wrist", "pinky"), ("shoulder", "hip"),
        ("hip", "knee"), ("knee", "ankle"), ("ankle", "heel"), ("heel", "foot_index"), ("ankle", "foot_index"),
    )),
)  # fmt: skip


def landmark(name: str) -> int:
    """The index of a landmark by its name."""
    return LANDMARKS.index(name)


@dataclass(frozen=True, eq=False)
class PersonTrack:
    """One person in one shot, a row for every frame of the film from the first to the last where they were seen.

    Camera axes are those of pictures: x to the right, y down, z away from the camera; the principal point is the
    picture's centre. Rows where the person was hidden (`confidence` 0 throughout) hold values interpolated in time.

    `person` the id that is kept through the film, `shot` which cut-free stretch of it; `frames` [T] consecutive frame
    numbers, `times_s` [T] their presentation times (steps vary in films of variable rate). `keypoints_px` [T, 33, 2] in
    pixels of the upright picture. `depth_px` [T, 33] the landmark model's depth cue relative to the hips' middle, in
    pixels, positive away from the camera. `world_m` [T, 33, 3] BlazePose's world landmarks in metres from the hips'
    middle, camera axes. `confidence` [T, 33] from 0 to 1: the landmark is seen. `boxes_px` [T, 4] left, top, right,
    bottom. `image_size_px` width and height, `focal_px` the focal length and `focal_known` whether it was given or
    measured (False: an assumed field of view). `camera_turn` [T, 3, 3] takes directions in the camera's axes at
    that frame to its axes at the first frame; None for a camera that stands still.
    `left_hand_m`, `right_hand_m` [T, 21, 3] hand landmarks in metres, camera axes, NaN where a hand was not seen;
    `face_units` [T, F] expression track, NaN where the face was not seen; None where they were not looked for.
    Raises BadInputError for shapes that don't agree.
    """

    person: int
    shot: int
    frames: IntArray
    times_s: NDArray[np.float64]
    keypoints_px: FloatArray
    depth_px: FloatArray
    world_m: FloatArray
    confidence: FloatArray
    boxes_px: FloatArray
    image_size_px: tuple[int, int]
    focal_px: float
    focal_known: bool = False
    camera_turn: FloatArray | None = None
    left_hand_m: FloatArray | None = None
    right_hand_m: FloatArray | None = None
    face_units: FloatArray | None = None

    def __post_init__(self) -> None:
        count, points = len(self.frames), len(LANDMARKS)
        wanted = {
            "times_s": (count,),
            "keypoints_px": (count, points, 2),
            "depth_px": (count, points),
            "world_m": (count, points, 3),
            "confidence": (count, points),
            "boxes_px": (count, 4),
            "camera_turn": (count, 3, 3),
            "left_hand_m": (count, 21, 3),
            "right_hand_m": (count, 21, 3),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise BadInputError(f"person {self.person}: expected {name} {list(shape)}, got {list(value.shape)}")
        if count == 0 or not bool(np.all(np.diff(self.frames) == 1)):
            raise BadInputError(f"person {self.person}: expected at least one frame, and consecutive ones")

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self.frames)

    @property
    def fps(self) -> float:
        """Mean frames per second; 30 for a single frame."""
        return float((len(self.frames) - 1) / (self.times_s[-1] - self.times_s[0])) if len(self.frames) > 1 else 30.0

    @property
    def seen(self) -> NDArray[np.bool_]:
        """[T]: where the person was seen, rather than filled in."""
        return np.asarray(self.confidence.max(axis=1) > 0.0)


def track_bytes(track: PersonTrack) -> bytes:
    """The track as the bytes of an npz file without objects; `track_from_file` reads it."""
    values = {field.name: getattr(track, field.name) for field in fields(track)}
    buffer = io.BytesIO()
    np.savez(
        buffer, allow_pickle=False, **{name: np.asarray(value) for name, value in values.items() if value is not None}
    )
    return buffer.getvalue()


def track_from_file(path: Path) -> PersonTrack:
    """Read a file of `track_bytes`. Raises BadInputError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            raw = {name: file[name] for name in file.files}
        width, height = (int(side) for side in raw.pop("image_size_px"))
        scalars = {name: raw.pop(name).item() for name in ("person", "shot", "focal_px", "focal_known")}
        return PersonTrack(image_size_px=(width, height), **scalars, **raw)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{path}: expected landmarks of a person (npz), could not read it: {error}") from error
