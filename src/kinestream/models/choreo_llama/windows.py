"""Dances of any length: windows that overlap, the codes of the overlap carried from one to the next.

Every window is sampled with the last codes of the one before as its beginning, which are read once more under the new
window's conditions. The codes go on without a break, and the tokenizer's causal decoder, whose state goes on too, makes
one motion of them: there is no seam to hide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.models.choreo_llama.model import ChoreoLlama
from kinestream.models.choreo_llama.sampling import Generators, SamplingSettings
from kinestream.models.choreo_llama.window_sampling import SampledWindow, sample_windows


class References(NamedTuple):
    """Reference dances of one window: frames [B, k, T, X], best match first; present [B, k]: which are there."""

    frames: Tensor
    present: Tensor | None = None


FindReferences = Callable[[int, int], References | None]
"""From a window's first token step and its number of steps to its references; None turns retrieval off."""


class DanceContext(NamedTuple):
    """What one window hands to the next: the last token steps' music [B, F, M], genres [B, P] and codes [B, P, K]."""

    music: Tensor
    genre: Tensor
    codes: Tensor


def generate_codes(
    model: ChoreoLlama,
    music: Float[Tensor, "b t m"],
    genre: Int[Tensor, "b"] | Int[Tensor, "b l"],
    *,
    references: FindReferences | None = None,
    settings: SamplingSettings | None = None,
    generator: Generators | None = None,
    overlap_steps: int | None = None,
) -> Int[Tensor, "b l k"]:
    """Sample the codes of a whole song.

    music: features of the whole song; its last frames are repeated up to a whole token step. genre: one per row, or one
    per token step. overlap_steps: how many codes a window takes over; half a window unless given. The last window
    starts early enough to be a whole one. Raises BadInputError where sizes don't fit.
    """
    config, frames = model.config, model.config.music_frames_per_step
    total = -(-music.shape[1] * frames.denominator // frames.numerator)
    if not total:
        raise BadInputError("There is no music to dance to: the song has no frames.")
    shortest = config.window_steps if config.bridge == "released" else total
    steps = max(total + -total % frames.denominator, shortest)
    music = _held(music, int(steps * frames))
    genres = _genre_per_step(genre, steps)
    overlap = _checked_overlap(config, overlap_steps)
    codes = torch.empty(len(music), 0, config.num_codebooks, dtype=torch.long, device=music.device)
    while (done := codes.shape[1]) < steps:
        stop = min(config.window_steps if not done else done + config.window_steps - overlap, steps)
        first = max(0, stop - config.window_steps)
        first -= first % frames.denominator
        window = slice(first, stop)
        conditions = _conditions(
            model, music[:, int(first * frames) : int(stop * frames)], genres[:, window],
            references(first, stop - first) if references is not None else None,
        )  # fmt: skip
        known = codes[:, first:]
        new = model.extend(conditions, known, stop - first - known.shape[1], settings or SamplingSettings(), generator)
        codes = torch.cat((codes, new), dim=1)
    return codes[:, :total]


@dataclass(frozen=True)
class Piece:
    """The next piece of a song, and how it goes on: `windows` are to be sampled, one a row; then it has a `result`."""

    windows: list[SampledWindow]
    music: Tensor
    genres: Tensor
    known: Tensor
    frames_per_step: Fraction
    overlap: int

    def again(self, settings: SamplingSettings) -> Piece:
        """The same piece, to be sampled anew with other settings; the generators go on."""
        return replace(self, windows=[window.again(settings) for window in self.windows])

    def result(self) -> tuple[Int[Tensor, "b h k"], DanceContext]:
        """The piece's codes and what the next one needs; KinestreamError where they could not be sampled."""
        new = torch.stack([window.codes for window in self.windows])
        codes = torch.cat((self.known, new), dim=1)
        kept = min(self.overlap, codes.shape[1])
        frames = self.music.shape[1] - int(kept * self.frames_per_step)
        return new, DanceContext(self.music[:, frames:], self.genres[:, -kept:], codes[:, -kept:])


def extend_dance(
    model: ChoreoLlama,
    music: Float[Tensor, "b t m"],
    genre: Int[Tensor, "b"],
    context: DanceContext | None = None,
    *,
    references: References | None = None,
    settings: SamplingSettings | None = None,
    generator: Generators | None = None,
    overlap_steps: int | None = None,
) -> tuple[Int[Tensor, "b h k"], DanceContext]:
    """Sample the codes of the next piece of a song that is still coming in; gives them and what the next call needs.

    music: features of the piece, whole token steps of them. The model looks ahead as far as the piece lasts: with
    pieces of 30 steps (4 s) a dance lags 4 s behind the music's arrival. genre: of this piece, it may change from call
    to call. references: of the carried steps and the piece together. Raises BadInputError where the piece is longer
    than the window has room for beside the overlap.
    """
    piece = next_piece(
        model, music, genre, context,
        references=references, settings=settings, generator=generator, overlap_steps=overlap_steps,
    )  # fmt: skip
    sample_windows(model.sampled_with, piece.windows)
    return piece.result()


def next_piece(
    model: ChoreoLlama,
    music: Float[Tensor, "b t m"],
    genre: Int[Tensor, "b"],
    context: DanceContext | None = None,
    *,
    references: References | None = None,
    settings: SamplingSettings | None = None,
    generator: Generators | None = None,
    overlap_steps: int | None = None,
) -> Piece:
    """What `extend_dance` samples, before it is sampled: its rows may be sampled together with those of others."""
    config, frames = model.config, model.config.music_frames_per_step
    overlap = _checked_overlap(config, overlap_steps)
    steps = music.shape[1] / frames
    if not steps or steps.denominator != 1 or int(steps) % frames.denominator:
        raise BadInputError(
            f"A piece of music must last whole token steps ({frames} frames each), got {music.shape[1]} frames."
        )
    genres = genre[:, None].expand(-1, int(steps))
    known = torch.empty(len(music), 0, config.num_codebooks, dtype=torch.long, device=music.device)
    if context is not None:
        music, genres = torch.cat((context.music, music), dim=1), torch.cat((context.genre, genres), dim=1)
        known = context.codes
    if genres.shape[1] > config.window_steps:
        raise BadInputError(
            f"A window holds {config.window_steps} token steps, {known.shape[1]} of them carried over: the piece of "
            f"{int(steps)} is too long."
        )
    count = genres.shape[1] - known.shape[1]
    conditions = _conditions(model, music, genres, references)
    windows = model.sampled_windows(conditions, known, count, settings or SamplingSettings(), generator)
    return Piece(windows, music, genres, known, frames, overlap)


def _conditions(model: ChoreoLlama, music: Tensor, genres: Tensor, references: References | None) -> Tensor:
    positions = music.shape[1] // model.config.music_frames_per_position
    at_position = genres[:, torch.arange(positions, device=genres.device) * genres.shape[1] // positions]
    frames, present = references if references is not None else (None, None)
    return model.conditions(music, at_position, frames, present)


def _held(music: Tensor, frames: int) -> Tensor:
    missing = frames - music.shape[1]
    return torch.cat((music, music[:, -1:].expand(-1, missing, -1)), dim=1) if missing else music


def _genre_per_step(genre: Tensor, steps: int) -> Tensor:
    if genre.dim() == 1:
        return genre[:, None].expand(-1, steps)
    missing = steps - genre.shape[1]
    return torch.cat((genre, genre[:, -1:].expand(-1, missing)), dim=1) if missing > 0 else genre[:, :steps]


def _checked_overlap(config: ChoreoLlamaConfig, overlap_steps: int | None) -> int:
    unit = config.music_frames_per_step.denominator
    overlap = config.window_steps // 2 if overlap_steps is None else overlap_steps
    overlap -= overlap % unit
    if not unit <= overlap <= config.window_steps - unit:
        raise BadInputError(
            f"Windows of {config.window_steps} token steps can overlap by {unit} to {config.window_steps - unit}, "
            f"got {overlap_steps}."
        )
    return overlap


def named_references(dances: Sequence[Float[Tensor, "t x"]], rows: int, frames_per_step: int) -> FindReferences:
    """Make references of dances that the user named, best first: each plays along with the song, over and over.

    dances: normalised features of whole dances. rows: how many rows share them. Raises BadInputError for none at all.
    """
    if not dances or any(not len(dance) for dance in dances):
        raise BadInputError("Expected at least one reference dance, each with at least one frame.")

    def find(first_step: int, steps: int) -> References:
        frames = torch.arange(steps * frames_per_step) + first_step * frames_per_step
        window = torch.stack([dance[(frames % len(dance)).to(dance.device)] for dance in dances])
        return References(window.expand(rows, *window.shape))

    return find
