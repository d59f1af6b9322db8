"""A body whose landmarks are seen without error is placed and turned as it truly is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinestream.capture.body import SKELETON_HEIGHT_M, body_from_points, body_from_track
from kinestream.capture.landmarks import LANDMARKS, PersonTrack, landmark, track_bytes, track_from_file
from kinestream.errors import BadInputError
from kinestream.metrics.pose import mpjpe_mm, pa_mpjpe_mm
from kinestream.metrics.world_motion import gravity_error_rad, path_error
from kinestream.motion import Motion
from kinestream.rotations import quat_about_axis, quat_multiply
from kinestream.skeleton import smpl22

FOCAL_PX, SIZE = 900.0, (1280, 720)


def walking(frames: int = 90, fps: float = 30.0) -> Motion:
    """Somebody who walks to the side and back a little, swinging arms and legs, knees and elbows bent."""
    t = torch.arange(frames) / fps
    skeleton = smpl22()
    local = torch.zeros(frames, 22, 4)
    local[..., 0] = 1.0

    def turn(name: str, axis: str, angle: torch.Tensor) -> None:
        joint = skeleton.index(name)
        local[:, joint] = quat_multiply(local[:, joint], quat_about_axis(angle, axis))

    swing = 0.5 * torch.sin(2.0 * math.pi * t)
    turn("pelvis", "Y", 0.6 + 0.3 * torch.sin(1.5 * t))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn(f"{side}_shoulder", "Z", torch.full_like(t, -1.1 * sign))
        turn(f"{side}_shoulder", "Y", -0.4 * sign * swing - 0.2 * sign)
        turn(f"{side}_elbow", "Y", torch.full_like(t, -0.7 * sign))
        turn(f"{side}_hip", "X", sign * swing - 0.1)
        turn(f"{side}_knee", "X", 0.4 + 0.3 * sign * swing)
    root = torch.stack((0.5 * t, torch.full_like(t, 0.92), 0.3 * torch.sin(t)), dim=-1)
    return Motion(skeleton, local, root, fps)


def landmarks_of(motion: Motion) -> NDArray[np.float64]:
    """[T, 33, 3] BlazePose's landmarks on the skeleton, in the world."""
    joints = {name: motion.joint_positions_m()[:, k].double().numpy() for k, name in enumerate(smpl22().joint_names)}
    turns = motion.world_rotations()
    out = np.zeros((motion.num_frames, len(LANDMARKS), 3))

    def near(joint: str, offset: tuple[float, float, float]) -> NDArray[np.float64]:
        from kinestream.rotations import quat_rotate

        turn = turns[:, smpl22().index(joint)]
        moved = quat_rotate(turn, torch.tensor(offset).expand(len(turn), 3))
        return np.asarray(joints[joint] + moved.double().numpy())

    out[:] = near("head", (0.0, 0.05, 0.08))[:, None]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
            out[:, landmark(f"{side}_{part}")] = joints[f"{side}_{part}"]
        for finger in ("pinky", "index", "thumb"):
            out[:, landmark(f"{side}_{finger}")] = near(f"{side}_wrist", (0.09 * sign, 0.0, 0.0))
        out[:, landmark(f"{side}_heel")] = near(f"{side}_ankle", (0.0, -0.06, -0.04))
        out[:, landmark(f"{side}_foot_index")] = near(f"{side}_ankle", (0.0, -0.06, 0.16))
        out[:, landmark(f"{side}_ear")] = near("head", (0.08 * sign, 0.05, 0.0))
    out[:, landmark("nose")] = near("head", (0.0, 0.03, 0.1))
    return out


def seen(motion: Motion, pitch_rad: float = 0.0) -> PersonTrack:
    """The motion before a camera 4 m away at 1.4 m, pitched down, that looks along -Z."""
    c, s = math.cos(pitch_rad), math.sin(pitch_rad)
    axes = np.array(((1.0, 0.0, 0.0), (0.0, -c, s), (0.0, -s, -c)))
    camera = (landmarks_of(motion) - (0.5, 1.4, 4.0)) @ axes.T
    pixels = FOCAL_PX * camera[..., :2] / camera[..., 2:] + 0.5 * np.array(SIZE)
    hips = camera[:, [landmark("left_hip"), landmark("right_hip")]].mean(axis=1)
    # A landmark network sees the person as if the camera looked straight at them.
    forward = hips / np.linalg.norm(hips, axis=1, keepdims=True)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    look = np.stack((right, np.cross(forward, right), forward), axis=1)
    world = np.einsum("tij,tkj->tki", look, camera - hips[:, None])
    count = motion.num_frames
    return PersonTrack(
        person=1,
        shot=0,
        frames=np.arange(count),
        times_s=np.arange(count) / motion.fps,
        keypoints_px=pixels.astype(np.float32),
        depth_px=np.zeros((count, 33), np.float32),
        world_m=world.astype(np.float32),
        confidence=np.full((count, 33), 0.95, np.float32),
        boxes_px=np.concatenate((pixels.min(axis=1), pixels.max(axis=1)), axis=1).astype(np.float32),
        image_size_px=SIZE,
        focal_px=FOCAL_PX,
        focal_known=True,
    )


