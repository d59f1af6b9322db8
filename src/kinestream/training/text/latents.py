"""Latent sequences for the autoregressive model: every clip and pair through the autoencoder once, kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinestream.data.clips import MotionClips, StreamPairs
from kinestream.features import Statistics
from kinestream.models.causal_tae.model import CausalTAE

# Clips are encoded from these first frames too, so that the model meets every phase of the 4-frame grid.
PHASES = (0, 2)


@dataclass(frozen=True)
class LatentSequence:
    """One training sequence: posterior of its latents, how many are history, which texts fit, and whether it ends.

    mean, std: [L, C]. The first `history` latents only condition. `ends`: the motion is over after the last latent, so
    the reference end latent follows. `captions`: rows of the text embeddings, one is drawn each time.
    """

    mean: Tensor
    std: Tensor
    history: int
    captions: tuple[int, ...]
    ends: bool
    weight: float = 1.0


@dataclass(frozen=True)
class _Piece:
    features: Tensor
    history_frames: int
    captions: tuple[str, ...]
    ends: bool
    weight: float = 1.0


def pieces_of_clip(
    clip: Tensor, captions: Sequence[str], weight: float, min_frames: int, max_frames: int, latent_frames: int
) -> list[_Piece]:
    """Whole clips where they fit; of longer ones, windows from scratch and windows that continue what came before.

    A window that continues has the first half as history under the same text: that is how a stream goes on when its
    context is full (see the streaming decision record).
    """
    texts, pieces = tuple(captions), []
    for phase in PHASES:
        start = clip[phase:]
        if len(start) < min_frames:
            continue
        if len(start) <= max_frames:
            pieces.append(_Piece(start, 0, texts, True, weight))
            continue
        half = max_frames // (2 * latent_frames) * latent_frames
        for first in range(0, len(start) - half, half):
            window = start[first : first + max_frames]
            last = first + max_frames >= len(start)
            pieces.append(_Piece(window, 0, texts, last, weight))
            if first > 0 and len(window) > half + latent_frames:
                pieces.append(_Piece(window, half, texts, last, weight))
    return pieces


def pieces_of_pairs(
    pairs: StreamPairs, weight: float, min_frames: int, max_frames: int, latent_frames: int
) -> list[_Piece]:
    """The second text with the first part as history, cut at a latent's edge and to the newest frames that fit."""
    pieces = []
    for index, pair in enumerate(pairs.pairs):
        clip, before = pairs.features(index), pair.frames_before
        after = len(clip) - before
        if before < latent_frames or after < min_frames:
            continue
        shown = min(after, max_frames - latent_frames)
        room = (max_frames - shown) // latent_frames * latent_frames
        history = min(before // latent_frames * latent_frames, room)
        piece = clip[before - history : before + shown]
        pieces.append(_Piece(piece, history, (pair.after,), shown == after, weight))
    return pieces


@torch.no_grad()
def encode_sequences(
    tae: CausalTAE,
    statistics: Statistics,
    clips: MotionClips,
    pairs: StreamPairs,
    *,
    min_frames: int,
    max_frames: int,
    pair_weight: float = 1.0,
) -> tuple[list[LatentSequence], list[str]]:
    """All sequences of a split and the captions that their `captions` rows stand for."""
    latent_frames = tae.config.frames_per_latent
    pieces = [
        piece
        for index, (part, weight) in enumerate(zip(clips.parts, clips.weights, strict=True))
        for piece in pieces_of_clip(clips.features(index), part.captions, weight, min_frames, max_frames, latent_frames)
    ] + pieces_of_pairs(pairs, pair_weight, min_frames, max_frames, latent_frames)
    texts: dict[str, int] = {}
    for piece in pieces:
        for caption in piece.captions:
            texts.setdefault(caption, len(texts))
    found: list[LatentSequence] = []
    order = np.argsort([len(piece.features) for piece in pieces], kind="stable")
    device = next(tae.parameters()).device
    for group in tqdm(np.array_split(order, max(1, len(order) // 32)), desc="latents", mininterval=2.0):
        longest = max(len(pieces[i].features) for i in group)
        batch = torch.zeros(len(group), longest, tae.config.feature_dim)
        for row, i in enumerate(group):
            batch[row, : len(pieces[i].features)] = statistics.normalize(pieces[i].features)
        posterior = tae.encode(batch.to(device))
        mean, std = posterior.mean.float().cpu(), (0.5 * posterior.logvar.float()).exp().cpu()
        for row, i in enumerate(group):
            count = len(pieces[i].features) // latent_frames
            rows = tuple(texts[caption] for caption in pieces[i].captions)
            history = pieces[i].history_frames // latent_frames
            latents = mean[row, :count].clone(), std[row, :count].clone()
            found.append(LatentSequence(*latents, history, rows, pieces[i].ends, pieces[i].weight))
    return found, list(texts)
