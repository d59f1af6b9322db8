"""`kinestream capture`."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import models
from kinestream.errors import BadInputError
from kinestream.io import read_motion
from kinestream.io.video import write_mp4
from kinestream.motion import Motion, resample
from tests.capture.test_body import walking
from tests.cli.conftest import Run

try:
    models.model_file("pose_detection.tflite")
    _runtime = metadata.version("ai-edge-litert")
    NO_MODELS = ""
except (BadInputError, metadata.PackageNotFoundError) as error:
    NO_MODELS = f"BlazePose's models or their runtime are not installed: {error}"

needs_models = pytest.mark.skipif(bool(NO_MODELS), reason=NO_MODELS)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Motion]:
    """Two seconds of a known motion, drawn."""
    path = tmp_path_factory.mktemp("films") / "walk.mp4"
    motion = resample(walking(60), 15.0)
    write_mp4(motion, path, width=480, height=360, azimuth_rad=0.0)
    return path, motion


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.mp4", "-o", "a.bvh"), "none.mp4 does not exist"),
        (("-o", "a.bvh"), "name a film, or --camera N"),
        (("clip.mp4", "--camera", "0", "-o", "a.bvh"), "not both"),
        (("clip.mp4", "clip.mp4", "-o", "a.bvh"), "--calibration"),
        (("clip.mp4", "-o", "a.mkv"), "cannot write a.mkv"),
        (("clip.mp4", "-o", "a.bvh", "--person", "tallest"), "largest or a number"),
        (("clip.mp4", "-o", "a.bvh", "--height", "9"), "height"),
        (("clip.mp4", "-o", "a.bvh", "--preview", "a.avi"), "expected a name with .mp4"),
        (("clip.mp4", "-o", "a.bvh", "--seconds", "3"), "--seconds belongs to --camera"),
        (("clip.mp4", "clip.mp4", "-o", "a.bvh", "--calibration", "c.txt", "--focal", "900"), "--focal belongs"),
        (("clip.mp4", "-o", "a.bvh"), "expected a film"),
        (("--camera", "97", "-o", "a.bvh"), "no such camera"),
    ],
)
def test_bad_use_is_one_line_and_writes_nothing(run: Run, words: tuple[str, ...], said: str) -> None:
    Path("clip.mp4").write_bytes(b"no film")
    Path("c.txt").write_text("x")
    ended = run("capture", *words)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["c.txt", "clip.mp4"]


def test_missing_models_are_named_with_the_line_that_brings_them(
    run: Run, film: tuple[Path, Motion], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(models.metadata, "files", none)
    ended = run("capture", film[0], "-o", "a.bvh")
    assert ended.code == 2
    assert f"pip install --no-deps mediapipe=={models.MODELS_VERSION}" in ended.err
    assert not list(Path().glob("*.bvh"))


def test_a_later_mediapipe_without_models_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.metadata, "files", lambda _: [])
    monkeypatch.setattr(models.metadata, "version", lambda _: "1.0.0")
    with pytest.raises(BadInputError, match=r"mediapipe 1\.0\.0 has no pose_detection\.tflite"):
        models.model_file("pose_detection.tflite")


def test_a_folder_of_models_is_searched_alone(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"expected a folder with pose_detection\.tflite"):
        models.model_file("pose_detection.tflite", tmp_path)
    (tmp_path / "pose_detection.tflite").write_bytes(b"x")
    assert models.model_file("pose_detection.tflite", tmp_path) == tmp_path / "pose_detection.tflite"


@needs_models
def test_a_film_becomes_motion_preview_and_report(run: Run, film: tuple[Path, Motion]) -> None:
    path, truth = film
    ended = run("capture", path, "-o", "walk.bvh", "-o", "walk.npz", "--preview", "seen.mp4", "--report")
    assert ended.code == 0, ended.err
    (facts,) = json.loads(ended.out)
    assert facts["person"] == 1
    assert facts["seen"] > 0.9
    motion = read_motion("walk.npz")
    assert abs(motion.num_frames - truth.num_frames) <= 1
    knee = motion.joint_positions_m()[:, motion.skeleton.index("left_knee"), 1]
    assert float(knee.max()) < 0.9
    assert Path("seen.mp4").stat().st_size > 1000
    assert not list(Path().glob(".*capture"))


@needs_models
def test_a_film_of_nobody_is_one_error(run: Run) -> None:
    import av

    with av.open("empty.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ended = run("capture", "empty.mp4", "-o", "a.bvh")
    assert ended.code == 2
    assert "nobody was seen" in ended.err
    assert [path.name for path in Path().iterdir()] == ["empty.mp4"]
