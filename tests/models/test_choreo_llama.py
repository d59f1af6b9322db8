"""ChoreoLLaMA: the same numbers step by step as whole, every input matters, windows without seams."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.choreo_llama import (
    ChoreoLlama,
    ChoreoLlamaConfig,
    References,
    SamplingSettings,
    choreo_llama_loss,
    extend_dance,
    generate_codes,
    named_references,
)
from kinestream.models.choreo_llama.sampling import code_probabilities, sample_codes

ALIGNED = ChoreoLlamaConfig(
    num_codes=8, code_dim=6, music_dim=5, genre_dim=3, num_genres=4, reference_dim=7, num_references=3, bridge_heads=2,
    arrangement="aligned", hidden_dim=16, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=4, mlp_dim=24,
    rope_factor=1.0, window_steps=12, window_music_frames=24, music_frames_per_position=2, window_reference_frames=48,
    reference_frames_per_position=4,
)  # fmt: skip
# Music at 10 frames for 12 steps: rates that don't divide each other, as MuQ's 25 Hz and 7.5 token steps a second.
PREFIX = dataclasses.replace(
    ALIGNED, arrangement="prefix", window_music_frames=10, music_frames_per_position=1, rope_factor=32.0
)
GREEDY = SamplingSettings(temperature=0.0)


def build(config: ChoreoLlamaConfig, seed: int = 0) -> ChoreoLlama:
    torch.manual_seed(seed)
    model = ChoreoLlama(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
            elif name in ("start", "no_reference"):
                parameter.normal_()
        if config.arrangement == "aligned":
            model.levels.normal_()
        model.codebooks.normal_()
        model.head.weight.normal_()
    return model.requires_grad_(False)


def inputs(config: ChoreoLlamaConfig, rows: int = 2, references: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    music = torch.randn(rows, config.window_music_frames, config.music_dim, generator=generator)
    shape = (rows, references, config.window_reference_frames, config.reference_dim)
    return music, torch.arange(rows) % config.num_genres, torch.randn(shape, generator=generator)


def some_codes(config: ChoreoLlamaConfig, rows: int = 2, steps: int | None = None) -> Tensor:
    shape = (rows, steps if steps is not None else config.window_steps, config.num_codebooks)
    return torch.randint(0, config.num_codes, shape, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("config", [ALIGNED, PREFIX], ids=["aligned", "prefix"])
def test_drawing_step_by_step_takes_what_whole_windows_predict(config: ChoreoLlamaConfig) -> None:
    model = build(config)
    conditions = model.conditions(*inputs(config))
    drawn = model.extend(conditions, some_codes(config, steps=0), config.window_steps, GREEDY)
    assert torch.equal(model(conditions, drawn).argmax(dim=-1), drawn)
    going_on = model.extend(conditions, drawn[:, :5], config.window_steps - 5, GREEDY)
    assert torch.equal(going_on, drawn[:, 5:])


@pytest.mark.parametrize("config", [ALIGNED, PREFIX], ids=["aligned", "prefix"])
def test_no_code_sees_itself_or_later_ones(config: ChoreoLlamaConfig) -> None:
    model = build(config)
    conditions, codes = model.conditions(*inputs(config)), some_codes(config)
    changed = codes.clone()
    changed[:, 6, 1] = (changed[:, 6, 1] + 1) % config.num_codes
    before, after = model(conditions, codes), model(conditions, changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    torch.testing.assert_close(before[:, 6, :2], after[:, 6, :2])
    assert (before[:, 6, 2] - after[:, 6, 2]).abs().max() > 1e-3


def test_backbone_steps_equal_the_transformers_model() -> None:
    model = build(PREFIX)
    x = torch.randn(2, 20, PREFIX.hidden_dim)
    state, outputs = model.backbone.init_state(2), []
    for chunk in x.split(7, dim=1):
        out, state = model.backbone.step(chunk, state)
        outputs.append(out)
    torch.testing.assert_close(torch.cat(outputs, dim=1), model.backbone(x), atol=2e-5, rtol=1e-4)
    with pytest.raises(BadInputError, match="holds 46 positions"):
        model.backbone.step(torch.randn(2, 27, PREFIX.hidden_dim), state)


@pytest.mark.parametrize("bridge", ["linear", "attention", "cadence"])
@pytest.mark.parametrize("config", [ALIGNED, PREFIX], ids=["aligned", "prefix"])
def test_conditions_follow_music_genre_and_references(config: ChoreoLlamaConfig, bridge: str) -> None:
    model = build(dataclasses.replace(config, bridge=bridge))
    music, genre, references = inputs(config)
    base = model.conditions(music, genre, references)
    assert base.shape == (2, config.window_music_frames // config.music_frames_per_position, config.hidden_dim)
    assert not torch.allclose(base, model.conditions(music + 1, genre, references))
    assert not torch.allclose(base, model.conditions(music, genre + 1, references))
    others = (model.conditions(music, genre, references.flip(1)), model.conditions(music, genre))
    for other in others:
        assert torch.allclose(base, other) is (bridge == "linear")
    weighted = model.conditions(music, genre, references[:, :1], torch.tensor([[True], [False]]))
    torch.testing.assert_close(weighted[1], model.conditions(music, genre)[1])
    torch.testing.assert_close(weighted[0], model.conditions(music, genre, references[:, :1])[0])


def test_an_expert_hears_its_own_band_only() -> None:
    model = build(ALIGNED)
    music, genre, _ = inputs(ALIGNED, rows=1)
    frames = torch.arange(ALIGNED.window_reference_frames)
    slow, fast = (
        torch.sin(2 * torch.pi * frames * wave / len(frames))[None, None, :, None].expand(1, 1, -1, 7)
        for wave in (3, 20)
    )
    calls: list[Tensor] = []
    for expert in model.bridge.experts:
        expert.register_forward_hook(lambda _, args, __: calls.append(args[0]))
    for reference in (torch.zeros_like(slow), slow, fast):
        model.conditions(music, genre, reference)
    quiet, low, high = calls[:2], calls[2:4], calls[4:]
    assert not torch.allclose(quiet[0], low[0])
    torch.testing.assert_close(quiet[1], low[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(quiet[0], high[0], atol=1e-5, rtol=0)
    assert not torch.allclose(quiet[1], high[1])


def test_genre_may_change_within_a_window() -> None:
    model = build(ALIGNED)
    music, genre, _ = inputs(ALIGNED)
    same = genre[:, None].expand(-1, ALIGNED.window_steps)
    torch.testing.assert_close(model.conditions(music, same), model.conditions(music, genre))
    changed = same.clone()
    changed[:, 6:] = -1
    assert not torch.allclose(model.conditions(music, changed), model.conditions(music, genre))


@pytest.mark.parametrize("config", [ALIGNED, PREFIX], ids=["aligned", "prefix"])
def test_index_ablation_runs_and_ignores_the_codebooks(config: ChoreoLlamaConfig) -> None:
    model = build(dataclasses.replace(config, dance_input="indices"))
    conditions, codes = model.conditions(*inputs(config)), some_codes(config)
    before = model(conditions, codes)
    model.codebooks.add_(1.0)
    assert torch.equal(model(conditions, codes), before)
    drawn = model.extend(conditions, codes[:, :3], 4, GREEDY)
    assert drawn.shape == (2, 4, 3)


def test_sampling_keeps_the_likeliest_codes_and_their_ratio() -> None:
    logits = np.array([0.0, 3.0, 2.0, 1.0, -1.0], np.float32)
    probabilities, codes = code_probabilities(logits, SamplingSettings(1.0, top_k=3, top_p=1.0))
    assert codes.tolist() == [1, 2, 3]
    np.testing.assert_allclose(probabilities, np.exp([0.0, -1.0, -2.0]) / np.exp([0.0, -1.0, -2.0]).sum())
    probabilities, codes = code_probabilities(logits, SamplingSettings(1.0, top_k=5, top_p=0.7))
    assert codes.tolist() == [1, 2]
    np.testing.assert_allclose(probabilities, np.exp([0.0, -1.0]) / np.exp([0.0, -1.0]).sum())
    only, codes = code_probabilities(logits, SamplingSettings(0.85, top_k=30, top_p=1e-6))
    assert (only.tolist(), codes.tolist()) == ([1.0], [1])


def test_draws_have_the_stated_probabilities_each_row_by_its_own_settings() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(4000, -1)
    numbers = torch.rand(4000, generator=torch.Generator().manual_seed(0)).tolist()
    draws = sample_codes(logits, [SamplingSettings(1.0, 3, 1.0), GREEDY] * 2000, numbers)
    shares = torch.bincount(draws[::2], minlength=3) / 2000
    torch.testing.assert_close(shares, logits[0].softmax(-1), atol=0.03, rtol=0)
    assert set(draws[1::2].tolist()) == {2}
    assert sample_codes(logits[:1], [SamplingSettings()], [1.0]).item() in (0, 1, 2)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"temperature": float("nan")}])
def test_wrong_sampling_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        SamplingSettings(**wrong)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_the_same_seed_gives_the_same_dance_whoever_else_dances() -> None:
    model = build(ALIGNED)
    music = torch.randn(2, 60, ALIGNED.music_dim)
    genre = torch.tensor([1, -1])
    both = generate_codes(model, music, genre, generator=generators(1, 2))
    assert torch.equal(both, generate_codes(model, music, genre, generator=generators(1, 2)))
    for row, seed in enumerate((1, 2)):
        alone = generate_codes(model, music[row : row + 1], genre[row : row + 1], generator=generators(seed))
        assert torch.equal(alone[0], both[row])
    assert not torch.equal(both, generate_codes(model, music, genre, generator=generators(3, 4)))


@pytest.mark.parametrize("config", [ALIGNED, PREFIX], ids=["aligned", "prefix"])
@pytest.mark.parametrize("steps", [1, 5, 12, 13, 31])
def test_songs_of_any_length_are_danced_to_their_end(config: ChoreoLlamaConfig, steps: int) -> None:
    model = build(config)
    frames = -(-steps * config.window_music_frames // config.window_steps)
    music = torch.randn(1, frames, config.music_dim)
    codes = generate_codes(model, music, torch.tensor([0]), generator=generators(1))
    expected = -(-frames * config.window_steps // config.window_music_frames)
    assert codes.shape == (1, expected, config.num_codebooks)


def test_windows_ask_for_their_own_references() -> None:
    model, asked = build(ALIGNED), []

    def find(first: int, steps: int) -> References:
        asked.append((first, steps))
        return References(torch.zeros(1, 1, steps * 4, ALIGNED.reference_dim))

    generate_codes(model, torch.randn(1, 60, ALIGNED.music_dim), torch.tensor([0]), references=find, overlap_steps=4)
    assert asked == [(0, 12), (8, 12), (16, 12), (18, 12)]


def test_named_references_play_along_over_and_over() -> None:
    dance = torch.arange(10.0)[:, None].expand(-1, 7)
    found = named_references([dance], 2, 4)(2, 3)
    assert found is not None
    assert found.frames.shape == (2, 1, 12, 7)
    assert found.frames[0, 0, :, 0].tolist() == [8.0, 9.0, *range(10)]
    with pytest.raises(BadInputError):
        named_references([], 1, 4)


def test_a_song_that_comes_in_pieces_gives_the_same_windows() -> None:
    model = build(ALIGNED)
    music, genre = torch.randn(1, 72, ALIGNED.music_dim), torch.tensor([2])
    whole = generate_codes(model, music[:, :24], genre, generator=generators(3))
    draws, context, pieces = generators(3), None, []
    piece, context = extend_dance(model, music[:, :24], genre, context, generator=draws)
    assert torch.equal(piece, whole)
    pieces.append(piece)
    for first in range(24, 72, 12):
        piece, context = extend_dance(model, music[:, first : first + 12], genre, context, generator=draws)
        pieces.append(piece)
    assert torch.cat(pieces, dim=1).shape == (1, 36, 3)
    expected = generate_codes(model, music, genre, generator=generators(3))
    assert torch.equal(torch.cat(pieces, dim=1), expected)
    with pytest.raises(BadInputError, match="too long"):
        extend_dance(model, music[:, :14], genre, context)
    with pytest.raises(BadInputError, match="whole token steps"):
        extend_dance(model, music[:, :3], genre, context)


def test_a_window_really_goes_on_from_the_one_before() -> None:
    model = build(ALIGNED)
    music, genre = torch.randn(1, 36, ALIGNED.music_dim), torch.tensor([0])
    first = generate_codes(model, music[:, :24], genre, settings=GREEDY)
    whole = generate_codes(model, music, genre, settings=GREEDY)
    conditions = model.conditions(music[:, 12:], genre)
    assert torch.equal(whole[:, :12], first)
    assert torch.equal(whole[:, 12:], model.extend(conditions, first[:, 6:], 6, GREEDY))


def test_loss_counts_masked_steps_out() -> None:
    logits, codes = torch.randn(2, 5, 3, 8), torch.randint(0, 8, (2, 5, 3))
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    loss = choreo_llama_loss(logits, codes, mask)
    chosen = -logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0][mask]
    torch.testing.assert_close(loss.levels, chosen.mean(dim=0))
    torch.testing.assert_close(loss.total, chosen.mean())
    sure = torch.nn.functional.one_hot(codes, 8).float() * 50
    assert choreo_llama_loss(sure, codes, mask).accuracy.tolist() == [1.0, 1.0, 1.0]


def test_training_learns_to_follow_the_music() -> None:
    """Codes that the music alone decides are learnt, in time with it."""
    torch.manual_seed(0)
    model = ChoreoLlama(ALIGNED)
    model.codebooks.normal_()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        beats = torch.rand(8, ALIGNED.window_steps) < 0.3
        music = beats.repeat_interleave(2, dim=1)[..., None].float().expand(-1, -1, ALIGNED.music_dim)
        codes = beats[..., None].long().expand(-1, -1, 3) * 5
        conditions = model.conditions(music, torch.zeros(8, dtype=torch.long))
        loss = choreo_llama_loss(model(conditions, codes), codes)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.25 * losses[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bridge": "magic"}, {"num_heads": 3}, {"arrangement": "aligned", "window_music_frames": 26},
        {"head_dim": 3}, {"bridge": "released"}, {"bridge_heads": 3},
    ],
)  # fmt: skip
def test_config_refuses_what_does_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        dataclasses.replace(ALIGNED, **wrong)


def test_config_survives_json_and_names_the_paper_s_sizes() -> None:
    paper = ChoreoLlamaConfig.paper()
    for config in (paper, ChoreoLlamaConfig.default(30, 4)):
        assert ChoreoLlamaConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert (paper.music_dim, paper.genre_dim, paper.reference_dim, paper.code_dim, paper.hidden_dim) == (
        1024, 256, 259, 1024, 2048,
    )  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.conditions(torch.zeros(1, 24, 4), torch.tensor([0])),
        lambda m: m.conditions(torch.zeros(1, 24, 5), torch.tensor([4])),
        lambda m: m.conditions(torch.zeros(1, 24, 5), torch.tensor([0]), torch.zeros(1, 2, 47, 7)),
        lambda m: m.conditions(torch.zeros(1, 24, 5), torch.tensor([0]), torch.zeros(1, 4, 48, 7)),
        lambda m: m.embed_codes(torch.full((1, 2, 3), 8)),
        lambda m: m.extend(torch.zeros(1, 3, 16), torch.zeros(1, 2, 3, dtype=torch.long), 2, GREEDY),
        lambda m: generate_codes(m, torch.zeros(1, 0, 5), torch.tensor([0])),
        lambda m: generate_codes(m, torch.zeros(1, 24, 5), torch.tensor([0]), overlap_steps=12),
    ],
)
def test_wrong_inputs_are_refused(call: Any) -> None:
    with pytest.raises(BadInputError):
        call(build(ALIGNED))
