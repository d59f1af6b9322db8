"""Datasets over the published layouts: what samples are, that they repeat, and what happens to unsound sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.data.collate import collate
from kinestream.data.dataset import MotionDataset, StreamPairDataset, held
from kinestream.data.sources.humanml3d_272 import clip_parts
from kinestream.errors import BadInputError
from kinestream.features import Statistics

STILL = Statistics(torch.zeros(272), torch.ones(272))


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


def test_clips_come_whole_normalised_and_with_one_of_their_captions(root: Path) -> None:
    dataset = MotionDataset(root, "train")
    by_name = {sample.name: sample for sample in (dataset[k] for k in range(len(dataset))) if sample.name != "tagged"}
    assert set(by_name) == {"a", "b", "c"}  # 20 frames are too few
    assert by_name["a"].features.shape == (50, 272)
    assert by_name["a"].caption in ("a one", "a two")
    torch.testing.assert_close(by_name["b"].features[:, 0], torch.arange(100) / 2.0)
    assert by_name["b"].ends
    assert by_name["c"].features.shape == (300, 272)


def test_a_time_tag_makes_a_clip_of_its_own(root: Path) -> None:
    dataset = MotionDataset(root, "train")
    parts = {part.captions: part.frames for part in dataset.parts if part.name == "tagged"}
    assert parts == {("all of it",): 200, ("a part",): 60}


def test_samples_depend_on_seed_epoch_and_index_alone(root: Path) -> None:
    first, second = MotionDataset(root, "train", crop=32, seed=3), MotionDataset(root, "train", crop=32, seed=3)
    for k in reversed(range(len(first))):
        assert torch.equal(first[k].features, second[k].features)
    starts = set()
    for epoch in range(8):
        first.set_epoch(epoch)
        starts.add(float(first[2].features[0, 0]))
    assert len(starts) > 3


def test_crops_have_one_length_and_short_clips_hold_their_last_pose(root: Path) -> None:
    dataset = MotionDataset(root, "train", crop=64, min_frames=16)
    assert {len(dataset[k].features) for k in range(len(dataset))} == {64}
    clip = torch.rand(10, 272)
    longer = held(clip, 14)
    assert torch.equal(longer[:10], clip)
    assert torch.equal(longer[12, 8:74], clip[-1, 8:74])
    assert not longer[12, :2].any()
    assert not longer[12, 74:140].any()
    assert longer[12, 2:8].tolist() == [1, 0, 0, 0, 1, 0]


def test_batches_are_padded_and_masked(root: Path) -> None:
    dataset = MotionDataset(root, "train")
    batch = collate([dataset[0], dataset[1]], multiple=64)
    assert batch.features.shape == (2, 128, 272)
    assert batch.mask.sum(dim=1).tolist() == batch.lengths.tolist() == [50, 100]
    assert not batch.features[~batch.mask].any()
    with pytest.raises(BadInputError, match="at least one sample"):
        collate([])


def test_pairs_give_the_second_text_and_a_history_on_the_latent_grid(root: Path) -> None:
    dataset = StreamPairDataset(root, "train", STILL)
    assert len(dataset) == 2
    sample = dataset[1]
    assert (sample.caption, sample.history) == ("turn left", 60)
    torch.testing.assert_close(sample.features[:, 0], torch.arange(2.0, 130.0))
    short = StreamPairDataset(root, "train", STILL, max_frames=80)[0]
    assert short.history == 12
    assert len(short.features) == 80
    assert short.ends


def test_weights_are_even_without_a_manifest(root: Path) -> None:
    dataset = MotionDataset(root, "train")
    assert dataset.weights() == [1.0] * len(dataset)


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


def test_unsound_sets_are_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"test\.txt"):
        MotionDataset(root, "test")
    with pytest.raises(BadInputError, match="refused the name"):
        MotionDataset(root, "../train")
    (root / "split" / "train.txt").write_text("missing\n")
    with pytest.raises(BadInputError, match="nothing usable"):
        MotionDataset(root, "train")
    (root / "split" / "train.txt").write_text("a\n")
    with pytest.raises(BadInputError, match="400 frames or more"):
        MotionDataset(root, "train", min_frames=400, max_frames=500)
    with pytest.raises(BadInputError, match="folders"):
        StreamPairDataset(root, "val", STILL)
    (root / "train_stream_text" / "seq1.txt").write_text("walk*turn#500\n")
    with pytest.raises(BadInputError, match="nothing is left"):
        StreamPairDataset(root, "train", STILL)
    with pytest.raises(BadInputError, match="train, val"):
        StreamPairDataset(root, "test", STILL)
