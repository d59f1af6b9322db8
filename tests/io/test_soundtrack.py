"""Films and pages with sound: clicks are heard at their frames, and nothing is half-written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from kinestream.errors import BadInputError
from kinestream.io import soundtrack
from kinestream.io.soundtrack import Soundtrack, encoded_sound
from kinestream.io.video import write_mp4
from kinestream.io.viewer import html_page, write_html
from tests.io.audio_files import clicks, write_wav
from tests.io.browser import Page, chromium
from tests.io.walking import walking

FRAME_S = 1 / 30


def click_file(folder: Path, rate_hz: int, channels: int = 1, width: int = 2) -> Path:
    """Six seconds with a click every quarter second."""
    sound = np.repeat(clicks(6.0, rate_hz, 240.0)[:, None], channels, axis=1)
    return write_wav(folder / "clicks.wav", sound, rate_hz, width=width)


def heard(source: Any) -> tuple[list[float], float]:
    """When clicks begin in a file's sound as a player presents it, and how long it lasts, seconds."""
    with av.open(source) as container:
        frames = list(container.decode(audio=0))
        rate = container.streams.audio[0].rate
        sound = np.concatenate([np.abs(frame.to_ndarray()).max(axis=0) for frame in frames])
        first = float(frames[0].pts * frames[0].time_base)
        length = float(container.streams.audio[0].duration * container.streams.audio[0].time_base)
    loud = np.flatnonzero(sound > 0.1) / rate
    return [first + float(at) for at in loud[np.diff(loud, prepend=-1.0) > 0.15]], length


@pytest.mark.parametrize(("rate_hz", "channels", "width"), [(44_100, 2, 2), (16_000, 1, 1)])
def test_clicks_of_the_excerpt_are_heard_at_their_frames(
    rate_hz: int, channels: int, width: int, tmp_path: Path
) -> None:
    sound = Soundtrack(click_file(tmp_path, rate_hz, channels, width), 1.2, 2.2)
    write_mp4(walking(30), tmp_path / "a.mp4", width=64, height=64, sound=sound)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        assert container.streams.audio[0].codec_context.name == "aac"
    np.testing.assert_allclose(times, np.arange(30) / 30, atol=1e-3)
    for source in (str(tmp_path / "a.mp4"), io.BytesIO(encoded_sound(sound))):
        found, length = heard(source)
        np.testing.assert_allclose(found, [0.05, 0.3, 0.55, 0.8], atol=0.25 * FRAME_S)
        assert length == pytest.approx(1.0, abs=FRAME_S)


def test_sound_that_is_longer_ends_with_the_film_and_shorter_sound_before(tmp_path: Path) -> None:
    path = click_file(tmp_path, 48_000)
    for start, expected in ((0.0, 0.5), (5.75, 0.25)):
        write_mp4(walking(15), tmp_path / "a.mp4", width=64, height=64, sound=Soundtrack(path, start))
        assert heard(str(tmp_path / "a.mp4"))[1] == pytest.approx(expected, abs=FRAME_S)


def test_sound_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    song, out = click_file(tmp_path, 8_000), tmp_path / "out"
    out.mkdir()
    (tmp_path / "broken.mp3").write_bytes(b"RIFF" + bytes(200))
    for sound in (Soundtrack(tmp_path / "broken.mp3"), Soundtrack(song, 9.0), Soundtrack(tmp_path / "none.mp3")):
        with pytest.raises(BadInputError):
            write_mp4(walking(5), out / "a.mp4", width=64, height=64, sound=sound)
        with pytest.raises(BadInputError):
            write_html(walking(5), out / "a.html", sound=sound)
    monkeypatch.setattr(soundtrack, "MAX_READ_S", 3)
    with pytest.raises(BadInputError, match="write a film"):
        write_html(walking(5), out / "a.html", sound=Soundtrack(song))
    assert list(out.iterdir()) == []


def test_a_page_without_sound_has_none() -> None:
    assert '<script type="text/plain" id="sound"></script>' in html_page(walking(4))


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Any]:
    with chromium(chromium_path) as opened:
        yield opened


@pytest.mark.browser
def test_the_page_s_sound_starts_with_play_is_sought_with_the_scrub_and_leads_the_picture(
    browser: Any, tmp_path: Path
) -> None:
    write_html(walking(150), tmp_path / "page.html", sound=Soundtrack(click_file(tmp_path, 44_100), 1.0))
    # Without a GPU pictures take longer than the sound lasts; what is played when does not depend on them.
    text = (tmp_path / "page.html").read_text()
    assert text.count("\nstart().catch(") == 1
    fast = text.replace("\nstart().catch(", "\nRenderer.prototype.draw = () => {};\nstart().catch(")
    (tmp_path / "page.html").write_text(fast)
    page = Page(browser, tmp_path / "page.html")
    page.wait("window.kinestream && kinestream.drawn > 0")
    if not page.run("kinestream.sound.element.canPlayType('audio/mp4; codecs=\"mp4a.40.2\"')"):
        pytest.skip("this Chromium plays no AAC")
    page.wait("kinestream.sound.element.readyState >= 2 || kinestream.sound.silent")
    assert page.run("kinestream.sound.element.duration") == pytest.approx(5.0, abs=2 * FRAME_S)
    assert not page.run("kinestream.playing || kinestream.sound.silent")
    page.page.select_option("#speed", "0.1")  # a busy machine must not come to the end meanwhile
    page.page.click("#play")
    page.wait("kinestream.frame > 1")
    heard, said = page.run("[kinestream.sound.element.currentTime, kinestream.sound.now()]")
    assert 0.0 < heard == pytest.approx(said, abs=0.1)
    # The frame is the one of what is heard, not of a clock beside it.
    page.run("void (kinestream.sound.now = () => 3.0)")
    page.wait("kinestream.frame === 90")
    page.run("delete kinestream.sound.now")
    track = page.page.locator("#track").bounding_box()
    page.page.mouse.click(track["x"] + track["width"] / 2, track["y"] + track["height"] - 6)
    frame = page.run("kinestream.frame")
    assert frame in (74, 75)
    assert page.run("[kinestream.playing, kinestream.sound.element.paused]") == [False, True]
    assert page.run("kinestream.sound.element.currentTime") == pytest.approx(frame / 30, abs=1e-3)
    page.page.keyboard.press("ArrowRight")
    assert page.run("kinestream.sound.element.currentTime") == pytest.approx((frame + 1) / 30, abs=1e-3)
    page.page.keyboard.press("m")
    page.page.select_option("#speed", "2")
    assert page.run("[kinestream.sound.element.muted, kinestream.sound.element.playbackRate]") == [True, 2]
    page.page.keyboard.press("End")
    page.run("kinestream.play(true)")  # from the beginning again, sound and picture
    page.wait("!kinestream.sound.element.paused && kinestream.frame > 0 && kinestream.frame < 140")
    page.run("kinestream.sound.element.pause()")  # as another page or a key of the keyboard would
    page.wait("!kinestream.playing")
    assert page.troubles == []
