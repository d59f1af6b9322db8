"""The retrieval network agrees with the published code, ignores padding and learns what belongs together."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.retrieval import RetrievalConfig, RetrievalModel, symmetric_info_nce
from kinestream.models.retrieval.released_keys import config_from_released_shapes, released_key_map

TINY = RetrievalConfig(
    music_dim=5, dance_dim=7, max_frames=40, embedding_dim=16, num_heads=2, mlp_dim=32, num_layers=2, dropout=0.1
)
TIMELINE = dataclasses.replace(TINY, frames_per_token=3, local_layers=2, timeline_dim=4, summary_share=0.2)
Golden = tuple[RetrievalModel, dict[str, Tensor]]


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    theirs = load_file(golden_dir / "retrieval_tiny.safetensors")
    config = config_from_released_shapes({key: tuple(value.shape) for key, value in theirs.items()})
    names = released_key_map(config)
    assert sorted(names.values()) == sorted(theirs)
    model = RetrievalModel(config).eval().requires_grad_(False)
    model.load_state_dict({ours: theirs[key] for ours, key in names.items()})
    with np.load(golden_dir / "retrieval_tiny.npz") as arrays:
        return model, {name: torch.from_numpy(array) for name, array in arrays.items()}


def test_embeddings_agree_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    torch.testing.assert_close(model.encode_music(arrays["music55"]), arrays["music_emb"], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.encode_dance(arrays["motion264"]), arrays["motion_emb"], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.music_encoder(arrays["music55"]), arrays["music_raw"], rtol=0, atol=1e-5)


def test_masked_embeddings_agree_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    lengths = arrays["mask"].sum(dim=1).long()
    raw = model.music_encoder(arrays["music55"], lengths)
    torch.testing.assert_close(raw, arrays["music_raw_masked"], rtol=0, atol=1e-5)


def test_loss_agrees_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    loss = symmetric_info_nce(arrays["music_emb"], arrays["motion_emb"], model.temperature_scale())
    torch.testing.assert_close(loss.total, arrays["clip_loss"], rtol=0, atol=1e-5)


def test_paper_size_has_the_released_names_and_shapes(golden_dir: Path) -> None:
    import json

    listing = json.loads((golden_dir / "fullsize_keys" / "retrievalnet_audio55_motion264.json").read_text())
    theirs = {name: tuple(shape) for name, shape in listing["state_dict"].items()}
    config = config_from_released_shapes(theirs)
    assert config == RetrievalConfig.paper()
    with torch.device("meta"):
        model = RetrievalModel(config)
    names = released_key_map(config)
    assert {names[ours]: tuple(value.shape) for ours, value in model.state_dict().items()} == theirs


def test_the_default_is_the_size_that_the_recipe_trains() -> None:
    recipe = tomllib.loads((Path(__file__).parents[2] / "configs" / "retrieval_default.toml").read_text())
    config = RetrievalConfig.default(music_dim=12, dance_dim=22)
    assert config == RetrievalConfig.from_json(recipe["model"] | {"music_dim": 12, "dance_dim": 22})
    numbers = sum(value.numel() for value in RetrievalModel(config).parameters())
    assert 30_000 < numbers < 50_000


def test_other_tensors_are_no_retrieval_network() -> None:
    with pytest.raises(BadInputError, match="no released InfiniteDance retrieval network"):
        config_from_released_shapes({"tae.decode_proj.weight": (3, 3)})


@pytest.mark.parametrize("config", [TINY, TIMELINE], ids=["summary", "timeline"])
def test_what_stands_behind_a_window_changes_nothing(config: RetrievalConfig) -> None:
    model = RetrievalModel(config).eval()
    music, lengths = torch.randn(3, 30, 5), torch.tensor([30, 12, 1])
    batch = model.encode_music(music, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model.encode_music(music[row : row + 1, :length])
        torch.testing.assert_close(batch[row : row + 1], alone, rtol=0, atol=1e-5)
        behind = music.clone()
        behind[row, length:] = 9.0
        torch.testing.assert_close(model.encode_music(behind, lengths)[row], batch[row], rtol=0, atol=1e-5)
    torch.testing.assert_close(batch[:2].norm(dim=-1), torch.ones(2))
    assert batch.shape == (3, config.embedding_width)


def test_a_moved_accent_moves_the_embedding() -> None:
    model = RetrievalModel(TINY).eval()
    music = torch.zeros(2, 30, 5)
    music[0, 5], music[1, 20] = 3.0, 3.0
    early, late = model.encode_music(music)
    assert float((early - late).detach().abs().max()) > 1e-3


def test_a_timeline_tells_when_an_accent_was_where_a_summary_hardly_does() -> None:
    torch.manual_seed(0)
    music = torch.zeros(2, 40, 5)
    music[0, 5], music[1, 25] = 3.0, 3.0
    with torch.no_grad():
        plain, timed = (RetrievalModel(config).eval().encode_music(music) for config in (TINY, TIMELINE))
    assert float(timed[0] @ timed[1]) < 0.5 < 0.95 < float(plain[0] @ plain[1])


def test_a_timeline_has_an_equal_share_in_every_embedding() -> None:
    model = RetrievalModel(TIMELINE).eval()
    with torch.no_grad():
        parts = model.encode_dance(torch.randn(4, 37, 7)).split([16, TIMELINE.embedding_width - 16], dim=-1)
    torch.testing.assert_close(parts[0].norm(dim=-1), torch.full((4,), 0.2**0.5))
    torch.testing.assert_close(parts[1].norm(dim=-1), torch.full((4,), 0.8**0.5))


def test_windows_longer_than_the_positions_are_refused() -> None:
    model = RetrievalModel(TINY)
    with pytest.raises(BadInputError, match="1 to 40 frames, got 41"):
        model.encode_dance(torch.zeros(1, 41, 7))
    with pytest.raises(BadInputError, match="Lengths must be from 1 to 10"):
        model.encode_dance(torch.zeros(1, 10, 7), torch.tensor([0]))


def test_the_network_learns_which_dance_belongs_to_which_music() -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(12, 3, generator=generator)[:, None] + 0.3 * torch.randn(12, 20, 3, generator=generator)
    music = hidden @ torch.randn(3, 5, generator=generator)
    dance = hidden @ torch.randn(3, 7, generator=generator)
    model = RetrievalModel(dataclasses.replace(TINY, dropout=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        loss = symmetric_info_nce(model.encode_music(music), model.encode_dance(dance), model.temperature_scale())
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert float(loss.accuracy) > 0.9


def test_windows_of_one_recording_take_no_part_in_each_others_loss() -> None:
    dance = torch.nn.functional.normalize(torch.randn(3, 3), dim=-1).requires_grad_()
    loss = symmetric_info_nce(torch.eye(3), dance, torch.tensor(5.0), torch.tensor([0, 0, 1])).total
    (gradient,) = torch.autograd.grad(loss, dance)  # of the score of music i and dance j at [j, i]
    assert gradient[0, 1] == gradient[1, 0] == 0.0
    assert bool((gradient[0, 2].abs() > 0) & (gradient[2, 0].abs() > 0) & (gradient[0, 0] < 0))


def test_a_single_row_has_nothing_to_compare_with() -> None:
    with pytest.raises(BadInputError, match="at least 2"):
        symmetric_info_nce(torch.ones(1, 4), torch.ones(1, 4), torch.tensor(1.0))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(BadInputError, match="multiple of num_heads"):
        RetrievalConfig(embedding_dim=10, num_heads=4)
    with pytest.raises(BadInputError, match="local_kernel must be odd"):
        RetrievalConfig(local_kernel=4)
