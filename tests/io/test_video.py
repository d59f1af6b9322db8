"""MP4 and PNG: they decode elsewhere, hold every frame, and show the body."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.errors import BadInputError
from kinestream.io.stage import follow, stage_motions
from kinestream.io.video import render_frame, strip, write_mp4, write_strip
from kinestream.motion import Motion
from tests.io.walking import crane, walking


def _decoded(path: Path) -> tuple[list[np.ndarray], float]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return frames, float(container.streams.video[0].average_rate)


def _body_pixels(picture: np.ndarray) -> np.ndarray:
    """Where the blue shirt of the first person is."""
    rgb = picture.astype(int)
    return (rgb[..., 2] - rgb[..., 0] > 45) & (rgb[..., 2] < 230)


def test_video_holds_every_frame_at_the_motions_rate_and_shows_the_body(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    counted: list[tuple[int, int]] = []
    write_mp4(walking(12), path, width=192, height=128, on_frame=lambda done, total: counted.append((done, total)))
    frames, rate = _decoded(path)
    assert (len(frames), frames[0].shape, rate) == (12, (128, 192, 3), 30.0)
    assert counted == [(k, 12) for k in range(1, 13)]
    assert all(_body_pixels(frame).sum() > 60 for frame in frames)


@pytest.mark.parametrize("fps", [24.0, 29.97, 60.0])
def test_video_keeps_the_rate(fps: float, tmp_path: Path) -> None:
    write_mp4(replace(walking(6), fps=fps), tmp_path / "a.mp4", width=64, height=64)
    assert _decoded(tmp_path / "a.mp4")[1] == pytest.approx(fps, rel=1e-4)


def test_video_at_another_rate_is_resampled(tmp_path: Path) -> None:
    write_mp4(walking(31), tmp_path / "a.mp4", width=64, height=64, fps=10)
    frames, rate = _decoded(tmp_path / "a.mp4")
    assert (len(frames), rate) == (11, 10.0)


@pytest.mark.parametrize("size", [(127, 128), (128, 127), (32, 128), (128, 10000)])
def test_sizes_that_video_cannot_have_are_refused_and_nothing_is_left(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="pixels"):
        write_mp4(walking(3), tmp_path / "a.mp4", width=size[0], height=size[1])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_video_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mp4(walking(20), tmp_path / "a.mp4", width=64, height=64, on_frame=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_no_motion_and_too_many_are_refused(tmp_path: Path) -> None:
    for motions in ([], [walking(2)] * 17):
        with pytest.raises(BadInputError, match="1 to 16 motions"):
            write_mp4(motions, tmp_path / "a.mp4")


def test_several_persons_stand_side_by_side_in_their_own_colours() -> None:
    picture = render_frame([walking(20), walking(10, wave=True)], 15, width=320, height=200, azimuth_rad=0.0).astype(
        int
    )
    blue = _body_pixels(picture)
    orange = picture[..., 0] - picture[..., 2] > 100
    assert blue.sum() > 100
    assert orange.sum() > 100
    assert np.nonzero(blue)[1].mean() < np.nonzero(orange)[1].mean()


@pytest.mark.parametrize("motion", [walking(60), walking(60, turn_radps=3.0), crane()])
def test_camera_keeps_the_whole_body_in_the_picture(motion: Motion) -> None:
    stage = stage_motions(motion)
    aspect = 16 / 9
    for frame, camera in enumerate(follow(stage, aspect)):
        position, right, up, forward = camera.matrix(2).astype(float)
        relative = stage.persons[0].positions_m[frame].astype(float) - position
        depth = relative @ (forward / np.linalg.norm(forward))
        focal = np.linalg.norm(forward)
        assert (depth > 0).all()
        assert np.abs(relative @ right / depth * focal).max() < aspect
        assert np.abs(relative @ up / depth * focal).max() < 1.0


def test_strip_has_a_row_for_each_motion_and_a_picture_for_each_moment() -> None:
    picture = strip([walking(30), walking(30, wave=True)], 3, panel_width=80, panel_height=120)
    assert picture.shape == (240, 240, 3)
    panels = [picture[:120, 80 * k : 80 * (k + 1)] for k in range(3)]
    assert all(_body_pixels(panel).sum() > 60 for panel in panels)
    assert not np.array_equal(panels[0], panels[1])


def test_png_holds_the_pixels_that_were_drawn(tmp_path: Path) -> None:
    motion = walking(10)
    write_strip(motion, tmp_path / "strip.png", 2, panel_width=64, panel_height=72)
    data = (tmp_path / "strip.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (128, 72)
    with av.open(str(tmp_path / "strip.png")) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(decoded, strip(motion, 2, panel_width=64, panel_height=72))
    for place in range(8, len(data) - 12):
        if data[place : place + 4] == b"IDAT":
            size = struct.unpack(">I", data[place - 4 : place])[0]
            assert struct.unpack(">I", data[place + 4 + size : place + 8 + size])[0] == zlib.crc32(
                data[place : place + 4 + size]
            )


def test_frames_that_are_not_there_are_refused() -> None:
    with pytest.raises(BadInputError, match="frame from 0 to 4"):
        render_frame(walking(5), 5)
