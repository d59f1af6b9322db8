"""A tiny random music-to-dance model on motion272, and a click track to dance to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import MUSIC_WIDTH
from kinestream.features import MOTION272, Statistics
from kinestream.io.audio import Audio
from kinestream.models.choreo_llama import ChoreoLlama, ChoreoLlamaConfig
from kinestream.models.rvq_vae import RVQVAE, RVQVAEConfig
from tests.io.audio_files import clicks

RATE_HZ = 16_000
TOKENS = RVQVAEConfig(hidden_dim=8, code_dim=4, num_codes=16, num_codebooks=2, num_halvings=3, depth=1)
LLAMA = ChoreoLlamaConfig(
    num_codebooks=2, num_codes=16, code_dim=4, music_dim=MUSIC_WIDTH, genre_dim=2, num_genres=2, reference_dim=272,
    num_references=2, bridge_heads=2, arrangement="aligned", hidden_dim=8, num_layers=1, num_heads=2, num_kv_heads=1,
    head_dim=4, mlp_dim=8, rope_factor=1.0, window_steps=6, window_music_frames=48, music_frames_per_position=8,
    window_reference_frames=48, reference_frames_per_position=8,
)  # fmt: skip


def tiny_dance_model(**changes: Any) -> MusicToDanceModel:
    """Moves at random about a standing pose; what it does depends on music, genre, references and seed."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        tokenizer, llama = RVQVAE(TOKENS).eval(), ChoreoLlama(changes.pop("llama", LLAMA)).eval()
        tokenizer.quantizer.codebooks.normal_()
        llama.head.weight.data.normal_(std=2.0)
    llama.codebooks.copy_(tokenizer.codebooks)
    still = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    mean = torch.zeros(MOTION272.width)
    mean[MOTION272.slices["positions"]] = torch.linspace(0.0, 1.5, 66)
    mean[MOTION272.slices["heading_change_rot6d"]] = still
    mean[MOTION272.slices["rotations_rot6d"]] = still.repeat(22)
    model = MusicToDanceModel(
        tokenizer=tokenizer,
        llama=llama,
        statistics=Statistics(mean, torch.full((MOTION272.width,), 0.05)),
        music_statistics=Statistics(torch.zeros(MUSIC_WIDTH), torch.ones(MUSIC_WIDTH)),
        genres=("rumba", "waltz"),
        music_features="kinestream-30hz",
    )
    return dataclasses.replace(model, **changes)


def click_track(seconds: float, tempo_bpm: float = 120.0, rate_hz: int = RATE_HZ) -> Audio:
    """A drum on every beat, the first at the very beginning."""
    return Audio.from_samples(clicks(seconds, rate_hz, tempo_bpm, accent=4), rate_hz, "clicks.wav")


def noise(seconds: float, rate_hz: int = RATE_HZ) -> Audio:
    """White noise."""
    samples = 0.2 * np.random.default_rng(3).standard_normal(int(seconds * rate_hz))
    return Audio.from_samples(samples, rate_hz, "noise.wav")
