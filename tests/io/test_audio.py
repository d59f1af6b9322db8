"""Sound files: every usual kind, any length, and what is none."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import BadInputError
from kinestream.io.audio import Audio, AudioReader, read_audio
from tests.io.audio_files import tone, write_encoded, write_wav


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [(".mp3", "mp3", 44100), (".flac", "flac", 48000), (".ogg", "libopus", 48000), (".m4a", "aac", 44100)],
)
def test_usual_files_come_back_as_they_sound(tmp_path: Path, suffix: str, codec: str, rate_hz: int) -> None:
    sound = np.stack([tone(1.5, rate_hz, 300.0), 0.5 * tone(1.5, rate_hz, 500.0)], axis=1)
    audio = read_audio(write_encoded(tmp_path / f"a{suffix}", sound, rate_hz, codec))
    assert audio.rate_hz == rate_hz
    assert audio.channels.shape[1] == 2
    assert audio.samples.dtype == np.float32
    assert abs(audio.duration_s - 1.5) < 0.08
    middle = audio.channels[rate_hz // 2 : rate_hz // 2 + rate_hz // 4]
    for channel, (frequency, level) in enumerate(((300.0, 0.5), (500.0, 0.25))):
        spectrum = np.abs(np.fft.rfft(middle[:, channel] * np.hanning(len(middle))))
        assert abs(spectrum.argmax() * rate_hz / len(middle) - frequency) <= 4.0
        assert abs(middle[:, channel].std() * 2**0.5 - level) < 0.05


def test_wav_samples_are_exact_and_channels_averaged(tmp_path: Path) -> None:
    left, right = tone(0.5, 8000, 200.0), tone(0.5, 8000, 333.0)
    audio = read_audio(write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1), 8000))
    assert len(audio.samples) == 4000
    assert np.abs(audio.samples - 0.5 * (left + right)).max() < 1e-4


def test_eight_bits_mono_is_read(tmp_path: Path) -> None:
    sound = tone(0.4, 11025, 220.0)
    audio = read_audio(write_wav(tmp_path / "a.wav", sound, 11025, width=1))
    assert audio.channels.shape[1] == 1
    assert np.abs(audio.samples - sound).max() < 0.02


def test_a_part_is_the_part_of_the_whole(shared_dir: Path) -> None:
    song = shared_dir / "data" / "songs" / "rumba.mp3"
    whole = read_audio(song, end_s=3.0)
    part = read_audio(song, start_s=1.25, end_s=2.5)
    first = round(1.25 * whole.rate_hz)
    assert np.array_equal(part.channels, whole.channels[first : first + len(part.channels)])
    assert len(part.samples) == round(1.25 * whole.rate_hz)
    assert part.start_s == 1.25


@pytest.mark.parametrize(("start", "end"), [(-1.0, None), (2.0, 1.0), (float("nan"), None), (9.0, None), (1.0, 1.0)])
def test_parts_that_are_none_are_refused(tmp_path: Path, start: float, end: float | None) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.5, 8000), 8000)
    with pytest.raises(BadInputError):
        read_audio(path, start_s=start, end_s=end)


def test_headers_that_lie_about_their_length_do_not_matter(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.5, 8000), 8000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert abs(read_audio(path).duration_s - 0.5) < 0.01


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"no sound at all", b"\x00" * 2000, b"ID3" + b"\xff" * 500, b"#EXTM3U\nfile:///etc/hostname\n"],
)
def test_what_is_no_sound_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="audio file"):
        read_audio(path)
    for missing in (tmp_path / "none.mp3", tmp_path):
        with pytest.raises(BadInputError, match="file"):
            read_audio(missing)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "real.wav", tone(1.0, 8000), 8000)
    for name, text in (
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nreal.wav\n#EXT-X-ENDLIST\n"),
        ("a.mp3", "ffconcat version 1.0\nfile real.wav\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInputError):
            read_audio(tmp_path / name)


def test_a_song_cut_off_in_the_middle_gives_what_there_is(shared_dir: Path, tmp_path: Path) -> None:
    data = (shared_dir / "data" / "songs" / "waltz.mp3").read_bytes()
    path = tmp_path / "cut.mp3"
    path.write_bytes(data[:300_000] + b"\x00" * 3000 + data[300_000:340_000])
    assert 3.0 < read_audio(path).duration_s < 25.0


def test_hours_are_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "long.wav", np.zeros(8000 * 60, np.float32), 8000, width=1)
    tracemalloc.start()
    with AudioReader(path) as reader:
        seconds = sum(len(block) for block in reader.blocks()) / reader.rate_hz
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds == 60.0
    assert peak < 1e6
    monkeypatch.setattr("kinestream.io.audio.MAX_READ_S", 30)
    with pytest.raises(BadInputError, match="AudioReader"):
        read_audio(path)
    assert read_audio(path, start_s=50.0).duration_s == 10.0


def test_arrays_become_sound() -> None:
    audio = Audio.from_samples(np.stack([np.ones(100), np.zeros(100)], axis=1), 16000)
    assert audio.samples.max() == 0.5
    assert audio.channels.shape == (100, 2)
    for samples, rate in ((np.full(10, np.nan), 16000), (np.zeros((2, 3, 4)), 16000), (np.zeros(10), 3)):
        with pytest.raises(BadInputError):
            Audio.from_samples(samples, rate)
