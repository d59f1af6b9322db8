"""Films come out upright, square, in order and on time; what is no film is one error."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.capture.film import Film
from kinestream.errors import BadInputError


def write_film(path: Path, images: list[NDArray[np.uint8]], times: list[int] | None = None, **settings: Any) -> Path:
    """An H.264 film; `times` in thousandths of a second; settings: rotation, aspect, options."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10", **settings.get("options", {})})
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if "aspect" in settings:
            stream.codec_context.sample_aspect_ratio = settings["aspect"]
        if "rotation" in settings:
            stream.set_display_rotation(settings["rotation"])
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number * 33 if times is None else times[number]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def corner_image() -> NDArray[np.uint8]:
    """Red at the top left."""
    image = np.full((96, 160, 3), 40, np.uint8)
    image[:40, :40] = (220, 30, 30)
    return image


def redness(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """How red the corners are."""
    red = rgb[..., 0].astype(float) - rgb[..., 1]
    return {
        "top left": red[:20, :20].mean(),
        "top right": red[:20, -20:].mean(),
        "bottom left": red[-20:, :20].mean(),
        "bottom right": red[-20:, -20:].mean(),
    }


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, "top left"), (90, "bottom left"), (180, "bottom right"), (-90, "top right")]
)
def test_turned_films_come_out_upright(tmp_path: Path, rotation: int, corner: str) -> None:
    with Film(write_film(tmp_path / "film.mp4", [corner_image()] * 3, rotation=rotation)) as film:
        (first, *_) = film.pictures()
    turned = rotation % 180 != 0
    assert first.rgb.shape == ((160, 96, 3) if turned else (96, 160, 3))
    assert (film.info.width_px, film.info.height_px) == ((96, 160) if turned else (160, 96))
    reds = redness(first.rgb)
    assert max(reds, key=lambda name: reds[name]) == corner


def test_squeezed_pixels_are_made_square(tmp_path: Path) -> None:
    with Film(write_film(tmp_path / "film.mp4", [corner_image()] * 2, aspect=Fraction(2, 1))) as film:
        assert next(iter(film.pictures())).rgb.shape == (96, 320, 3)


def test_variable_frame_rates_keep_their_times(tmp_path: Path) -> None:
    times = [0, 20, 100, 130, 400, 433]
    with Film(write_film(tmp_path / "film.mp4", [corner_image()] * 6, times)) as film:
        seen = [picture.time_s for picture in film.pictures()]
    assert np.allclose(seen, np.array(times) / 1000.0, atol=2e-3)


def test_interlaced_films_lose_their_combs(tmp_path: Path) -> None:
    images = []
    for number in range(8):
        image = np.full((96, 160, 3), 20, np.uint8)
        for field in (0, 1):  # a bar that moves between the two fields
            x = 20 + 12 * (2 * number + field) % 120
            image[field::2, x : x + 24] = 235
        images.append(image)
    path = write_film(tmp_path / "film.mp4", images, options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
    with Film(path) as film:
        shown = [picture.rgb.astype(float) for picture in film.pictures()]
    assert len(shown) == len(images)
    combs = [np.abs(np.diff(image[..., 0], axis=0)).mean() for image in shown[2:6]]
    original = [np.abs(np.diff(image[..., 0].astype(float), axis=0)).mean() for image in images[2:6]]
    assert np.mean(combs) < 0.4 * np.mean(original)


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.mp4", b""), ("text.mp4", b"this is no film at all\n" * 50), ("cut.mp4", b"\x00\x00\x00\x18ftypmp42")],
)
def test_what_is_no_film_is_one_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError, match="expected a film"):
        Film(tmp_path / name)


def test_a_missing_film_a_folder_and_sound_alone_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        Film(tmp_path / "none.mp4")
    with pytest.raises(BadInputError, match="not a file"):
        Film(tmp_path)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(BadInputError, match="no pictures"):
        Film(tmp_path / "sound.wav")


def test_a_film_that_was_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", [corner_image()] * 60, options={"g": "10"})
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with Film(path) as film:
        assert 5 <= sum(1 for _ in film.pictures()) < 60


def test_a_camera_that_is_not_there_is_one_error() -> None:
    with pytest.raises(BadInputError, match="no such camera"):
        Film.camera(97)
