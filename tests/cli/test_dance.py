"""`kinestream dance` on a tiny random model: what is written, in time with its song, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kinestream.checkpoints import save_music_to_dance
from kinestream.cli.dance import song_time
from kinestream.io import read_motion
from tests.cli.conftest import Run
from tests.io.audio_files import clicks, write_wav
from tests.support.tiny_dance import tiny_dance_model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dance"
    save_music_to_dance(folder, tiny_dance_model())
    return folder


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Four seconds of a click track, two beats a second."""
    return write_wav(tmp_path / "song.wav", clicks(4.0, 16_000, 120.0), 16_000)


def test_a_song_s_excerpt_becomes_every_format_asked_for(run: Run, song: Path, model_dir: Path) -> None:
    names = ["a.npz", "b.bvh", "c.glb", "d.html"]
    outputs = [word for name in names for word in ("-o", name)]
    ended = run("dance", song, "--model", model_dir, "--genre", "Waltz", "--start", "0:01", "--end", "3", *outputs)
    assert (ended.code, ended.out.split()) == (0, names), ended.err
    assert "2.0 s of dance" in ended.err
    assert "without" in ended.err  # no references lie beside the model
    assert [read_motion(name).num_frames for name in names[:2]] == [60, 60]
    page = Path("d.html").read_text()
    assert 'id="sound"></script>' not in page


def test_the_film_s_clicks_are_heard_at_the_frames_that_danced_to_them(
    run: Run, song: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = np.zeros((720, 1280, 3), np.uint8)  # what films show is tested where they are drawn
    monkeypatch.setattr("kinestream.io.video._picture", lambda *_: blank)
    ended = run("dance", song, "--model", model_dir, "--start", "1.25", "--end", "2.25", "-o", "dance.mp4")
    assert (ended.code, ended.out) == (0, "dance.mp4\n"), ended.err
    with av.open("dance.mp4") as container:
        sound = list(container.decode(audio=0))
        rate, first = container.streams.audio[0].rate, float(sound[0].pts * sound[0].time_base)
        loud = np.flatnonzero(np.concatenate([np.abs(f.to_ndarray()).max(axis=0) for f in sound]) > 0.1) / rate + first
    with av.open("dance.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    found = loud[np.diff(loud, prepend=-1.0) > 0.3]
    np.testing.assert_allclose(found, [0.25, 0.75], atol=1 / 60)


def test_the_same_seed_dances_the_same_and_references_change_it(
    run: Run, song: Path, model_dir: Path, clip_bvh: Path
) -> None:
    extra: tuple[Sequence[object], ...] = (
        (),
        (),
        ("--seed", 4),
        ("--references", clip_bvh),
        ("--no-retrieval",),
        ("--fast",),
    )
    places = []
    for number, words in enumerate(extra):
        said = [str(word) for word in words]
        ended = run("dance", song, "--model", model_dir, "--end", "2", "-o", f"{number}.npz", *said)
        if words and words[0] == "--references":
            assert ended.code == 2  # half a second is too short to take after
            assert "reference dance 1 (clip): too short" in ended.err
            continue
        assert ended.code == 0, ended.err
        places.append(read_motion(f"{number}.npz").root_position_m)
    assert torch.equal(places[0], places[1])
    assert torch.equal(places[0], places[3])
    assert torch.equal(places[0], places[4])  # so small a model keeps its float weights
    assert not torch.equal(places[0], places[2])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("song.wav", "--model", "MODEL"), "say where to write"),
        (("none.mp3", "--model", "MODEL", "-o", "a.mp4"), "does not exist"),
        (("broken.mp3", "--model", "MODEL", "-o", "a.mp4"), "expected an audio file"),
        (("short.wav", "--model", "MODEL", "-o", "a.mp4"), "at least 1 s"),
        (("song.wav", "--model", "MODEL", "-o", "a.mp4", "--genre", "polka"), "rumba, waltz"),
        (("song.wav", "--model", "MODEL", "-o", "a.mp4", "--start", "9"), "ends at 4.00 s"),
        (("song.wav", "--model", "MODEL", "-o", "a.mp4", "--start", "3", "--end", "2"), "must come after"),
        (("song.wav", "--model", "MODEL", "-o", "a.mp4", "--start", "1:75"), "expected a time"),
        (("song.wav", "--model", "MODEL", "-o", "a.mkv"), "expected a file named"),
        (("song.wav", "--model", "MODEL", "-o", "a.mp4", "--references", "none.bvh"), "does not exist"),
        (("song.wav", "--model", "MODEL", "-o", "a.mp4", "--references", "song.wav"), "cannot read"),
        (("song.wav", "--model", "none", "-o", "a.mp4"), "none"),
    ],
)
def test_what_cannot_be_danced_is_one_error_and_leaves_nothing(
    words: Sequence[str], part: str, run: Run, song: Path, model_dir: Path
) -> None:
    Path("broken.mp3").write_bytes(b"ID3\x04" + bytes(500))
    write_wav(Path("short.wav"), clicks(0.5, 8_000, 120.0), 8_000, width=1)
    before = sorted(Path().iterdir())
    ended = run("dance", *(str(model_dir) if word == "MODEL" else word for word in words))
    assert (ended.code, ended.out) == (2, ""), ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("kinestream: error:")]
    assert len(lines) == 1
    assert part in lines[0]
    assert sorted(Path().iterdir()) == before


def test_a_page_of_hours_is_refused_before_anything_is_danced(
    run: Run, song: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinestream.io.audio.MAX_READ_S", 3)
    ended = run("dance", song, "--model", model_dir, "-o", "a.html")
    assert ended.code == 2
    assert "give --start and --end" in ended.err
    assert "of dance" not in ended.err


def test_times_are_read_as_players_write_them() -> None:
    assert [song_time(text) for text in ("90", "1:30", "0:30.5", "1:02:03")] == [90.0, 90.0, 30.5, 3723.0]