@pytest.mark.parametrize("pitch_rad", [0.0, 0.2])
def test_what_is_seen_exactly_is_recovered(pitch_rad: float) -> None:
    truth = walking()
    motion = body_from_track(seen(truth, pitch_rad))
    a, b = motion.joint_positions_m(), truth.joint_positions_m()
    assert motion.num_frames == truth.num_frames
    assert motion.fps == pytest.approx(30.0)
    assert float(pa_mpjpe_mm(a, b)) < 25.0
    assert float(mpjpe_mm(a, b)) < 30.0
    error, travelled = path_error(a[:, 0], b[:, 0])
    assert error / travelled < 0.02
    assert math.degrees(gravity_error_rad(a, b)) < 3.0
    assert abs(float(a[..., 1].amin(dim=1).quantile(0.05))) < 0.01


def test_a_taller_person_walks_further_from_the_camera_and_for_longer() -> None:
    track = seen(walking())
    usual, tall = body_from_track(track), body_from_track(track, height_m=1.2 * SKELETON_HEIGHT_M)
    length = [m.root_position_m.diff(dim=0).norm(dim=-1).sum() for m in (usual, tall)]
    assert float(length[1] / length[0]) == pytest.approx(1.2, rel=0.01)
    assert float(tall.skeleton.offsets_m[4].norm() / usual.skeleton.offsets_m[4].norm()) == pytest.approx(1.2)
    with pytest.raises(BadInputError, match="height"):
        body_from_track(track, height_m=5.0)


def test_films_of_variable_rate_give_motions_of_even_rate() -> None:
    track = seen(walking(60))
    keep = np.array([k for k in range(60) if k % 5 != 3])
    rows = ("keypoints_px", "depth_px", "world_m", "confidence", "boxes_px", "times_s")
    sparse = replace(track, frames=np.arange(len(keep)), **{name: getattr(track, name)[keep] for name in rows})
    a = body_from_track(sparse, fps=30.0).joint_positions_m()
    b = body_from_track(track, fps=30.0).joint_positions_m()
    assert a.shape == b.shape
    assert float((a - b).norm(dim=-1).mean()) < 0.02


def test_a_turned_cameras_body_stands_still_in_the_world() -> None:
    """The film of a standing body by a camera that turns to the right gives no path when the turn is known."""
    standing = walking(40)
    standing = replace(standing, root_position_m=standing.root_position_m[:1].expand(40, 3).clone())
    track = seen(standing)
    turns, points = np.zeros((40, 3, 3), np.float32), track.keypoints_px.astype(np.float64).copy()
    for t in range(40):
        angle = 0.006 * t
        c, s = math.cos(angle), math.sin(angle)
        turns[t] = ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))
        rays = np.concatenate((points[t] - 0.5 * np.array(SIZE), np.full((33, 1), FOCAL_PX)), axis=1) @ turns[t]
        points[t] = FOCAL_PX * rays[:, :2] / rays[:, 2:] + 0.5 * np.array(SIZE)
    panned = replace(track, keypoints_px=points.astype(np.float32), camera_turn=turns)
    path = body_from_track(panned).root_position_m
    wrong = body_from_track(replace(panned, camera_turn=None)).root_position_m
    assert float((path[-1] - path[0])[[0, 2]].norm()) < 0.1
    assert float((wrong[-1] - wrong[0])[[0, 2]].norm()) > 0.5


def test_measured_landmarks_become_a_body_of_the_persons_size() -> None:
    truth = walking()
    points = torch.from_numpy(1.1 * landmarks_of(truth))
    motion = body_from_points(points, torch.full((90, 33), 0.9, dtype=torch.float64), 30.0)
    limb = motion.skeleton.offsets_m[4].norm() / truth.skeleton.offsets_m[4].norm()
    assert float(limb) == pytest.approx(1.1, rel=0.01)
    assert float(pa_mpjpe_mm(motion.joint_positions_m(), 1.1 * truth.joint_positions_m())) < 25.0


def test_tracks_survive_their_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    track = replace(seen(walking(5)), camera_turn=np.repeat(np.eye(3, dtype=np.float32)[None], 5, axis=0))
    (tmp_path / "track.npz").write_bytes(track_bytes(track))
    again = track_from_file(tmp_path / "track.npz")
    assert again.image_size_px == SIZE
    assert again.focal_known
    for name in ("keypoints_px", "world_m", "camera_turn", "times_s"):
        assert np.array_equal(getattr(again, name), getattr(track, name))
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(BadInputError, match="landmarks of a person"):
        track_from_file(tmp_path / "bad.npz")
    with pytest.raises(BadInputError, match="expected world_m"):
        replace(track, world_m=track.world_m[:, :10])
