"""The published layouts: what clips and pairs are, and what happens to unsound sets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kinestream.data.clips import MotionClips, StreamPairs, _content_weights, _contents
from kinestream.data.sources.humanml3d_272 import clip_parts
from kinestream.errors import BadInputError
from kinestream.features import held


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five clips in the published layout; frame k of a clip holds the number k."""
    lengths = {"a": 50, "b": 100, "c": 400, "short": 20, "tagged": 200}
    for folder in ("motion_data", "texts", "split", "mean_std", "train_stream", "train_stream_text"):
        (tmp_path / folder).mkdir()
    for name, count in lengths.items():
        np.save(
            tmp_path / "motion_data" / f"{name}.npy",
            np.repeat(np.arange(count, dtype=np.float32)[:, None], 272, axis=1),
        )
        (tmp_path / "texts" / f"{name}.txt").write_text(f"{name} one#x/X#0.0#0.0\n{name} two#x/X#0.0#0.0\n")
    (tmp_path / "texts" / "tagged.txt").write_text("all of it#x/X#0.0#0.0\na part#x/X#1.0#3.0\nempty#x/X#5.0#2.0\n")
    (tmp_path / "split" / "train.txt").write_text("\n".join(lengths))
    np.save(tmp_path / "mean_std" / "Mean.npy", np.zeros(272, np.float32))
    np.save(tmp_path / "mean_std" / "Std.npy", np.full(272, 2.0, np.float32))
    np.save(tmp_path / "train_stream" / "seq1.npy", np.repeat(np.arange(130, dtype=np.float32)[:, None], 272, axis=1))
    (tmp_path / "train_stream_text" / "seq1.txt").write_text("walk*turn#62\nwalk*turn left#62\n")
    return tmp_path


def test_clips_come_with_their_captions_and_only_the_frames_asked_for(root: Path) -> None:
    clips = MotionClips.load([root], "train")
    at = {part.name: index for index, part in enumerate(clips.parts)}
    assert clips.parts[at["a"]].captions == ("a one", "a two")
    torch.testing.assert_close(clips.features(at["b"])[:, 0], torch.arange(100.0))
    torch.testing.assert_close(clips.features(at["b"], 90, 200)[:, 0], torch.arange(90.0, 100.0))
    assert clips.statistics.std[0] == 2.0


def test_a_time_tag_makes_a_clip_of_its_own(root: Path) -> None:
    clips = MotionClips.load([root], "train")
    tagged = {p.captions: clips.features(i)[:, 0] for i, p in enumerate(clips.parts) if p.name == "tagged"}
    assert len(tagged["all of it",]) == 200
    torch.testing.assert_close(tagged["a part",], torch.arange(30.0, 90.0))


def test_short_clips_hold_their_last_pose() -> None:
    clip = torch.rand(10, 272)
    longer = held(clip, 14)
    assert torch.equal(longer[:10], clip)
    assert torch.equal(longer[12, 8:74], clip[-1, 8:74])
    assert not longer[12, :2].any()
    assert not longer[12, 74:140].any()
    assert longer[12, 2:8].tolist() == [1, 0, 0, 0, 1, 0]
    assert held(clip, 4) is clip


def test_pairs_tell_both_texts_and_where_they_change(root: Path) -> None:
    pairs = StreamPairs.load([root], "train")
    assert [(p.before, p.after, p.frames_before, p.frames) for p in pairs.pairs] == [
        ("walk", "turn", 62, 130),
        ("walk", "turn left", 62, 130),
    ]
    torch.testing.assert_close(pairs.features(1)[:, 0], torch.arange(130.0))
    assert StreamPairs.load([root], "val").pairs == []


def test_weights_are_even_without_a_manifest(root: Path) -> None:
    clips = MotionClips.load([root], "train")
    assert clips.weights == [1.0] * len(clips.parts)


def test_a_contents_share_grows_with_the_cube_root_of_its_clips(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [part.name for part in MotionClips.load([root], "train").parts]
    contents = ["rare", *["common"] * 8]
    listed = [SimpleNamespace(name=f"{i}" if i else names[0], content=content) for i, content in enumerate(contents)]
    (root / "manifest.json").touch()
    manifest = SimpleNamespace(split_clips=lambda split: listed)
    monkeypatch.setattr("kinestream.data.clips.load_manifest", lambda folder: manifest)
    weights = _content_weights(_contents(root, "train"))
    assert sum(weights.values()) == pytest.approx(9)
    assert 8 * weights["1"] == pytest.approx(2 * weights[names[0]])
    assert all(part.name != names[0] for part in MotionClips.load([root], "train", ["rare"]).parts)


def test_frames_that_are_not_finite_are_an_error_when_they_are_read(root: Path) -> None:
    broken = np.zeros((50, 272), np.float32)
    broken[20, 3] = np.nan
    np.save(root / "motion_data" / "a.npy", broken)
    clips = MotionClips.load([root], "train")
    index = next(i for i, part in enumerate(clips.parts) if part.name == "a")
    assert len(clips.features(index, 0, 10)) == 10
    with pytest.raises(BadInputError, match="NaN"):
        clips.features(index)


def test_unsound_clips_are_rejects_with_reasons(root: Path) -> None:
    (root / "split" / "train.txt").write_text("a\nmissing\nb\nempty\nwide\ncut\n")
    (root / "texts" / "b.txt").unlink()
    for name, array in {"empty": np.zeros((60, 272), np.float32), "wide": np.zeros((60, 263), np.float32)}.items():
        np.save(root / "motion_data" / f"{name}.npy", array)
        (root / "texts" / f"{name}.txt").write_text("")
    (root / "motion_data" / "cut.npy").write_bytes((root / "motion_data" / "a.npy").read_bytes()[:3000])
    parts, rejects = clip_parts(root, "train")
    assert [part.name for part in parts] == ["a"]
    reasons = {reject.name: reject.reason for reject in rejects}
    assert set(reasons) == {"missing", "b", "empty", "wide", "cut"}
    assert "no such motion file" in reasons["missing"]
    assert "263" in reasons["wide"]


def test_unsound_sets_are_errors(root: Path) -> None:
    with pytest.raises(BadInputError, match=r"test\.txt"):
        MotionClips.load([root], "test")
    with pytest.raises(BadInputError, match="refused the name"):
        MotionClips.load([root], "../train")
    (root / "split" / "train.txt").write_text("missing\n")
    with pytest.raises(BadInputError, match="nothing usable"):
        MotionClips.load([root], "train")
    (root / "train_stream_text" / "seq1.txt").write_text("walk*turn#500\n")
    with pytest.raises(BadInputError, match="nothing is left"):
        StreamPairs.load([root], "train")
    with pytest.raises(BadInputError, match="train, val"):
        StreamPairs.load([root], "test")
